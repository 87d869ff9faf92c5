//! `wasi:filesystem` for guests: wasmtime-wasi's functions under the rules of the parent module.
//!
//! A descriptor of a guest is a [`Handle`] in its table; wasmtime-wasi's type occurs only in the signatures.

use super::listing::DirectoryListing;
use super::open::{OpenRequest, file_of, now, open, with_view};
use super::streams::{Mode, Reader, Writer};
use super::{HostState, Root};
use crate::host_state::descriptors::DescriptorPermit;
use std::fs::{File, FileTimes};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};
use wasmtime_wasi::{FsPerms, OpenMode};

/// An open file or folder of a guest.
#[derive(Clone)]
struct Handle {
    descriptor: Descriptor,
    root: Arc<Root>,
    /// `None` for the granted folder itself, which all instances share.
    permit: Option<Arc<DescriptorPermit>>,
}

impl Handle {
    fn dir(&self) -> FsResult<Dir> {
        match &self.descriptor {
            Descriptor::Dir(dir) => Ok(dir.clone()),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn file(&self) -> FsResult<Arc<File>> {
        Ok(Arc::clone(file_of(&self.descriptor).ok_or(ErrorCode::BadDescriptor)?))
    }

    /// Returns the file, if it may be written to.
    fn writable(&self) -> FsResult<Arc<File>> {
        let file = self.file()?;
        if self.permissions() == FsPerms::ReadOnly { Err(ErrorCode::NotPermitted.into()) } else { Ok(file) }
    }

    /// Returns the permissions: those of the granted folder, for everything opened in it.
    fn permissions(&self) -> FsPerms {
        self.root.dir.perms
    }

    /// # Errors
    /// If nothing may be added to the folder.
    fn check_may_add(&self) -> FsResult<()> {
        if self.permissions() == FsPerms::ReadOnly { Err(ErrorCode::NotPermitted.into()) } else { Ok(()) }
    }

    fn writes(&self) -> bool {
        matches!(&self.descriptor, Descriptor::File(file) if file.open_mode.contains(OpenMode::WRITE))
    }
}

impl HostState {
    fn handle(&self, descriptor: &Resource<Descriptor>) -> FsResult<Handle> {
        Ok(self.resources().get(&Resource::<Handle>::new_borrow(descriptor.rep()))?.clone())
    }

    fn push(&mut self, handle: Handle) -> FsResult<Resource<Descriptor>> {
        Ok(Resource::new_own(self.resources_mut().push(handle)?.rep()))
    }

    /// # Errors
    /// If no descriptor permit is left.
    fn permit(&self) -> FsResult<Arc<DescriptorPermit>> {
        Ok(self.context().take_descriptor(self.request()).map(Arc::new).ok_or(ErrorCode::InsufficientMemory)?)
    }

    async fn blocking<R: Send + 'static>(
        &mut self,
        call: impl FnOnce() -> FsResult<R> + Send + 'static,
    ) -> FsResult<R> {
        self.context().blocking.run(call).await?
    }

    /// Calls a function of wasmtime-wasi with a descriptor.
    async fn with<R: Send + 'static>(
        &mut self,
        descriptor: &Resource<Descriptor>,
        call: impl FnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<R> + Send + 'static,
    ) -> FsResult<R> {
        self.with_checked(descriptor, |_| Ok(()), call).await
    }

    /// Calls a function that adds an entry to a folder, and counts that entry first.
    async fn with_new_entry<R: Send + 'static>(
        &mut self,
        descriptor: &Resource<Descriptor>,
        call: impl FnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<R> + Send + 'static,
    ) -> FsResult<R> {
        let request = self.request();
        let check = move |handle: &Handle| {
            handle.check_may_add()?;
            Ok(handle.root.add(0, 1, request)?)
        };
        self.with_checked(descriptor, check, call).await
    }

    /// Calls a function of wasmtime-wasi with a descriptor that passes `check`.
    async fn with_checked<R: Send + 'static>(
        &mut self,
        descriptor: &Resource<Descriptor>,
        check: impl FnOnce(&Handle) -> FsResult<()> + Send + 'static,
        call: impl FnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<R> + Send + 'static,
    ) -> FsResult<R> {
        let handle = self.handle(descriptor)?;
        self.blocking(move || {
            check(&handle)?;
            with_view([handle.descriptor], |view, [descriptor]| call(view, descriptor))
        })
        .await
    }
}

impl preopens::Host for HostState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let roots = self.roots();
        let mut all = Vec::with_capacity(roots.len());
        for root in roots {
            let (descriptor, guest) = (Descriptor::Dir(root.dir.clone()), root.guest.clone());
            let handle = self.resources_mut().push(Handle { descriptor, root, permit: None })?;
            all.push((Resource::new_own(handle.rep()), guest));
        }
        Ok(all)
    }
}

impl types::Host for HostState {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.filesystem(), error)
    }
}

impl HostDescriptor for HostState {
    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.with(&fd, move |view, fd| now(view.advise(fd, offset, length, advice))).await
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.with(&fd, |view, fd| now(view.sync_data(fd))).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.with(&fd, |view, fd| now(view.get_flags(fd))).await
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.with(&fd, |view, fd| now(view.get_type(fd))).await
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let handle = self.handle(&fd)?;
        let (file, request) = (handle.writable()?, self.request());
        self.blocking(move || {
            handle.root.grow(&file, size, request)?;
            Ok(file.set_len(size)?)
        })
        .await
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.with(&fd, move |view, fd| now(view.set_times(fd, accessed, modified))).await
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.with(&fd, move |view, fd| now(view.read(fd, length, offset))).await
    }

    async fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let handle = self.handle(&fd)?;
        let (file, request) = (handle.writable()?, self.request());
        self.blocking(move || {
            handle.root.grow(&file, offset.saturating_add(bytes.len() as u64), request)?;
            with_view([handle.descriptor], |view, [fd]| now(view.write(fd, bytes, offset)))
        })
        .await
    }

    async fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let dir = self.handle(&fd)?.dir()?;
        let permit = self.permit()?;
        let listing = self.blocking(move || Ok(DirectoryListing::open(&dir.dir, permit)?)).await?;
        Ok(Resource::new_own(self.resources_mut().push(listing)?.rep()))
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.with(&fd, |view, fd| now(view.sync(fd))).await
    }

    async fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.with_new_entry(&fd, |view, fd| now(view.create_directory_at(fd, path))).await
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.with(&fd, |view, fd| now(view.stat(fd))).await
    }

    async fn stat_at(&mut self, fd: Resource<Descriptor>, follow: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.with(&fd, move |view, fd| now(view.stat_at(fd, follow, path))).await
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        if !follow.contains(PathFlags::SYMLINK_FOLLOW) {
            return self.with(&fd, move |view, fd| now(view.set_times_at(fd, follow, path, accessed, modified))).await;
        }
        // wasmtime-wasi would open the file by name, and a FIFO would block.
        let handle = self.handle(&fd)?;
        let dir = handle.dir()?;
        handle.check_may_add()?;
        let (times, request) = (times(accessed, modified)?, self.request());
        self.blocking(move || match open(&dir, &handle.root, OpenRequest::to_read(path, follow, request))? {
            Descriptor::File(file) => Ok(file.file.set_times(times)?),
            Descriptor::Dir(dir) => Ok(dir.dir.set_times(times)?),
        })
        .await
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: PathFlags,
        old: String,
        new_fd: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        let (from, to) = (self.handle(&fd)?, self.handle(&new_fd)?);
        check_same_folder(&from, &to)?;
        to.check_may_add()?;
        let request = self.request();
        self.blocking(move || {
            to.root.add(0, 1, request)?;
            with_view(
                [from.descriptor, to.descriptor],
                |view, [from, to]| now(view.link_at(from, follow, old, to, new)),
            )
        })
        .await
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        how: OpenFlags,
        access: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let handle = self.handle(&fd)?;
        let dir = handle.dir()?;
        let wanted = OpenRequest { path, follow, open: how, access, request: self.request() };
        wanted.check()?;
        if wanted.writes() {
            handle.check_may_add()?;
        }
        let permit = Some(self.permit()?);
        let root = Arc::clone(&handle.root);
        let descriptor = self.blocking(move || open(&dir, &handle.root, wanted)).await?;
        self.push(Handle { descriptor, root, permit })
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        let handle = self.resources_mut().delete(Resource::<Handle>::new_own(fd.rep()))?;
        if handle.writes() {
            // Closing may block: a network file system then writes what is still in memory.
            let blocking = self.context().blocking.clone();
            tokio::spawn(async move { blocking.run(move || drop(handle)).await });
        }
        Ok(())
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.with(&fd, |view, fd| now(view.readlink_at(fd, path))).await
    }

    async fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.with(&fd, |view, fd| now(view.remove_directory_at(fd, path))).await
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old: String,
        new_fd: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        let (from, to) = (self.handle(&fd)?, self.handle(&new_fd)?);
        check_same_folder(&from, &to)?;
        self.blocking(move || {
            with_view([from.descriptor, to.descriptor], |view, [from, to]| now(view.rename_at(from, old, to, new)))
        })
        .await
    }

    async fn symlink_at(&mut self, fd: Resource<Descriptor>, to: String, path: String) -> FsResult<()> {
        self.with_new_entry(&fd, |view, fd| now(view.symlink_at(fd, to, path))).await
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.with(&fd, |view, fd| now(view.unlink_file_at(fd, path))).await
    }

    fn read_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let handle = self.handle(&fd)?;
        let file = Arc::clone(file_of(&handle.descriptor).ok_or(ErrorCode::IsDirectory)?);
        let reader: DynInputStream =
            Box::new(Reader::new(file, offset, self.context().blocking.clone(), handle.permit));
        Ok(self.resources_mut().push(reader)?)
    }

    fn write_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&fd, Mode::At(offset))
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&fd, Mode::Append)
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let same = async {
            let (one, other) = (self.handle(&one)?, self.handle(&other)?);
            let identity = |handle: &Handle| match &handle.descriptor {
                Descriptor::File(file) => Arc::clone(&file.file),
                Descriptor::Dir(dir) => Arc::clone(&dir.dir),
            };
            let (one, other) = (identity(&one), identity(&other));
            self.blocking(move || {
                use std::os::unix::fs::MetadataExt;
                let (one, other) = (one.metadata()?, other.metadata()?);
                Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
            })
            .await
        };
        same.await.map_err(wasmtime::Error::from)
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.with(&fd, |view, fd| now(view.metadata_hash(fd))).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.with(&fd, move |view, fd| now(view.metadata_hash_at(fd, follow, path))).await
    }
}

impl HostDirectoryEntryStream for HostState {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let blocking = self.context().blocking.clone();
        let listing = self.resources_mut().get_mut(&Resource::<DirectoryListing>::new_borrow(stream.rep()))?;
        listing.next(&blocking).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.resources_mut().delete(Resource::<DirectoryListing>::new_own(stream.rep()))?;
        Ok(())
    }
}

impl HostState {
    fn writer(&mut self, fd: &Resource<Descriptor>, mode: Mode) -> FsResult<Resource<DynOutputStream>> {
        let handle = self.handle(fd)?;
        let file = handle.writable()?;
        let Handle { root, permit, .. } = handle;
        let writer: DynOutputStream =
            Box::new(Writer::new(file, mode, root, self.context().blocking.clone(), permit, self.request()));
        Ok(self.resources_mut().push(writer)?)
    }
}

/// # Errors
/// If they are in different granted folders, because the moved file would count in the wrong one.
fn check_same_folder(one: &Handle, other: &Handle) -> FsResult<()> {
    if Arc::ptr_eq(&one.root.usage, &other.root.usage) { Ok(()) } else { Err(ErrorCode::CrossDevice.into()) }
}

fn times(accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<FileTimes> {
    let time = |given| match given {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(SystemTime::now())),
        NewTimestamp::Timestamp(at) => {
            let since = at.seconds.checked_add(u64::from(at.nanoseconds / 1_000_000_000));
            let since = since.map(|seconds| Duration::new(seconds, at.nanoseconds % 1_000_000_000));
            let time = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
            time.map(Some).ok_or(ErrorCode::Overflow)
        }
    };
    let (accessed, modified) = (time(accessed)?, time(modified)?);
    let times = accessed.into_iter().fold(FileTimes::new(), FileTimes::set_accessed);
    Ok(modified.into_iter().fold(times, FileTimes::set_modified))
}
