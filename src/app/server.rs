//! Starts the guarded server, in whichever era it speaks.

use std::sync::Arc;

use crate::proxy::{Ear, ModernEar, ModernSide};
use crate::upstream::{Hello, Link, LinkOptions, StartError};

/// A server that runs, and where its modern side is.
pub(super) struct Server {
    pub(super) link: Link,
    pub(super) ear: Arc<Ear>,
    pub(super) modern: ModernSide,
}

/// Starts it with a handshake. One that refuses that may be of the modern era alone.
pub(super) async fn start(mut options: LinkOptions) -> Result<Server, StartError> {
    let ear = Arc::new(Ear::default());
    let modern = options.clone();
    options.listener = Some(Arc::clone(&ear) as _);
    let refused = match Link::start(options).await {
        Ok(link) => return Ok(Server { link, ear, modern: ModernSide::Lazy(Box::new(modern)) }),
        Err(refused @ StartError::Refused { .. }) => refused,
        Err(why) => return Err(why),
    };
    let hears = Arc::new(ModernEar::default());
    let mut options = modern;
    options.hello = Hello::Discover;
    options.listener = Some(Arc::clone(&hears) as _);
    match Link::start(options).await {
        Ok(link) => {
            tracing::info!(target: "app", "the server speaks the modern era alone: older clients are refused");
            Ok(Server { link, ear, modern: ModernSide::Only(hears) })
        }
        // What it said first is what it meant.
        Err(_) => Err(refused),
    }
}
