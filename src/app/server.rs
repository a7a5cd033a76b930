//! Starts the guarded server, in whichever era it speaks.

use std::sync::Arc;

use crate::proxy::{Ear, ModernEar, ModernSide};
use crate::upstream::{Hello, Link, Server, StartError};

/// The server behind, the link that everybody may share, and where its modern side is.
pub(super) struct Guarded {
    pub(super) server: Server,
    pub(super) link: Link,
    pub(super) ear: Arc<Ear>,
    pub(super) modern: ModernSide,
}

/// Starts it with a handshake. One that refuses that may be of the modern era alone.
pub(super) async fn start(server: Server) -> Result<Guarded, StartError> {
    let ear = Arc::new(Ear::default());
    let refused = match server.link(Hello::Initialize(None), Arc::clone(&ear) as _).await {
        Ok(link) => {
            let modern = ModernSide::Lazy(server.clone());
            return Ok(Guarded { server, link, ear, modern });
        }
        Err(refused @ StartError::Refused { .. }) => refused,
        Err(why) => return Err(why),
    };
    let hears = Arc::new(ModernEar::default());
    match server.link(Hello::Discover, Arc::clone(&hears) as _).await {
        Ok(link) => {
            tracing::info!(target: "app", "the server speaks the modern era alone: older clients are refused");
            Ok(Guarded { server, link, ear, modern: ModernSide::Only(hears) })
        }
        // What it said first is what it meant.
        Err(_) => Err(refused),
    }
}
