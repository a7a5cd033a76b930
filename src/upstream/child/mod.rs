//! An MCP server as a child process that speaks over its stdin and stdout.
//!
//! Reading order: `running` is one process with its pipes; `spawn` makes the process and ends it,
//! `descendants` also ends what left its group; `reader` splits stdout into lines, `stderr`
//! listens to the rest.

#[cfg(target_os = "linux")]
mod descendants;
#[cfg(not(target_os = "linux"))]
#[path = "descendants_elsewhere.rs"]
mod descendants;
#[cfg(any(test, fuzzing))]
pub(super) use reader::lines_in_pieces;
mod reader;
mod running;
mod spawn;
mod stderr;

use std::ffi::OsString;

pub(super) use running::Running;

/// How to start a child.
#[derive(Debug, Clone, Default)]
pub struct ChildOptions {
    /// The program, looked up in the child's PATH.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The environment of Paygate without its secrets, which the child inherits without any `PAYGATE_*` variable.
    pub environment: Vec<(OsString, OsString)>,
    /// Variables for the child alone (`childEnv`). They win over the inherited ones.
    pub child_environment: Vec<(OsString, OsString)>,
}

impl ChildOptions {
    /// A child with an empty environment.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), ..Self::default() }
    }
}
