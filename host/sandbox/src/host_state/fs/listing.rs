//! Listing of a folder, read in parts, because a folder can have more entries than should be in memory.

use crate::host_state::blocking::Blocking;
use crate::host_state::descriptors::DescriptorPermit;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

/// Largest number of entries read at a time.
const PART: usize = 256;

/// Open listing of a guest.
pub(super) struct DirectoryListing {
    entries: VecDeque<FsResult<DirectoryEntry>>,
    /// `None` once all entries have been read, or while the read of a stopped run is still in progress.
    rest: Option<Rest>,
}

struct Rest {
    dir: Dir,
    folder: OwnedFd,
    _permits: [Arc<DescriptorPermit>; 1],
}

impl DirectoryListing {
    /// Opens a listing.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn open(folder: &File, permit: Arc<DescriptorPermit>) -> std::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(folder, ".", flags, Mode::empty())?;
        let rest = Rest { dir: Dir::read_from(&folder)?, folder, _permits: [permit] };
        Ok(Self { entries: VecDeque::new(), rest: Some(rest) })
    }

    /// Returns the next entry.
    pub(super) async fn next(&mut self, blocking: &Blocking) -> FsResult<Option<DirectoryEntry>> {
        if self.entries.is_empty()
            && let Some(mut rest) = self.rest.take()
        {
            let (entries, rest) = blocking.run(move || (rest.read(), rest)).await?;
            (self.rest, self.entries) = ((entries.len() == PART).then_some(rest), entries);
        }
        self.entries.pop_front().transpose()
    }
}

impl Rest {
    fn read(&mut self) -> VecDeque<FsResult<DirectoryEntry>> {
        let Self { dir, folder, .. } = self;
        let names = dir.filter(|entry| !entry.as_ref().is_ok_and(|entry| [c".", c".."].contains(&entry.file_name())));
        let entry = |entry: Result<rustix::fs::DirEntry, Errno>| {
            let entry = entry.map_err(std::io::Error::from)?;
            let name = entry.file_name();
            let kind = match entry.file_type() {
                FileType::Unknown => statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            let name = name.to_str().map_err(|_| ErrorCode::IllegalByteSequence)?.to_owned();
            Ok(DirectoryEntry { type_: of(kind), name })
        };
        names.map(entry).take(PART).collect()
    }
}

fn of(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::Unknown => DescriptorType::Unknown,
    }
}
