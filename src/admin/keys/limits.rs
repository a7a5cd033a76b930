//! `POST /limits`: the most that a key may ever spend.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::Key;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set {
    spending_limit: i64,
    message: String,
}

pub(in crate::admin) async fn set(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, spending_limit) = {
        let members = call.members()?;
        let key = fields::key_required(&members)?;
        let limit = fields::limit("spendingLimit", &members.get("spendingLimit")?)?;
        // Its absence must not remove a limit that somebody has set.
        let limit = limit.ok_or_else(|| Problem::bad("Missing spendingLimit (0 removes it)"));
        (key, limit?)
    };
    let apply = |key: &mut Key| {
        key.spending_limit = spending_limit;
        Ok(())
    };
    let set = || format!("Spending limit set to {spending_limit}");
    let event = |key: &Key| {
        let removed = || "Spending limit removed".to_owned();
        let message = if spending_limit == 0 { removed() } else { set() };
        call.key_event(key, "key.limit_updated", message).with("spendingLimit", spending_limit)
    };
    admin.change(&call, &key, Fit::InForce, event, apply).await?;
    let message = match spending_limit {
        0 => "Spending limit removed (unlimited)".to_owned(),
        _ => set(),
    };
    Answer::ok(&Set { spending_limit, message })
}
