//! `POST /limits`: the most that a key may ever spend.

use std::sync::Arc;

use serde::Serialize;

use super::answer::{Answer, Problem};
use super::body::Members;
use super::subject::Fit;
use super::{Admin, Call, fields};
use crate::model::key::Key;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set {
    spending_limit: i64,
    message: String,
}

pub(super) async fn set(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, spending_limit) = {
        let members = Members::of_body(&call.body, &["key", "spendingLimit"])?;
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
    admin.change(&key, Fit::InForce, call.now, apply).await?;
    let message = match spending_limit {
        0 => "Spending limit removed (unlimited)".to_owned(),
        limit => format!("Spending limit set to {limit}"),
    };
    Answer::ok(&Set { spending_limit, message })
}
