//! `paygate backup` and `paygate restore`: a whole copy of the books, taken while they are in use if need be.
//!
//! The copy is made in one read of SQLite's own backup, beside its place; only once its journal was
//! replayed without a difference does it get its name. Nothing is ever overwritten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::file::OwnFile;
use super::open::{OpenError, check_header, real_path};
use super::verify::{VerifyError, VerifyReport, verify};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Nothing is overwritten.
    #[error("{} is there already; choose another name, or move it away with what else begins with its name", .0.display())]
    InTheWay(PathBuf),
    /// The books to copy, or the copy, cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite could not copy them.
    #[error("the database could not be copied: {0}; check that there is room for it")]
    Copy(#[from] rusqlite::Error),
    /// The copy cannot be checked.
    #[error("the copy cannot be checked: {0}")]
    Verify(#[from] VerifyError),
    /// The copy contradicts itself, and so does the original.
    #[error(
        "the books contradict themselves, so the copy was not kept; run `paygate ledger verify --db` on them\n{0}"
    )]
    Unclean(Box<VerifyReport>),
    /// The copy did not get its name.
    #[error("the copy could not be put at its place: {0}")]
    Place(#[from] io::Error),
}

/// Copies the books at `from` to `to`, where nothing may be. What was copied is in the report.
pub fn copy(from: &Path, to: &Path) -> Result<VerifyReport, CopyError> {
    let to = real_path(to);
    // What a database that was moved away has left behind would be read as part of the new one.
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let name = with_suffix(&to, suffix);
        if name.symlink_metadata().is_ok() {
            return Err(CopyError::InTheWay(name));
        }
    }
    let beside = with_suffix(&to, &format!(".part-{}", std::process::id()));
    let copied = copy_and_check(from, &beside).and_then(|report| {
        // Unlike a rename, a link takes no other file's place.
        fs::hard_link(&beside, &to)?;
        Ok(report)
    });
    for suffix in ["", "-wal", "-shm", "-journal"] {
        // Most of them are not there.
        fs::remove_file(with_suffix(&beside, suffix)).ok();
    }
    if let Some(folder) = to.parent().filter(|_| copied.is_ok()) {
        fs::File::open(folder)?.sync_all()?;
    }
    copied
}

fn copy_and_check(from: &Path, beside: &Path) -> Result<VerifyReport, CopyError> {
    let from = real_path(from);
    let unreadable =
        |error: rusqlite::Error| OpenError::Io { path: from.clone(), reason: error.to_string() };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(&from, flags).map_err(unreadable)?;
    check_header(&source, &from)?;
    {
        // Makes the file readable by its owner only.
        let _own = OwnFile::claim(beside)?;
        let mut copy = Connection::open(beside)?;
        // All pages in one read, so that no write in between begins it anew.
        Backup::new(&source, &mut copy)?.step(-1)?;
        // One file, without a log beside it.
        copy.pragma_update(None, "journal_mode", "DELETE")?;
    }
    let report = verify(beside)?;
    if !report.is_clean() {
        return Err(CopyError::Unclean(Box::new(report)));
    }
    fs::File::open(beside)?.sync_all()?;
    Ok(report)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
