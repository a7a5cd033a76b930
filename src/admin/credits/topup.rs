//! `POST /topup`: adds credits.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::body::Json;
use crate::admin::wire::number::NotWhole;
use crate::admin::wire::{fields, once};
use crate::admin::{Admin, Call};
use crate::ledger::CreditKind;
use crate::model::bounds::COUNTER_MAX;
use crate::store::{Credited, Deed};

#[derive(Serialize)]
struct ToppedUp {
    credits: i64,
    message: String,
}

pub(in crate::admin) async fn add(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, amount, once) = {
        let members = call.members()?;
        let once = once::read(&call, "POST /topup", &members)?;
        let missing = || Problem::bad("Missing key or credits");
        let key = fields::key(&members)?.ok_or_else(missing)?;
        (key, amount(&members.get("credits")?)?.ok_or_else(missing)?, once)
    };
    // Before the key is looked up: a repetition gets the same answer even if the key was rotated,
    // revoked or has expired since.
    if let Some(once) = &once
        && let Some(credits) = admin.store.repeated(once, call.now).await?
    {
        return Ok(answer(credits, amount)?.replayed());
    }
    let key = admin.find(&call, &key, Fit::InForce).await?;
    let event = call.key_event(&key, "key.topup", format!("Added {amount} credits"));
    let deed = Deed { once, audit: Some(event.with("creditsAdded", amount)), reason: None };
    match admin.store.credit(&key.id, amount, CreditKind::Grant, deed, call.now).await? {
        Credited::Made(credits) => answer(credits, amount),
        Credited::Repeated(credits) => Ok(answer(credits, amount)?.replayed()),
    }
}

fn answer(credits: i64, amount: i64) -> Result<Answer, Problem> {
    Answer::ok(&ToppedUp { credits, message: format!("Added {amount} credits") })
}

/// `None` where it counts as missing.
fn amount(value: &Json<'_>) -> Result<Option<i64>, Problem> {
    if matches!(value, Json::Bool(false)) || matches!(value, Json::Text(text) if text.is_empty()) {
        return Ok(None);
    }
    match fields::whole_number(value) {
        None => Ok(None),
        // A number 0 counts as missing, a string "0" does not.
        Some(Ok(0)) if matches!(value, Json::Number(_)) => Ok(None),
        Some(Ok(amount)) if amount > 0 => Ok(Some(amount)),
        Some(Err(NotWhole::TooLarge)) => Err(Problem::bad(format!(
            "Credits must be a positive integer of at most {COUNTER_MAX}"
        ))),
        Some(Ok(_) | Err(NotWhole::NotANumber | NotWhole::Fraction)) => {
            Err(Problem::bad("Credits must be a positive integer"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        let read = |json: &str| {
            let raw: Box<serde_json::value::RawValue> = serde_json::from_str(json).unwrap();
            amount(&Json::of(&raw, "credits").unwrap()).map_err(|problem| problem.message().len())
        };
        for missing in ["null", "false", "\"\"", "0", "0.0"] {
            assert_eq!(read(missing), Ok(None), "{missing}");
        }
        for (json, amount) in [("5", 5), ("\"5\"", 5), ("5.0", 5), ("1e3", 1000)] {
            assert_eq!(read(json), Ok(Some(amount)), "{json}");
        }
        for wrong in ["-1", "0.5", "1.5", "\"0\"", "true", "[]", "{}", "\"x\"", "1e400"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
