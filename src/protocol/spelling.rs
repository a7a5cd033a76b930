//! A member with a meaning must be written in one way and once (mcp-rules 1.6).
//!
//! Some readers of JSON match names whatever their case, and fold U+017F to `s` and U+212A to `k`
//! while they are at it; some cut a name at a NUL. A message that such a server could read in
//! another way than Paygate is refused: it would be priced as one thing and run as another.

use super::object::Object;

/// Members with a meaning at the top of a message.
pub const TOP: &[&str] = &["jsonrpc", "id", "method", "params"];

/// Members with a meaning in `params` and in each call of a batch.
pub const PARAMS: &[&str] =
    &["name", "uri", "arguments", "_meta", "task", "taskId", "requestState"];

/// Where a client names its request, so that it may send it again.
pub const IDEMPOTENCY_META: &str = "dev.paygate/idempotencyKey";

/// Where a client says what its call is for.
pub const LABELS_META: &str = "dev.paygate/labels";

/// Members with a meaning in `_meta`.
pub const META: &[&str] = &["progressToken", IDEMPOTENCY_META, LABELS_META];

/// What the names of Paygate's own members of `_meta` begin with.
const OWN_META: &str = "dev.paygate/";

/// The member of `tools/call_batch` that holds its calls.
pub const BATCH: &[&str] = &["calls"];

/// Methods that cost something.
const PRICED_METHODS: [&str; 2] = ["tools/call", "tools/call_batch"];

/// Could a careless reader take this member of `_meta` for one of Paygate's own?
pub fn is_paygates_own(name: &str) -> bool {
    let folded = name.chars().filter(|c| *c != '\0').map(fold);
    folded.take(OWN_META.len()).eq(OWN_META.chars())
}

/// Could a careless server run this method as a priced one, although Paygate would not price it?
pub fn resembles_priced_method(method: &str) -> bool {
    resembles_method(method, PRICED_METHODS.into_iter())
}

/// Could a careless server run this method as one of these, although it is none of them?
pub fn resembles_method<'a>(
    method: &str,
    mut priced: impl Iterator<Item = &'a str> + Clone,
) -> bool {
    if priced.clone().any(|known| known == method) {
        return false;
    }
    let space = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    let until_nul = method.trim_start_matches('\0').split('\0').next().unwrap_or_default();
    let without_nul = method.replace('\0', "");
    priced.any(|known| {
        let is_known = |text: &str| folds_to(text.trim_matches(space).chars(), known);
        is_known(until_nul) || is_known(&without_nul)
    })
}

/// The first of these names that an object holds twice or in a spelling of its own.
pub fn fault(object: &Object<'_>, known: &'static [&'static str]) -> Option<&'static str> {
    let mut seen = [false; 8];
    for member in object.members() {
        let name = member.name.as_ref();
        for (known, seen) in known.iter().zip(&mut seen) {
            if name == *known {
                if std::mem::replace(seen, true) {
                    return Some(known);
                }
            } else if resembles(name, known) {
                return Some(known);
            }
        }
    }
    None
}

/// Could a careless reader take this name for the known one?
fn resembles(name: &str, known: &str) -> bool {
    // A folded character takes at most three bytes for one; shorter or other names end here.
    if name.len() < known.len() {
        return false;
    }
    if name.bytes().all(|byte| byte.is_ascii() && byte != 0) {
        return name.eq_ignore_ascii_case(known);
    }
    let until_nul = name.split('\0').next().unwrap_or_default();
    folds_to(until_nul.chars(), known) || folds_to(name.chars().filter(|c| *c != '\0'), known)
}

fn folds_to(name: impl Iterator<Item = char>, known: &str) -> bool {
    name.map(fold).eq(known.chars().map(fold))
}

fn fold(character: char) -> char {
    match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, known: &'static [&'static str]) -> Option<&'static str> {
        fault(&Object::read(text).unwrap(), known)
    }

    #[test]
    fn second_spellings_are_found() {
        let cases = [
            (r#"{"name":1,"name":2}"#, "name"),
            (r#"{"name":1,"n\u0061me":2}"#, "name"),
            (r#"{"Name":1}"#, "name"),
            (r#"{"NAME":1,"name":2}"#, "name"),
            (r#"{"name\u0000":1}"#, "name"),
            (r#"{"name\u0000x":1}"#, "name"),
            (r#"{"na\u0000me":1}"#, "name"),
            (r#"{"tasKid":1}"#, "taskId"),
            (r#"{"tas\u212aId":1}"#, "taskId"),
            (r#"{"argument\u017f":1}"#, "arguments"),
            ("{\"ta\u{17f}\u{212a}\":1}", "task"),
            (r#"{"_META":1}"#, "_meta"),
            (r#"{"requeststate":1}"#, "requestState"),
        ];
        for (text, known) in cases {
            assert_eq!(check(text, PARAMS), Some(known), "{text}");
        }
        assert_eq!(check(r#"{"ID":1}"#, TOP), Some("id"));
        assert_eq!(check(r#"{"progre\u017fsToken":1}"#, META), Some("progressToken"));
    }

    #[test]
    fn methods_that_look_priced_are_found() {
        for method in [
            "Tools/Call",
            "TOOLS/CALL_BATCH",
            "tool\u{17f}/call",
            "tools/call\0",
            "tools/call\0/x",
            "\0tools/call",
            "tools\0/call",
            " tools/call",
            "tools/call\n",
            "\u{feff}tools/call_batch\u{a0}",
            "tools/call \0x",
        ] {
            assert!(resembles_priced_method(method), "{method:?}");
        }
        for method in
            ["tools/call", "tools/call_batch", "tools/list", "tools/calls", "tool/call", "", "\0"]
        {
            assert!(!resembles_priced_method(method), "{method:?}");
        }
    }

    #[test]
    fn other_names_are_nobodys_business() {
        let text = r#"{"name":1,"names":2,"x":1,"x":2,"nam":3,"\u0000":4,"nāme":5,"":6}"#;
        assert_eq!(check(text, PARAMS), None);
        assert_eq!(check(r#"{"jsonrpc":1,"id":2,"method":3,"params":4,"Name":5}"#, TOP), None);
    }
}
