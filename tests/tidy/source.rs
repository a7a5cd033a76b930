//! Source files as text: raw, and masked, where comments, strings and characters are blank. Masking
//! keeps every line and column, so that a finding in one is a place in the other.

use std::fs;
use std::ops::Range;
use std::path::Path;

/// One file.
pub struct Source {
    /// From the root of the repository, with forward slashes.
    pub path: String,
    pub raw: String,
    /// `raw` with blanks for whatever is not code.
    pub masked: String,
    /// `masked` with blanks for test code too.
    pub shipped: String,
}

impl Source {
    pub fn new(path: &str, raw: &str) -> Self {
        let masked = mask(raw);
        let is_test_file = ["/tests.rs", "/fuzz.rs"].iter().any(|end| path.ends_with(end))
            || ["/tests/", "/fuzz/"].iter().any(|folder| path.contains(folder));
        let shipped = if is_test_file { String::new() } else { without_tests(&masked) };
        Self { path: path.to_owned(), raw: raw.to_owned(), masked, shipped }
    }

    /// The part it belongs to: the folder or file directly under `src`.
    pub fn part(&self) -> &str {
        let inside = self.path.trim_start_matches("src/");
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }
}

/// The line number of a byte offset.
pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// All Rust files under a folder of the repository, by path.
pub fn sources_under(dir: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    collect(root, &root.join(dir), &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!sources.is_empty(), "no Rust file under {dir}");
    sources
}

fn collect(root: &Path, dir: &Path, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let path = entry.expect("a directory can be read").path();
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let raw = fs::read_to_string(&path).expect("a source file is text");
            let inside = path.strip_prefix(root).expect("it lies in the repository");
            let inside = inside.to_str().expect("a plain path").replace('\\', "/");
            sources.push(Source::new(&inside, &raw));
        }
    }
}

/// Blanks comments, strings and characters.
pub fn mask(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut masked = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => end_of_block_comment(bytes, at),
            b'"' => end_of_string(bytes, at),
            b'r' | b'b' | b'c' if !is_word_before(bytes, at) => end_of_prefixed_string(bytes, at),
            b'\'' => end_of_character(bytes, at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        blank(&mut masked, at..end.min(bytes.len()));
        at = end;
    }
    String::from_utf8(masked).expect("whole characters were blanked")
}

fn blank(masked: &mut [u8], range: Range<usize>) {
    for byte in &mut masked[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Where `what` begins at or after `from`, or the end.
fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let found = bytes[from..].windows(what.len()).position(|window| window == what);
    found.map_or(bytes.len(), |offset| from + offset)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_word(bytes[at - 1])
}

fn end_of_block_comment(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"`; `start` itself if this is none of them.
fn end_of_prefixed_string(bytes: &[u8], start: usize) -> usize {
    let prefix = bytes[start..].iter().take_while(|byte| b"rbc".contains(byte)).count();
    let hashes = bytes[start + prefix..].iter().take_while(|byte| **byte == b'#').count();
    let quote = start + prefix + hashes;
    let is_raw = bytes[start..start + prefix].contains(&b'r');
    if prefix > 2 || bytes.get(quote) != Some(&b'"') || (hashes > 0 && !is_raw) {
        return start;
    }
    if !is_raw {
        return end_of_string(bytes, quote);
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    find(bytes, quote + 1, &close) + close.len()
}

/// The end of a character such as `'a'` or `'\n'`; `start` itself for a lifetime.
fn end_of_character(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        return find(bytes, start + 3, b"'") + 1;
    }
    let length = bytes.get(start + 1).map_or(1, |first| match first {
        0x00..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    });
    if bytes.get(start + 1 + length) == Some(&b'\'') { start + length + 2 } else { start }
}

/// Where the brace that opens at `open` closes.
pub fn closing_brace(masked: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in masked.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return open + offset,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    masked.len()
}

/// Blanks every item under `#[cfg(test)]` and every function under `#[test]`.
pub fn without_tests(masked: &str) -> String {
    let mut shipped = masked.as_bytes().to_vec();
    for attribute in ["#[cfg(test)]", "#[cfg(all(test", "#[cfg(any(test", "#[test]"] {
        for (at, _) in masked.match_indices(attribute) {
            let after = &masked[at..];
            let brace = after.find('{').unwrap_or(after.len());
            let semicolon = after.find(';').unwrap_or(after.len());
            let end = if semicolon < brace {
                at + semicolon
            } else {
                closing_brace(masked, at + brace.min(after.len()))
            };
            blank(&mut shipped, at..end.min(masked.len()));
        }
    }
    String::from_utf8(shipped).expect("whole characters were blanked")
}

#[test]
fn masking_keeps_code_lines_and_columns() {
    let raw = "a(\"x // y\"); // c\nlet r = r#\"{\"}\"#; /* { /* } */ */ b\nlet c = '{'; f::<'a>('\\'', 'é')";
    let masked = mask(raw);
    assert_eq!(masked.lines().count(), raw.lines().count());
    assert!(!masked.contains(['{', '}', '/', '"']), "{masked}");
    assert!(masked.contains("f::<'a>(") && masked.ends_with(')'), "{masked}");
    assert_eq!(mask("b\"{\" br##\"}\"#\"## c\"{\" rest").trim(), "rest");
}

#[test]
fn test_code_is_not_shipped() {
    let shipped = without_tests("fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}");
    assert!(shipped.contains("fn a") && shipped.contains("fn c") && !shipped.contains("fn b"));
    let shipped = without_tests("#[cfg(test)]\nmod tests;\nfn c() {}");
    assert!(shipped.contains("fn c"));
}
