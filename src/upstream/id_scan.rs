//! Finds the id of an answer that cannot be kept or parsed.
//!
//! A line over the bound is read to its end without being stored, yet the call that waits for it
//! should fail at once and not run into its timeout. So the bytes pass through this small state
//! machine, which knows at every byte how deep it is and whether it is inside a string, and takes
//! the number behind `"id":` only at the top level: an id inside a result belongs to somebody's
//! data. It needs no memory and takes the line in pieces of any size. It serves malformed lines
//! too, where it is best effort: a line that is broken before its id tells nothing.

/// Reads one line piece by piece and looks for its top-level id.
#[derive(Debug, Default)]
pub(super) struct IdScan {
    depth: u32,
    string: Option<Key>,
    escaped: bool,
    expect: Expect,
    id: Option<u64>,
    /// Two different ids, or a method: not an answer to one call of ours.
    unusable: bool,
}

/// What the string being read may turn out to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Key {
    read: usize,
    may_be_id: bool,
    may_be_method: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expect {
    #[default]
    Nothing,
    Colon(Name),
    Number(Option<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Id,
    Method,
}

impl IdScan {
    /// The id found in a whole line.
    pub(super) fn of(line: &[u8]) -> Option<u64> {
        let mut scan = Self::default();
        scan.read(line);
        scan.end()
    }

    /// The id at the end of the line, which counts as white space: a number that is last is complete.
    pub(super) fn end(mut self) -> Option<u64> {
        self.read(b" ");
        self.found()
    }

    /// Reads on.
    pub(super) fn read(&mut self, piece: &[u8]) {
        for &byte in piece {
            match self.string {
                Some(key) => self.in_string(key, byte),
                None => self.outside(byte),
            }
        }
    }

    /// The id of the call that the line answers, if it has exactly one.
    pub(super) fn found(&self) -> Option<u64> {
        self.id.filter(|_| !self.unusable)
    }

    fn in_string(&mut self, key: Key, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.string = None;
            if self.depth == 1 {
                self.expect = key.name().map_or(Expect::Nothing, Expect::Colon);
            }
            return;
        }
        self.string = Some(key.with(byte));
    }

    fn outside(&mut self, byte: u8) {
        if let Expect::Number(Some(id)) = self.expect
            && !byte.is_ascii_digit()
        {
            self.end_of_number(id, byte);
        }
        match (byte, self.expect) {
            (b'"', _) => {
                self.string = Some(Key::new());
                self.expect = Expect::Nothing;
            }
            (b'{' | b'[', _) => {
                self.depth = self.depth.saturating_add(1);
                self.expect = Expect::Nothing;
            }
            (b'}' | b']', _) => {
                self.depth = self.depth.saturating_sub(1);
                self.expect = Expect::Nothing;
            }
            (b':', Expect::Colon(Name::Id)) => self.expect = Expect::Number(None),
            (b':', Expect::Colon(Name::Method)) => self.unusable = true,
            (b' ' | b'\t' | b'\r', _) => {}
            (b'0'..=b'9', Expect::Number(id)) => {
                let digit = u64::from(byte - b'0');
                let id =
                    id.unwrap_or_default().checked_mul(10).and_then(|id| id.checked_add(digit));
                self.expect = id.map_or(Expect::Nothing, |id| Expect::Number(Some(id)));
            }
            _ => self.expect = Expect::Nothing,
        }
    }

    fn end_of_number(&mut self, id: u64, byte: u8) {
        self.expect = Expect::Nothing;
        if matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\r') {
            self.unusable |= self.id.is_some_and(|earlier| earlier != id);
            self.id = Some(id);
        }
    }
}

impl Key {
    fn new() -> Self {
        Self { read: 0, may_be_id: true, may_be_method: true }
    }

    fn with(self, byte: u8) -> Self {
        Self {
            read: self.read.saturating_add(1),
            may_be_id: self.may_be_id && b"id".get(self.read) == Some(&byte),
            may_be_method: self.may_be_method && b"method".get(self.read) == Some(&byte),
        }
    }

    fn name(self) -> Option<Name> {
        if self.may_be_id && self.read == 2 {
            Some(Name::Id)
        } else if self.may_be_method && self.read == 6 {
            Some(Name::Method)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_id_at_the_top_counts() {
        let cases = [
            (r#"{"jsonrpc":"2.0","id":12,"result":{"#, Some(12)),
            (r#"{"result":{"items":[{"id":7}],"t":"\",\"id\":8,"},"id" : 12 }"#, Some(12)),
            (r#"{"result":{"items":[{"id":7}]"#, None),
            (r#"{"x":"id","y":3,"id":12}"#, Some(12)),
            (r#"{"id":12,"id":12}"#, Some(12)),
            (r#"{"id":12,"id":13}"#, None),
            (r#"{"id":12,"method":"sampling/createMessage"}"#, None),
            (r#"{"id":"12"}"#, None),
            (r#"{"id":12.5}"#, None),
            (r#"{"id":-12}"#, None),
            (r#"{"id":99999999999999999999999}"#, None),
            (r#"[{"id":12}]"#, None),
            ("no JSON", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(IdScan::of(line.as_bytes()), expected, "{line}");
            let mut scan = IdScan::default();
            line.as_bytes().chunks(1).for_each(|piece| scan.read(piece));
            assert_eq!(scan.found(), expected, "{line} byte by byte");
        }
    }
}
