//! The command line: one file per command. [`output`] is the only one that prints.

mod audit;
mod banner;
mod client;
mod copy;
pub mod demo_server;
mod dry_run;
mod health;
mod import;
mod keys;
mod ledger_verify;
mod namespaces;
mod output;
mod status;
mod table;
mod teams;
mod trust;
mod validate;
mod wrap;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::config::{self, Command};
use client::Ask;
use table::Shown;

/// Runs the command that the arguments name (the program's own name first): 0 if it did what it
/// was asked, 1 if not.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match config::parse(arguments) {
        Ok(command) => command,
        Err(printout) => {
            output::error(&printout.stderr);
            output::print(&printout.stdout);
            return ExitCode::from(printout.exit_code);
        }
    };
    let done = match command {
        Command::Wrap(flags) => wrap::run(&flags),
        Command::Validate(flags) => validate::run(&flags),
        Command::DemoServer => demo_server::run().map_err(|why| format!("demo-server: {why}")),
        Command::Health(flags) => health::run(&flags),
        Command::Import(flags) => import::run(&flags),
        Command::Keys(operator) => keys::run(&operator),
        Command::Namespaces(operator) => namespaces::run(&operator),
        Command::Teams(operator) => teams::run(&operator),
        Command::Audit(flags) => audit::run(&flags),
        Command::Status(flags) => status::run(&flags),
        Command::ConfigReload(reach) => {
            client::show(&reach, &Ask::post("/config/reload", None), &Shown::Members)
        }
        Command::Completions(shell) => {
            output::print(&String::from_utf8_lossy(&config::completions(shell)));
            Ok(())
        }
        Command::Backup(flags) => copy::backup(&flags),
        Command::Restore(flags) => copy::restore(&flags),
        Command::ConfigSchema => {
            output::print(&config::schema());
            Ok(())
        }
        Command::LedgerVerify(flags) => ledger_verify::run(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            output::error(&message);
            ExitCode::FAILURE
        }
    }
}
