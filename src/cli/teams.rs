//! `paygate teams`.

use serde_json::json;

use super::client::{self, Ask};
use super::members::{self, given, object};
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

const MEMBERS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("CREDITS", "credits"),
    ("SPENT", "totalSpent"),
    ("CALLS", "totalCalls"),
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
        TeamsWords::Create { name, budget, quota, namespace } => {
            let own = [given("name", Some(name.as_str())), given("budget", *budget)];
            let more = [members::quota(quota), given("namespace", namespace.as_deref())];
            let body = object(own.into_iter().chain(more));
            (Ask::post("/teams", Some(body)), Shown::MembersOf("/team"))
        }
        TeamsWords::Set { team, name, budget, quota } => {
            let own = [given("teamId", Some(team.as_str())), given("name", name.as_deref())];
            let more = [given("budget", *budget), members::quota(quota)];
            let body = object(own.into_iter().chain(more));
            (Ask::post("/teams/update", Some(body)), Shown::MembersOf("/team"))
        }
        TeamsWords::Usage { team } => {
            let ask = Ask::get("/teams/usage").query(&[("teamId", Some(team))]);
            return client::show_as(&operator.reach, &ask, |answer| {
                let members = Shown::Table("/members", MEMBERS).text(answer);
                format!("{}\n{members}", Shown::Members.text(answer))
            });
        }
        TeamsWords::Delete { team } => {
            (Ask::post("/teams/delete", Some(json!({ "teamId": team }))), Shown::Members)
        }
        TeamsWords::Assign { team, key } => (member("/teams/assign", team, key), Shown::Members),
        TeamsWords::Remove { team, key } => (member("/teams/remove", team, key), Shown::Members),
    };
    client::show(&operator.reach, &ask, &shown)
}
