//! `POST /keys/revoke`: ends a key and every credential that opens it.

use std::sync::Arc;

use serde::Serialize;

use super::answer::{Answer, Problem};
use super::body::Members;
use super::subject::Fit;
use super::{Admin, Call, fields};

#[derive(Serialize)]
struct Revoked {
    message: &'static str,
}

pub(super) async fn revoke(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let key = fields::key_required(&Members::of_body(&call.body, &["key"])?)?;
    let end = |key: &mut crate::model::key::Key| {
        key.active = false;
        Ok(())
    };
    admin.change(&key, Fit::Exists, call.now, end).await?;
    Answer::ok(&Revoked { message: "Key revoked" })
}
