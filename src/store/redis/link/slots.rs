//! Which node of a cluster has which slot.

use redis::{Arg, Cmd, Value};

use super::address::Address;
use super::scripts::text;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// The slot of a key: of what stands in its first braces, if anything does.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let inside = key.get(open.checked_add(1)?..)?;
        let close = memchr::memchr(b'}', inside)?;
        inside.get(..close).filter(|tag| !tag.is_empty())
    });
    let sum = tag.unwrap_or(key).iter().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 }
        })
    });
    sum & (SLOTS - 1)
}

/// The key by which a command finds its node. Ours have one slot each, named first.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().map_while(|word| match word {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    match words.next()? {
        b"EVAL" | b"EVALSHA" => words.nth(2),
        _ => words.next(),
    }
}

/// First slot, last slot, node; in rising order.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<(u16, u16, Address)>);

impl Slots {
    /// The answer to `CLUSTER SLOTS` of one node.
    pub(super) fn read(value: Value, teller: &Address) -> Option<Self> {
        let Value::Array(ranges) = value else { return None };
        let mut slots = ranges.into_iter().map(|range| {
            let Value::Array(parts) = range else { return None };
            let mut parts = parts.into_iter();
            let mut number = || text(parts.next()?)?.parse().ok();
            let (first, last) = (number()?, number()?);
            let Value::Array(master) = parts.next()? else { return None };
            let mut master = master.into_iter();
            let host = master.next().and_then(text).filter(|host| !host.is_empty() && host != "?");
            let port = text(master.next()?)?.parse().ok()?;
            let host = host.unwrap_or_else(|| teller.host.clone());
            Some((first, last, Address { host, port }))
        });
        let mut slots: Vec<_> = slots.by_ref().collect::<Option<_>>()?;
        slots.sort_unstable_by_key(|(first, _, _)| *first);
        Some(Self(slots)).filter(|slots| !slots.0.is_empty())
    }

    pub(super) fn node(&self, slot: u16) -> Option<&Address> {
        let behind = self.0.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, node) = self.0.get(behind.checked_sub(1)?)?;
        (slot <= *last).then_some(node)
    }

    /// One slot has another node now.
    pub(super) fn moved(&self, slot: u16, to: Address) -> Self {
        let mut slots = Vec::with_capacity(self.0.len().saturating_add(2));
        for (first, last, node) in &self.0 {
            if slot < *first || slot > *last {
                slots.push((*first, *last, node.clone()));
                continue;
            }
            if *first < slot {
                slots.push((*first, slot.saturating_sub(1), node.clone()));
            }
            if slot < *last {
                slots.push((slot.saturating_add(1), *last, node.clone()));
            }
        }
        slots.push((slot, slot, to));
        slots.sort_unstable_by_key(|(first, _, _)| *first);
        Self(slots)
    }

    /// Every node that has slots, once.
    pub(super) fn nodes(&self) -> Vec<Address> {
        let mut nodes: Vec<Address> = Vec::new();
        for (_, _, node) in &self.0 {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        Address { host: "h".to_owned(), port }
    }

    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        // As `CLUSTER KEYSLOT` says.
        let cases = [("123456789", 12_739), ("pg:tokens", 9_511), ("", 0), ("{}a", 10_875)];
        for (key, slot) in cases {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"pg:{acme}:meta"), slot_of(b"acme"));
        assert_eq!(slot_of(b"pg:{acme}:{x}"), slot_of(b"acme"));
    }

    #[test]
    fn commands_are_found_by_their_first_key() {
        let mut script = redis::cmd("EVALSHA");
        script.arg("abc").arg(2).arg("pg:{a}:meta").arg("pg:{a}:holds").arg("x");
        assert_eq!(key_of(&script), Some(&b"pg:{a}:meta"[..]));
        let mut get = redis::cmd("HGET");
        get.arg("pg:{a}:meta").arg("epoch");
        assert_eq!(key_of(&get), Some(&b"pg:{a}:meta"[..]));
        assert_eq!(key_of(&redis::cmd("PING")), None);
    }

    #[test]
    fn slots_are_read_and_move() {
        let master = |host: Value, port| Value::Array(vec![host, Value::Int(port)]);
        let range = |first, last, master| {
            Value::Array(vec![Value::Int(first), Value::Int(last), master, Value::Array(vec![])])
        };
        let named = |host: &str| Value::BulkString(host.into());
        let value = Value::Array(vec![
            range(100, 199, master(Value::Nil, 2)),
            range(0, 99, master(named("h"), 1)),
            range(300, 16_383, master(named("h"), 3)),
        ]);
        let slots = Slots::read(value, &at(9)).unwrap();
        let found = |slots: &Slots, slot| slots.node(slot).map(|node| node.port);
        let cases = [(0, Some(1)), (99, Some(1)), (100, Some(2)), (200, None), (16_383, Some(3))];
        for (slot, port) in cases {
            assert_eq!(found(&slots, slot), port, "{slot}");
        }
        let slots = slots.moved(150, at(1)).moved(100, at(3)).moved(250, at(2));
        let cases = [
            (99, Some(1)),
            (100, Some(3)),
            (149, Some(2)),
            (150, Some(1)),
            (151, Some(2)),
            (250, Some(2)),
            (251, None),
        ];
        for (slot, port) in cases {
            assert_eq!(found(&slots, slot), port, "{slot}");
        }
        assert_eq!(slots.nodes().len(), 3);
        assert!(Slots::read(Value::Array(vec![]), &at(9)).is_none());
    }
}
