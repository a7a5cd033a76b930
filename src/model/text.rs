//! A short text that is cheap to copy: names of accounts, counters and tools, of which every call
//! makes dozens of copies. One that fits is copied where it stands; a longer one is shared. Shared
//! alone would not do: two threads that count the copies of one text wait for each other.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The longest text that stands by itself: a key's id has 20 bytes.
const SHORT: usize = 22;

/// A text, never changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Kind);

/// A text has one kind only, by its length, so equal texts are equal here.
#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// Its length, and its bytes with zeroes behind them.
    Short(u8, [u8; SHORT]),
    Long(Arc<str>),
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        // It was made from a whole text, so this never falls back.
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Kind::Long(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        let fits = bytes.get_mut(..text.len()).zip(u8::try_from(text.len()).ok());
        Self(match fits {
            Some((place, length)) => {
                place.copy_from_slice(text.as_bytes());
                Kind::Short(length, bytes)
            }
            None => Kind::Long(text.into()),
        })
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Kind::Short(_, bytes) => state.write(bytes),
            Kind::Long(text) => state.write(text.as_bytes()),
        }
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_stay_what_they_are() {
        let texts: Vec<String> = ["", "a", "é", "key_0123456789abcdef", &"x".repeat(22), "x\0"]
            .into_iter()
            .map(str::to_owned)
            .chain([21, 22, 23, 300].map(|length| "é".repeat(length)))
            .collect();
        for one in &texts {
            assert_eq!(Text::from(one.as_str()).as_str(), one);
            for other in &texts {
                let (a, b) = (Text::from(one.as_str()), Text::from(other.as_str()));
                assert_eq!(a == b, one == other);
                assert_eq!(a.cmp(&b), one.cmp(other));
            }
        }
    }
}
