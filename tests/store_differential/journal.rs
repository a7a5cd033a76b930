//! Journals in one form. The embedded store writes a call that ran long as two rows, Redis always as
//! one; what a call says is the same.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::RedisServer;

/// Moment, kind, call, account, amount, detail.
pub(crate) type Row = (i64, String, String, String, i64, Value);

pub(crate) fn of_file(path: &Path) -> Vec<Row> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT at, kind, coalesce(lower(hex(call)), ''), account, amount, detail
               FROM journal ORDER BY seq";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        let detail: String = row.get(5)?;
        let detail = serde_json::from_str(&detail).unwrap();
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, detail))
    });
    in_one_form(rows.unwrap().map(Result::unwrap).collect())
}

pub(crate) fn of_redis(server: &RedisServer) -> Vec<Row> {
    let mut client = redis::Client::open(server.url()).unwrap();
    let range: Vec<(String, BTreeMap<String, String>)> = redis::cmd("XRANGE")
        .arg("pg:{default}:journal")
        .arg("-")
        .arg("+")
        .query(&mut client)
        .unwrap();
    for (number, (id, _)) in (1..).zip(&range) {
        assert_eq!(*id, format!("{number}-0"), "a row's id is its number");
    }
    let money = ["grant", "adjust", "call", "refund"];
    let rows = range.into_iter().map(|(_, fields)| fields);
    let rows = rows.filter(|fields| money.contains(&&*fields["kind"])).map(|fields| {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        (
            field("at").parse().unwrap(),
            field("kind"),
            field("call"),
            field("account"),
            field("amount").parse().unwrap(),
            serde_json::from_str(&field("detail")).unwrap(),
        )
    });
    in_one_form(rows.collect())
}

/// One row a call, where it ended; calls that have not ended are left out.
fn in_one_form(rows: Vec<Row>) -> Vec<Row> {
    let mut holds: BTreeMap<String, Value> = BTreeMap::new();
    let mut whole = Vec::new();
    for (at, kind, call, account, amount, mut detail) in rows {
        match kind.as_str() {
            "hold" => {
                holds.insert(call, detail);
                continue;
            }
            "grant" | "adjust" | "refund" | "call" => {}
            end => {
                let hold = holds.remove(&call).expect("an end has a hold");
                for member in ["held", "until", "postings", "accounts"] {
                    if let Some(value) = hold.get(member) {
                        detail[member] = value.clone();
                    }
                }
                detail["end"] = end.into();
            }
        }
        let is_call = !matches!(kind.as_str(), "grant" | "adjust" | "refund");
        let kind = if is_call { "call".to_owned() } else { kind };
        if is_call {
            let amounts: Vec<Value> = detail["postings"]
                .as_array()
                .map_or(Vec::new(), |all| all.iter().map(|posting| posting[1].clone()).collect());
            if detail.get("kept").is_none_or(|kept| *kept == Value::from(amounts.clone())) {
                detail["kept"] = amounts.into();
            }
            // A hold that was gone on with has a later end than its first row says.
            detail["until"] = Value::Null;
        }
        whole.push((at, kind, call, account, amount, detail));
    }
    // Calls that end at the same moment end in either order.
    whole.sort_by(|one, other| (one.0, &one.2).cmp(&(other.0, &other.2)));
    whole
}
