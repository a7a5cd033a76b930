//! Names of things: one type per kind, so that a call id cannot be passed for a key id. Making one
//! takes random bytes as an argument; the shell that has a source of them calls these.

use std::fmt;

use super::text::Text;

/// Id of a key: `key_` and 16 hex digits. It never changes, whatever happens to the credential.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Text);

impl KeyId {
    /// Makes an id from random bytes.
    pub fn from_random(bytes: [u8; 8]) -> Self {
        Self(format!("key_{}", hex::encode(bytes)).as_str().into())
    }

    /// Reads an id; `None` unless it has exactly the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("key_")?;
        is_lower_hex(digits, 16).then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The account of this key in the ledger, which has the same name.
    pub fn account(&self) -> AccountId {
        AccountId(self.0.clone())
    }
}

/// Whose counters: a key's, later also a team's or a namespace's. Opaque to the ledger.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Text);

impl AccountId {
    /// An account by name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Id of a call and of its hold: `call_` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId([u8; 16]);

impl CallId {
    /// Makes an id from random bytes.
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads an id; `None` unless it has exactly the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("call_").filter(|digits| is_lower_hex(digits, 32))?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The bytes, as the database stores them.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id as text.
    pub fn text(&self) -> impl AsRef<[u8]> + use<> {
        const HEAD: &[u8; 5] = b"call_";
        let mut text = [0; 37];
        if let Some((head, digits)) = text.split_first_chunk_mut() {
            *head = *HEAD;
            // It has room for just so many digits.
            hex::encode_to_slice(self.0, digits).unwrap_or_default();
        }
        text
    }
}

/// Id of a session: `mcp_sess_` and 32 hex digits. It names a session and opens nothing: whoever uses
/// it shows the session's key too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Makes an id from random bytes.
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads an id; `None` unless it has exactly the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SESSION_PREFIX).filter(|digits| is_lower_hex(digits, 32))?;
        let mut bytes = [0_u8; 16];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

const SESSION_PREFIX: &str = "mcp_sess_";

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SESSION_PREFIX)?;
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0_u8; 32];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str("call_")?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! shown_as_text {
    ($($name:ty),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.as_str())
            }
        }
    )+};
}
shown_as_text!(KeyId, AccountId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form() {
        let key = KeyId::from_random([0xab; 8]);
        assert_eq!(key.as_str(), "key_abababababababab");
        assert_eq!(KeyId::parse(key.as_str()), Some(key));
        for wrong in
            ["key_", "key_ABABABABABABABAB", "pg_abababababababab", "key_abababababababab0"]
        {
            assert_eq!(KeyId::parse(wrong), None, "{wrong}");
        }
        let call = CallId::from_random([1; 16]);
        assert_eq!(call.to_string(), format!("call_{}", "01".repeat(16)));
        assert_eq!(CallId::parse(&call.to_string()), Some(call));
        assert_eq!(CallId::parse("call_01"), None);
        let session = SessionId::from_random([0xc1; 16]);
        assert_eq!(session.to_string(), format!("mcp_sess_{}", "c1".repeat(16)));
        assert_eq!(SessionId::parse(&session.to_string()), Some(session));
        for wrong in ["", "mcp_sess_", &"c1".repeat(16), &session.to_string().to_uppercase()] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }
}
