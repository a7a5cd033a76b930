//! One connection to the guarded server: a link, who hears it, and how much of it may be used for
//! nothing.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::ear::Ear;
use crate::model::bounds;
use crate::upstream::Link;

/// A link and what belongs to it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) ear: Arc<Ear>,
    /// Places of the link for what costs nothing.
    pub(super) free_places: Arc<Semaphore>,
}

impl Connection {
    pub(super) fn new(link: Link, ear: Arc<Ear>) -> Self {
        let free_places = (link.calls_max() / bounds::FREE_CALLS_DIVISOR).max(1);
        Self { link, ear, free_places: Arc::new(Semaphore::new(free_places)) }
    }
}
