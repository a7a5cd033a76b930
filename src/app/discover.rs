//! Starts the guarded server only to see what it offers.

use std::ffi::OsString;

use super::{AppError, options, server};
use crate::config::Config;
use crate::model::bounds;
use crate::upstream::Server;

/// The names of the tools that the server lists, sorted. Files that a start would read are read, too.
pub async fn discover(
    config: &Config,
    environment: Vec<(OsString, OsString)>,
) -> Result<Vec<String>, AppError> {
    options::certificate(config)?;
    let server = Server::new(options::server(config, environment)?, config.children_max);
    let link = server::start(server).await?.link;
    options::warn_of_names(config, &link);
    let mut tools: Vec<String> = link.tools().iter().map(str::to_owned).collect();
    tools.sort_unstable();
    link.stop(bounds::CHILD_STOP_GRACE).await;
    Ok(tools)
}
