//! The way in which books are written in Redis has a number, so that two releases that run beside each other
//! know whether they mean the same by what they read.

use redis::cmd;

use super::link::Link;
use super::names;
use crate::store::StoreError;

/// Raised with every change that an older release would misread.
const FORMAT: &str = "1";

/// Says which way is ours where nothing says so yet.
pub(super) async fn claim(link: &Link) -> Result<(), StoreError> {
    link.ask(cmd("SET").arg(names::FORMAT).arg(FORMAT).arg("NX")).await
}

/// What is wrong if these books are written in another way.
pub(super) async fn other(link: &Link) -> Result<Option<String>, StoreError> {
    let found: Option<String> = link.ask(cmd("GET").arg(names::FORMAT)).await?;
    Ok(found.filter(|found| found != FORMAT).map(|found| {
        format!(
            "these books are written in format {found}, and this release knows format {FORMAT}: use the release \
             that wrote them (nothing was changed)"
        )
    }))
}
