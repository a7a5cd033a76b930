//! Whole books in a file, read tenant by tenant for whoever moves them elsewhere: while they are open here,
//! so that nobody sells from them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Row};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::moved::{self, MovedTo};
use super::open::{LocalOptions, read_only, real_path};
use super::records::from_json;
use super::rows::entries;
use super::schema::meta;
use super::state::LocalStore;
use crate::ledger::{Account, Entry};
use crate::model::bounds::ONCE_TTL;
use crate::model::ids::AccountId;
use crate::model::namespace::DEFAULT;
use crate::model::time::Time;
use crate::store::image::{Image, KeptAnswer, OnceDone, OpenCall, Record};
use crate::store::local::copied_told::ToldToken;
use crate::store::told::Told;
use crate::store::{Store, StoreError, clock};

/// Rows that are read at once.
const ROWS: i64 = 1_000;

/// An entry of the audit log: its id, the tenant, if it is about one, the moment, and all of it as JSON.
pub(in crate::store) type AuditEntry = (i64, Option<String>, i64, String);

/// Books that nobody else has open.
pub(in crate::store) struct WholeFile {
    store: LocalStore,
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
    /// The tenant of every key and team there ever was.
    tenants: HashMap<AccountId, String>,
}

/// Journal rows that follow each other, with their tenants.
pub(in crate::store) struct RowsOfFile {
    after: i64,
    /// Holds whose end is still to come: their parts of a row.
    open: HashMap<Vec<u8>, HoldParts>,
    /// What is remembered of captured calls, by their journal rows and by their calls.
    kept: HashMap<i64, String>,
    paid: HashMap<Vec<u8>, String>,
}

/// The parts of a hold's detail, as texts.
#[derive(Clone, Debug)]
struct HoldParts {
    held: i64,
    until: i64,
    postings: String,
    accounts: Option<String>,
    calls: String,
}

#[derive(Deserialize)]
struct Detail<'a> {
    held: Option<i64>,
    until: Option<i64>,
    #[serde(borrow)]
    postings: Option<&'a RawValue>,
    #[serde(borrow)]
    accounts: Option<&'a RawValue>,
    #[serde(borrow)]
    calls: Option<&'a RawValue>,
    #[serde(borrow)]
    kept: Option<&'a RawValue>,
}

impl HoldParts {
    fn read(detail: &str) -> Option<Self> {
        let read: Detail<'_> = serde_json::from_str(detail).ok()?;
        let text = |value: Option<&RawValue>| value.map(|value| value.get().to_owned());
        Some(Self {
            held: read.held?,
            until: read.until?,
            postings: text(read.postings).unwrap_or_else(|| "[]".to_owned()),
            accounts: text(read.accounts),
            calls: text(read.calls).unwrap_or_else(|| "[]".to_owned()),
        })
    }

    /// The one row of a call that was written as two.
    fn ended(&self, kind: &str, detail: &str) -> Option<String> {
        let end: Detail<'_> = serde_json::from_str(detail).ok()?;
        let Self { held, until, postings, accounts, .. } = self;
        let accounts =
            accounts.as_ref().map_or_else(String::new, |list| format!(",\"accounts\":{list}"));
        let kept = end.kept.map_or_else(String::new, |kept| format!(",\"kept\":{kept}"));
        let calls = end.calls.map_or_else(String::new, |calls| format!(",\"calls\":{calls}"));
        Some(format!(
            "{{\"held\":{held},\"until\":{until},\"postings\":{postings}{accounts},\"end\":\"{kind}\"{kept}{calls}}}"
        ))
    }
}

impl WholeFile {
    /// Opens the books as a start does, and keeps everybody else from them.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Read(format!("there is no file {}", path.display())));
        }
        let options = LocalOptions { path: Some(path.to_owned()), ..LocalOptions::default() };
        let store = LocalStore::open_to_move(&options, clock::now());
        let store = store.map_err(|error| StoreError::Read(error.to_string()))?;
        let connection =
            read_only(&real_path(path)).map_err(|error| StoreError::Read(error.to_string()))?;
        let path = real_path(path);
        let mut file = Self { store, connection, path, tenants: HashMap::new() };
        file.tenants = file.read(read_tenants)?;
        Ok(file)
    }

    /// Where they have moved, if they have.
    pub(in crate::store) fn moved(&self) -> Result<Option<MovedTo>, StoreError> {
        self.read(moved::read)
    }

    /// Says that they have moved: from now on nobody opens this file by mistake.
    pub(in crate::store) fn note_moved(&self, place: &str) -> Result<(), StoreError> {
        let written = Connection::open(&self.path)
            .and_then(|connection| moved::write(&connection, place, clock::now()));
        written.map_err(|error| StoreError::Read(format!("{}: {error}", self.path.display())))
    }

    /// Lets others have them.
    pub(in crate::store) async fn close(self) -> Result<(), StoreError> {
        self.store.close().await
    }

    fn read<T>(
        &self,
        what: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        what(&connection).map_err(|error| StoreError::Read(error.to_string()))
    }

    /// Admin tokens.
    pub(in crate::store) fn tokens(&self) -> Result<Vec<ToldToken>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare("SELECT id, lower(hex(digest)), record FROM admin_tokens")?;
            let tokens =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            tokens.collect()
        })
    }

    /// The rules for alerts, as JSON.
    pub(in crate::store) fn rules(&self) -> Result<String, StoreError> {
        self.read(|connection| {
            let sql = "SELECT json_group_array(json_object('type', kind, 'threshold', threshold,
                    'cooldownSeconds', cooldown)) FROM (SELECT * FROM alert_rules ORDER BY place)";
            connection.query_row(sql, [], |row| row.get(0))
        })
    }

    /// What messages are sealed with.
    pub(in crate::store) fn seal(&self) -> [u8; 32] {
        *self.store.seal_key().bytes()
    }

    /// All of every tenant's books.
    pub(in crate::store) fn images(&self) -> Result<BTreeMap<String, Image>, StoreError> {
        self.read(|connection| read_images(connection, &self.tenants))
    }

    /// The journal from its beginning.
    pub(in crate::store) fn rows(&self) -> Result<RowsOfFile, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare("SELECT seq, lower(hex(id)), lower(hex(request)), until FROM kept")?;
            let kept = statement.query_map([], |row| {
                let (id, request): (String, String) = (row.get(1)?, row.get(2)?);
                Ok((row.get(0)?, format!("kept {id} {request} {}", row.get::<_, i64>(3)?)))
            })?;
            let kept = kept.collect::<rusqlite::Result<_>>()?;
            let mut statement =
                connection.prepare("SELECT call, lower(hex(call)), until FROM paid_tasks")?;
            let paid = statement.query_map([], |row| {
                let call: String = row.get(1)?;
                Ok((row.get(0)?, format!("paid {call} {}", row.get::<_, i64>(2)?)))
            })?;
            let paid = paid.collect::<rusqlite::Result<_>>()?;
            Ok(RowsOfFile { after: 0, open: HashMap::new(), kept, paid })
        })
    }

    /// The next rows, each with its tenant, as shared books have them but without numbers; none at the end.
    pub(in crate::store) fn next_rows(
        &self,
        place: &mut RowsOfFile,
    ) -> Result<Option<Vec<(String, Told)>>, StoreError> {
        let after = place.after;
        let found: Vec<FileRow> = self.read(|connection| {
            let sql = "SELECT seq, journal.at, kind, journal.call, account, amount, detail, labels
                 FROM journal LEFT JOIN call_labels ON call_labels.call = journal.call
                 WHERE seq > ?1 ORDER BY seq LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map((after, ROWS), FileRow::read)?;
            rows.collect()
        })?;
        let Some(last) = found.last() else { return Ok(None) };
        place.after = last.seq;
        let mut rows = Vec::with_capacity(found.len());
        for row in found {
            let seq = row.seq;
            let tenant = self.tenants.get(&AccountId::new(&row.account)).cloned();
            match place.told(row) {
                Ok(Some(told)) => rows.push((tenant.unwrap_or_default(), told)),
                Ok(None) => {}
                Err(()) => {
                    return Err(StoreError::Read(format!("journal row {seq} cannot be read")));
                }
            }
        }
        Ok(Some(rows))
    }

    /// The audit log, oldest first.
    pub(in crate::store) fn audit(&self, after: i64) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id, namespace, at, json_object('at', at, 'kind', kind, 'actor', actor,
                    'actorId', actor_id, 'namespace', namespace, 'target', target, 'message', message,
                    'metadata', json(metadata))
                 FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map((after, ROWS), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect()
        })
    }
}

/// The tenant of every key and team there ever was.
pub(super) fn read_tenants(
    connection: &Connection,
) -> rusqlite::Result<HashMap<AccountId, String>> {
    let sql = "SELECT id, namespace FROM keys UNION ALL SELECT id, namespace FROM deleted_keys
         UNION ALL SELECT id, record ->> 'namespace' FROM teams";
    let mut statement = connection.prepare(sql)?;
    let tenants = statement
        .query_map([], |row| Ok((AccountId::new(row.get_ref(0)?.as_str()?), row.get(1)?)))?;
    tenants.collect()
}

/// All of every tenant's books.
pub(super) fn read_images(
    connection: &Connection,
    tenants: &HashMap<AccountId, String>,
) -> rusqlite::Result<BTreeMap<String, Image>> {
    let mut images = Images::new();
    let tenant_of = |id: &AccountId| tenants.get(id).cloned().unwrap_or_default();
    records(connection, &mut images)?;
    accounts(connection, &mut images, &tenant_of)?;
    open_calls(connection, &mut images, &tenant_of)?;
    remembered(connection, &mut images, &tenant_of)?;
    // What belongs to no key that ever was is nobody's.
    images.remove("");
    let now = Time::from_ms(meta(connection, "clock")?);
    for image in images.values_mut() {
        image.now = now;
    }
    Ok(images)
}

/// A row of the journal as the file has it.
struct FileRow {
    seq: i64,
    at: i64,
    kind: String,
    call: Option<Vec<u8>>,
    account: String,
    amount: i64,
    detail: String,
    labels: Option<String>,
}

impl FileRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            at: row.get(1)?,
            kind: row.get(2)?,
            call: row.get(3)?,
            account: row.get(4)?,
            amount: row.get(5)?,
            detail: row.get(6)?,
            labels: row.get(7)?,
        })
    }
}

impl RowsOfFile {
    /// The row as shared books have it: a call is one row, at its end.
    fn told(&mut self, row: FileRow) -> Result<Option<Told>, ()> {
        let FileRow { seq, at, kind, call, account, amount, detail, labels } = row;
        let mut told = Told {
            row: 0,
            at: Time::from_ms(at),
            kind,
            call: call.as_ref().map(hex::encode).unwrap_or_default(),
            account,
            amount,
            detail,
            labels: String::new(),
            more: String::new(),
        };
        match told.kind.as_str() {
            "grant" | "adjust" | "import" | "refund" => return Ok(Some(told)),
            "call" => {}
            "hold" => {
                let parts = HoldParts::read(&told.detail).ok_or(())?;
                self.open.insert(call.ok_or(())?, parts);
                return Ok(None);
            }
            end => {
                let hold = self.open.remove(call.as_ref().ok_or(())?).ok_or(())?;
                told.detail = hold.ended(end, &told.detail).ok_or(())?;
                "call".clone_into(&mut told.kind);
            }
        }
        told.labels = labels.unwrap_or_default();
        let kept = self.kept.remove(&seq);
        let paid = call.and_then(|call| self.paid.remove(&call));
        told.more = kept.into_iter().chain(paid).collect::<Vec<_>>().join(" ");
        Ok(Some(told))
    }
}

type Images = BTreeMap<String, Image>;

fn records(connection: &Connection, images: &mut Images) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT name, record FROM namespaces")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, text): (String, String) = (row.get(0)?, row.get(1)?);
        let record: serde_json::Value = from_json(&text)?;
        let revision = record.get("revision").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let record = Record { revision, text, ..Record::default() };
        images.entry(name).or_default().record = Some(record);
    }
    let mut statement = connection.prepare(
        "SELECT rowid, id, lower(hex(digest)), lower(hex(coalesce(old_digest, ''))), namespace, revision,
            record FROM keys",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = AccountId::new(row.get_ref(1)?.as_str()?);
        let record = Record {
            digest: row.get(2)?,
            old: row.get(3)?,
            revision: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
            text: row.get(6)?,
        };
        let image = images.entry(row.get(4)?).or_default();
        image.accounts.insert(id.clone(), Account::default());
        image.keys.insert(id, (row.get(0)?, record));
    }
    let mut statement =
        connection.prepare("SELECT id, record ->> 'namespace', revision, record FROM teams")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = AccountId::new(row.get_ref(0)?.as_str()?);
        let revision = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
        let record = Record { revision, text: row.get(3)?, ..Record::default() };
        let image = images.entry(row.get(1)?).or_default();
        image.accounts.insert(id.clone(), Account::default());
        image.teams.insert(id, record);
    }
    let mut statement = connection.prepare("SELECT id, namespace, at FROM deleted_keys")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = AccountId::new(row.get_ref(0)?.as_str()?);
        let image = images.entry(row.get(1)?).or_default();
        image.accounts.insert(id.clone(), Account::default());
        image.deleted.insert(id, Time::from_ms(row.get(2)?));
    }
    Ok(())
}

fn accounts(
    connection: &Connection,
    images: &mut Images,
    tenant_of: &dyn Fn(&AccountId) -> String,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT id, state FROM accounts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = AccountId::new(row.get_ref(0)?.as_str()?);
        let account: Account = from_json(row.get_ref(1)?.as_str()?)?;
        images.entry(tenant_of(&id)).or_default().accounts.insert(id, account);
    }
    Ok(())
}

/// A start has released all holds but those that wait.
fn open_calls(
    connection: &Connection,
    images: &mut Images,
    tenant_of: &dyn Fn(&AccountId) -> String,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT journal.call, parked.state, parked.until, journal.at, journal.account, journal.detail, labels
         FROM open_holds JOIN journal ON journal.seq = open_holds.seq
         LEFT JOIN parked ON parked.call = journal.call
         LEFT JOIN call_labels ON call_labels.call = journal.call",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(0)?;
        let payer = AccountId::new(row.get_ref(4)?.as_str()?);
        let (at, detail): (i64, String) = (row.get(3)?, row.get(5)?);
        let bad = || rusqlite::Error::InvalidColumnName("detail".to_owned());
        let parts = HoldParts::read(&detail).ok_or_else(bad)?;
        let until = row.get::<_, Option<i64>>(2)?.unwrap_or(parts.until);
        let (at, until) = (Time::from_ms(at), Time::from_ms(until));
        let read = entries(at, "hold", Some(&bytes), &payer, 0, &detail).ok_or_else(bad)?;
        let Some(Entry::Hold(mut hold)) = read.0.into_iter().next() else { return Err(bad()) };
        hold.deadline = until;
        let image = images.entry(tenant_of(&payer)).or_default();
        let call = OpenCall {
            at: Time::from_ms(parts.held),
            until,
            turn: "-".to_owned(),
            state: row.get(1)?,
            payer,
            calls: parts.calls,
            labels: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
            postings: parts.postings,
            others: parts.accounts.unwrap_or_default(),
            hold,
        };
        image.calls.insert(hex::encode(bytes), call);
    }
    Ok(())
}

fn remembered(
    connection: &Connection,
    images: &mut Images,
    tenant_of: &dyn Fn(&AccountId) -> String,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT lower(hex(id)), lower(hex(request)), account, lower(hex(call)), until, answer FROM kept",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let payer = AccountId::new(row.get_ref(2)?.as_str()?);
        let image = images.entry(tenant_of(&payer)).or_default();
        let (until, answer) = (Time::from_ms(row.get(4)?), row.get(5)?);
        let kept = KeptAnswer { until, request: row.get(1)?, call: row.get(3)?, payer, answer };
        image.kept.insert(row.get(0)?, kept);
    }
    let mut statement = connection
        .prepare("SELECT lower(hex(id)), lower(hex(request)), note, available, at FROM once")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let note: String = row.get(2)?;
        let until = Time::from_ms(row.get(4)?).plus(ONCE_TTL);
        let image = images.entry(tenant_of_note(&note)).or_default();
        let once = OnceDone { until, request: row.get(1)?, balance: row.get(3)?, note };
        image.once.insert(row.get(0)?, once);
    }
    let mut statement = connection.prepare(
        "SELECT lower(hex(journal.call)), journal.at, journal.account FROM journal WHERE kind = 'refund'",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let image =
            images.entry(tenant_of(&AccountId::new(row.get_ref(2)?.as_str()?))).or_default();
        image.refunded.insert(row.get(0)?, Time::from_ms(row.get(1)?));
    }
    let mut statement = connection.prepare(
        "SELECT DISTINCT lower(hex(paid_tasks.call)), paid_tasks.until, journal.account FROM paid_tasks
         JOIN journal ON journal.call = paid_tasks.call",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let image =
            images.entry(tenant_of(&AccountId::new(row.get_ref(2)?.as_str()?))).or_default();
        image.paid.insert(row.get(0)?, Time::from_ms(row.get(1)?));
    }
    Ok(())
}

/// Which tenant something was done for once: its answer mostly says so. In books of one tenant it does not
/// matter; elsewhere a repetition is refused rather than done twice.
fn tenant_of_note(note: &str) -> String {
    let note: serde_json::Value = serde_json::from_str(note).unwrap_or_default();
    let named = note.get("namespace").and_then(serde_json::Value::as_str);
    named.unwrap_or(DEFAULT).to_owned()
}
