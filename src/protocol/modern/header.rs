//! What headers repeat of a body, as values. The front reads them; nothing here knows HTTP.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The headers that repeat something of the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `MCP-Protocol-Version`
    pub version: Mirror,
    /// `Mcp-Method`
    pub method: Mirror,
    /// `Mcp-Name`
    pub name: Mirror,
    /// `Mcp-Param-*`: the part behind the prefix in lower case, and the value.
    pub params: Vec<(String, Mirror)>,
    /// The transport has no headers: the body alone counts.
    pub are_none: bool,
}

impl Headers {
    /// What a transport without headers says.
    pub fn none() -> Self {
        Self { are_none: true, ..Self::default() }
    }
}

/// One such header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mirror {
    /// It was not sent.
    #[default]
    Absent,
    /// Its value.
    One(String),
    /// It was sent twice, or with bytes that no such header may have: it agrees with nothing.
    Unreadable,
}

const BEGIN: &str = "=?base64?";
const END: &str = "?=";

impl Mirror {
    /// Reads the values of one header. Two readers could take different ones of several.
    pub fn of<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => match std::str::from_utf8(value) {
                Ok(text) if text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) => {
                    Self::One(text.to_owned())
                }
                Ok(_) | Err(_) => Self::Unreadable,
            },
            (Some(_), Some(_)) => Self::Unreadable,
        }
    }

    /// The value as it was sent.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::One(text) => Some(text),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// Was it sent at all?
    pub fn is_absent(&self) -> bool {
        *self == Self::Absent
    }

    /// The value that it stands for: what cannot be written in a header is wrapped in base64.
    pub fn decoded(&self) -> Option<String> {
        let text = self.text()?;
        let inner = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        match inner {
            None => Some(text.to_owned()),
            Some(inner) => String::from_utf8(STANDARD.decode(inner).ok()?).ok(),
        }
    }
}

/// A text as the value of a header: as it is, or in base64 if a header would not keep it.
pub fn encoded(text: &str) -> Cow<'_, str> {
    let is_kept = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    let looks_encoded = text.starts_with(BEGIN) && text.ends_with(END);
    let is_plain = !text.is_empty() && text.trim() == text && text.bytes().all(is_kept);
    if is_plain && !looks_encoded {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{BEGIN}{}{END}", STANDARD.encode(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_in_one_way_only() {
        let decoded = |text: &str| Mirror::of(std::iter::once(text.as_bytes())).decoded();
        let cases = [
            ("us-west1", Some("us-west1")),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", Some("Hello, 世界")),
            ("=?base64?IHBhZGRlZCA=?=", Some(" padded ")),
            ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", Some("=?base64?literal?=")),
            ("=?base64?SGVsbG8", Some("=?base64?SGVsbG8")),
            ("=?base64??=", Some("")),
            // Not padded, bits left over, not base64, not UTF-8.
            ("=?base64?SGVsbG8?=", None),
            ("=?base64?SGVsbG9=?=", None),
            ("=?base64?SG VsbG8=?=", None),
            ("=?base64?/w==?=", None),
            ("caf\u{e9}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
        let twice = Mirror::of([b"a".as_slice(), b"a"].into_iter());
        assert_eq!((twice.decoded(), twice.is_absent()), (None, false));
    }

    #[test]
    fn header_values() {
        for (text, expected) in [
            ("plain text/1", "plain text/1"),
            ("a\tb", "a\tb"),
            ("", "=?base64??="),
            ("a ", "=?base64?YSA=?="),
            ("a\nb", "=?base64?YQpi?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
            ("€uro", "=?base64?4oKsdXJv?="),
        ] {
            assert_eq!(encoded(text), expected, "{text:?}");
        }
    }
}
