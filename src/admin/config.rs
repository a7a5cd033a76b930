//! `GET /config`: what holds, defaults included, without secrets.

use std::sync::Arc;

use super::answer::{Answer, Problem};
use super::{Admin, Call};

pub(super) async fn show(admin: Arc<Admin>, _call: Call) -> Result<Answer, Problem> {
    Answer::pretty(&(admin.options.config)())
}
