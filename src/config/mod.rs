//! File, environment and flags become one checked [`Config`].
//!
//! An operator who mistypes a price must hear about it before the first customer does, and about
//! every mistake at once. So nothing is guessed and nothing is dropped: each source is read into
//! one draft, every problem goes into one [`Report`] that names its file, line and column or
//! its flag, and a [`Config`] exists only if there is no error.
//!
//! Precedence: flag, file, environment, default. `config` does I/O in two functions only,
//! [`read_file`] and [`Environment::read`]; all the rest takes values.
//!
//! The ordered list of all keys is `TOP_LEVEL` in `keys`, with the lists in `keys_inside` and
//! `keys_servers`.
//! From it come the walk over the file, the check for unknown keys and `docs/reference/config.md`.

mod check;
mod command_line;
mod draft;
mod entry;
mod environment;
mod file;
mod finish;
mod flags;
mod key;
mod keys;
mod keys_inside;
mod keys_servers;
mod number;
mod overrides;
mod problem;
mod reference;
mod servers;
mod settings;

use std::io;
use std::path::Path;

pub use command_line::{Printout, parse};
pub use environment::{ADMIN_KEY_VARIABLE, API_KEY_VARIABLE, Environment, LOG_VARIABLE};
pub use file::read_file;
pub use flags::{Command, HealthFlags, VerifyFlags, WrapFlags};
pub use problem::{Place, Problem, Report, Severity};
pub use reference::reference_page;
pub use settings::{
    Backend, Books, Config, DenialStyle, Durability, ImportKey, Isolation, MethodPricing, Pricing,
    Quota, RemoteUrl, RequireKey, Retention, Server, ServerCommand, ServerKind, Serves, Several,
    ToolPricing, UnlistedTools,
};

use draft::Draft;
use problem::Findings;

/// Makes one checked configuration of all sources, or a report of every problem in them.
///
/// On success the report beside the configuration holds warnings only, often none.
/// `read_file` is [`read_file`] outside tests; it is called only when a file
/// was named.
pub fn load(
    flags: &WrapFlags,
    environment: &Environment,
    read_file: impl FnOnce(&Path) -> io::Result<String>,
) -> Result<(Config, Report), Report> {
    let mut findings = Findings::default();
    let mut draft = Draft::default();
    let file_name = flags.config.as_ref().map(|path| path.display().to_string());
    if let (Some(path), Some(name)) = (&flags.config, &file_name) {
        let text =
            read_file(path).map_err(|fault| Report::unreadable(&format!("{name}: {fault}")))?;
        draft = file::parse(&text, &mut findings)
            .map_err(|fault| Report::unreadable(&format!("{name}{fault}")))?;
    }
    overrides::apply(flags, &mut draft, &mut findings);
    environment.apply(&mut draft, &mut findings);
    let config = finish::finish(draft, &mut findings);
    let report = findings.into_report(file_name);
    match config {
        Some(config) if !report.has_errors() => Ok((config, report)),
        _ => Err(report),
    }
}
