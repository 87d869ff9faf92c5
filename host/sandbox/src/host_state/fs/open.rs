//! Opening of files and folders, and of no other kinds, in a granted folder.

use super::Root;
use crate::calls::RunId;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tracing::Level;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File as GuestFile, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};

/// Largest number of attempts to resolve a name that changes at the same time.
const ATTEMPTS: u32 = 4;

/// Request of a guest to open a file or folder.
pub(super) struct OpenRequest {
    pub(super) path: String,
    pub(super) follow: PathFlags,
    pub(super) open: OpenFlags,
    pub(super) access: DescriptorFlags,
    /// Request that the log names.
    pub(super) request: RunId,
}

impl OpenRequest {
    /// Returns a request to read an existing file or folder.
    pub(super) fn to_read(path: String, follow: PathFlags, request: RunId) -> Self {
        Self { path, follow, open: OpenFlags::empty(), access: DescriptorFlags::READ, request }
    }

    /// # Errors
    /// If the flags contradict each other, or are not supported by the host.
    pub(super) fn check(&self) -> Result<(), ErrorCode> {
        let sync = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if self.access.intersects(sync) {
            return Err(ErrorCode::Unsupported);
        }
        let makes = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
        if self.open.contains(OpenFlags::DIRECTORY) && self.open.intersects(makes) {
            return Err(ErrorCode::Invalid);
        }
        Ok(())
    }

    pub(super) fn writes(&self) -> bool {
        self.open.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) || self.access.contains(DescriptorFlags::WRITE)
    }

    fn reads(&self) -> bool {
        self.access.contains(DescriptorFlags::READ) || !self.access.contains(DescriptorFlags::WRITE)
    }

    fn mode(&self) -> OpenMode {
        let write = if self.writes() { OpenMode::WRITE } else { OpenMode::empty() };
        let read = if self.reads() { OpenMode::READ } else { OpenMode::empty() };
        read | write
    }

    /// Returns the flags to open an existing file; with them, a FIFO without a second end does not block.
    fn flags(&self) -> OFlags {
        let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags |= match (self.reads(), self.writes()) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        if !self.follow.contains(PathFlags::SYMLINK_FOLLOW) {
            flags |= OFlags::NOFOLLOW;
        }
        if self.open.contains(OpenFlags::DIRECTORY) {
            flags |= OFlags::DIRECTORY;
        }
        flags
    }
}

/// Opens a file or a folder. May block on the disk.
///
/// # Errors
/// [`ErrorCode::NotPermitted`] if the path names anything else, such as a FIFO.
pub(super) fn open(dir: &Dir, root: &Root, wanted: OpenRequest) -> FsResult<Descriptor> {
    let file = match resolve_or_create(dir, root, &wanted) {
        // The kernel lacks the call, or a seccomp filter rejects it.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOSYS | Errno::PERM)) => {
            return open_by_name(dir, root, wanted);
        }
        // Opened for writing: a FIFO without a reader, or a socket.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {
            return Err(refuse(root, &wanted.path, wanted.request));
        }
        file => file?,
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(Descriptor::Dir(Dir::new(file, dir.perms, wanted.mode(), true)));
    }
    if !metadata.is_file() {
        return Err(refuse(root, &wanted.path, wanted.request));
    }
    if wanted.open.contains(OpenFlags::TRUNCATE) {
        file.set_len(0)?;
    }
    Ok(Descriptor::File(tracked(root, GuestFile::new(file, dir.perms, wanted.mode(), true))))
}

fn tracked(root: &Root, file: GuestFile) -> GuestFile {
    if file.open_mode.contains(OpenMode::WRITE) {
        root.usage.track(&file.file);
    }
    file
}

fn refuse(root: &Root, path: &str, request: RunId) -> wasmtime_wasi::p2::FsError {
    let line = format!("{path} in {} is neither a file nor a folder, and is not opened", root.guest);
    root.log.line(Level::WARN, request, &line);
    ErrorCode::NotPermitted.into()
}

fn resolve_or_create(dir: &Dir, root: &Root, wanted: &OpenRequest) -> io::Result<File> {
    let (creates, is_exclusive) = (wanted.open.contains(OpenFlags::CREATE), wanted.open.contains(OpenFlags::EXCLUSIVE));
    let (flags, new) = (wanted.flags(), OFlags::CREATE | OFlags::EXCL);
    for _ in 0..ATTEMPTS {
        if !(creates && is_exclusive) {
            match resolve(dir, &wanted.path, flags) {
                Err(Errno::NOENT) if creates => {}
                result => return Ok(result?),
            }
        }
        root.add(0, 1, wanted.request)?;
        match resolve(dir, &wanted.path, flags | new) {
            // The file was created meanwhile, or it is a link to a missing file.
            Err(Errno::EXIST) if !is_exclusive => {}
            result => return Ok(result?),
        }
    }
    Ok(resolve(dir, &wanted.path, flags | OFlags::CREATE)?)
}

fn resolve(dir: &Dir, path: &str, flags: OFlags) -> Result<File, Errno> {
    let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS {
        match openat2(&dir.dir, path, flags, mode, inside) {
            // A component of the path was renamed meanwhile.
            Err(Errno::AGAIN) => {}
            // The path leads out of the folder.
            Err(Errno::XDEV) => return Err(Errno::ACCESS),
            result => return result.map(File::from),
        }
    }
    Err(Errno::BUSY)
}

/// Opens without `openat2`: wasmtime-wasi resolves the path. The name is checked before it is opened, so a file that is
/// swapped in between can make one call of the service hang.
fn open_by_name(dir: &Dir, root: &Root, wanted: OpenRequest) -> FsResult<Descriptor> {
    let OpenRequest { path, follow, open, access, request } = wanted;
    let dir = Descriptor::Dir(dir.clone());
    let there = with_view([dir.clone()], |view, [dir]| now(view.stat_at(dir, follow, path.clone())));
    match there.map(|stat| stat.type_) {
        Ok(DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink) => {}
        Ok(_) => return Err(refuse(root, &path, request)),
        Err(_) if open.contains(OpenFlags::CREATE) => root.add(0, 1, request)?,
        Err(error) => return Err(error),
    }
    let opened = with_view([dir], |view, [dir]| {
        let opened = now(view.open_at(dir, follow, path, open, access))?;
        Ok(view.table.delete(opened)?)
    })?;
    Ok(match opened {
        Descriptor::File(file) => {
            let GuestFile { file, perms, open_mode, .. } = file;
            Descriptor::File(tracked(root, GuestFile::new(file.try_clone()?, perms, open_mode, true)))
        }
        Descriptor::Dir(dir) => Descriptor::Dir(Dir::new(dir.dir.try_clone()?, dir.perms, dir.open_mode, true)),
    })
}

/// Calls wasmtime-wasi's file system on a thread that may block; the calls are complete when they return.
pub(super) fn with_view<const N: usize, R>(
    descriptors: [Descriptor; N],
    call: impl FnOnce(&mut WasiFilesystemCtxView<'_>, [Resource<Descriptor>; N]) -> FsResult<R>,
) -> FsResult<R> {
    let (mut table, mut ctx) = (ResourceTable::new(), WasiFilesystemCtx::default());
    let mut numbers = [0; N];
    for (number, descriptor) in numbers.iter_mut().zip(descriptors) {
        *number = table.push(descriptor)?.rep();
    }
    call(&mut WasiFilesystemCtxView { ctx: &mut ctx, table: &mut table }, numbers.map(Resource::new_borrow))
}

/// Returns the result of a call that blocks its thread instead of waiting.
pub(super) fn now<R>(call: impl Future<Output = FsResult<R>>) -> FsResult<R> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorCode::WouldBlock.into()),
    }
}

/// Returns the file of a descriptor, as streams hold it.
pub(super) fn file_of(descriptor: &Descriptor) -> Option<&Arc<File>> {
    match descriptor {
        Descriptor::File(file) => Some(&file.file),
        Descriptor::Dir(_) => None,
    }
}
