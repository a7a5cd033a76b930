//! Whether Redis still is what it was at the start: somebody may set it otherwise while instances run, and one
//! that comes back may have read other settings. Each new connection refuses a server that is set to lose
//! books; here the ones that last are looked at again.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::books::Books;
use super::link::RedisStanding;
use crate::model::bounds::{REDIS_CHANGES_LOOK, REDIS_STANDING_LOOK};

/// Says what an outage can lose: as a warning where that is much, or more than before.
pub(super) fn say(standing: &RedisStanding, before: Option<&RedisStanding>) {
    if standing.is_worse_than(before) {
        tracing::warn!(
            target: "store",
            "books in {standing}; docs/several-instances.md says what Redis must be set to"
        );
    } else {
        tracing::info!(target: "store", "books in {standing}");
    }
}

impl Books {
    /// Looks now and then, and after each new connection, how Redis is set.
    pub(super) async fn follow_standing(self: Arc<Self>, mut known: RedisStanding) {
        let (mut connections, mut looked) = (self.link.connections(), Instant::now());
        loop {
            sleep(REDIS_CHANGES_LOOK).await;
            let present = self.link.connections();
            let is_due = present != connections || looked.elapsed() >= REDIS_STANDING_LOOK;
            if !is_due || self.link.trouble().is_some() {
                continue;
            }
            (connections, looked) = (present, Instant::now());
            match self.link.standing().await {
                Ok(found) if found != known => {
                    say(&found, Some(&known));
                    known = found;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(target: "store", %error, "how Redis is set could not be seen");
                }
            }
        }
    }
}
