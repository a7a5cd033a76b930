//! A cluster of three nodes: tenants on each of them, slots on their way, and a node that dies.

use std::sync::Arc;
use std::time::Duration;

use paygate::model::key::Key;
use paygate::store::redis::{LeaseOptions, OnUnavailable, RedisReach};
use paygate::store::{Store, clock};

use super::support::{RedisServer, eventually, free_port};
use super::{
    Instance, PRICE, is_refused, is_refused_at_once, journal, open, patience, soon, try_open,
};

/// Of each node: its first slot and its last.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// A tenant of each node.
const TENANTS: [&str; 3] = ["t2", "a1", "acme"];

fn node(extra: &[&str]) -> RedisServer {
    let bus = free_port().to_string();
    let mut settings = vec![
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        "1000",
        "--cluster-require-full-coverage",
        "no",
        "--cluster-allow-replica-migration",
        "no",
        "--repl-diskless-sync-delay",
        "0",
        "--save",
        "",
    ];
    settings.extend(extra);
    RedisServer::start_with(&settings)
}

fn meet(one: &RedisServer, other: &RedisServer) {
    let bus = other.cli(&["CONFIG", "GET", "cluster-port"]);
    let bus = bus.lines().nth(1).unwrap();
    one.cli(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), bus]);
}

fn is_whole(node: &RedisServer, known: usize) -> bool {
    let info = node.cli(&["CLUSTER", "INFO"]);
    info.contains("cluster_state:ok")
        && info.contains("cluster_slots_assigned:16384")
        && info.contains(&format!("cluster_known_nodes:{known}\r"))
}

fn cluster() -> Vec<RedisServer> {
    let nodes: Vec<_> =
        SLOTS.iter().map(|_| node(&["--appendonly", "yes", "--appendfsync", "always"])).collect();
    for (number, (node, (first, last))) in nodes.iter().zip(SLOTS).enumerate() {
        node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
    }
    for other in &nodes[1..] {
        meet(&nodes[0], other);
    }
    eventually("the cluster is whole", || nodes.iter().all(|node| is_whole(node, 3)));
    nodes
}

fn ports(nodes: &[RedisServer]) -> Vec<u16> {
    nodes.iter().map(RedisServer::port).collect()
}

fn slot(node: &RedisServer, tenant: &str) -> String {
    node.cli(&["CLUSTER", "KEYSLOT", tenant])
}

async fn keys(instance: &Instance) -> Vec<Arc<Key>> {
    let mut keys = Vec::new();
    for (number, tenant) in (1..).zip(TENANTS) {
        keys.push(instance.key(number, tenant, 1_000).await);
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_sold_to_on_every_node_and_a_node_that_dies_takes_only_its_own() {
    let mut nodes = cluster();
    for (number, tenant) in TENANTS.iter().enumerate() {
        let slot: u16 = slot(&nodes[0], tenant).parse().unwrap();
        assert!((SLOTS[number].0..=SLOTS[number].1).contains(&slot), "{tenant} has {slot}");
    }
    let instance = open(&format!("redis+cluster://127.0.0.1:{}", nodes[1].port())).await;
    assert!(instance.standing().to_string().starts_with("a cluster of 3 masters"));
    let mut keys = keys(&instance).await;
    for key in &keys {
        instance.sell(key).await.unwrap();
    }
    // What reads all tenants reads them on all nodes.
    let usage = instance.usage(None).await.unwrap();
    assert_eq!(usage.iter().map(|row| row.credits).sum::<i64>(), 3 * PRICE);
    assert_eq!(instance.keys(None).await.unwrap().len(), 3);

    // What changes on one node is heard on all.
    let other = open(&format!("redis+cluster://127.0.0.1:{}", nodes[2].port())).await;
    soon("news are heard", async || instance.is_told() && other.is_told()).await;
    for key in &mut keys {
        let seen = async || other.recent_key(&key.id).await.unwrap().unwrap().name.clone();
        assert_eq!(seen().await, "customer");
        let named = Key { name: "renamed".to_owned(), ..(**key).clone() };
        let named = instance.update_key(named, None.into()).await.unwrap();
        soon("its name", async || seen().await == "renamed").await;
        *key = named;
    }
    drop(other);

    nodes[0].kill();
    is_refused_at_once(&instance, &keys[0]).await;
    for key in &keys[1..] {
        instance.sell(key).await.unwrap();
    }
    nodes[0].restart();
    instance.sells_again(&keys[0]).await;
    for key in &keys {
        instance.expect_exact(&ports(&nodes), key, 1_000 - 2 * PRICE).await;
    }
}

/// Until when what is out on lease of a tenant is.
fn leased_until(node: &RedisServer, tenant: &str) -> i64 {
    let lease = node.cli(&["HVALS", &format!("pg:{{{tenant}}}:leases")]);
    let lease: serde_json::Value = serde_json::from_str(&lease).expect("one lease");
    lease["until"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_sold_through_from_leases_and_the_others_keep_theirs() {
    let mut nodes = cluster();
    let lease = LeaseOptions { renewal: Duration::ZERO, ..LeaseOptions::default() };
    let reach = RedisReach { on_unavailable: OnUnavailable::Lease(lease), ..patience() };
    let url = format!("redis+cluster://127.0.0.1:{}", nodes[1].port());
    let instance = try_open(&url, reach).await.unwrap();
    let keys = keys(&instance).await;
    for key in &keys {
        instance.sell(key).await.unwrap();
    }
    instance.tend_leases(clock::now()).await.unwrap();
    nodes[0].kill();
    soon("it is sold", async || instance.sell(&keys[0]).await.is_ok()).await;
    // Whatever is in the way of one tenant's leases, the others' are renewed.
    for (node, tenant) in nodes.iter().zip(TENANTS).skip(1) {
        let before = leased_until(node, tenant);
        soon("it is renewed", async || {
            let away = instance.tend_leases(clock::now()).await;
            away.is_err() && leased_until(node, tenant) > before
        })
        .await;
    }
    nodes[0].restart();
    soon("it is reported", async || {
        let tended = instance.tend_leases(clock::now()).await;
        let sold = journal(nodes[0].port(), &keys[0]).map(|journal| 1_000 - journal.owned);
        tended.is_ok() && sold == Some(2 * PRICE)
    })
    .await;
}

/// How much a node has written, or was told of what its master has.
fn offset(node: &RedisServer) -> Option<String> {
    let told = node.cli(&["INFO", "replication"]);
    let offset = |name: &str| told.lines().find_map(|line| line.strip_prefix(name));
    offset("slave_repl_offset:").or_else(|| offset("master_repl_offset:")).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_is_found() {
    let mut nodes = cluster();
    let replica = node(&[]);
    let id = nodes[0].cli(&["CLUSTER", "MYID"]);
    meet(&nodes[0], &replica);
    eventually("it is known", || is_whole(&replica, 4) && is_whole(&nodes[1], 4));
    eventually("it is a replica", || replica.cli(&["CLUSTER", "REPLICATE", &id]) == "OK");
    let instance = open(&format!("redis+cluster://127.0.0.1:{}", nodes[0].port())).await;
    let key = instance.key(1, TENANTS[0], 1_000).await;
    instance.sell(&key).await.unwrap();
    eventually("the replica has it all, and all know it", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
            && nodes[1..].iter().all(|node| node.cli(&["CLUSTER", "NODES"]).contains("slave"))
            && offset(&nodes[0]) == offset(&replica)
    });
    nodes[0].kill();
    soon("it is noticed", async || is_refused(&instance.sell(&key).await)).await;
    instance.sells_again(&key).await;
    assert!(replica.cli(&["ROLE"]).starts_with("master"));
    instance.expect_exact(&[replica.port()], &key, 1_000 - 2 * PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_may_move_while_it_is_sold_from() {
    let nodes = cluster();
    let instance = open(&format!("redis+cluster://127.0.0.1:{}", nodes[2].port())).await;
    let key = instance.key(1, TENANTS[0], 1_000).await;
    instance.sell(&key).await.unwrap();
    let (from, to) = (&nodes[0], &nodes[1]);
    let (slot, from_id) = (slot(from, TENANTS[0]), from.cli(&["CLUSTER", "MYID"]));
    let to_id = to.cli(&["CLUSTER", "MYID"]);
    to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    let moving = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    let (port, moving): (_, Vec<_>) = (to.port().to_string(), moving.lines().collect());
    assert!(moving.len() > 3, "{moving:?}");
    let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
    migrate.extend(&moving);
    assert_eq!(from.cli(&migrate), "OK");
    // All of it is there and none of it belongs there yet. Redis sends us on for one time, and does not
    // run there what names a key that is not there, as a script does: nothing is sold for that long.
    let sold = instance.sell(&key).await;
    assert!(sold.is_ok() || is_refused(&sold), "{sold:?}");
    let sold = i64::from(sold.is_ok());
    assert_eq!(instance.account(&key.id).await.unwrap().held(), 0, "but it can be looked at");
    for node in [to, from, &nodes[2]] {
        node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    // And now for good.
    instance.sell(&key).await.unwrap();
    instance.expect_exact(&[to.port()], &key, 1_000 - (2 + sold) * PRICE).await;
}
