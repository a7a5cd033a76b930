//! What a Redis promises about the books, read at a start, at each new connection and now and then: is it fit
//! to hold them, and what can an outage lose?

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::Link;
use super::dial::{Live, sentence};
use super::node::{Failure, Node, Request};
use super::scripts::text;
use crate::store::StoreError;

/// The oldest Redis that runs the scripts.
const MAJOR_MIN: u32 = 7;

/// What an outage of Redis can lose, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStanding {
    text: String,
    crash: Loss,
}

impl fmt::Display for RedisStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a crash loses, the less the lesser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    #[default]
    Nothing,
    Moments,
    Unknown,
    SinceSnapshot,
    Everything,
}

impl RedisStanding {
    /// Does a crash lose more than moments, or more than it did before?
    pub(in crate::store::redis) fn is_worse_than(&self, before: Option<&Self>) -> bool {
        let before = before.map_or(Loss::Unknown, |before| before.crash);
        self.crash > before
    }
}

/// What a server tells of itself. Some who rent Redis out let nobody ask all of it.
#[derive(Debug, Default)]
struct Facts {
    info: HashMap<String, String>,
    config: HashMap<String, String>,
}

impl Link {
    /// Is this Redis fit to hold books, and what does it promise about them?
    pub(in crate::store::redis) async fn standing(&self) -> Result<RedisStanding, StoreError> {
        let (mut lines, mut crash) = (Vec::<String>::new(), Loss::Nothing);
        let nodes = self.nodes();
        for node in &nodes {
            let (line, loss) = match self.facts(node).await?.judge() {
                Ok(found) => found,
                Err(why) => {
                    if self.keeps_books.load(Ordering::Acquire) {
                        node.leave(&why);
                    }
                    return Err(StoreError::Unfit(why));
                }
            };
            crash = crash.max(loss);
            self.may_run_scripts(node).await?;
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let lines = lines.join("; another node: ");
        let text = match nodes.len() {
            1 => lines,
            count => format!("a cluster of {count} masters, {lines}"),
        };
        Ok(RedisStanding { text, crash })
    }

    /// Else every call would be refused later.
    async fn may_run_scripts(&self, node: &Node) -> Result<(), StoreError> {
        let mut eval = cmd("EVAL");
        eval.arg("return 1").arg(0);
        let until = Instant::now() + self.limit();
        match node.call(&Request::Command(&eval), false, until).await {
            Ok(_) => Ok(()),
            Err(Failure::Said(error)) => Err(StoreError::Unfit(format!(
                "Redis {}; its user needs `~pg:* &pg:* +@all -@admin -@dangerous +info +config|get`",
                sentence(&error)
            ))),
            Err(failure) => Err(StoreError::Unavailable(failure.why())),
        }
    }

    async fn facts(&self, node: &Node) -> Result<Facts, StoreError> {
        let mut facts = Facts::default();
        facts.take_info(self.told(node, &cmd("INFO")).await?);
        if facts.has_config() {
            facts.take_config(self.told(node, &config()).await?);
        }
        Ok(facts)
    }

    /// `None` if we may not ask that.
    async fn told(&self, node: &Node, command: &redis::Cmd) -> Result<Option<Value>, StoreError> {
        let until = Instant::now() + self.limit();
        match node.call(&Request::Command(command), false, until).await {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Said(_)) => Ok(None),
            Err(failure) => Err(StoreError::Unavailable(failure.why())),
        }
    }
}

impl Live {
    /// Is it set so that it keeps books? It may have been set otherwise since the start, or be another one.
    pub(super) async fn expect_fit(&mut self, limit: Duration) -> Result<(), String> {
        let mut facts = Facts::default();
        // What we may not ask is not known.
        facts.take_info(self.ask(&cmd("INFO"), limit).await.ok());
        if facts.has_config() {
            facts.take_config(self.ask(&config(), limit).await.ok());
        }
        facts.judge().map(drop)
    }
}

/// Asks for settings. Several at once may be asked for since 7.0.
fn config() -> Cmd {
    let mut get = cmd("CONFIG");
    get.arg("GET").arg("append*").arg("save").arg("maxmemory-policy");
    get.arg("min-replicas-to-write");
    get
}

impl Facts {
    fn take_info(&mut self, told: Option<Value>) {
        let lines = told.and_then(text).unwrap_or_default();
        let pairs = lines.lines().filter_map(|line| line.split_once(':'));
        self.info = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    }

    fn take_config(&mut self, told: Option<Value>) {
        let Some(Value::Array(words)) = told else { return };
        let words: Vec<String> = words.into_iter().filter_map(text).collect();
        let pairs = words.chunks_exact(2).filter_map(|pair| {
            let [name, value] = pair else { return None };
            Some((name.clone(), value.clone()))
        });
        self.config = pairs.collect();
    }

    /// May it be asked for its settings? Not before its version is known to be new enough.
    fn has_config(&self) -> bool {
        self.version().is_none_or(|(major, _)| major >= MAJOR_MIN)
    }

    /// As a number, and as it is written.
    fn version(&self) -> Option<(u32, &str)> {
        let version = self.info.get("redis_version")?;
        Some((version.split('.').next()?.parse().ok()?, version))
    }

    fn config(&self, name: &str) -> Option<&str> {
        self.config.get(name).map(String::as_str)
    }

    /// What is promised, or why it is not enough.
    fn judge(&self) -> Result<(String, Loss), String> {
        if let Some((major, version)) = self.version()
            && major < MAJOR_MIN
        {
            return Err(format!(
                "Redis {version} is too old for the books; use {MAJOR_MIN}.0 or newer"
            ));
        }
        if self.info.get("role").is_some_and(|role| role == "slave") {
            return Err("this Redis is a replica, which is read-only; name its master".to_owned());
        }
        let policy = self.config("maxmemory-policy");
        let policy = policy.or_else(|| self.info.get("maxmemory_policy").map(String::as_str));
        if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
            return Err(format!(
                "this Redis throws books away when its memory is full: its maxmemory-policy is {policy}; set it to noeviction"
            ));
        }
        let version = self.version().map_or("of an unknown version", |(_, version)| version);
        let unseen = match policy {
            Some(_) => "",
            None => "; its maxmemory-policy could not be seen and must be noeviction",
        };
        let (crash, loss) = self.crash();
        Ok((format!("Redis {version}: {crash}{}{unseen}", self.failover()), loss))
    }

    /// What a crash can lose.
    fn crash(&self) -> (&'static str, Loss) {
        let is_logged = self.config("appendonly").map(|value| value == "yes");
        let is_logged = is_logged.or_else(|| Some(self.info.get("aof_enabled")? == "1"));
        match (is_logged, self.config("appendfsync"), self.config("save")) {
            (Some(true), Some("always"), _) => {
                ("a crash loses nothing (appendfsync always)", Loss::Nothing)
            }
            (Some(true), Some("everysec"), _) => {
                ("a crash can lose the last second or two (appendfsync everysec)", Loss::Moments)
            }
            (Some(true), Some(_), _) => {
                ("a crash can lose half a minute (appendfsync no)", Loss::Unknown)
            }
            (Some(true), None, _) => (
                "a crash can lose the last seconds (appendonly yes; appendfsync could not be seen)",
                Loss::Moments,
            ),
            (Some(false), _, Some("")) => {
                ("a crash loses everything (appendonly no, save off)", Loss::Everything)
            }
            (Some(false), _, _) => {
                ("a crash loses all since the last snapshot (appendonly no)", Loss::SinceSnapshot)
            }
            (None, ..) => ("what a crash can lose could not be seen", Loss::Unknown),
        }
    }

    /// What the loss of the machine can lose.
    fn failover(&self) -> String {
        let replicas =
            self.info.get("connected_slaves").and_then(|count| count.parse::<u32>().ok());
        let waits =
            self.config("min-replicas-to-write").and_then(|count| count.parse::<u32>().ok());
        match (replicas, waits.unwrap_or(0)) {
            (None, _) => "; its replicas could not be seen".to_owned(),
            (Some(0), _) => "; no replica".to_owned(),
            (Some(count), 0) => format!(
                "; a failover can lose what its {count} replica(s) had not got yet, and all that is written to a master that was cut off (min-replicas-to-write 0)"
            ),
            (Some(count), waits) => format!(
                "; a failover can lose what its {count} replica(s) had not got yet (min-replicas-to-write {waits})"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(info: &[(&str, &str)], config: &[(&str, &str)]) -> Result<String, String> {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Facts { info: map(info), config: map(config) }.judge().map(|(line, _)| line)
    }

    const INFO: [(&str, &str); 4] = [
        ("redis_version", "7.0.15"),
        ("role", "master"),
        ("connected_slaves", "0"),
        ("maxmemory_policy", "noeviction"),
    ];

    #[test]
    fn it_says_what_an_outage_can_lose() {
        let cases: [(&[_], &str); 5] = [
            (&[("appendonly", "yes"), ("appendfsync", "always")], "a crash loses nothing"),
            (
                &[("appendonly", "yes"), ("appendfsync", "everysec")],
                "lose the last second or two (app",
            ),
            (&[("appendonly", "yes"), ("appendfsync", "no")], "half a minute"),
            (&[("appendonly", "no"), ("save", "")], "a crash loses everything"),
            (&[("appendonly", "no"), ("save", "3600 1")], "since the last snapshot"),
        ];
        for (config, part) in cases {
            let line = judge(&INFO, config).unwrap();
            assert!(line.starts_with("Redis 7.0.15: ") && line.contains(part), "{line}");
            assert!(line.ends_with("; no replica"), "{line}");
        }
        let mut info = INFO;
        info[2].1 = "2";
        let line = judge(&info, &[]).unwrap();
        assert!(line.contains("2 replica(s)") && line.contains("cut off"), "{line}");
        let line = judge(&info, &[("min-replicas-to-write", "1")]).unwrap();
        assert!(line.ends_with("(min-replicas-to-write 1)"), "{line}");
    }

    #[test]
    fn less_than_before_is_worse_and_so_is_much_at_a_start() {
        let standing = |crash| RedisStanding { text: String::new(), crash };
        for (before, now, is_worse) in [
            (None, Loss::Moments, false),
            (None, Loss::SinceSnapshot, true),
            (Some(Loss::Nothing), Loss::Moments, true),
            (Some(Loss::Everything), Loss::SinceSnapshot, false),
            (Some(Loss::Everything), Loss::Everything, false),
        ] {
            let before = before.map(standing);
            assert_eq!(
                standing(now).is_worse_than(before.as_ref()),
                is_worse,
                "{before:?} {now:?}"
            );
        }
    }

    #[test]
    fn it_says_what_it_could_not_see() {
        let mut info = INFO.to_vec();
        info.push(("aof_enabled", "1"));
        let line = judge(&info, &[]).unwrap();
        assert!(line.contains("appendfsync could not be seen"), "{line}");
        let line = judge(&[], &[]).unwrap();
        for part in [
            "unknown version",
            "a crash can lose could not",
            "replicas could not",
            "must be noeviction",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn it_refuses_what_cannot_hold_books() {
        let with = |index: usize, value| {
            let mut info = INFO;
            info[index].1 = value;
            judge(&info, &[]).unwrap_err()
        };
        assert!(with(0, "6.2.14").contains("7.0 or newer"));
        assert!(with(1, "slave").contains("name its master"));
        assert!(with(3, "volatile-lru").contains("set it to noeviction"));
        let error = judge(&INFO, &[("maxmemory-policy", "allkeys-lru")]).unwrap_err();
        assert!(error.contains("allkeys-lru"), "{error}");
    }
}
