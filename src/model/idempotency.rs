//! The name that a client gives to a request which it may have to send again.

/// An idempotency key: the same one names the same request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// What one must be, for messages.
    pub const RULE: &str = "must be 1 to 255 printable ASCII characters";

    const BYTES_MAX: usize = 255;

    /// Reads one; `None` unless it follows the rule.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let is_printable = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        if bytes.is_empty() || bytes.len() > Self::BYTES_MAX || !is_printable {
            return None;
        }
        std::str::from_utf8(bytes).ok().map(|text| Self(text.into()))
    }

    /// The key as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_printable() {
        for wrong in [&b""[..], &[b'a'; 256], "ü".as_bytes(), b"a\nb", b"a\x7f"] {
            assert_eq!(IdempotencyKey::parse(wrong), None, "{wrong:?}");
        }
        for right in [&b"a"[..], &[b'~'; 255], b"order 17"] {
            assert_eq!(IdempotencyKey::parse(right).unwrap().as_str().as_bytes(), right);
        }
    }
}
