//! The command line: one file per command. [`output`] is the only one that prints.

mod alerts;
mod analytics;
mod audit;
mod banner;
mod client;
mod copy;
pub mod demo_server;
mod dry_run;
mod explain;
mod failure;
mod health;
mod import;
mod init;
mod keys;
mod leases;
mod ledger;
mod mcp;
mod members;
mod migrate;
mod namespaces;
mod output;
mod refund;
mod status;
mod table;
mod teams;
mod tokens;
mod tools;
mod trust;
mod usage;
mod validate;
mod webhooks;
mod wire;
mod wrap;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::config::{self, Command, Reach};
use client::Ask;
use failure::Failure;
use table::Shown;

/// Runs the command that the arguments name (the program's own name first): 0 if it did what it
/// was asked, 1 if not; `tools call` says more.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match config::parse(arguments) {
        Ok(command) => command,
        Err(printout) => {
            output::error(&printout.stderr);
            output::print(&printout.stdout);
            return ExitCode::from(printout.exit_code);
        }
    };
    match perform(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, exit_code }) => {
            output::error(&message);
            ExitCode::from(exit_code)
        }
    }
}

fn perform(command: Command) -> Result<(), Failure> {
    let done = match command {
        Command::Tools(flags) => return tools::run(&flags),
        Command::Init(flags) => init::run(&flags),
        Command::Wrap(flags) => wrap::run(&flags),
        Command::Validate(flags) => validate::run(&flags),
        Command::DemoServer => demo_server::run().map_err(|why| format!("demo-server: {why}")),
        Command::Health(flags) => health::run(&flags),
        Command::Import(flags) => import::run(&flags),
        Command::Keys(operator) => keys::run(&operator),
        Command::Namespaces(operator) => namespaces::run(&operator),
        Command::Teams(operator) => teams::run(&operator),
        Command::Tokens(operator) => tokens::run(&operator),
        Command::Alerts(operator) => alerts::run(&operator),
        Command::Webhooks(operator) => webhooks::run(&operator),
        Command::Usage(flags) => usage::run(&flags),
        Command::Analytics(flags) => analytics::run(&flags),
        Command::Explain(flags) => explain::run(&flags),
        Command::Refund(flags) => refund::run(&flags),
        Command::Audit(flags) => audit::run(&flags),
        Command::Status(flags) => status::run(&flags),
        Command::ConfigReload(reach) => {
            client::show(&reach, &Ask::post("/config/reload", None), &Shown::Members)
        }
        // It is nested: JSON is its best form for people, too.
        Command::ConfigShow(reach) => {
            client::show(&Reach { json: true, ..reach }, &Ask::get("/config"), &Shown::Members)
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
        Command::LedgerVerify(flags) => ledger::verify(&flags),
        Command::Migrate(flags) => migrate::run(&flags),
        Command::LedgerRepair(flags) => ledger::repair(&flags),
        Command::LedgerLeases(flags) => leases::list(&flags),
        Command::LedgerSettleLease(flags) => leases::settle(&flags),
    };
    done.map_err(Failure::from)
}
