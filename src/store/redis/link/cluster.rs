//! A cluster: every tenant is one slot, and every slot one node. A node that is away takes the tenants in
//! its slots with it, and no others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use redis::{RedisError, cmd};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::dial::Dialer;
use super::node::{Goal, Node};
use super::slots::{Slots, slot_of};
use crate::model::bounds::{REDIS_SLOTS_LOOK, REDIS_SLOTS_PAUSE};

/// All clones are one.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Inner>);

struct Inner {
    seeds: Vec<Address>,
    dialer: Dialer,
    map: Mutex<Map>,
    /// Somebody found the map wrong.
    doubt: Notify,
}

#[derive(Default)]
struct Map {
    slots: Slots,
    nodes: HashMap<Address, Node>,
}

impl Cluster {
    /// Reads who has which slot, and goes on doing so.
    pub(super) async fn open(seeds: Vec<Address>, dialer: Dialer) -> Result<Self, String> {
        let (map, doubt) = (Mutex::default(), Notify::new());
        let inner = Arc::new(Inner { seeds, dialer, map, doubt });
        inner.refresh().await?;
        tokio::spawn(follow(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// The node that a key belongs to.
    pub(super) fn node(&self, key: &[u8]) -> Result<Node, String> {
        let slot = slot_of(key);
        let mut map = self.0.map();
        let Some(address) = map.slots.node(slot).cloned() else {
            self.0.doubt.notify_one();
            return Err(format!("no node of the Redis cluster has slot {slot}"));
        };
        Ok(self.0.known(&mut map, address))
    }

    /// Every master.
    pub(super) fn masters(&self) -> Vec<Node> {
        let mut map = self.0.map();
        let nodes = map.slots.nodes();
        nodes.into_iter().map(|address| self.0.known(&mut map, address)).collect()
    }

    /// Something went wrong that another map may mend.
    pub(super) fn doubt(&self) {
        self.0.doubt.notify_one();
    }

    /// The node that Redis has sent us to; for good, or for one time.
    pub(super) fn sent_to(&self, error: &RedisError, is_for_good: bool) -> Option<Node> {
        let (address, slot) = error.redirect_node()?;
        let mut map = self.0.map();
        let teller = map.slots.node(slot).or_else(|| self.0.seeds.first())?;
        let address = Address::read(address, teller)?;
        if is_for_good {
            map.slots = map.slots.moved(slot, address.clone());
            self.0.doubt.notify_one();
        }
        Some(self.0.known(&mut map, address))
    }

    /// Why some tenants cannot be served now, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.map().nodes.values().find_map(Node::trouble)
    }
}

/// Reads the map again when somebody doubts it, and while a node is away.
async fn follow(cluster: Weak<Inner>) {
    loop {
        let Some(inner) = cluster.upgrade() else { return };
        let is_doubted = timeout(REDIS_SLOTS_LOOK, inner.doubt.notified()).await.is_ok();
        let is_hurt = inner.map().nodes.values().any(|node| node.trouble().is_some());
        if !is_doubted && !is_hurt {
            continue;
        }
        if let Err(error) = inner.refresh().await {
            tracing::debug!(target: "store", error, "the slots of the cluster could not be read");
        }
        drop(inner);
        sleep(REDIS_SLOTS_PAUSE).await;
    }
}

impl Inner {
    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, map: &mut Map, address: Address) -> Node {
        let node = map.nodes.entry(address);
        let new = |address: &Address| Node::new(Goal::At(address.clone()), self.dialer.clone());
        node.or_insert_with_key(new).clone()
    }

    /// Asks one node after another who has which slot.
    async fn refresh(&self) -> Result<(), String> {
        let mut asked = {
            let map = self.map();
            // Those that answer are asked first.
            let mut nodes = map.slots.nodes();
            nodes.sort_by_key(|at| map.nodes.get(at).is_some_and(|node| node.trouble().is_some()));
            nodes
        };
        asked.extend(
            self.seeds.iter().filter(|seed| !asked.contains(seed)).cloned().collect::<Vec<_>>(),
        );
        let mut why = "no node of the cluster is named".to_owned();
        for address in asked {
            match self.ask(&address).await {
                Ok(slots) => {
                    let mut map = self.map();
                    let nodes = slots.nodes();
                    map.nodes.retain(|address, _| nodes.contains(address));
                    map.slots = slots;
                    return Ok(());
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn ask(&self, address: &Address) -> Result<Slots, String> {
        let mut live = self.dialer.dial(address).await?;
        let mut slots = cmd("CLUSTER");
        slots.arg("SLOTS");
        let value = live.ask(&slots, self.dialer.answer).await?;
        Slots::read(value, address).ok_or_else(|| format!("{address} knows of no slots"))
    }
}
