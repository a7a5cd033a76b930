//! Admin tokens: `POST` and `GET /admin/tokens`, `DELETE /admin/tokens/{id}`. An owner lets others in,
//! each with a role; one who is bound to a tenant only into that tenant.

use std::sync::Arc;

use serde::Serialize;

use crate::admin::entropy::random;
use crate::admin::keys::view::Shown;
use crate::admin::wire::answer::{Answer, Problem, to_json};
use crate::admin::wire::body::{Json, Members};
use crate::admin::wire::fields;
use crate::admin::{Admin, Call};
use crate::model::token::{AdminToken, RawToken, Role, TokenId};
use crate::store::StoreError;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 100;

const SAVE_IT: &str = "Save this token — it cannot be retrieved later.";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenView<'a> {
    id: &'a str,
    name: &'a str,
    role: Role,
    namespace: Option<&'a str>,
    created_at: Shown,
    created_by: &'a str,
}

#[derive(Serialize)]
struct Created<'a> {
    token: &'a str,
    #[serde(flatten)]
    view: TokenView<'a>,
    message: &'static str,
}

#[derive(Serialize)]
struct All<'a> {
    tokens: Vec<TokenView<'a>>,
    count: usize,
}

#[derive(Serialize)]
struct Revoked<'a> {
    message: &'static str,
    id: &'a str,
}

pub(in crate::admin) async fn create(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let raw = RawToken::from_random(random()?);
    let token = {
        let members = call.members()?;
        AdminToken {
            id: TokenId::from_random(random()?),
            digest: raw.digest(),
            name: name(&members)?,
            role: role(&members)?,
            namespace: call.actor.scope(fields::namespace(&members)?)?,
            created_at: call.now,
            created_by: call.actor.name.clone(),
        }
    };
    let message = format!("Admin token created: {}", token.name);
    let mut event = call.event("admin.token_created", message).with("role", token.role.word());
    event.namespace.clone_from(&token.namespace);
    event.target = Some(token.id.to_string());
    let answer = Created { token: raw.reveal(), view: view(&token), message: SAVE_IT };
    let answer = to_json(&answer)?;
    admin.store.create_token(token, event.into()).await?;
    Ok(Answer::created(answer))
}

pub(in crate::admin) async fn list(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let all = admin.store.tokens();
    let tokens: Vec<_> =
        all.iter().filter(|token| is_seen(&call, token)).map(|token| view(token)).collect();
    let count = tokens.len();
    Answer::pretty(&All { tokens, count })
}

pub(in crate::admin) async fn revoke(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    let unknown = || Problem::not_found("Admin token not found");
    let all = admin.store.tokens();
    let found = all.iter().find(|token| token.id.as_str() == call.id);
    let token = found.filter(|token| is_seen(&call, token)).ok_or_else(unknown)?;
    let message = format!("Admin token revoked: {}", token.name);
    let mut event = call.event("admin.token_revoked", message);
    event.namespace.clone_from(&token.namespace);
    event.target = Some(token.id.to_string());
    match admin.store.delete_token(&token.id, event.into()).await {
        Ok(()) => {}
        Err(StoreError::NotFound) => return Err(unknown()),
        Err(other) => return Err(other.into()),
    }
    Answer::ok(&Revoked { message: "Admin token revoked", id: token.id.as_str() })
}

/// One who is bound to a tenant sees the tokens of that tenant only.
fn is_seen(call: &Call, token: &AdminToken) -> bool {
    call.actor.namespace.is_none() || call.actor.namespace == token.namespace
}

fn view(token: &AdminToken) -> TokenView<'_> {
    TokenView {
        id: token.id.as_str(),
        name: &token.name,
        role: token.role,
        namespace: token.namespace.as_deref(),
        created_at: Shown(token.created_at),
        created_by: &token.created_by,
    }
}

fn name(members: &Members<'_>) -> Result<String, Problem> {
    let name = match members.get("name")? {
        Json::Text(text) => text.trim().to_owned(),
        Json::Null => String::new(),
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            return Err(Problem::bad("name must be a string"));
        }
    };
    if name.is_empty() {
        return Err(Problem::bad("Missing name: the audit log says who it was by it"));
    }
    if name.eq_ignore_ascii_case("admin") {
        return Err(Problem::bad("name: \"admin\" is the configured admin key"));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(Problem::bad(format!("name is longer than {NAME_CHARS_MAX} characters")));
    }
    Ok(name)
}

fn role(members: &Members<'_>) -> Result<Role, Problem> {
    let wrong = || Problem::bad("role must be viewer, admin or owner");
    match members.get("role")? {
        Json::Text(text) => Role::from_word(&text).ok_or_else(wrong),
        Json::Null => Err(Problem::bad("Missing role: viewer, admin or owner")),
        Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => Err(wrong()),
    }
}
