//! One connection to the guarded server: a link, and who hears it.

use std::sync::Arc;

use super::ear::Ear;
use crate::upstream::Link;

/// A link and its ear. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) ear: Arc<Ear>,
}
