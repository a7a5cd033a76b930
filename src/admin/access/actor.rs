//! Who makes a request, and so what it may see: everything, or one tenant only.

use crate::admin::wire::answer::Problem;
use crate::model::key::Key;
use crate::model::namespace;
use crate::model::token::{AdminToken, Role, TokenId};

/// Whoever makes a request.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Actor {
    /// What the audit log says.
    pub(in crate::admin) name: String,
    /// Its token; none for the configured admin key.
    pub(in crate::admin) token: Option<TokenId>,
    pub(in crate::admin) role: Role,
    /// The only tenant that it sees.
    pub(in crate::admin) namespace: Option<String>,
}

impl Actor {
    /// Whoever has the configured admin key.
    pub(in crate::admin) fn operator() -> Self {
        Self { name: "admin".to_owned(), token: None, role: Role::Owner, namespace: None }
    }

    /// Somebody without any right, who may still show the credential of a key.
    pub(in crate::admin) fn customer() -> Self {
        Self { name: "customer".to_owned(), token: None, role: Role::Viewer, namespace: None }
    }

    pub(in crate::admin) fn of(token: &AdminToken) -> Self {
        Self {
            name: token.name.clone(),
            token: Some(token.id.clone()),
            role: token.role,
            namespace: token.namespace.clone(),
        }
    }

    /// Does it see what belongs to this tenant?
    pub(in crate::admin) fn sees(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Does it see this key?
    pub(in crate::admin) fn sees_key(&self, key: &Key) -> bool {
        self.sees(&key.namespace)
    }

    /// The tenant that a list is about: the one asked for, or the only one seen; `None` for all.
    pub(in crate::admin) fn scope(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        match (asked, &self.namespace) {
            (Some(asked), Some(own)) if asked != *own => Err(foreign(own)),
            (Some(asked), _) => Ok(Some(asked)),
            (None, own) => Ok(own.clone()),
        }
    }

    /// The tenant that something new belongs to.
    pub(in crate::admin) fn home(&self, asked: Option<String>) -> Result<String, Problem> {
        Ok(self.scope(asked)?.unwrap_or_else(|| namespace::DEFAULT.to_owned()))
    }
}

fn foreign(own: &str) -> Problem {
    Problem::forbidden(&format!("This token is bound to the namespace \"{own}\""))
}
