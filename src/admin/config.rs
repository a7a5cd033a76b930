//! `GET /config`: what holds, defaults included, without secrets. `POST /config/reload`: reads the file
//! anew.

use std::sync::Arc;

use super::wire::answer::{Answer, Problem};
use super::{Admin, Call};

pub(super) async fn show(admin: Arc<Admin>, _call: Call) -> Result<Answer, Problem> {
    Answer::pretty(&(admin.options.config)())
}

/// A file that is not good changes nothing and is answered with every problem in it.
pub(super) async fn reload(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    // There is nothing to say; what is said all the same must not be meant.
    if !call.body.is_empty() {
        call.members()?;
    }
    let reload = Arc::clone(&admin.options.reload);
    let reloaded = tokio::task::spawn_blocking(move || reload()).await;
    let reloaded = reloaded.map_err(|error| {
        tracing::error!(target: "admin", %error, "the configuration could not be read anew");
        Problem::unavailable("The configuration could not be read anew; try again", 1)
    })?;
    let told = reloaded.map_err(Problem::bad)?;
    let event = call.event("config.reloaded", "Configuration reloaded");
    let changed = told.get("changed").cloned().unwrap_or_default();
    let mut event = event.with("changed", changed);
    if let Some(instance) = told.get("instance") {
        event = event.with("instance", instance.clone());
    }
    // It holds by now, whatever becomes of its entry.
    if let Err(why) = admin.store.record(event).await {
        tracing::error!(target: "admin", %why, "the audit log does not have that the configuration was read anew");
    }
    Answer::pretty(&told)
}
