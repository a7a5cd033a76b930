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
//! The ordered list of all keys is `TOP_LEVEL` in `keys`, with the lists in `keys_inside`,
//! `keys_servers`, `keys_redis` and `keys_webhooks`.
//! From it come the walk over the file, the check for unknown keys and `docs/reference/config.md`.

mod check;
mod command_line;
mod draft;
mod entry;
mod environment;
mod file;
mod fingerprint;
mod finish;
mod flags;
mod init_flags;
mod key;
mod key_flags;
mod keys;
mod keys_alerts;
mod keys_inside;
mod keys_redis;
mod keys_servers;
mod keys_webhooks;
mod ledger_flags;
mod moving;
mod named;
mod number;
mod operator_flags;
mod overrides;
mod problem;
mod reference;
mod report_flags;
mod schema;
mod servers;
mod settings;
mod show;
mod tool_flags;

use std::io;
use std::path::Path;

pub use command_line::{Printout, completions, parse};
pub use environment::{
    ADMIN_KEY_FILE_VARIABLE, ADMIN_KEY_VARIABLE, API_KEY_VARIABLE, Environment, LOG_VARIABLE,
};
pub use file::read_file;
pub use fingerprint::fingerprint;
pub use flags::{
    BackupFlags, Command, HealthFlags, ImportFlags, RestoreFlags, Shell, ValidateFlags, WrapFlags,
};
pub use init_flags::InitFlags;
pub use key_flags::{ChangedKey, Clear, KeyTerms, KeysWords, NewKey, OneKey, QuotaFlags};
pub use ledger_flags::{
    LeasesFlags, MigrateFlags, RepairFlags, SentinelFlags, SettleLeaseFlags, VerifyFlags,
};
pub use operator_flags::{
    AlertsWords, NamespacesWords, OfNamespace, Operator, Reach, TeamsWords, TokensWords,
    WebhooksWords,
};
pub use problem::{Place, Problem, Report, Severity};
pub use reference::reference_page;
pub use report_flags::{
    AnalyticsFlags, AuditFlags, ExplainFlags, Granularity, RefundFlags, StatusFlags, UsageFlags,
};
pub use schema::schema;
pub use settings::DB_DEFAULT;
pub use settings::{
    Backend, Books, Config, DenialStyle, Durability, ImportKey, Isolation, MethodPricing,
    OnUnavailable, Pricing, Quota, Redis, RedisUrl, RemoteUrl, RequireKey, Retention, Server,
    ServerCommand, ServerKind, Serves, Several, TlsFiles, ToolPricing, UnlistedTools, Webhook,
};
pub use show::{changed, show};
pub use tool_flags::{ToolsFlags, ToolsWords};

use secrecy::SecretString;

use draft::Draft;
use named::Named;
use problem::Findings;

/// Makes one checked configuration of all sources, or a report of every problem in them.
///
/// On success the report beside the configuration holds warnings only, often none.
/// `read_file` is [`read_file`] outside tests; it is called only when a file
/// was named.
pub fn load(
    flags: &WrapFlags,
    environment: &Environment,
    read_file: impl Fn(&Path) -> io::Result<String>,
) -> Result<(Config, Report), Report> {
    check(flags, environment, read_file).map(|(config, report, _)| (config, report))
}

/// What `paygate validate` says about a file, and whether Paygate could start with it.
pub fn validate(
    flags: &ValidateFlags,
    environment: &Environment,
    read_file: impl Fn(&Path) -> io::Result<String>,
) -> Result<String, Report> {
    let flags = WrapFlags { config: Some(flags.config.clone()), ..WrapFlags::default() };
    let (_, report, moving) = check(&flags, environment, read_file)?;
    Ok(format!("{report}{}", moving::section(&moving)))
}

/// A raw key that a client can send.
pub fn raw_key(text: &str) -> Result<SecretString, String> {
    check::raw_key(text)
}

/// This instance's own file, and the Redis that keeps the books if several share them.
pub type BooksPlace = (Books, Option<Redis>);

/// Where a configuration file has its books, and what costs customers differently with it after a move
/// from paygate-mcp. Without a file: with the defaults.
pub fn after_move(
    file: Option<&Path>,
    environment: &Environment,
    read_file: impl Fn(&Path) -> io::Result<String>,
) -> Result<(Option<BooksPlace>, Vec<&'static str>), Report> {
    let Some(file) = file else { return Ok((None, moving::lines(&Draft::default()))) };
    let flags = WrapFlags { config: Some(file.to_owned()), ..WrapFlags::default() };
    let (config, _, moving) = check(&flags, environment, read_file)?;
    Ok((Some((config.books, config.redis)), moving))
}

/// The same with what a move from paygate-mcp changes.
fn check(
    flags: &WrapFlags,
    environment: &Environment,
    read_file: impl Fn(&Path) -> io::Result<String>,
) -> Result<(Config, Report, Vec<&'static str>), Report> {
    let named = Named { environment, read_file: &read_file };
    let mut findings = Findings::default();
    let mut draft = Draft::default();
    let file_name = flags.config.as_ref().map(|path| path.display().to_string());
    if let (Some(path), Some(name)) = (&flags.config, &file_name) {
        let text =
            read_file(path).map_err(|fault| Report::unreadable(&format!("{name}: {fault}")))?;
        draft = file::parse(&text, named, &mut findings)
            .map_err(|fault| Report::unreadable(&format!("{name}{fault}")))?;
    }
    overrides::apply(flags, &mut draft, &mut findings);
    environment.apply(&mut draft, named, &mut findings);
    let moving = moving::lines(&draft);
    let config = finish::finish(draft, &mut findings);
    let report = findings.into_report(file_name);
    match config {
        Some(config) if !report.has_errors() => Ok((config, report, moving)),
        _ => Err(report),
    }
}
