//! The service `{{name}}`: returns the request's body in capitals. The body is the standard input, and what is printed
//! is the reply; an exit code other than 0 makes it a failure, with the standard error as the reason.
const std = @import("std");

pub fn main() !void {
    const out = std.fs.File.stdout();
    var buffer: [4096]u8 = undefined;
    var is_empty = true;
    while (true) {
        const read = try std.fs.File.stdin().read(&buffer);
        if (read == 0) break;
        is_empty = false;
        for (buffer[0..read]) |*byte| byte.* = std.ascii.toUpper(byte.*);
        try out.writeAll(buffer[0..read]);
    }
    if (is_empty) {
        try std.fs.File.stderr().writeAll("send some text\n");
        std.process.exit(1);
    }
}
