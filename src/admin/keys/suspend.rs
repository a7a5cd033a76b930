//! `POST /keys/suspend` and `POST /keys/resume`: closes a key for a while.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::key::Key;

#[derive(Serialize)]
struct Done {
    message: &'static str,
}

/// Its calls are refused with `api_key_suspended`.
pub(in crate::admin) async fn suspend(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    set(&admin, &call, true, ("key.suspended", "Key suspended")).await
}

/// Opens it again.
pub(in crate::admin) async fn resume(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    set(&admin, &call, false, ("key.resumed", "Key resumed")).await
}

async fn set(
    admin: &Admin,
    call: &Call,
    suspended: bool,
    (kind, message): (&'static str, &'static str),
) -> Result<Answer, Problem> {
    let key = fields::key_required(&call.members()?)?;
    let apply = |key: &mut Key| {
        key.suspended = suspended;
        Ok(())
    };
    let event = |key: &Key| call.key_event(key, kind, message);
    admin.change(call, &key, Fit::NotRevoked, event, apply).await?;
    Answer::ok(&Done { message })
}
