//! A new file for whole books that come from elsewhere. It is made beside its place and gets its name once
//! all of it is there and agrees: nothing is ever overwritten, and nothing half done has the name.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::copied_rows::CopiedRow;
use super::copied_told::ToldToken;
use super::copy::with_suffix;
use super::file::OwnFile;
use super::open::real_path;
use super::records::to_json;
use super::roll_up;
use super::schema::{self, set_meta};
use super::verify::{VerifyReport, verify};
use super::whole::{read_images, read_tenants};
use crate::model::audit::AuditRow;
use crate::model::bounds::ONCE_TTL;
use crate::model::ids::AccountId;
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::image::{Image, OpenCall};
use crate::store::replay::call_id;
use crate::store::told::Told;

/// The file while it is made. What is left of it goes with it.
pub(in crate::store) struct NewFile {
    to: PathBuf,
    beside: PathBuf,
    connection: Connection,
    _own: OwnFile,
}

/// The same for a failure that names nothing but itself.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed<E: ToString>(error: E) -> StoreError {
    StoreError::Read(error.to_string())
}

impl NewFile {
    /// Begins one, where nothing may be.
    pub(in crate::store) fn begin(to: &Path) -> Result<Self, StoreError> {
        let to = real_path(to);
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let name = with_suffix(&to, suffix);
            if name.symlink_metadata().is_ok() {
                return Err(failed(format!(
                    "{} is there already; choose another name",
                    name.display()
                )));
            }
        }
        let beside = with_suffix(&to, &format!(".part-{}", std::process::id()));
        // Makes the file readable by its owner only.
        let own = OwnFile::claim(&beside).map_err(failed)?;
        let mut connection = Connection::open(&beside).map_err(failed)?;
        let begun = schema::create(&mut connection).and_then(|()| {
            connection.pragma_update(None, "synchronous", "OFF")?;
            connection.execute_batch("BEGIN")
        });
        let file = Self { to, beside, connection, _own: own };
        begun.map_err(failed)?;
        Ok(file)
    }

    /// The next row of all journals that moves money.
    pub(in crate::store) fn row(&self, told: &Told) -> Result<(), StoreError> {
        let Told { at, kind, call, account, amount, detail, labels, .. } = told;
        let call = call_id(call);
        let bytes = call.as_ref().map(|call| call.bytes().as_slice());
        let insert = "INSERT INTO journal (at, kind, call, account, amount, detail)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let write = || -> rusqlite::Result<()> {
            self.connection.prepare_cached(insert)?.execute(params![
                at.ms(),
                kind,
                bytes,
                account,
                amount,
                detail
            ])?;
            if let Some(bytes) = bytes.filter(|_| !labels.is_empty()) {
                self.labels(bytes, *at, labels)?;
            }
            Ok(())
        };
        write().map_err(failed)
    }

    fn labels(&self, call: &[u8], at: Time, labels: &str) -> rusqlite::Result<()> {
        let insert = "INSERT OR IGNORE INTO call_labels VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(insert)?.execute((call, at.ms(), labels))?;
        Ok(())
    }

    /// An entry of the audit log.
    pub(in crate::store) fn audit(&self, row: AuditRow) -> Result<(), StoreError> {
        CopiedRow::Audit(row).write(&self.connection).map_err(failed)
    }

    /// What belongs to no tenant.
    pub(in crate::store) fn common(
        &self,
        seal: &[u8],
        tokens: &[ToldToken],
    ) -> Result<(), StoreError> {
        let write = || -> rusqlite::Result<()> {
            self.connection.execute("INSERT INTO seal (key) VALUES (?1)", [seal])?;
            for (id, digest, record) in tokens {
                let digest = hex::decode(digest).unwrap_or_default();
                let insert = "INSERT INTO admin_tokens (id, digest, record) VALUES (?1, ?2, ?3)";
                self.connection.execute(insert, (id, digest, record))?;
            }
            Ok(())
        };
        write().map_err(failed)
    }

    /// The rules for alerts, as JSON.
    pub(in crate::store) fn rules(&self, rules: &str) -> Result<(), StoreError> {
        let insert = "INSERT INTO alert_rules (place, kind, threshold, cooldown)
            SELECT key, value ->> 'type', value ->> 'threshold', value ->> 'cooldownSeconds' FROM json_each(?1)";
        self.connection.execute(insert, [rules]).map(drop).map_err(failed)
    }

    /// All of the tenants' books, behind the journal. The file is then as a start would leave it.
    pub(in crate::store) fn put(&self, images: &BTreeMap<String, Image>) -> Result<(), StoreError> {
        let now = images.values().map(|image| image.now).max().unwrap_or_default();
        let write = || -> rusqlite::Result<()> {
            for (namespace, image) in images {
                self.records(namespace, image)?;
                for (id, call) in &image.calls {
                    self.open_call(id, call)?;
                }
            }
            let last = "SELECT coalesce(max(seq), 0) FROM journal";
            let last: i64 = self.connection.query_row(last, [], |row| row.get(0))?;
            for image in images.values() {
                self.remembered(image)?;
                for (id, account) in &image.accounts {
                    let insert = "INSERT INTO accounts (id, seq, state) VALUES (?1, ?2, ?3)";
                    let row = (id.as_str(), last, to_json(account)?);
                    self.connection.prepare_cached(insert)?.execute(row)?;
                }
            }
            set_meta(&self.connection, "replay_after", last)?;
            set_meta(&self.connection, "clock", now.ms())?;
            while let Some(more) = roll_up::fold(&self.connection, last)? {
                roll_up::write_roll_up(&self.connection, &more)?;
            }
            self.connection.execute_batch("COMMIT")
        };
        write().map_err(failed)
    }

    fn records(&self, namespace: &str, image: &Image) -> rusqlite::Result<()> {
        if let Some(record) = &image.record {
            let insert = "INSERT INTO namespaces (name, record) VALUES (?1, ?2)";
            self.connection.prepare_cached(insert)?.execute((namespace, &record.text))?;
        }
        let insert = "INSERT INTO keys (rowid, id, digest, old_digest, namespace, revision, record)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut insert = self.connection.prepare_cached(insert)?;
        for (id, (place, record)) in &image.keys {
            let bytes = |hex: &str| hex::decode(hex).ok().filter(|bytes| !bytes.is_empty());
            let (digest, old) = (bytes(&record.digest), bytes(&record.old));
            let revision = i64::try_from(record.revision).unwrap_or(i64::MAX);
            let text = &record.text;
            insert.execute(params![place, id.as_str(), digest, old, namespace, revision, text])?;
        }
        let insert = "INSERT INTO teams (id, revision, record) VALUES (?1, ?2, ?3)";
        let mut insert = self.connection.prepare_cached(insert)?;
        for (id, record) in &image.teams {
            let revision = i64::try_from(record.revision).unwrap_or(i64::MAX);
            insert.execute((id.as_str(), revision, &record.text))?;
        }
        let insert = "INSERT INTO deleted_keys (id, namespace, at) VALUES (?1, ?2, ?3)";
        let mut insert = self.connection.prepare_cached(insert)?;
        for (id, at) in &image.deleted {
            insert.execute((id.as_str(), namespace, at.ms()))?;
        }
        Ok(())
    }

    /// A hold that is open has its row, and another one if it waits.
    fn open_call(&self, id: &str, open: &OpenCall) -> rusqlite::Result<()> {
        let Some(call) = call_id(id) else { return Ok(()) };
        let (bytes, payer) = (call.bytes().as_slice(), open.payer.as_str());
        let insert = "INSERT INTO journal (at, kind, call, account, amount, detail)
                      VALUES (?1, 'hold', ?2, ?3, ?4, ?5)";
        let row = params![open.at.ms(), bytes, payer, open.hold.credits(), open.detail()];
        self.connection.prepare_cached(insert)?.execute(row)?;
        let seq = self.connection.last_insert_rowid();
        self.connection.execute("INSERT INTO open_holds (seq) VALUES (?1)", [seq])?;
        if let Some(state) = &open.state {
            let insert = "INSERT INTO parked (call, key, state, until) VALUES (?1, ?2, ?3, ?4)";
            self.connection.execute(insert, params![bytes, payer, state, open.until.ms()])?;
        }
        if open.labels.is_empty() { Ok(()) } else { self.labels(bytes, open.at, &open.labels) }
    }

    fn remembered(&self, image: &Image) -> rusqlite::Result<()> {
        let insert = "INSERT INTO kept (seq, id, request, account, call, until, size, answer)
            SELECT seq, ?1, ?2, ?3, call, ?5, ?6, ?7 FROM journal WHERE call = ?4 AND kind = 'call'";
        let mut insert = self.connection.prepare_cached(insert)?;
        let bytes = |hex: &str| hex::decode(hex).unwrap_or_default();
        for (id, kept) in &image.kept {
            let size = kept.answer.as_ref().map_or(0, Vec::len);
            insert.execute(params![
                bytes(id),
                bytes(&kept.request),
                kept.payer.as_str(),
                bytes(&kept.call),
                kept.until.ms(),
                i64::try_from(size).unwrap_or(i64::MAX),
                kept.answer
            ])?;
        }
        let insert = "INSERT OR REPLACE INTO once (id, request, note, available, at)
                      VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = self.connection.prepare_cached(insert)?;
        let ttl_ms = i64::try_from(ONCE_TTL.as_millis()).unwrap_or(i64::MAX);
        for (id, once) in &image.once {
            let at = once.until.ms().saturating_sub(ttl_ms);
            insert.execute((bytes(id), bytes(&once.request), &once.note, once.balance, at))?;
        }
        let insert = "INSERT OR REPLACE INTO paid_tasks (call, until) VALUES (?1, ?2)";
        let mut insert = self.connection.prepare_cached(insert)?;
        for (call, until) in &image.paid {
            insert.execute((bytes(call), until.ms()))?;
        }
        Ok(())
    }

    /// The books as they can be read from the file.
    pub(in crate::store) fn images(&self) -> Result<BTreeMap<String, Image>, StoreError> {
        let tenants: HashMap<AccountId, String> = read_tenants(&self.connection).map_err(failed)?;
        read_images(&self.connection, &tenants).map_err(failed)
    }

    /// Checks the file and gives it its name.
    pub(in crate::store) fn finish(self) -> Result<VerifyReport, StoreError> {
        let report = verify(&self.beside).map_err(failed)?;
        if !report.is_clean() {
            return Err(failed(format!(
                "the new file contradicts itself, so it was not kept\n{report}"
            )));
        }
        fs::File::open(&self.beside).and_then(|file| file.sync_all()).map_err(failed)?;
        // Unlike a rename, a link takes no other file's place.
        fs::hard_link(&self.beside, &self.to).map_err(failed)?;
        if let Some(folder) = self.to.parent() {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(report)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            // Most of them are not there.
            fs::remove_file(with_suffix(&self.beside, suffix)).ok();
        }
    }
}
