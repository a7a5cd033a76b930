//! How long each function is.

use crate::source::{closing_brace, line_of};

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    /// From the line of `fn` to the line of the closing brace.
    pub lines: usize,
}

/// Every function of masked source. A nested one is counted by itself and in its parent.
pub fn functions(masked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in masked.match_indices("fn ") {
        let before = masked[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let signature = &masked[at + 3..];
        let name: String =
            signature.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = body_start(signature) else {
            continue;
        };
        let close = closing_brace(masked, at + 3 + open);
        let line = line_of(masked, at);
        found.push(Function { name, line, lines: line_of(masked, close) - line + 1 });
    }
    found
}

/// Where the body opens; none for a signature without one. A `;` inside `[u8; 4]` or parentheses does
/// not end a signature.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in signature.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
        // `fn(u8) -> u8` as a type inside another signature or a field.
        if depth < 0 {
            return None;
        }
    }
    None
}

#[test]
fn functions_are_counted_with_their_braces() {
    let source =
        "trait T { fn a(&self) -> [u8; 2]; }\nfn b(f: fn(u8) -> u8) {\n  {\n  }\n}\nfn c() {}";
    let counted = functions(source);
    let counted: Vec<_> = counted.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
    assert_eq!(counted, [("b", 2, 4), ("c", 6, 1)]);
}
