//! A connection on which nothing is asked but only heard.

use redis::aio::PubSub;
use tokio::time::timeout;

use super::address::Address;
use super::dial::{Dialer, Wire, not_let_in};
use super::{Link, Reach};
use crate::store::StoreError;
use crate::store::redis::names;

impl Link {
    /// Connects for hearing, to the server or the master; in a cluster to one node, to which the others pass
    /// on what is told them.
    pub(in crate::store::redis) async fn subscriber(&self) -> Result<PubSub, StoreError> {
        let node = match &self.reach {
            Reach::One(node) => Ok(node.clone()),
            Reach::Cluster(cluster) => cluster.node(names::NEWS.as_bytes()),
        };
        let connected = async {
            let (at, dialer) = node?.target().await?;
            dialer.listen(&at).await
        };
        connected.await.map_err(StoreError::Unavailable)
    }
}

impl Dialer {
    async fn listen(&self, at: &Address) -> Result<PubSub, String> {
        let connected = timeout(self.connect, async {
            let made = match self.reach(at).await? {
                Wire::Secured(stream) => PubSub::new(&self.login, stream).await,
                Wire::Plain(stream) => PubSub::new(&self.login, stream).await,
            };
            made.map_err(|error| not_let_in(&error))
        });
        let connected = connected.await;
        let connected = connected.unwrap_or_else(|_| Err("does not let us in in time".to_owned()));
        connected.map_err(|why| format!("{at} {why}"))
    }
}
