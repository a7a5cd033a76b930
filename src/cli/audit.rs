//! `paygate audit`.

use super::client::{self, Ask, Desk};
use super::table::Shown;
use crate::config::AuditFlags;

const COLUMNS: &[(&str, &str)] = &[
    ("TIME", "timestamp"),
    ("TYPE", "type"),
    ("ACTOR", "actor"),
    ("NAMESPACE", "namespace"),
    ("TARGET", "target"),
    ("MESSAGE", "message"),
];

pub(super) fn run(flags: &AuditFlags) -> Result<(), String> {
    let limit = flags.limit.map(|limit| limit.to_string());
    let path = if flags.csv { "/audit/export" } else { "/audit" };
    let ask = Ask::get(path).query(&[
        ("limit", limit.as_deref()),
        ("types", flags.types.as_deref()),
        ("actor", flags.actor.as_deref()),
        ("since", flags.since.as_deref()),
        ("until", flags.until.as_deref()),
        ("namespace", flags.namespace.as_deref()),
        ("format", flags.csv.then_some("csv")),
    ]);
    if flags.csv {
        return Desk::of(&flags.reach)?.copy(&ask);
    }
    client::show(&flags.reach, &ask, &Shown::Table("/events", COLUMNS))
}
