//! `POST /calls/{id}/refund`: gives back all that a call cost, once.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::fields::KeyRef;
use crate::admin::wire::{fields, once};
use crate::admin::{Admin, Call};
use crate::model::ids::CallId;
use crate::store::{CallState, Credited, Deed};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refunded {
    call_id: String,
    key: String,
    #[serde(rename = "refunded")]
    given_back: i64,
    credits: i64,
    message: String,
}

pub(in crate::admin) async fn refund(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (reason, once) = {
        let members = call.members()?;
        let endpoint = format!("POST /calls/{}/refund", call.id);
        (fields::reason(&members)?, once::read(&call, &endpoint, &members)?)
    };
    let unknown = || Problem::not_found("Call not found");
    let id = CallId::parse(&call.id).ok_or_else(unknown)?;
    let found = admin.store.find_call(id).await?.ok_or_else(unknown)?;
    let payer = KeyRef::Id(found.key.clone());
    let key = admin.find(&call, &payer, Fit::Exists).await.map_err(|_| unknown())?;
    match found.state {
        CallState::Open => return Err(Problem::conflict("The call has not ended yet")),
        CallState::Free => return Err(Problem::conflict("The call cost nothing")),
        CallState::Charged | CallState::Refunded => {}
    }
    let charged = found.charged;
    let tools: Vec<_> = found.charged_tools().map(str::to_owned).collect();
    let event = call
        .key_event(&key, "billing.refund", format!("Refunded {charged} credits"))
        .with("callId", id.to_string())
        .with("creditsRefunded", charged)
        .with("reason", reason.as_deref());
    let deed = Deed { once, reason, audit: Some(event) };
    let (credits, is_first) = match admin.store.refund(found, deed, call.now).await? {
        Credited::Made(credits) => {
            admin.options.live.refunded(&tools);
            (credits, true)
        }
        Credited::Repeated(credits) => (credits, false),
    };
    let answer = Answer::ok(&Refunded {
        call_id: id.to_string(),
        key: key.id.to_string(),
        given_back: charged,
        credits,
        message: format!("Refunded {charged} credits"),
    })?;
    Ok(if is_first { answer } else { answer.replayed() })
}
