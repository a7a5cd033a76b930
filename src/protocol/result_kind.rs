//! What kind of result a tool gave: a whole one, a request for input, or a task.

use memchr::memmem;

use super::object::{Object, string};

/// What `resultType` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// The tool's result; also what every server before 2026-07-28 gives.
    Complete,
    /// The tool wants to be asked again with more.
    InputRequired,
    /// The result will be there later.
    Task,
}

impl ResultKind {
    /// Reads the text of a `result`. One without the name is not walked.
    pub fn of(result: &str) -> Self {
        let bytes = result.as_bytes();
        let named = memmem::find(bytes, b"resultType").is_some();
        if !named && memmem::find(bytes, b"\\u").is_none() {
            return Self::Complete;
        }
        let Ok(object) = Object::read(result) else { return Self::Complete };
        // Should the member occur twice, one that is not complete is enough.
        let kinds = object.members().iter().filter(|member| member.name == "resultType");
        kinds.fold(Self::Complete, |kind, member| match string(member.value).as_deref() {
            Some("input_required") => Self::InputRequired,
            Some("task") => Self::Task,
            _ => kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_at_the_top_of_the_result() {
        let cases = [
            ("{}", ResultKind::Complete),
            (r#"{"resultType":"complete"}"#, ResultKind::Complete),
            (r#"{"resultType":"input_required","inputRequests":{}}"#, ResultKind::InputRequired),
            (r#"{"result\u0054ype":"t\u0061sk"}"#, ResultKind::Task),
            (r#"{"resultType":"task","resultType":"complete"}"#, ResultKind::Task),
            (r#"{"x":{"resultType":"task"}}"#, ResultKind::Complete),
            (r#"["resultType"]"#, ResultKind::Complete),
        ];
        for (result, kind) in cases {
            assert_eq!(ResultKind::of(result), kind, "{result}");
        }
    }
}
