//! The command line of `paygate init`.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::settings;

/// `paygate init`. What a flag gives is not asked.
#[derive(Debug, Clone, Args)]
pub struct InitFlags {
    /// Command line of the MCP server to guard [default: the demo server of this binary]
    #[arg(long, value_name = "COMMAND", conflicts_with = "remote_url")]
    pub server: Option<String>,
    /// URL of an MCP server to guard that is reached over HTTP
    #[arg(long, value_name = "URL")]
    pub remote_url: Option<SecretString>,
    /// Credits for a call [default: 1]
    #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
    pub price: Option<String>,
    /// File that keeps the books [default: paygate.db beside the configuration]
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
    /// Port to listen on [default: 3402]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The configuration file to write
    #[arg(long, value_name = "FILE", default_value = settings::CONFIG_FILE_DEFAULT)]
    pub config: PathBuf,
    /// Ask nothing, also at a terminal
    #[arg(long, short)]
    pub yes: bool,
    /// Write anew what is there; an admin key that is there stays
    #[arg(long)]
    pub force: bool,
}
