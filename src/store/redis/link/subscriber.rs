//! A connection on which nothing is asked but only heard.

use redis::aio::PubSub;

use super::cluster::Cluster;
use super::node::Node;
use super::{Link, Reach};
use crate::store::StoreError;

impl Link {
    /// Connects for hearing, to where money is asked for: a master, or any node of a cluster, whose nodes pass
    /// on what is published.
    pub(in crate::store::redis) async fn subscriber(&self) -> Result<PubSub, StoreError> {
        let made = match &self.reach {
            Reach::One(node) => node.subscriber().await,
            Reach::Cluster(cluster) => any_of(cluster).await,
        };
        made.map_err(|why| StoreError::Unavailable(format!("Redis at {why}")))
    }
}

async fn any_of(cluster: &Cluster) -> Result<PubSub, String> {
    let mut why = "none of the nodes of the cluster can be asked".to_owned();
    let mut masters: Vec<Node> = cluster.masters();
    masters.sort_by_key(|node| node.trouble().is_some());
    for node in masters {
        match node.subscriber().await {
            Ok(made) => return Ok(made),
            Err(error) => why = error,
        }
    }
    Err(why)
}
