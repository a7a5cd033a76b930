//! What kind of result a tool gave: a whole one, a request for input, or a task.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::object::{Object, string};

static RESULT_TYPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("resultType"));
static TASK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"task\""));
static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u"));

/// What `resultType` says, or a `task` in its place.
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
        let may_have = |name: &Finder<'_>| name.find(result.as_bytes()).is_some();
        if !may_have(&RESULT_TYPE) && !may_have(&TASK) && !may_have(&ESCAPE) {
            return Self::Complete;
        }
        let Ok(object) = Object::read(result) else { return Self::Complete };
        // Should the member occur twice, one that is not complete is enough.
        object.members().iter().fold(Self::Complete, |kind, member| match member.name.as_ref() {
            "resultType" => match string(member.value).as_deref() {
                Some("input_required") => Self::InputRequired,
                Some("task") => Self::Task,
                _ => kind,
            },
            // The CreateTaskResult of 2025-11-25 says what it is by this member alone.
            "task" if member.value.starts_with('{') => Self::Task,
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
            (r#"{"task":{"taskId":"1","status":"working"}}"#, ResultKind::Task),
            (r#"{"resultType":"complete","t\u0061sk":{}}"#, ResultKind::Task),
            (r#"{"task":"wash up","x":{"task":{}}}"#, ResultKind::Complete),
            (r#"["resultType"]"#, ResultKind::Complete),
        ];
        for (result, kind) in cases {
            assert_eq!(ResultKind::of(result), kind, "{result}");
        }
    }
}
