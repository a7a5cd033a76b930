//! What became of every record of a state file, and of every credit in it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Serialize;

use super::amount::Amount;
use super::notes::notes;
use super::record::{Coming, Refused};
use super::{Import, Placed, StateFile};
use crate::model::ids::KeyId;
use crate::model::time::Time;

/// Records that the text names; `--json` has all of them.
const NAMED_MAX: usize = 20;
/// Where records are counted whose namespace cannot be read. No namespace has such a name.
const NO_NAMESPACE: &str = "(none)";
/// Namespaces that the text lists.
const NAMESPACES_MAX: usize = 50;

/// The report of an import. The accounts add up: what is in the file is imported, rounded off, was there
/// before, or is left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    file: String,
    db: String,
    dry_run: bool,
    /// Of the whole file.
    total: Account,
    namespaces: BTreeMap<String, Account>,
    /// Records that are not brought over.
    left_out: Vec<LeftOut>,
    /// Records whose credits cannot be read: no sum holds them.
    credits_unknown: usize,
    /// What the operator should know of what came over.
    notes: Vec<String>,
}

/// Records and credits of a namespace.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    records: usize,
    imported: usize,
    already_there: usize,
    left_out: usize,
    credits_in_file: Amount,
    credits_imported: Amount,
    credits_rounded_off: Amount,
    credits_already_there: Amount,
    credits_left_out: Amount,
}

/// A record that is not brought over.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeftOut {
    record: usize,
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    credits: Option<Amount>,
    why: String,
    /// paygate-mcp does not count it either.
    skipped: bool,
}

enum Fate {
    Imported,
    AlreadyThere,
    LeftOut,
}

impl Account {
    fn add(&mut self, fate: &Fate, credits: Option<Amount>) {
        let credits = credits.unwrap_or_default();
        self.records = self.records.saturating_add(1);
        self.credits_in_file += credits;
        let (count, sum, amount) = match fate {
            Fate::Imported => {
                self.credits_rounded_off += credits.rest();
                (&mut self.imported, &mut self.credits_imported, credits.rounded())
            }
            Fate::AlreadyThere => {
                (&mut self.already_there, &mut self.credits_already_there, credits)
            }
            Fate::LeftOut => (&mut self.left_out, &mut self.credits_left_out, credits),
        };
        *count = count.saturating_add(1);
        *sum += amount;
    }
}

impl ImportReport {
    pub(in crate::app) fn new(
        file: &StateFile,
        made: &HashSet<KeyId>,
        import: &Import,
        now: Time,
    ) -> Self {
        let mut report = Self {
            file: file.path.display().to_string(),
            db: import.into.to_string(),
            dry_run: import.is_dry,
            total: Account::default(),
            namespaces: BTreeMap::new(),
            left_out: Vec::new(),
            credits_unknown: 0,
            notes: Vec::new(),
        };
        for Coming { key, credits, .. } in &file.coming {
            let fate = if made.contains(&key.id) { Fate::Imported } else { Fate::AlreadyThere };
            report.add(Some(&key.namespace), &fate, Some(*credits));
        }
        for Placed { record, line, refused } in &file.refused {
            let Refused { key, namespace, credits, why, is_no_key } = &**refused;
            report.add(namespace.as_ref(), &Fate::LeftOut, *credits);
            if credits.is_none() && !is_no_key {
                report.credits_unknown = report.credits_unknown.saturating_add(1);
            }
            report.left_out.push(LeftOut {
                record: *record,
                line: *line,
                key: key.clone(),
                credits: *credits,
                why: why.clone(),
                skipped: *is_no_key,
            });
        }
        let came: Vec<&Coming> =
            file.coming.iter().filter(|coming| made.contains(&coming.key.id)).collect();
        report.notes = notes(&came, now);
        report
    }

    fn add(&mut self, namespace: Option<&String>, fate: &Fate, credits: Option<Amount>) {
        self.total.add(fate, credits);
        let namespace = namespace.map_or(NO_NAMESPACE, String::as_str).to_owned();
        self.namespaces.entry(namespace).or_default().add(fate, credits);
    }

    /// Keys of customers that are not brought over: somebody should look at them.
    pub fn keys_left_out(&self) -> usize {
        self.left_out.iter().filter(|left_out| !left_out.skipped).count()
    }

    /// Keys that were made, or would be.
    pub const fn keys_imported(&self) -> usize {
        self.total.imported
    }

    /// The sum of their credits.
    pub fn credits_imported(&self) -> String {
        self.total.credits_imported.to_string()
    }

    /// What the operator should know of what came over.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The one line that tells all.
    fn headline(&self) -> String {
        let Account { records, imported, already_there, left_out, .. } = &self.total;
        let verb = if self.dry_run { "would be imported" } else { "imported" };
        format!(
            "{}: {records} records: {imported} {verb} into {}, {already_there} there already, {left_out} left out",
            self.file, self.db
        )
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        self.write_accounts(f)?;
        if !self.left_out.is_empty() {
            writeln!(f, "\nLeft out:")?;
        }
        for left_out in self.left_out.iter().take(NAMED_MAX) {
            writeln!(f, "  {left_out}")?;
        }
        let more = self.left_out.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            writeln!(f, "  and {more} more; --json names all")?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nTo know:")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

impl ImportReport {
    fn write_accounts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "namespace",
            "keys",
            "in the file",
            "imported",
            "rounded off",
            "there already",
            "left out",
        ];
        let row = |name: &str, account: &Account| {
            [
                name.to_owned(),
                account.records.to_string(),
                account.credits_in_file.to_string(),
                account.credits_imported.to_string(),
                account.credits_rounded_off.to_string(),
                account.credits_already_there.to_string(),
                account.credits_left_out.to_string(),
            ]
        };
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(
            self.namespaces.iter().take(NAMESPACES_MAX).map(|(name, account)| row(name, account)),
        );
        rows.push(row("all", &self.total));
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        writeln!(f, "\nCredits:")?;
        for row in &rows {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            writeln!(f, "  {}", cells.collect::<Vec<_>>().join("  "))?;
        }
        let more = self.namespaces.len().saturating_sub(NAMESPACES_MAX);
        if more > 0 {
            writeln!(f, "  and {more} more namespaces; --json names all")?;
        }
        if self.credits_unknown > 0 {
            writeln!(
                f,
                "  Records whose credits cannot be read, and which no sum holds: {}",
                self.credits_unknown
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, line, key, credits, why, skipped: _ } = self;
        write!(f, "record {record}, line {line}")?;
        if let Some(key) = key {
            write!(f, ", {key}")?;
        }
        if let Some(credits) = credits {
            write!(f, ", {credits} credits")?;
        }
        write!(f, ": {why}")
    }
}
