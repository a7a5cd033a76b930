//! A tenant's journal as it is in Redis, read without Paygate.

use std::collections::HashMap;

use serde_json::Value;

use crate::support::RedisServer;

/// What the journal of the default tenant says of one key.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Credits that were added, and given back by the operator.
    pub(crate) granted: i64,
    /// Credits that calls took.
    pub(crate) charged: i64,
    /// How each call ended.
    pub(crate) ends: HashMap<String, String>,
    /// Holds that have no end yet, of all keys.
    pub(crate) open: usize,
}

impl Journal {
    /// Reads all of it; no row is missing, and no call has two ends.
    pub(crate) fn read(redis: &RedisServer, key: &str) -> Self {
        let client = redis::Client::open(redis.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut journal = Self::default();
        let rows: Vec<(String, HashMap<String, String>)> = redis::cmd("XRANGE")
            .arg("pg:{default}:journal")
            .arg("-")
            .arg("+")
            .query(&mut connection)
            .unwrap();
        for (index, (id, row)) in rows.iter().enumerate() {
            assert_eq!(*id, format!("{}-0", index + 1), "no row is missing");
            if row.get("account").is_some_and(|account| account == key) {
                journal.add(row);
            }
        }
        journal.open = redis::cmd("HLEN").arg("pg:{default}:holds").query(&mut connection).unwrap();
        journal
    }

    fn add(&mut self, row: &HashMap<String, String>) {
        let amount: i64 = row["amount"].parse().unwrap();
        match row["kind"].as_str() {
            "grant" | "adjust" | "refund" => self.granted += amount,
            "call" => {
                self.charged += amount;
                let detail: Value = serde_json::from_str(&row["detail"]).unwrap();
                let end = detail["end"].as_str().unwrap().to_owned();
                let twice = self.ends.insert(row["call"].clone(), end);
                assert!(twice.is_none(), "{row:?} is the second end of its call");
            }
            _ => {}
        }
    }
}
