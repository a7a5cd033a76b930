//! Secrets: values that cannot be printed by accident, compared in constant time, and kept at rest
//! as digests only.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// SHA-256 of a credential: what is stored and looked up in its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of several texts in their order. Their lengths go into it, so that no two lists
    /// of texts make the same.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part.len().to_string());
            hasher.update(":");
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// From stored bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Equality in constant time.
    pub fn same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// What messages are sealed with that a client keeps and brings back. It is made once per database
/// and never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// A new one.
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From stored bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for the database and for sealing.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

/// A raw API key: lives from the request that carries or makes it to the end of that request.
#[derive(Debug)]
pub struct RawKey(SecretString);

impl RawKey {
    /// A new key: `pg_` and 48 hex digits.
    pub fn from_random(bytes: [u8; 24]) -> Self {
        Self(format!("pg_{}", hex::encode(bytes)).into())
    }

    /// A key as somebody else made it. `None` if it is empty or could be mistaken for a key id.
    pub fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.starts_with("key_")).then(|| Self(text.into()))
    }

    /// What is stored in its place.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.expose_secret().as_bytes())
    }

    /// The first 10 and the last 4 characters, for display; `***` in both if it is under 20.
    pub fn ends(&self) -> KeyEnds {
        let text = self.0.expose_secret();
        if text.chars().count() < 20 {
            return KeyEnds { first: "***".into(), last: "***".into() };
        }
        let first = text.chars().take(10).collect();
        let last: Vec<char> = text.chars().rev().take(4).collect();
        KeyEnds { first, last: last.into_iter().rev().collect() }
    }

    /// The key itself, for the one answer that may show it.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

/// What may be shown of a raw key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEnds {
    /// First 10 characters, or `***`.
    pub first: String,
    /// Last 4 characters, or `***`.
    pub last: String,
}

impl KeyEnds {
    /// The first characters and `...`, as `keyPrefix` shows them.
    pub fn prefix(&self) -> String {
        if self.first == "***" { self.first.clone() } else { format!("{}...", self.first) }
    }

    /// The first 7 and the last 4 characters, as events show them.
    pub fn masked(&self) -> String {
        if self.first == "***" {
            return self.first.clone();
        }
        let first: String = self.first.chars().take(7).collect();
        format!("{first}...{}", self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_parts_have_digests_of_their_own() {
        let of = |parts: &[&str]| Digest::of_parts(parts.iter().map(|part| part.as_bytes()));
        let lists: [&[&str]; 6] = [&[], &[""], &["ab"], &["a", "b"], &["b", "a"], &["1:a"]];
        for (index, list) in lists.iter().enumerate() {
            for other in lists.iter().skip(index + 1) {
                assert_ne!(of(list), of(other), "{list:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_raw_key_shows_its_ends_only() {
        let raw = RawKey::from_random([0x5a; 24]);
        assert_eq!(raw.reveal().len(), 51);
        assert!(!format!("{raw:?}").contains("5a5a"));
        assert_eq!(raw.ends().prefix(), "pg_5a5a5a5...");
        assert_eq!(raw.ends().masked(), "pg_5a5a...5a5a");
        let short = RawKey::parse("short-key").unwrap();
        assert_eq!(
            (short.ends().prefix().as_str(), short.ends().masked().as_str()),
            ("***", "***")
        );
    }

    #[test]
    fn a_raw_key_cannot_look_like_an_id() {
        assert!(RawKey::parse("key_0123").is_none());
        assert!(RawKey::parse("").is_none());
        let raw = RawKey::parse("legacy-imported-key-0001").unwrap();
        assert!(raw.digest().same(&Digest::of(b"legacy-imported-key-0001")));
    }
}
