//! `POST /credits/adjust`: corrects a balance, up or down, with the reason in the journal. The only way
//! to take credits away; it may leave less than nothing.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::body::Members;
use crate::admin::wire::{fields, once};
use crate::admin::{Admin, Call};
use crate::ledger::CreditKind;
use crate::model::bounds::COUNTER_MAX;
use crate::store::{Credited, Deed};

#[derive(Serialize)]
struct Adjusted {
    credits: i64,
    message: String,
}

pub(in crate::admin) async fn adjust(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, amount, reason, once) = {
        let members = call.members()?;
        let once = once::read(&call, "POST /credits/adjust", &members)?;
        let key = fields::key_required(&members)?;
        let reason = fields::reason(&members)?.ok_or_else(|| Problem::bad("Missing reason"))?;
        (key, amount(&members)?, reason, once)
    };
    // Before the key is looked up, as with a top-up.
    if let Some(once) = &once
        && let Some(credits) = admin.store.repeated(once, call.now).await?
    {
        return Ok(answer(credits, amount)?.replayed());
    }
    let key = admin.find(&call, &key, Fit::Exists).await?;
    let event = call
        .key_event(&key, "credits.adjusted", format!("Adjusted by {amount} credits"))
        .with("creditsAdjusted", amount)
        .with("reason", reason.as_str());
    let deed = Deed { once, reason: Some(reason), audit: Some(event) };
    match admin.store.credit(&key.id, amount, CreditKind::Adjustment, deed, call.now).await? {
        Credited::Made(credits) => answer(credits, amount),
        Credited::Repeated(credits) => Ok(answer(credits, amount)?.replayed()),
    }
}

fn answer(credits: i64, amount: i64) -> Result<Answer, Problem> {
    Answer::ok(&Adjusted { credits, message: format!("Adjusted by {amount} credits") })
}

fn amount(members: &Members<'_>) -> Result<i64, Problem> {
    match fields::whole_number(&members.get("credits")?) {
        None => Err(Problem::bad("Missing credits")),
        Some(Ok(amount)) if amount != 0 => Ok(amount),
        Some(_) => Err(Problem::bad(format!(
            "credits must be a whole number other than 0, from -{COUNTER_MAX} to {COUNTER_MAX}"
        ))),
    }
}
