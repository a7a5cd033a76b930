//! `paygate validate`: says everything that is wrong with a file, on stdout as paygate-mcp does.

use super::output;
use crate::config::{self, Environment, ValidateFlags};

pub(super) fn run(flags: &ValidateFlags) -> Result<(), String> {
    match config::validate(flags, &Environment::read(), config::read_file) {
        Ok(report) => {
            output::print(&report);
            Ok(())
        }
        // What cannot be read at all goes to stderr; what can, is a report.
        Err(report) if report.problems().is_empty() => Err(report.to_string()),
        Err(report) => {
            output::print(&report.to_string());
            Err(String::new())
        }
    }
}
