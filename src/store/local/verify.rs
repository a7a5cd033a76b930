//! `paygate ledger verify`: replays the whole journal from nothing and compares every number of
//! every saved account. Works on a snapshot while Paygate runs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::open::{OpenError, check_header, check_version, real_path};
use super::records::from_json;
use super::refunds::{self, RefundAudit};
use super::rows::{COLUMNS, ReadRow};
use super::schema::meta;
use crate::ledger::{Account, Book, Entry, Opening, Reversal, names};
use crate::model::ids::{AccountId, CallId};
use crate::model::time::Time;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error("the database cannot be read: {0}")]
    Read(#[from] rusqlite::Error),
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Rows replayed.
    pub rows: u64,
    /// Accounts compared.
    pub accounts: usize,
    /// Holds open at the end.
    pub open_holds: usize,
    /// Credits granted, adjusted and brought from other books.
    pub granted: i64,
    /// Credits captured.
    pub captured: i64,
    /// Credits given back after that.
    pub refunded: i64,
    /// Calls that were held and released once more after they had ended. Nobody has paid for that.
    pub held_again: u64,
    /// Are there no books at all where they were looked for?
    pub has_none: bool,
    /// The first differences, in words.
    pub differences: Vec<String>,
    /// How many more there are.
    pub unlisted: usize,
}

/// Differences that are listed; more are counted, so that damaged books fit into memory too.
const LISTED_MAX: usize = 100;

impl VerifyReport {
    /// No difference?
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }

    pub(in crate::store) fn differs(&mut self, what: String) {
        if self.differences.len() < LISTED_MAX {
            self.differences.push(what);
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, accounts, open_holds, granted, captured, refunded, .. } = self;
        let Self { held_again, differences, unlisted, has_none, .. } = self;
        writeln!(
            f,
            "{rows} journal rows replayed, {accounts} accounts compared, {open_holds} holds open"
        )?;
        write!(f, "{granted} credits granted, {captured} captured, ")?;
        if *refunded != 0 {
            write!(f, "{refunded} refunded, ")?;
        }
        let left = granted.saturating_sub(*captured).saturating_add(*refunded);
        writeln!(f, "{left} left")?;
        if *held_again != 0 {
            writeln!(
                f,
                "{held_again} calls held and released once more after their end, at no cost"
            )?;
        }
        for difference in differences {
            writeln!(f, "  DIFFERENT  {difference}")?;
        }
        match differences.len().saturating_add(*unlisted) {
            0 if *has_none => write!(f, "there are no books here; is it the right database?"),
            0 => write!(f, "the books agree"),
            count => write!(f, "{count} differences: the books do not agree"),
        }
    }
}

/// Verifies a database file. A running Paygate may have it open.
pub fn verify(path: &Path) -> Result<VerifyReport, VerifyError> {
    let path = &real_path(path);
    let io = |reason: &str| OpenError::Io { path: path.to_owned(), reason: reason.to_owned() };
    if !path.exists() {
        return Err(io("there is no such file").into());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| io(&error.to_string()))?;
    check_header(&connection, path)?;
    check_version(&connection, path)?;
    connection.execute_batch("BEGIN")?;
    let mut audit = Audit::new(saved_accounts(&connection)?, Start::read(&connection)?);
    audit.refunds = RefundAudit::read(&connection)?;
    audit.replay_journal(&connection)?;
    audit.find_repeated_ends(&connection)?;
    audit.find_stray_answers(&connection)?;
    audit.compare(&keys(&connection)?);
    Ok(audit.report)
}

type Saved = HashMap<AccountId, (i64, Account)>;

fn saved_accounts(connection: &Connection) -> rusqlite::Result<Saved> {
    let mut statement = connection.prepare("SELECT id, seq, state FROM accounts")?;
    let accounts = statement.query_map([], |row| {
        let id = AccountId::new(row.get_ref(0)?.as_str()?);
        Ok((id, (row.get(1)?, from_json(row.get_ref(2)?.as_str()?)?)))
    })?;
    accounts.collect()
}

/// Where a start would begin to replay, and the rows of holds that it would open first.
struct Start {
    replay_after: i64,
    open_holds: BTreeSet<i64>,
}

impl Start {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare("SELECT seq FROM open_holds")?;
        let open_holds = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Self { replay_after: meta(connection, "replay_after")?, open_holds })
    }
}

fn keys(connection: &Connection) -> rusqlite::Result<HashSet<AccountId>> {
    let mut statement = connection.prepare(
        "SELECT id FROM keys UNION ALL SELECT id FROM deleted_keys UNION ALL SELECT id FROM teams",
    )?;
    let keys = statement.query_map([], |row| Ok(AccountId::new(row.get_ref(0)?.as_str()?)))?;
    keys.collect()
}

/// Two replays in one pass: up to each account's saved row, and to the end.
struct Audit {
    saved: Saved,
    start: Start,
    at_saved: Book,
    at_end: Book,
    /// Rows of holds that are open.
    hold_rows: HashMap<CallId, i64>,
    /// The last row of each account that a start would not replay: its saved row must hold it.
    not_replayed: BTreeMap<AccountId, i64>,
    refunds: RefundAudit,
    last_row: i64,
    report: VerifyReport,
}

impl Audit {
    fn new(saved: Saved, start: Start) -> Self {
        Self {
            saved,
            start,
            at_saved: Book::default(),
            at_end: Book::default(),
            hold_rows: HashMap::new(),
            not_replayed: BTreeMap::new(),
            refunds: RefundAudit::default(),
            last_row: 0,
            report: VerifyReport::default(),
        }
    }

    fn replay_journal(&mut self, connection: &Connection) -> Result<(), VerifyError> {
        let sql = format!("SELECT {COLUMNS} FROM journal ORDER BY seq");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut started = false;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            if seq > self.start.replay_after && !std::mem::replace(&mut started, true) {
                self.compare_open_holds();
            }
            if seq != self.last_row + 1 {
                let (first, last) = (self.last_row + 1, seq - 1);
                self.differs(format!("journal rows {first} to {last} are missing"));
            }
            self.last_row = seq;
            match ReadRow::read(row)? {
                Ok(row) => self.row(&row),
                Err(reason) => self.differs(reason),
            }
            self.report.rows += 1;
        }
        if !started {
            self.compare_open_holds();
        }
        self.report.open_holds = self.at_end.holds().len();
        Ok(())
    }

    /// A call that is one row, hold and end together, replays well a second time; so the database
    /// looks for these. It sorts beside the memory where they are many.
    fn find_repeated_ends(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT max(seq), lower(hex(call)), count(*) FROM journal
             WHERE call IS NOT NULL AND kind NOT IN ('hold', 'refund') GROUP BY call HAVING count(*) > 1",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, call, times): (i64, String, i64) = row.try_into()?;
            self.differs(format!("journal row {seq}: call {call} ended {times} times"));
        }
        Ok(())
    }

    /// An answer that is kept for repetitions was captured by the journal row that it names.
    fn find_stray_answers(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT kept.seq FROM kept LEFT JOIN journal ON journal.seq = kept.seq
                 AND journal.call = kept.call AND journal.account = kept.account
                 AND (kind = 'capture' OR (kind = 'call' AND detail ->> 'end' = 'capture'))
             WHERE journal.seq IS NULL ORDER BY kept.seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            self.differs(format!("kept answer {seq}: journal row {seq} did not capture its call"));
        }
        Ok(())
    }

    /// At the row where a start would begin.
    fn compare_open_holds(&mut self) {
        let open: BTreeSet<i64> = self.hold_rows.values().copied().collect();
        if open != self.start.open_holds {
            let (after, noted) = (self.start.replay_after, self.start.open_holds.clone());
            self.differs(format!(
                "open holds at journal row {after}: noted are rows {noted:?}, the journal says {open:?}"
            ));
        }
    }

    fn note(&mut self, entry: &Entry, seq: i64) {
        let hold = match entry {
            Entry::Credit { account, .. } => {
                self.touches(account.clone(), seq);
                return;
            }
            Entry::Opening(opening) => {
                self.touches(opening.account.clone(), seq);
                return;
            }
            Entry::Reversal(reversal) => {
                for account in refunds::accounts_of(reversal) {
                    self.touches(account.clone(), seq);
                }
                return;
            }
            Entry::Hold(hold) => {
                self.hold_rows.insert(hold.call, seq);
                hold.clone()
            }
            Entry::Resolution(end) => {
                self.hold_rows.remove(&end.call);
                let Some(hold) = self.at_end.holds().get(&end.call) else { return };
                hold.clone()
            }
        };
        for posting in hold.postings {
            self.touches(posting.account, seq);
        }
    }

    fn touches(&mut self, account: AccountId, seq: i64) {
        if seq <= self.start.replay_after {
            self.not_replayed.insert(account, seq);
        }
    }

    fn row(&mut self, row: &ReadRow) {
        let mut charged = 0_i64;
        for entry in &row.entries {
            for id in accounts_of(entry) {
                for book in [&mut self.at_saved, &mut self.at_end] {
                    if book.account(id).is_none() {
                        book.insert(id.clone(), Account::default());
                    }
                }
            }
            match entry {
                Entry::Credit { amount, .. } => {
                    self.report.granted = self.report.granted.saturating_add(*amount);
                }
                Entry::Hold(_) => {}
                Entry::Reversal(reversal) => self.reversal(row, reversal),
                Entry::Opening(opening) => self.opening(row, opening),
                Entry::Resolution(end) => {
                    if let Some(hold) = self.at_end.holds().get(&end.call) {
                        self.refunds.ended(hold, end);
                        let kept = hold.postings.iter().zip(&end.kept);
                        let taken = kept.filter(|(posting, _)| posting.counter == names::BALANCE);
                        charged = taken.fold(charged, |sum, (_, kept)| sum.saturating_sub(*kept));
                    }
                    for said in [row.amount, row.calls_charged] {
                        if said == charged {
                            continue;
                        }
                        self.differs(format!(
                            "journal row {}: says {said} credits, keeps {charged}",
                            row.seq
                        ));
                    }
                    self.report.captured = self.report.captured.saturating_add(charged);
                }
            }
            self.note(entry, row.seq);
            self.replay(entry, row.seq);
        }
    }

    fn opening(&mut self, row: &ReadRow, opening: &Opening) {
        let (said, brought) = (row.amount, opening.credits());
        if said != brought {
            self.differs(format!("journal row {}: says {said} credits, brings {brought}", row.seq));
        }
        if self.at_end.account(&opening.account).is_some_and(|known| *known != Account::default()) {
            self.differs(format!("journal row {}: {} was here before", row.seq, opening.account));
        }
        self.report.granted = self.report.granted.saturating_add(brought);
    }

    fn reversal(&mut self, row: &ReadRow, reversal: &Reversal) {
        let back = reversal.credits();
        for said in [row.amount, row.calls_charged.saturating_neg()] {
            if said != back {
                let seq = row.seq;
                self.differs(format!("journal row {seq}: says {said} credits, gives back {back}"));
            }
        }
        if let Some(wrong) = self.refunds.refunded(reversal) {
            self.differs(format!("journal row {}: {wrong}", row.seq));
        }
        self.report.refunded = self.report.refunded.saturating_add(back);
    }

    fn replay(&mut self, entry: &Entry, seq: i64) {
        let saved = &self.saved;
        let takes = |id: &AccountId| saved.get(id).is_some_and(|(saved, _)| seq <= *saved);
        let results = [self.at_saved.apply_where(entry, &takes), self.at_end.apply(entry)];
        for error in results.into_iter().filter_map(Result::err).take(1) {
            self.differs(format!("journal row {seq}: {error}"));
        }
    }

    fn compare(&mut self, keys: &HashSet<AccountId>) {
        let now = self.at_end.now();
        self.report.accounts = self.at_end.accounts().len().max(self.saved.len());
        let Self { saved: all_saved, at_saved, at_end, report, .. } = self;
        let listed = report.differences.len();
        for (id, (seq, saved)) in &*all_saved {
            let replayed = at_saved.account(id).cloned().unwrap_or_default();
            for difference in account_differences(id, *seq, saved, &replayed, now) {
                report.differs(difference);
            }
        }
        let (after, last) = (self.start.replay_after, self.last_row);
        if after > last {
            report.differs(format!(
                "the journal ends at row {last}, replays begin after row {after}"
            ));
        }
        for (id, needed) in &self.not_replayed {
            let seq = all_saved.get(id).map_or(0, |(seq, _)| *seq);
            if seq < *needed {
                report.differs(format!(
                    "{id}: saved at row {seq}, but row {needed} changed it and replays begin after row {after}"
                ));
            }
        }
        for id in at_end.accounts().keys().chain(all_saved.keys()).collect::<HashSet<_>>() {
            let named = ["key_", "team_"].iter().any(|kind| id.as_str().starts_with(kind));
            if named && !keys.contains(id) {
                report.differs(format!("{id}: has an account, but there is no such key or team"));
            }
        }
        for (id, (seq, _)) in &*all_saved {
            if *seq > last {
                report.differs(format!(
                    "{id}: saved at row {seq}, but the journal ends at row {last}"
                ));
            }
        }
        for (id, account) in at_end.accounts() {
            if account.held() < 0 {
                report.differs(format!("{id}: {} credits held", account.held()));
            }
        }
        if let Some(found) = report.differences.get_mut(listed..) {
            found.sort();
        }
    }

    fn differs(&mut self, what: String) {
        self.report.differs(what);
    }
}

fn accounts_of(entry: &Entry) -> Vec<&AccountId> {
    match entry {
        Entry::Credit { account, .. } => vec![account],
        Entry::Hold(hold) => hold.postings.iter().map(|posting| &posting.account).collect(),
        Entry::Reversal(reversal) => refunds::accounts_of(reversal),
        Entry::Opening(opening) => vec![&opening.account],
        Entry::Resolution(_) => Vec::new(),
    }
}

fn account_differences(
    id: &AccountId,
    seq: i64,
    saved: &Account,
    replayed: &Account,
    now: Time,
) -> Vec<String> {
    let (saved, replayed) = (saved.settled(now), replayed.settled(now));
    if saved == replayed {
        return Vec::new();
    }
    let values = |account: &Account| -> BTreeMap<String, String> {
        let counters = account.counters();
        let mut values: BTreeMap<_, _> =
            counters.map(|(name, counter)| (name.to_string(), counter.to_string())).collect();
        values.insert("held".to_owned(), account.held().to_string());
        values.insert(
            "lastCall".to_owned(),
            account.last_call().map_or_else(|| "never".to_owned(), |at| at.to_string()),
        );
        values
    };
    let (saved, replayed) = (values(&saved), values(&replayed));
    let names: BTreeSet<&String> = saved.keys().chain(replayed.keys()).collect();
    let different = names.into_iter().filter(|name| saved.get(*name) != replayed.get(*name));
    let none = "nothing".to_owned();
    let line = |name: &String| {
        let (says, is) = (saved.get(name).unwrap_or(&none), replayed.get(name).unwrap_or(&none));
        format!("{id} {name}: saved at row {seq} as {says}, the journal says {is}")
    };
    different.map(line).collect()
}
