//! Admin tokens: credentials of operators beside the configured admin key, each with a role and
//! perhaps a tenant that it is bound to.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::ids::is_lower_hex;
use super::secret::Digest;
use super::time::Time;

/// What an operator may do. Each role may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Viewer,
    /// Change keys, credits and settings.
    Admin,
    /// Let others in.
    Owner,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Admin, Self::Owner];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// Id of an admin token: `tok_` and 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(String);

impl TokenId {
    /// Makes an id from random bytes.
    pub fn from_random(bytes: [u8; 8]) -> Self {
        Self(format!("tok_{}", hex::encode(bytes)))
    }

    /// Reads an id; `None` unless it has exactly the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("tok_").filter(|digits| is_lower_hex(digits, 16));
        digits.map(|_| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An admin token's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// Never changes.
    pub id: TokenId,
    /// Digest of the raw token.
    pub digest: Digest,
    /// What the audit log calls whoever uses it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The only tenant that it sees, if it is bound to one.
    pub namespace: Option<String>,
    /// When it was made.
    pub created_at: Time,
    /// Who made it.
    pub created_by: String,
}

/// A raw admin token: exists in the answer that makes it and in requests that carry it.
#[derive(Debug)]
pub struct RawToken(SecretString);

impl RawToken {
    /// A new token: `pga_` and 48 hex digits.
    pub fn from_random(bytes: [u8; 24]) -> Self {
        Self(format!("pga_{}", hex::encode(bytes)).into())
    }

    /// What is stored in its place.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.expose_secret().as_bytes())
    }

    /// The token itself, for the one answer that may show it.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_raw_tokens() {
        assert!(Role::Viewer < Role::Admin && Role::Admin < Role::Owner);
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.word()), Some(role));
        }
        assert_eq!(Role::from_word("Owner"), None);
        let raw = RawToken::from_random([0x5a; 24]);
        assert_eq!(raw.reveal(), format!("pga_{}", "5a".repeat(24)));
        assert!(!format!("{raw:?}").contains("5a5a"));
    }
}
