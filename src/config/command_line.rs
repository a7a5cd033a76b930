//! Turns the arguments into a command, or into something to print and an exit code.
//!
//! Kept from paygate-mcp: no command is a call for help, an unknown one is answered on stderr with
//! the usage on stdout, and every mistake exits with 1.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use clap_complete::shells;

use super::flags::{Command, CommandLine, ConfigWords, Shell, Words};
use super::ledger_flags::LedgerWords;
use super::problem::shown;

/// What to print instead of running, and with which code to exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printout {
    /// For stdout.
    pub stdout: String,
    /// For stderr.
    pub stderr: String,
    /// For the shell.
    pub exit_code: u8,
}

/// Parses the arguments, the program's own name first.
pub fn parse<I, A>(arguments: I) -> Result<Command, Printout>
where
    I: IntoIterator<Item = A>,
    A: Into<OsString>,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let first = arguments.get(1).and_then(|argument| argument.to_str());
    if let Some(flag) = first.filter(|word| is_misplaced_flag(word)) {
        let stderr = format!(
            "Unknown command: {}\n\n  tip: the command comes first: paygate wrap {0} …\n",
            shown(flag)
        );
        return Err(with_usage(stderr));
    }
    let parsed = CommandLine::try_parse_from(&arguments).map_err(|error| explain(&error, first))?;
    match parsed.command {
        Some(Words::Wrap(flags)) => Ok(Command::Wrap(flags)),
        Some(Words::Init(flags)) => Ok(Command::Init(flags)),
        Some(Words::Validate(flags)) => Ok(Command::Validate(flags)),
        Some(Words::DemoServer) => Ok(Command::DemoServer),
        Some(Words::Health(flags)) => Ok(Command::Health(flags)),
        Some(Words::Ledger(LedgerWords::Verify(flags))) => Ok(Command::LedgerVerify(flags)),
        Some(Words::Ledger(LedgerWords::Repair(flags))) => Ok(Command::LedgerRepair(flags)),
        Some(Words::Ledger(LedgerWords::Leases(flags))) => Ok(Command::LedgerLeases(flags)),
        Some(Words::Ledger(LedgerWords::SettleLease(flags))) => {
            Ok(Command::LedgerSettleLease(flags))
        }
        Some(Words::Migrate(flags)) => Ok(Command::Migrate(flags)),
        Some(Words::Config(ConfigWords::Schema)) => Ok(Command::ConfigSchema),
        Some(Words::Config(ConfigWords::Reload(reach))) => Ok(Command::ConfigReload(reach)),
        Some(Words::Config(ConfigWords::Show(reach))) => Ok(Command::ConfigShow(reach)),
        Some(Words::Backup(flags)) => Ok(Command::Backup(flags)),
        Some(Words::Restore(flags)) => Ok(Command::Restore(flags)),
        Some(Words::Import(flags)) => Ok(Command::Import(flags)),
        Some(Words::Keys(operator)) => Ok(Command::Keys(operator)),
        Some(Words::Namespaces(operator)) => Ok(Command::Namespaces(operator)),
        Some(Words::Teams(operator)) => Ok(Command::Teams(operator)),
        Some(Words::Tokens(operator)) => Ok(Command::Tokens(operator)),
        Some(Words::Tools(flags)) => Ok(Command::Tools(flags)),
        Some(Words::Alerts(operator)) => Ok(Command::Alerts(operator)),
        Some(Words::Webhooks(operator)) => Ok(Command::Webhooks(operator)),
        Some(Words::Usage(flags)) => Ok(Command::Usage(flags)),
        Some(Words::Analytics(flags)) => Ok(Command::Analytics(flags)),
        Some(Words::Explain(flags)) => Ok(Command::Explain(flags)),
        Some(Words::Refund(flags)) => Ok(Command::Refund(flags)),
        Some(Words::Audit(flags)) => Ok(Command::Audit(flags)),
        Some(Words::Status(flags)) => Ok(Command::Status(flags)),
        Some(Words::Completions { shell }) => Ok(Command::Completions(shell)),
        Some(Words::Version) => Err(printed(CommandLine::command().render_version())),
        None => Err(printed(usage())),
    }
}

fn is_misplaced_flag(word: &str) -> bool {
    word.starts_with('-') && !matches!(word, "-h" | "--help" | "-v" | "-V" | "--version")
}

/// Has this command commands of its own?
fn has_commands(word: &str) -> bool {
    word == "help"
        || CommandLine::command()
            .find_subcommand(word)
            .is_some_and(|command| command.get_subcommands().next().is_some())
}

/// The script that completes commands in this shell.
pub fn completions(shell: Shell) -> Vec<u8> {
    let (mut command, mut script) = (CommandLine::command(), Vec::new());
    let generator = match shell {
        Shell::Bash => shells::Shell::Bash,
        Shell::Zsh => shells::Shell::Zsh,
        Shell::Fish => shells::Shell::Fish,
    };
    clap_complete::generate(generator, &mut command, "paygate", &mut script);
    script
}

fn usage() -> String {
    CommandLine::command().render_help().to_string()
}

fn printed(stdout: String) -> Printout {
    Printout { stdout, stderr: String::new(), exit_code: 0 }
}

fn with_usage(stderr: String) -> Printout {
    Printout { stdout: usage(), stderr, exit_code: 1 }
}

/// Puts the parser's error the way Paygate answers.
fn explain(error: &clap::Error, first: Option<&str>) -> Printout {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => printed(text),
        ErrorKind::InvalidSubcommand if !first.is_some_and(has_commands) => {
            let name = first.map(shown).unwrap_or_default();
            let names: Vec<String> = CommandLine::command()
                .get_subcommands()
                .map(|command| command.get_name().to_owned())
                .collect();
            let tip = first
                .and_then(|first| {
                    crate::model::spelling::nearest(first, names.iter().map(String::as_str))
                })
                .map(|near| format!("  tip: a similar command exists: {near}\n"))
                .unwrap_or_default();
            with_usage(format!("Unknown command: {name}\n\n{tip}"))
        }
        ErrorKind::MissingRequiredArgument if first == Some("validate") => {
            with_usage("Error: --config <path> is required for validate command.\n\n".to_owned())
        }
        _ => Printout { stdout: String::new(), stderr: text, exit_code: 1 },
    }
}
