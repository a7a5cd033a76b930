//! `paygate refund`. It can be repeated: a call is given back once.

use super::client::{self, Ask, encoded};
use super::members::{given, object};
use super::table::Shown;
use crate::config::RefundFlags;

pub(super) fn run(flags: &RefundFlags) -> Result<(), String> {
    let body = object([given("reason", flags.reason.as_deref())]);
    let ask = Ask::post(format!("/calls/{}/refund", encoded(&flags.call)), Some(body));
    client::show(&flags.reach, &ask, &Shown::Members)
}
