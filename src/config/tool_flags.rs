//! The command line of `paygate tools`, which speaks to a running Paygate as a customer does.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::SecretString;

/// `paygate tools`.
#[derive(Debug, Clone, Args)]
pub struct ToolsFlags {
    /// What to do; without it the tools are listed.
    #[command(subcommand)]
    pub words: Option<ToolsWords>,
    /// Where the running Paygate is [default: PAYGATE_URL, or http://127.0.0.1:3402]
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,
    /// File with the authority of its certificate, in PEM form [default: PAYGATE_CA]
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// The customer's API key; better in the environment [default: PAYGATE_API_KEY]
    #[arg(long, value_name = "KEY", global = true)]
    pub key: Option<SecretString>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

/// What `paygate tools` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ToolsWords {
    /// List the tools with their prices, as a customer sees them
    List,
    /// Call a tool and pay for it, as a customer does
    Call {
        /// Its name
        name: String,
        /// Its arguments, a JSON object
        #[arg(long, value_name = "JSON", default_value = "{}")]
        args: String,
        /// Makes a repetition of this command harmless: it gets the answer of the first, unpaid
        #[arg(long, value_name = "TEXT")]
        idempotency_key: Option<String>,
    },
}
