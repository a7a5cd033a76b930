//! The file: its tables, its version, and the pragmas of each connection.

use rusqlite::{Connection, OptionalExtension};

use crate::model::secret::SealKey;

/// Version of the tables, kept in `PRAGMA user_version`: that of the first ones and one for each step.
pub(super) const VERSION: i64 = 15;

/// What was added since the first version, in order. A step that was released never changes.
const STEPS: &[&str] = &[
    DELETED_KEYS,
    AUDIT,
    KEPT,
    ADMIN_TOKENS,
    AUDIT_REFUSALS,
    TEAMS,
    PARKED,
    PAID_TASKS,
    USAGE,
    ALERTS,
    SUMMED,
    WEBHOOKS,
    USAGE_BY_TOOL,
    USAGE_PIECES,
];

/// How far the journal was summed up to be compared with the accounts, and the sum.
const SUMMED: &str = "INSERT INTO meta VALUES ('summed_seq', 0), ('summed_credits', 0);";

/// Rules for alerts, what they had to say, and how far the keys were looked at: up to a journal row, and
/// up to an entry of `refused`.
const ALERTS: &str = "
    CREATE TABLE alert_rules (
        place     INTEGER PRIMARY KEY,
        kind      TEXT NOT NULL,
        threshold INTEGER NOT NULL,        -- thousandths
        cooldown  INTEGER                  -- seconds, as they were given
    );
    CREATE TABLE alerts (
        id         INTEGER PRIMARY KEY,
        namespace  TEXT NOT NULL,
        for_host   INTEGER NOT NULL,       -- 1 until who runs Paygate has read it
        for_tenant INTEGER NOT NULL,       -- 1 until the tenant itself has
        record     TEXT NOT NULL           -- JSON, as it is shown
    );
    CREATE INDEX alerts_for_tenant ON alerts (namespace) WHERE for_tenant;
    CREATE INDEX alerts_for_host ON alerts (id) WHERE for_host;
    CREATE TABLE alert_cooldowns (         -- what is not said again yet
        key       TEXT NOT NULL,
        kind      TEXT NOT NULL,
        threshold INTEGER NOT NULL,
        until     INTEGER NOT NULL,        -- epoch ms
        PRIMARY KEY (key, kind, threshold)
    ) WITHOUT ROWID;
    CREATE INDEX alert_cooldowns_by_until ON alert_cooldowns (until);
    CREATE INDEX refused_by_rates ON refused (key, at)
        WHERE reason IN ('rate_limited', 'tool_rate_limited');
    CREATE INDEX keys_by_expiry ON keys (record ->> 'expiresAt')
        WHERE record ->> 'expiresAt' IS NOT NULL;
    INSERT INTO meta VALUES ('alerts_seq', 0), ('alerts_refused_seq', 0), ('alerts_refused_n', 0);
";

/// How far webhooks were sent, and what nobody took.
const WEBHOOKS: &str = "
    CREATE TABLE webhooks (                -- one row, from the first time that they are configured
        usage_place      INTEGER NOT NULL, -- the last usage event that was sent or given up
        audit_id         INTEGER NOT NULL, -- the same of the audit log
        off_since        INTEGER,          -- epoch ms; NULL while they are configured
        delivered        INTEGER NOT NULL DEFAULT 0,
        events_delivered INTEGER NOT NULL DEFAULT 0,
        failed           INTEGER NOT NULL DEFAULT 0,
        events_failed    INTEGER NOT NULL DEFAULT 0,
        retries          INTEGER NOT NULL DEFAULT 0,
        lost             INTEGER NOT NULL DEFAULT 0,
        dropped          INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE webhook_dead_letters (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        events   TEXT NOT NULL,            -- members of the body that was not taken
        count    INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        error    TEXT NOT NULL,
        first_at INTEGER NOT NULL,         -- epoch ms
        last_at  INTEGER NOT NULL,
        url      TEXT NOT NULL
    );
";

/// Sums that are written in pieces: of journal rows up to which one, and the last that is written.
const USAGE_PIECES: &str = "
    CREATE TABLE usage_pieces (            -- one row, while there are more to come
        up_to INTEGER NOT NULL,
        start INTEGER NOT NULL,
        key   TEXT NOT NULL,
        tool  TEXT NOT NULL
    );
";

/// The sums of usage without keys: a report that names none reads a hundredth. And the sums of a tenant
/// without those of all.
const USAGE_BY_TOOL: &str = "
    CREATE TABLE usage_tools (
        start     INTEGER NOT NULL,        -- epoch ms, of the hour
        namespace TEXT NOT NULL,
        tool      TEXT NOT NULL,
        reason    TEXT NOT NULL,
        calls     INTEGER NOT NULL,
        credits   INTEGER NOT NULL,
        PRIMARY KEY (start, namespace, tool, reason)
    ) WITHOUT ROWID;
    INSERT INTO usage_tools SELECT start, namespace, tool, reason, sum(calls), sum(credits)
        FROM usage_hours GROUP BY 1, 2, 3, 4;
    CREATE INDEX usage_days_by_namespace ON usage_days (namespace);
";

/// Tasks whose result is paid, apart from the holds that wait, with which they were.
const PAID_TASKS: &str = "
    CREATE TABLE paid_tasks (
        seq   INTEGER PRIMARY KEY,
        call  BLOB NOT NULL UNIQUE,        -- the call that made it
        until INTEGER NOT NULL             -- epoch ms of ledger time: it can be asked for
    );
    CREATE INDEX paid_tasks_by_until ON paid_tasks (until);
    INSERT INTO paid_tasks (call, until) SELECT call, until FROM parked WHERE state = 'paid';
    DELETE FROM parked WHERE state = 'paid';
";

/// Usage by hour and day, rolled up from the journal, and what was refused. `reason` is empty for calls
/// that ended; `key` and `tool` are empty where nobody may be named.
const USAGE: &str = "
    CREATE TABLE usage_hours (
        start     INTEGER NOT NULL,        -- epoch ms
        key       TEXT NOT NULL,
        tool      TEXT NOT NULL,
        reason    TEXT NOT NULL,
        namespace TEXT NOT NULL,
        calls     INTEGER NOT NULL,
        credits   INTEGER NOT NULL,
        PRIMARY KEY (start, key, tool, reason)
    ) WITHOUT ROWID;
    CREATE TABLE usage_days (
        start     INTEGER NOT NULL,
        key       TEXT NOT NULL,
        tool      TEXT NOT NULL,
        reason    TEXT NOT NULL,
        namespace TEXT NOT NULL,
        calls     INTEGER NOT NULL,
        credits   INTEGER NOT NULL,
        PRIMARY KEY (start, key, tool, reason)
    ) WITHOUT ROWID;
    CREATE TABLE usage_marks (             -- the first journal row of each hour
        start INTEGER PRIMARY KEY,
        seq   INTEGER NOT NULL
    );
    CREATE TABLE refused (
        seq       INTEGER NOT NULL,        -- the journal row that it came after
        n         INTEGER NOT NULL,
        at        INTEGER NOT NULL,        -- epoch ms of the first of them
        key       TEXT NOT NULL,
        namespace TEXT NOT NULL,
        tool      TEXT NOT NULL,
        reason    TEXT NOT NULL,
        count     INTEGER NOT NULL,
        PRIMARY KEY (seq, n)
    ) WITHOUT ROWID;
    CREATE TABLE call_labels (             -- what clients say that their calls are for
        call   BLOB PRIMARY KEY,
        at     INTEGER NOT NULL,           -- epoch ms
        labels TEXT NOT NULL               -- JSON object of texts
    ) WITHOUT ROWID;
    CREATE INDEX call_labels_by_time ON call_labels (at);
    CREATE TABLE label_hours (
        start     INTEGER NOT NULL,
        namespace TEXT NOT NULL,
        name      TEXT NOT NULL,
        value     TEXT NOT NULL,
        calls     INTEGER NOT NULL,
        credits   INTEGER NOT NULL,
        PRIMARY KEY (start, namespace, name, value)
    ) WITHOUT ROWID;
    INSERT INTO meta VALUES ('usage_seq', 0), ('usage_from', 0);
";

/// What waits for its customer, and the key of what customers keep for us.
const PARKED: &str = "
    CREATE TABLE parked (                  -- open holds that wait
        call  BLOB PRIMARY KEY,
        key   TEXT NOT NULL,
        state TEXT NOT NULL,
        until INTEGER NOT NULL             -- epoch ms
    ) WITHOUT ROWID;
    CREATE TABLE seal (                    -- the one key of what clients keep for us
        key BLOB NOT NULL
    );
";

/// Answers to captured calls with an idempotency key.
const KEPT: &str = "
    CREATE TABLE kept (
        seq     INTEGER PRIMARY KEY,       -- journal row of the capture
        id      BLOB NOT NULL,             -- digest of the key's id and the idempotency key
        request BLOB NOT NULL,             -- digest of what was asked
        account TEXT NOT NULL,             -- whose it is
        call    BLOB NOT NULL,
        until   INTEGER NOT NULL,          -- epoch ms of ledger time
        size    INTEGER NOT NULL,
        answer  BLOB                       -- NULL if it was too long to be kept
    );
    CREATE INDEX kept_by_id ON kept (id);
    -- All that a start and a deletion ask for, so that neither reads the answers.
    CREATE INDEX kept_by_until ON kept (until, account, size);
";

/// What operators did. Ids are never used twice, so that a gap shows.
const AUDIT: &str = "
    CREATE TABLE audit (
        id        INTEGER PRIMARY KEY AUTOINCREMENT,
        at        INTEGER NOT NULL,        -- epoch ms
        kind      TEXT NOT NULL,
        actor     TEXT NOT NULL,
        actor_id  TEXT,
        namespace TEXT,
        target    TEXT,
        message   TEXT NOT NULL,
        metadata  TEXT NOT NULL            -- JSON
    );
    CREATE INDEX audit_by_namespace ON audit (namespace);
";

/// Operators beside the configured admin key.
const ADMIN_TOKENS: &str = "
    CREATE TABLE admin_tokens (
        id     TEXT PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,       -- SHA-256 of the raw token
        record TEXT NOT NULL               -- JSON
    ) WITHOUT ROWID;
";

/// The entries that strangers can cause, which are bounded apart.
const AUDIT_REFUSALS: &str = "
    CREATE INDEX audit_refusals ON audit (id)
        WHERE kind IN ('admin.auth_failed', 'admin.access_denied');
";

/// Keys that share a budget and quotas.
const TEAMS: &str = "
    CREATE TABLE teams (
        id       TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        record   TEXT NOT NULL             -- JSON
    ) WITHOUT ROWID;
";

/// What stays of deleted keys: their journal is under their id, which is never used again.
const DELETED_KEYS: &str = "
    CREATE TABLE deleted_keys (
        id        TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        at        INTEGER NOT NULL         -- epoch ms
    ) WITHOUT ROWID;
    CREATE INDEX deleted_keys_by_namespace ON deleted_keys (namespace);
";

/// Marks the file as ours (`PRAGMA application_id`): "PayG".
pub(super) const APPLICATION_ID: i64 = 0x5061_7947;

/// The tables of the first version. `journal` is append-only; see `rows.rs` for what is in its `detail`.
const TABLES: &str = "
    CREATE TABLE keys (
        id         TEXT NOT NULL UNIQUE,
        digest     BLOB NOT NULL UNIQUE,   -- SHA-256 of the raw key
        old_digest BLOB,                   -- of the one before a rotation, while its grace lasts
        namespace  TEXT NOT NULL,
        revision   INTEGER NOT NULL,
        record     TEXT NOT NULL           -- JSON
    );
    CREATE INDEX keys_by_old_digest ON keys (old_digest) WHERE old_digest IS NOT NULL;
    CREATE INDEX keys_by_namespace ON keys (namespace);
    CREATE TABLE namespaces (
        name   TEXT PRIMARY KEY,
        record TEXT NOT NULL               -- JSON
    ) WITHOUT ROWID;
    CREATE TABLE journal (
        seq     INTEGER PRIMARY KEY,
        at      INTEGER NOT NULL,          -- epoch ms
        kind    TEXT NOT NULL,             -- grant adjust hold call capture release expire recover
        call    BLOB,                      -- 16 bytes of the call id
        account TEXT NOT NULL,             -- who pays or is paid
        amount  INTEGER NOT NULL,          -- credits granted, held or charged
        detail  TEXT NOT NULL              -- JSON: amounts per counter, calls
    );
    CREATE TABLE accounts (                -- the ledger's numbers, true up to journal row `seq`
        id    TEXT PRIMARY KEY,
        seq   INTEGER NOT NULL,
        state TEXT NOT NULL                -- JSON
    ) WITHOUT ROWID;
    CREATE TABLE open_holds (              -- journal rows of holds open when accounts were saved
        seq INTEGER PRIMARY KEY
    );
    CREATE TABLE once (                    -- Idempotency-Keys of the last 24 hours
        id        BLOB PRIMARY KEY,
        request   BLOB NOT NULL,
        note      TEXT NOT NULL,
        available INTEGER NOT NULL,
        at        INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO meta VALUES ('replay_after', 0), ('clock', 0);
";

/// Settings of the writing connection. FULL: a commit has reached the disk when it returns.
pub(super) fn prepare_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // 16 MiB of log before its pages move into the file: fewer, larger moves.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(())
}

/// Makes the tables in a new file.
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    STEPS.iter().try_for_each(|step| transaction.execute_batch(step))?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// The key that seals what clients keep, made by the first start.
pub(super) fn seal_key(connection: &Connection) -> rusqlite::Result<SealKey> {
    let known = connection.query_row("SELECT key FROM seal", [], |row| row.get::<_, Vec<u8>>(0));
    if let Some(known) = known.optional()?.and_then(|bytes| SealKey::from_slice(&bytes)) {
        return Ok(known);
    }
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection.execute("DELETE FROM seal", [])?;
    connection.execute("INSERT INTO seal (key) VALUES (?1)", [bytes.as_slice()])?;
    Ok(SealKey::from_random(bytes))
}

/// Brings the tables of an older file up to date.
pub(super) fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(found.saturating_sub(1)).unwrap_or(0);
    let transaction = connection.transaction()?;
    STEPS.iter().skip(done).try_for_each(|step| transaction.execute_batch(step))?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Reads one number of the file's header.
pub(super) fn header(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Reads a number of `meta`.
pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
}

/// Writes a number of `meta`.
pub(super) fn set_meta(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE meta SET value = ?2 WHERE name = ?1")?
        .execute((name, value))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_gets_the_tables_of_a_new_one() {
        let tables = |connection: &Connection| {
            let mut all = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY 1").unwrap();
            let all = all.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
            all.collect::<Result<Vec<_>, _>>().unwrap()
        };
        let mut new = Connection::open_in_memory().unwrap();
        create(&mut new).unwrap();
        assert_eq!(VERSION, 1 + i64::try_from(STEPS.len()).unwrap());
        for found in 1..=VERSION {
            let mut old = Connection::open_in_memory().unwrap();
            old.execute_batch(TABLES).unwrap();
            for step in STEPS.iter().take(usize::try_from(found - 1).unwrap()) {
                old.execute_batch(step).unwrap();
            }
            migrate(&mut old, found).unwrap();
            assert_eq!(tables(&old), tables(&new), "from version {found}");
            assert_eq!(header(&old, "user_version").unwrap(), VERSION);
        }
    }
}
