//! `POST /keys/expiry`: when a key ends.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::keys::view::Shown;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::Key;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set {
    expires_at: Option<Shown>,
    message: String,
}

pub(in crate::admin) async fn set(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let (key, end) = {
        let members = call.members()?;
        (fields::key_required(&members)?, fields::expiry(&members, call.now)?)
    };
    let apply = |key: &mut Key| {
        key.expires_at = end;
        Ok(())
    };
    let event = |key: &Key| {
        let message = match key.expires_at {
            Some(end) => format!("Key expiry set to {end}"),
            None => "Key expiry removed".to_owned(),
        };
        let at = key.expires_at.map(|end| end.to_string());
        call.key_event(key, "key.expiry_updated", message).with("expiresAt", at)
    };
    admin.change(&call, &key, Fit::Exists, event, apply).await?;
    let message = match end {
        Some(end) => format!("Key expires at {end}"),
        None => "Expiry removed (key never expires)".to_owned(),
    };
    Answer::ok(&Set { expires_at: end.map(Shown), message })
}
