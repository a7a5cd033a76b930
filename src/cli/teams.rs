//! `paygate teams`.

use serde_json::{Map, Value, json};

use super::client::{self, Ask};
use super::table::Shown;
use crate::config::{Operator, TeamsWords};

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("NAMESPACE", "namespace"),
    ("BUDGET", "budget"),
    ("SPENT", "totalSpent"),
    ("CALLS", "totalCalls"),
    ("KEYS", "memberIds"),
];

pub(super) fn run(operator: &Operator<TeamsWords>) -> Result<(), String> {
    let member = |path: &str, team: &str, key: &str| {
        Ask::post(path, Some(json!({ "teamId": team, "key": key })))
    };
    let (ask, shown) = match &operator.words {
        TeamsWords::List(of) => (
            Ask::get("/teams").query(&[("namespace", of.namespace.as_deref())]),
            Shown::Table("/teams", COLUMNS),
        ),
        TeamsWords::Create { name, budget, namespace } => {
            let mut body = Map::new();
            body.insert("name".to_owned(), json!(name));
            body.extend(budget.map(|budget| ("budget".to_owned(), json!(budget))));
            body.extend(namespace.as_ref().map(|name| ("namespace".to_owned(), json!(name))));
            (Ask::post("/teams", Some(Value::Object(body))), Shown::MembersOf("/team"))
        }
        TeamsWords::Delete { team } => {
            (Ask::post("/teams/delete", Some(json!({ "teamId": team }))), Shown::Members)
        }
        TeamsWords::Assign { team, key } => (member("/teams/assign", team, key), Shown::Members),
        TeamsWords::Remove { team, key } => (member("/teams/remove", team, key), Shown::Members),
    };
    client::show(&operator.reach, &ask, &shown)
}
