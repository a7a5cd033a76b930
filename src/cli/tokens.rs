//! `paygate tokens`.

use serde_json::json;

use super::client::{self, Ask, encoded};
use super::members::{given, object};
use super::table::Shown;
use crate::config::{Operator, TokensWords};

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ROLE", "role"),
    ("NAMESPACE", "namespace"),
    ("CREATED", "createdAt"),
    ("BY", "createdBy"),
];

pub(super) fn run(operator: &Operator<TokensWords>) -> Result<(), String> {
    let (ask, shown) = match &operator.words {
        TokensWords::Create { name, role, namespace } => {
            let members = [
                ("name", Some(json!(name))),
                ("role", Some(json!(role))),
                given("namespace", namespace.as_deref()),
            ];
            (Ask::post("/admin/tokens", Some(object(members))), Shown::Members)
        }
        TokensWords::List => (Ask::get("/admin/tokens"), Shown::Table("/tokens", COLUMNS)),
        TokensWords::Revoke { id } => {
            (Ask::delete(format!("/admin/tokens/{}", encoded(id))), Shown::Members)
        }
    };
    client::show(&operator.reach, &ask, &shown)
}
