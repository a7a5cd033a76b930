//! What a client keeps for us and brings back: the state between two rounds of a call, and the id of
//! a task. Both are open to read and cannot be changed or made up: they carry a MAC (HMAC-SHA-256)
//! under a key that only this database has, and name the one customer who may use them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::canonical;
use super::object::Object;
use crate::model::ids::CallId;
use crate::model::secret::{Digest, SealKey};
use crate::model::time::Time;

/// Parameters that differ between the rounds of one request.
pub const OF_A_ROUND: [&str; 3] = ["_meta", "inputResponses", "requestState"];

/// The state between two rounds of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The call whose hold waits for the next round; none if nothing was held.
    pub call: Option<CallId>,
    /// Whose call it is: a key's id, or nothing for a caller without one.
    pub key: String,
    /// What was asked for: see [`digest`].
    pub asked: Digest,
    /// Which answer this went out with, from 1.
    pub number: u32,
    /// When it is worth nothing any more.
    pub until: Time,
    /// What the server wants back, as JSON text; none if it gave nothing.
    pub inner: Option<String>,
}

/// The id of a task as its customer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The call that made it; none if nothing was held.
    pub call: Option<CallId>,
    /// Whose it is: a key's id, or nothing for a caller without one.
    pub key: String,
    /// The tool that was called.
    pub tool: String,
    /// What its result costs.
    pub price: i64,
    /// When nobody can ask for it any more.
    pub until: Time,
    /// Which life of the server it belongs to: in another one the same id is another task.
    pub life: u64,
    /// The server's own id, as JSON text.
    pub inner: String,
}

#[derive(Serialize, Deserialize)]
struct RoundRow(Option<String>, String, String, u32, i64, Option<String>);

#[derive(Serialize, Deserialize)]
struct TaskRow(Option<String>, String, String, i64, i64, u64, String);

/// Keeps one kind from being taken for another.
const ROUND: &str = "pgr1";
const TASK: &str = "pgt2";

impl Round {
    /// As the client gets it.
    pub fn seal(&self, key: &SealKey) -> String {
        let Self { call, key: owner, asked, number, until, inner } = self;
        let call = call.as_ref().map(digits);
        let asked = hex::encode(asked.bytes());
        let row = RoundRow(call, owner.clone(), asked, *number, until.ms(), inner.clone());
        seal(key, ROUND, &row)
    }

    /// What a client brought back; `None` if it is not exactly what it was given.
    pub fn open(key: &SealKey, text: &str) -> Option<Self> {
        let RoundRow(call, owner, asked, number, until, inner) = open(key, ROUND, text)?;
        let call = call.as_deref().map(call_id).transpose().ok()?;
        let asked = Digest::from_slice(&hex::decode(asked).ok()?)?;
        Some(Self { call, key: owner, asked, number, until: Time::from_ms(until), inner })
    }
}

impl Task {
    /// As the client gets it.
    pub fn seal(&self, key: &SealKey) -> String {
        let Self { call, key: owner, tool, price, until, life, inner } = self;
        let call = call.as_ref().map(digits);
        let (until, inner) = (until.ms(), inner.clone());
        let row = TaskRow(call, owner.clone(), tool.clone(), *price, until, *life, inner);
        seal(key, TASK, &row)
    }

    /// What a client brought back; `None` if it is not exactly what it was given.
    pub fn open(key: &SealKey, text: &str) -> Option<Self> {
        let TaskRow(call, owner, tool, price, until, life, inner) = open(key, TASK, text)?;
        let call = call.as_deref().map(call_id).transpose().ok()?;
        let until = Time::from_ms(until);
        Some(Self { call, key: owner, tool, price, until, life, inner })
    }
}

/// What a request asks for, whichever round it is in: method and parameters, without what differs
/// from round to round.
pub fn digest(method: &str, params: &Object<'_>) -> Digest {
    let mut text = method.as_bytes().to_vec();
    text.push(0);
    let lasting = params.members().iter().filter(|member| !OF_A_ROUND.contains(&&*member.name));
    canonical::push_members(&mut text, lasting);
    Digest::of(&text)
}

fn digits(call: &CallId) -> String {
    hex::encode(call.bytes())
}

fn call_id(digits: &str) -> Result<CallId, hex::FromHexError> {
    let mut bytes = [0_u8; 16];
    hex::decode_to_slice(digits, &mut bytes)?;
    Ok(CallId::from_random(bytes))
}

fn seal(key: &SealKey, kind: &str, row: &impl Serialize) -> String {
    // Rows are texts and numbers, which can always be written.
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(row).unwrap_or_default());
    let body = format!("{kind}.{payload}");
    let tag = mac(key, &body).map(|mac| mac.finalize().into_bytes());
    let tag = tag.map(|tag| URL_SAFE_NO_PAD.encode(tag)).unwrap_or_default();
    format!("{body}.{tag}")
}

fn open<T: DeserializeOwned>(key: &SealKey, kind: &str, text: &str) -> Option<T> {
    let (body, tag) = text.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    mac(key, body)?.verify_slice(&tag).ok()?;
    let payload = body.strip_prefix(kind)?.strip_prefix('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// HMAC takes keys of any length, so there always is one.
fn mac(key: &SealKey, body: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).ok()?;
    mac.update(body.as_bytes());
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealKey {
        SealKey::from_random([byte; 32])
    }

    fn round() -> Round {
        Round {
            call: Some(CallId::from_random([7; 16])),
            key: "key_0707070707070707".to_owned(),
            asked: Digest::of(b"x"),
            number: 3,
            until: Time::from_ms(5),
            inner: Some(r#""st\u0061te""#.to_owned()),
        }
    }

    #[test]
    fn what_was_sealed_comes_back() {
        let round = round();
        assert_eq!(Round::open(&key(1), &round.seal(&key(1))), Some(round.clone()));
        let none = Round { call: None, inner: None, ..round };
        assert_eq!(Round::open(&key(1), &none.seal(&key(1))), Some(none));
        let task = Task {
            call: Some(CallId::from_random([7; 16])),
            key: String::new(),
            tool: "t".to_owned(),
            price: 3,
            until: Time::from_ms(5),
            life: u64::MAX,
            inner: r#""id""#.to_owned(),
        };
        assert_eq!(Task::open(&key(1), &task.seal(&key(1))), Some(task.clone()));
        assert_eq!(Round::open(&key(1), &task.seal(&key(1))), None);
    }

    #[test]
    fn nothing_can_be_changed_or_made_up() {
        let sealed = round().seal(&key(1));
        assert_eq!(Round::open(&key(2), &sealed), None);
        for (place, byte) in sealed.bytes().enumerate() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] = if byte == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Round::open(&key(1), &changed), None, "{place}");
            assert_eq!(Round::open(&key(1), &sealed[..place]), None, "{place}");
        }
        for wrong in ["", ".", "..", "pgr1..", "pgr1.e30."] {
            assert_eq!(Round::open(&key(1), wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_retry_asks_for_the_same() {
        let of = |method: &str, params: &str| digest(method, &Object::read(params).unwrap());
        let first = of("tools/call", r#"{"name":"t","arguments":{"a":1},"_meta":{"x":1}}"#);
        let retry = r#"{"requestState":"s","inputResponses":{},"arguments":{"a":1},"name":"t"}"#;
        assert_eq!(first, of("tools/call", retry));
        assert_ne!(first, of("prompts/get", retry));
        assert_ne!(first, of("tools/call", r#"{"name":"t","arguments":{"a":2}}"#));
        assert_ne!(first, of("tools/call", r#"{"name":"t","arguments":{"a":1},"x":1}"#));
    }
}
