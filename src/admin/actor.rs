//! Who makes a request, and so what it may see: everything, or one tenant only.

use super::answer::Problem;
use crate::model::key::Key;
use crate::model::namespace;
use crate::model::token::{AdminToken, Role, TokenId};

/// Whoever makes a request.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    /// What the audit log says.
    pub(super) name: String,
    /// Its token; none for the configured admin key.
    pub(super) token: Option<TokenId>,
    pub(super) role: Role,
    /// The only tenant that it sees.
    pub(super) namespace: Option<String>,
}

impl Actor {
    /// Whoever has the configured admin key.
    pub(super) fn operator() -> Self {
        Self { name: "admin".to_owned(), token: None, role: Role::Owner, namespace: None }
    }

    /// Somebody without any right, who may still show the credential of a key.
    pub(super) fn customer() -> Self {
        Self { name: "customer".to_owned(), token: None, role: Role::Viewer, namespace: None }
    }

    pub(super) fn of(token: &AdminToken) -> Self {
        Self {
            name: token.name.clone(),
            token: Some(token.id.clone()),
            role: token.role,
            namespace: token.namespace.clone(),
        }
    }

    /// Does it see what belongs to this tenant?
    pub(super) fn sees(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Does it see this key?
    pub(super) fn sees_key(&self, key: &Key) -> bool {
        self.sees(&key.namespace)
    }

    /// The tenant that a list is about: the one asked for, or the only one seen; `None` for all.
    pub(super) fn scope(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        match (asked, &self.namespace) {
            (Some(asked), Some(own)) if asked != *own => Err(foreign(own)),
            (Some(asked), _) => Ok(Some(asked)),
            (None, own) => Ok(own.clone()),
        }
    }

    /// The tenant that something new belongs to.
    pub(super) fn home(&self, asked: Option<String>) -> Result<String, Problem> {
        Ok(self.scope(asked)?.unwrap_or_else(|| namespace::DEFAULT.to_owned()))
    }
}

fn foreign(own: &str) -> Problem {
    Problem::forbidden(&format!("This token is bound to the namespace \"{own}\""))
}
