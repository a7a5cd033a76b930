//! `POST /keys/revoke`: ends a key and every credential that opens it.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::Key;

#[derive(Serialize)]
struct Revoked {
    message: &'static str,
}

pub(in crate::admin) async fn revoke(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let key = fields::key_required(&call.members()?)?;
    let end = |key: &mut Key| {
        key.active = false;
        Ok(())
    };
    let event = |key: &Key| call.key_event(key, "key.revoked", "Key revoked");
    admin.change(&call, &key, Fit::Exists, event, end).await?;
    Answer::ok(&Revoked { message: "Key revoked" })
}
