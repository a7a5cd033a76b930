//! The database file as the operating system sees it: ours alone while we run, and still the one that
//! its name leads to. The lock is on the file itself, so that no second name for it, link or
//! otherwise, opens it twice.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::open::OpenError;

/// A database file that this process owns until the value is dropped.
#[derive(Debug)]
pub(in crate::store) struct OwnFile {
    path: PathBuf,
    /// Kept open for its lock. Closing it earlier would also drop SQLite's own locks on the file.
    #[expect(dead_code, reason = "it is locked as long as it is open")]
    file: File,
    identity: Identity,
}

impl OwnFile {
    /// Opens or makes the file, readable by its owner only, and locks it. Writes nothing.
    pub(in crate::store) fn claim(path: &Path) -> Result<Self, OpenError> {
        let failed =
            |error: &io::Error| OpenError::Io { path: path.to_owned(), reason: error.to_string() };
        let file = open(path).map_err(|error| failed(&error))?;
        let identity =
            file.metadata().map(|ours| identity(&ours)).map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), file, identity }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// Does the name still lead to this file? Once it was deleted or replaced, what is written to it
    /// would be gone with the process.
    pub(super) fn is_in_its_place(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|named| identity(&named) == self.identity)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What tells a file from all others while it is open: device and number.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(file: &std::fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> Identity {
    (0, 0)
}
