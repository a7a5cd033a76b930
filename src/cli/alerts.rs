//! `paygate alerts`.

use serde_json::json;

use super::client::{self, Ask};
use super::table::{Columns, Shown};
use crate::config::{AlertsWords, Operator};

const ALERTS: Columns = &[
    ("TIME", "timestamp"),
    ("TYPE", "type"),
    ("KEY", "keyId"),
    ("NAME", "keyName"),
    ("NAMESPACE", "namespace"),
    ("THRESHOLD", "threshold"),
    ("VALUE", "currentValue"),
    ("MESSAGE", "message"),
];
const RULES: Columns =
    &[("RULE", "type"), ("THRESHOLD", "threshold"), ("COOLDOWN S", "cooldownSeconds")];

pub(super) fn run(operator: &Operator<AlertsWords>) -> Result<(), String> {
    match &operator.words {
        AlertsWords::List(of) => {
            let ask = Ask::get("/alerts").query(&[("namespace", of.namespace.as_deref())]);
            client::show_as(&operator.reach, &ask, |answer| {
                let alerts = Shown::Table("/alerts", ALERTS).text(answer);
                format!("{alerts}\n{}", Shown::Table("/rules", RULES).text(answer))
            })
        }
        AlertsWords::Set { rules, none: _ } => {
            let ask = Ask::post("/alerts", Some(json!({ "rules": rules })));
            client::show(&operator.reach, &ask, &Shown::Table("/rules", RULES))
        }
    }
}
