//! Why a command did not do what it was asked, and how the shell is told.

/// A message for stderr and an exit code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) exit_code: u8,
}

impl Failure {
    /// Paygate refused the call: nothing ran, nothing is charged.
    pub(super) fn refused(message: String) -> Self {
        Self { message, exit_code: 2 }
    }

    /// The tool, or the server behind, failed.
    pub(super) fn tool(message: String) -> Self {
        Self { message, exit_code: 3 }
    }
}

/// Everything else.
impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, exit_code: 1 }
    }
}
