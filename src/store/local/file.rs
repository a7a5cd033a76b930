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
    file: File,
}

impl OwnFile {
    /// Opens or makes the file, readable by its owner only, and locks it. Writes nothing.
    pub(in crate::store) fn claim(path: &Path) -> Result<Self, OpenError> {
        let failed =
            |error: &io::Error| OpenError::Io { path: path.to_owned(), reason: error.to_string() };
        let file = open(path).map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// Does the name still lead to this file? Once it was deleted or replaced, what is written to it
    /// would be gone with the process.
    pub(super) fn is_in_its_place(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(ours), Ok(named)) => same_file(&ours, &named),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn same_file(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same_file(_: &std::fs::Metadata, _: &std::fs::Metadata) -> bool {
    true
}
