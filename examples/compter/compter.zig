//! The service `compter` (French: to count) in Zig 0.15: counts the lines, words and bytes of its standard input.
//!
//!     python3 -m ziglang build-exe -target wasm32-wasi -O ReleaseSmall examples/compter/compter.zig    # pip install 'ziglang==0.15.*'
//!     wasmnode deploy compter.wasm
const std = @import("std");

fn isSpace(byte: u8) bool {
    return byte == ' ' or (byte >= '\t' and byte <= '\r' and byte != 0x0b);
}

pub fn main() !void {
    var lines: u64 = 0;
    var words: u64 = 0;
    var bytes: u64 = 0;
    var in_word = false;
    var buffer: [4096]u8 = undefined;
    while (true) {
        const read = try std.fs.File.stdin().read(&buffer);
        if (read == 0) break;
        bytes += read;
        for (buffer[0..read]) |byte| {
            if (byte == '\n') lines += 1;
            if (!isSpace(byte) and !in_word) words += 1;
            in_word = !isSpace(byte);
        }
    }
    const counts = try std.fmt.bufPrint(&buffer, "{d} {d} {d}\n", .{ lines, words, bytes });
    try std.fs.File.stdout().writeAll(counts);
}
