//! A short text that is cheap to copy: names of accounts, counters and tools, of which every call
//! makes dozens of copies. One that fits is copied where it stands; a longer one is shared. Shared
//! alone would not do: two threads that count the copies of one text wait for each other.

use std::fmt;
use std::hash::{Hash, Hasher};

use smol_str::SmolStr;

/// A text, never changed. Up to 23 bytes stand by themselves: a key's id has 20.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(SmolStr);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Its bytes alone, of which ids have all the same number.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_str().as_bytes());
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
            .chain([21, 22, 23, 24, 300].map(|length| "é".repeat(length)))
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
