//! A connection on which nothing is asked but only heard.

use redis::aio::PubSub;
use tokio::time::timeout;

use super::{Link, unavailable};
use crate::model::bounds::REDIS_CONNECT_TIMEOUT;
use crate::store::StoreError;

impl Link {
    /// Connects for hearing, to where money is asked for: a master, or any node of a cluster, whose nodes pass
    /// on what is published.
    pub(in crate::store::redis) async fn subscriber(&self) -> Result<PubSub, StoreError> {
        let made = timeout(REDIS_CONNECT_TIMEOUT, self.client.get_async_pubsub()).await;
        let slow = |_| StoreError::Unavailable("Redis does not let us in in time".to_owned());
        made.map_err(slow)?.map_err(|error| unavailable(&error))
    }
}
