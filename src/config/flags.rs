//! The command line as the parser sees it: one struct per command.
//!
//! Numbers and lists are kept as the operator wrote them; `overrides` checks them by the same
//! rules as the file's, so that one report names every problem of both. Help describes only what
//! this version does: flags whose feature is not built are hidden, and refused by name.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

use super::init_flags::InitFlags;
use super::key_flags::KeysWords;
use super::ledger_flags::{
    LeasesFlags, LedgerWords, MigrateFlags, RepairFlags, SentinelFlags, SettleLeaseFlags,
    VerifyFlags,
};
use super::operator_flags::{
    AlertsWords, NamespacesWords, Operator, Reach, TeamsWords, TokensWords, WebhooksWords,
};
use super::report_flags::{
    AnalyticsFlags, AuditFlags, ExplainFlags, RefundFlags, StatusFlags, UsageFlags,
};
use super::tool_flags::ToolsFlags;

/// What to run.
#[derive(Debug, Clone)]
pub enum Command {
    /// Guard a server.
    Wrap(Box<WrapFlags>),
    /// Check a configuration file and start nothing.
    Validate(ValidateFlags),
    /// Be the demo server.
    DemoServer,
    /// Ask a running Paygate how it is.
    Health(HealthFlags),
    /// Check the books.
    LedgerVerify(VerifyFlags),
    /// Bring books in Redis up to their journal.
    LedgerRepair(RepairFlags),
    /// What is out on lease.
    LedgerLeases(LeasesFlags),
    /// Settle a lease.
    LedgerSettleLease(SettleLeaseFlags),
    /// Move the books between a file and Redis.
    Migrate(MigrateFlags),
    /// Copy the books.
    Backup(BackupFlags),
    /// Bring a copy of the books back.
    Restore(RestoreFlags),
    /// Bring in the keys of paygate-mcp.
    Import(ImportFlags),
    /// Print the JSON Schema of the configuration file.
    ConfigSchema,
    /// Look after keys.
    Keys(Operator<KeysWords>),
    /// Look after tenants.
    Namespaces(Operator<NamespacesWords>),
    /// Look after teams.
    Teams(Operator<TeamsWords>),
    /// Let other operators in.
    Tokens(Operator<TokensWords>),
    /// Look after alerts.
    Alerts(Operator<AlertsWords>),
    /// Look after webhooks.
    Webhooks(Operator<WebhooksWords>),
    /// Show what became of calls.
    Usage(UsageFlags),
    /// Sum up usage.
    Analytics(AnalyticsFlags),
    /// Tell what became of a call, and why.
    Explain(ExplainFlags),
    /// Give back what a call cost.
    Refund(RefundFlags),
    /// List tools, or call one.
    Tools(ToolsFlags),
    /// Show what operators did.
    Audit(AuditFlags),
    /// Show keys and usage.
    Status(StatusFlags),
    /// Write a configuration file.
    Init(InitFlags),
    /// Show the configuration that holds.
    ConfigShow(Reach),
    /// Let a running Paygate read its configuration anew.
    ConfigReload(Reach),
    /// Print a script that completes commands.
    Completions(Shell),
}

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "paygate",
    version = concat!("v", env!("CARGO_PKG_VERSION")),
    about = "A paywall in front of any MCP server: API keys, prices, limits and exact books.",
    after_help = TOP_EXAMPLES,
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 100
)]
pub(super) struct CommandLine {
    /// Print the version
    #[arg(short = 'v', long, short_alias = 'V', action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(super) command: Option<Words>,
}

const TOP_EXAMPLES: &str = "\
Examples:
  paygate wrap --demo                        Try it: guards a server that is built in
  paygate init                               Asks three questions and writes a configuration
  paygate wrap --server \"npx -y @modelcontextprotocol/server-filesystem /data\" --price 2
  paygate wrap --remote-url https://mcp.example.com/mcp --price 2
  paygate wrap --help                        All settings";

const WRAP_EXAMPLES: &str = "\
Flags win over the file, the file over the environment. All keys of the file:
docs/reference/config.md

Environment:
  PAYGATE_ADMIN_KEY  Key of the admin API, kept out of the process list
  PAYGATE_API_KEY    Key of the client on stdin and stdout (--stdio)

Example:
  paygate wrap --server \"uvx mcp-server-time\" --price 2 --tool-price convert_time:5";

const TOOLS_HELP: &str = "\
Exit codes of `tools call`:
  0  a result
  1  no answer: Paygate is not there, or the command is wrong
  2  refused: nothing was called and nothing is charged
  3  the tool, or the server behind, failed; what was charged is shown

Example:
  PAYGATE_API_KEY=pg_… paygate tools call add --args '{\"a\": 2, \"b\": 3}'";

#[derive(Debug, Subcommand)]
pub(super) enum Words {
    /// Guard an MCP server and sell its tools
    #[command(after_help = WRAP_EXAMPLES, args_override_self = true)]
    Wrap(Box<WrapFlags>),
    /// Ask three questions, write a configuration file and an admin key, and say what comes next
    #[command(args_override_self = true)]
    Init(InitFlags),
    /// Check a configuration file: every problem at once, and nothing is started
    #[command(args_override_self = true)]
    Validate(ValidateFlags),
    /// About the configuration file
    #[command(subcommand)]
    Config(ConfigWords),
    /// Run the small MCP server that `wrap --demo` guards, over stdin and stdout
    DemoServer,
    /// Ask a running Paygate whether it is healthy; exit code 0 says yes
    #[command(args_override_self = true)]
    Health(HealthFlags),
    /// Check the books
    #[command(subcommand)]
    Ledger(LedgerWords),
    /// Copy the books, also while Paygate runs, and check the copy
    #[command(args_override_self = true)]
    Backup(BackupFlags),
    /// Move the books from a file into an empty Redis, or from Redis into a new file, while no Paygate runs
    #[command(args_override_self = false)]
    Migrate(MigrateFlags),
    /// Bring back a copy of the books that `paygate backup` made
    #[command(args_override_self = true)]
    Restore(RestoreFlags),
    /// Bring the keys of paygate-mcp into the books, from its state file or its Redis; into a file while Paygate does not run
    #[command(args_override_self = true)]
    Import(ImportFlags),
    /// Create, show and change the keys of a running Paygate
    Keys(Operator<KeysWords>),
    /// List the tenants of a running Paygate, suspend and resume them, say what they may call
    Namespaces(Operator<NamespacesWords>),
    /// Look after the teams of a running Paygate
    Teams(Operator<TeamsWords>),
    /// Let other operators into a running Paygate, with a role and perhaps for one namespace
    Tokens(Operator<TokensWords>),
    /// List the tools of a running Paygate with their prices, or call one as a customer does
    #[command(after_help = TOOLS_HELP)]
    Tools(ToolsFlags),
    /// Show what became of calls: a table, --csv or --json, however long
    Usage(UsageFlags),
    /// Sum up the usage of a running Paygate: by hour or day, by tool and by key
    Analytics(AnalyticsFlags),
    /// Tell what became of one call: what was decided, charged and why
    Explain(ExplainFlags),
    /// Give back what a call cost, once
    Refund(RefundFlags),
    /// Show the alerts of a running Paygate, and say what it should warn of
    Alerts(Operator<AlertsWords>),
    /// Show how the webhooks of a running Paygate stand, try them, and send again what was not taken
    Webhooks(Operator<WebhooksWords>),
    /// Show what operators of a running Paygate did
    Audit(AuditFlags),
    /// Show what the keys of a running Paygate come to; with --json each of them
    Status(StatusFlags),
    /// Print a script that completes commands in a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigWords {
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Let a running Paygate read its configuration anew
    Reload(Reach),
    /// Show the configuration of a running Paygate, without its secrets
    Show(Reach),
}

/// A shell whose completion can be scripted.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// `paygate wrap`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Clone, Default, Args)]
pub struct WrapFlags {
    /// Command line of the MCP server, split like a shell splits words (no shell runs)
    #[arg(long, value_name = "COMMAND", help_heading = "What to guard")]
    pub server: Option<String>,
    /// URL of an MCP server that is reached over HTTP: Streamable HTTP or HTTP+SSE
    #[arg(long, value_name = "URL", help_heading = "What to guard")]
    pub remote_url: Option<SecretString>,
    /// Guard the demo server of this binary and print a key to try it with
    #[arg(long, help_heading = "What to guard")]
    pub demo: bool,
    /// Configuration file, JSON with comments
    #[arg(long, value_name = "FILE", help_heading = "What to guard")]
    pub config: Option<PathBuf>,

    /// Credits for a call of a tool without a price of its own [default: 1]
    #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
    #[arg(help_heading = "What a call costs")]
    pub price: Option<String>,
    /// Prices of single tools, as tool:credits,tool:credits; replaces those of the file
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    #[arg(help_heading = "What a call costs")]
    pub tool_price: Vec<String>,
    /// Calls of one key in any minute; 0 is unlimited [default: 60]
    #[arg(long, value_name = "CALLS", allow_negative_numbers = true)]
    #[arg(help_heading = "What a call costs")]
    pub rate_limit: Option<String>,
    /// Whether calls that the server answers with an error are free [default: true]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    #[arg(value_parser = ["true", "false"], hide_possible_values = true)]
    #[arg(help_heading = "What a call costs")]
    pub refund_on_failure: Option<String>,
    /// Record what would have happened; refuse and charge nothing
    #[arg(long, help_heading = "What a call costs")]
    pub shadow: bool,

    /// Address to listen on; 0.0.0.0 is all of IPv4, :: is all [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", help_heading = "Where it listens")]
    pub host: Option<String>,
    /// Port to listen on; 0 takes a free one [default: 3402]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    #[arg(help_heading = "Where it listens")]
    pub port: Option<String>,
    /// Name shown to clients [default: PayGate MCP Server]
    #[arg(long, value_name = "NAME", help_heading = "Where it listens")]
    pub name: Option<String>,

    /// Key of the admin API [default: a new one at each start, shown then]
    #[arg(long, value_name = "KEY", help_heading = "Keys")]
    pub admin_key: Option<SecretString>,
    /// Serve the client that started this process, over stdin and stdout; HTTP only with a port
    #[arg(long, help_heading = "Where it listens")]
    pub stdio: bool,
    /// Key of the client on stdin and stdout [default: PAYGATE_API_KEY]
    #[arg(long, value_name = "KEY", help_heading = "Keys")]
    pub api_key: Option<SecretString>,
    /// Keys that customers already have, as key:credits,key:credits; created once, never reset
    #[arg(long, value_name = "LIST", action = ArgAction::Append, help_heading = "Keys")]
    pub import_key: Vec<SecretString>,

    /// File that keeps the books [default: paygate.db]
    #[arg(long, value_name = "PATH", help_heading = "Books")]
    pub db: Option<PathBuf>,
    /// Keep the books in memory only; all is lost at the end (what --demo does without --db)
    #[arg(long, conflicts_with = "db", help_heading = "Books")]
    pub ephemeral: bool,

    /// Redis that keeps the books of several instances; --db is then this one's copy of the journals
    #[arg(long, value_name = "URL", help_heading = "Books")]
    pub redis_url: Option<SecretString>,

    /// State file of paygate-mcp, whose keys are brought into books that are empty; else left alone
    #[arg(long, value_name = "FILE", help_heading = "Books")]
    pub state_file: Option<PathBuf>,

    /// Where to send what happens, as POSTs
    #[arg(long, value_name = "URL", help_heading = "Webhooks")]
    pub webhook_url: Option<SecretString>,
    /// Secret that signs them; better kept in the file as ${NAME} or webhookSecretFile
    #[arg(long, value_name = "SECRET", help_heading = "Webhooks")]
    pub webhook_secret: Option<SecretString>,
    /// How often one that fails is sent again [default: 5]
    #[arg(long, value_name = "RETRIES", allow_negative_numbers = true, help_heading = "Webhooks")]
    pub webhook_retries: Option<String>,

    /// Start the server, show its tools and their prices, and end; needs no port and no books
    #[arg(long)]
    pub dry_run: bool,

    /// Flags that this version refuses.
    #[command(flatten)]
    pub not_built: NotBuiltFlags,
}

/// Flags of paygate-mcp and of later versions. Known, so that they are refused by name instead of
/// as a misspelling; their values, some of them secrets, are dropped at once.
#[derive(Debug, Clone, Default, Args)]
pub struct NotBuiltFlags {
    #[arg(long, num_args = 0..=1, default_missing_value = "", value_parser = drop_value, hide = true)]
    pub stripe_secret: Option<Dropped>,
}

/// A value that was given and is not kept.
#[derive(Debug, Clone, Copy)]
pub struct Dropped;

#[expect(clippy::unnecessary_wraps, reason = "the parser's interface wants a result")]
fn drop_value(_: &str) -> Result<Dropped, Infallible> {
    Ok(Dropped)
}

/// `paygate validate`.
#[derive(Debug, Clone, Args)]
pub struct ValidateFlags {
    /// Configuration file to check
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// `paygate health`.
#[derive(Debug, Clone, Args)]
pub struct HealthFlags {
    /// Where to ask [default: PAYGATE_URL, or http://127.0.0.1:3402/health]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// File with the authority of its certificate, in PEM form [default: PAYGATE_CA]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Name that its certificate is for, if the URL has another one, such as 127.0.0.1
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// `paygate backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupFlags {
    /// File for the copy; it must not be there yet
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
    /// File that keeps the books
    #[arg(long, value_name = "PATH", default_value = super::settings::DB_DEFAULT)]
    pub db: PathBuf,
}

/// `paygate restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreFlags {
    /// A copy that `paygate backup` made
    #[arg(value_name = "FILE")]
    pub from: PathBuf,
    /// File that will keep the books; it must not be there yet
    #[arg(long, value_name = "PATH", default_value = super::settings::DB_DEFAULT)]
    pub db: PathBuf,
}

/// `paygate import`.
#[derive(Debug, Clone, Args)]
pub struct ImportFlags {
    /// State file of paygate-mcp (what its --state-file names)
    #[arg(value_name = "STATE.json", required_unless_present = "redis", conflicts_with = "redis")]
    pub from: Option<PathBuf>,
    /// Redis that instances of paygate-mcp share: redis://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL", value_parser = super::named::place)]
    pub redis: Option<SecretString>,
    /// Certificates in PEM form that are trusted for that Redis beside the system's
    #[arg(long, value_name = "FILE", requires = "redis")]
    pub redis_ca: Option<PathBuf>,
    /// How Sentinels let us in
    #[command(flatten)]
    pub sentinel: SentinelFlags,
    /// File that keeps the books [default: that of --config, else paygate.db]
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
    /// Configuration file that names the books
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only show what would come over, and what not; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
