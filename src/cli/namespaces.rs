//! `paygate namespaces`.

use serde_json::{Value, json};

use super::client::{self, Ask};
use super::members::{given, list, object};
use super::table::Shown;
use crate::config::{NamespacesWords, Operator};

const COLUMNS: &[(&str, &str)] = &[
    ("NAMESPACE", "namespace"),
    ("KEYS", "keyCount"),
    ("ACTIVE", "activeKeys"),
    ("CREDITS", "totalCredits"),
    ("SPENT", "totalSpent"),
    ("SUSPENDED", "suspended"),
];

pub(super) fn run(operator: &Operator<NamespacesWords>) -> Result<(), String> {
    let suspend = |name: &str, is_suspended: bool| {
        let body = json!({ "namespace": name, "suspended": is_suspended });
        (Ask::post("/namespaces", Some(body)), Shown::Members)
    };
    let (ask, shown) = match &operator.words {
        NamespacesWords::List => (Ask::get("/namespaces"), Shown::Table("/namespaces", COLUMNS)),
        NamespacesWords::Tools { name, allow, deny, clear } => {
            let cleared = ["allowedTools", "deniedTools"].map(|list| (list, Some(Value::Null)));
            let cleared = cleared.into_iter().filter(|_| *clear);
            let set = [list("allowedTools", allow), list("deniedTools", deny)];
            let of = given("namespace", Some(name.as_str()));
            let body = object(std::iter::once(of).chain(cleared).chain(set));
            (Ask::post("/namespaces", Some(body)), Shown::Members)
        }
        NamespacesWords::Suspend { name } => suspend(name, true),
        NamespacesWords::Resume { name } => suspend(name, false),
    };
    client::show(&operator.reach, &ask, &shown)
}
