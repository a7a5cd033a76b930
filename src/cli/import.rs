//! `paygate import`: brings the keys of paygate-mcp into the books of a Paygate that does not run.

use std::path::PathBuf;

use serde_json::json;
use tokio::runtime::Builder;

use super::ledger::place;
use super::output;
use crate::app::{self, Import, ImportFrom, ImportInto};
use crate::config::{self, Books, Environment, ImportFlags};

/// What costs customers differently whatever the configuration.
const ALWAYS: [&str; 4] = [
    "A call without an answer (a timeout, a server that ends) is free now; paygate-mcp charged it.",
    "Calls in a JSON-RPC array are charged now, each by itself; paygate-mcp ran them unpaid.",
    "Methods such as resources/read need a valid key now; they cost nothing unless methodPricing says so.",
    "Prices, balances and limits are whole credits; a fractional price is refused, with the scaling that keeps it.",
];

pub(super) fn run(flags: &ImportFlags) -> Result<(), String> {
    let named =
        config::after_move(flags.config.as_deref(), &Environment::read(), config::read_file);
    let (books, lines) = named.map_err(|report| report.to_string())?;
    let into = match (&flags.db, books) {
        (Some(db), _) => ImportInto::File(db.clone()),
        (None, Some((_, Some(redis)))) => ImportInto::Redis(redis),
        (None, Some((Books::File(db), None))) => ImportInto::File(db),
        (None, Some((Books::Ephemeral, None))) => {
            return Err(
                "import: this configuration keeps its books in memory; name a database with --db"
                    .to_owned(),
            );
        }
        (None, None) => ImportInto::File(PathBuf::from(config::DB_DEFAULT)),
    };
    let from = match (&flags.from, &flags.redis) {
        (Some(file), _) => ImportFrom::File(file.clone()),
        (None, Some(url)) => {
            ImportFrom::Redis(place(url, flags.redis_ca.as_deref(), &flags.sentinel))
        }
        (None, None) => return Err("import: name a state file, or --redis".to_owned()),
    };
    let import = Import { from, into, is_dry: flags.dry_run };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|why| format!("import: the system does not let it run: {why}"))?;
    let report = runtime.block_on(app::import(&import)).map_err(|why| format!("import: {why}"))?;
    let changes: Vec<&str> = lines.into_iter().chain(ALWAYS).collect();
    if flags.json {
        let mut report = json!(report);
        report["customers"] = json!(changes);
        output::print(&format!("{report:#}"));
    } else {
        let changes = changes.iter().map(|line| format!("  {line}\n"));
        let heading = "\nWhat costs customers differently:\n";
        output::print(&format!("{report}{heading}{}", changes.collect::<String>()));
    }
    match report.keys_left_out() {
        0 => Ok(()),
        count => Err(format!(
            "import: not all keys came over: {count} left out, named above; mend their records and import the file again, \
             which leaves the keys that are there as they are"
        )),
    }
}
