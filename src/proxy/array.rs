//! A JSON-RPC array as body, which only the protocol of 2025-03-26 knows: each entry is a message
//! of its own, handled and paid for on its own.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::identify::Caller;
use super::stream::Outlet;
use super::{Answer, Part, Proxy, Reply, Several, Shown, fault};
use crate::model::bounds;
use crate::protocol::from_client::{Invalid, Message};
use crate::protocol::spelling::IDEMPOTENCY_META;
use crate::protocol::to_client::{self, NO_ID};
use crate::protocol::version;

impl Proxy {
    pub(super) async fn array(
        self: &Arc<Self>,
        caller: &Caller,
        body: &Bytes,
        entries: &[&str],
        version: Option<&str>,
    ) -> Reply {
        if let Some(why) = refused(entries.len(), self.options.batch_calls_max, version) {
            return Reply::Malformed(Invalid::request(NO_ID, &why).text());
        }
        if caller.idempotency_key.is_some() {
            let why = format!(
                "Idempotency-Key cannot stand for several messages; give each a \"{IDEMPOTENCY_META}\" in its _meta"
            );
            return Reply::Malformed(Invalid::request(NO_ID, &why).text());
        }
        let mut caller = caller.clone();
        caller.may_open_session = false;
        caller.outlet = caller.outlet.as_ref().map(Outlet::about_several);
        let caller = &caller;
        let mut tasks = JoinSet::new();
        let mut parts: Vec<Option<Part>> = entries.iter().map(|_| None).collect();
        for (index, entry) in entries.iter().enumerate() {
            if tasks.len() >= bounds::ARRAY_ENTRIES_AT_A_TIME {
                keep(&mut parts, tasks.join_next().await);
            }
            let (proxy, caller) = (Arc::clone(self), caller.clone());
            let entry = body.slice_ref(entry.as_bytes());
            tasks.spawn(async move { (index, proxy.entry(&caller, &entry).await) });
        }
        while let Some(joined) = tasks.join_next().await {
            keep(&mut parts, Some(joined));
        }
        let parts = parts.into_iter().zip(entries);
        let parts: Vec<Part> =
            parts.filter_map(|(part, entry)| part.or_else(|| lost(entry))).collect();
        if parts.is_empty() {
            return Reply::Accepted;
        }
        let shown = match self.identify(caller).await {
            Ok(identity) => self.shown(&identity).await,
            Err(_) => Shown::default(),
        };
        Reply::Several(Several { parts, shown })
    }

    async fn entry(self: &Arc<Self>, caller: &Caller, entry: &Bytes) -> Option<Part> {
        // A part of a text, cut at its own borders, is text.
        let text = std::str::from_utf8(entry).unwrap_or_default();
        let reply = match Message::read(text) {
            Ok(message) => self.message(caller, text, &message).await,
            Err(invalid) => Reply::Malformed(invalid.text()),
        };
        match reply {
            Reply::Accepted | Reply::Several(_) | Reply::Stream(_) | Reply::NoSession => None,
            Reply::Message(answer) | Reply::Opened(_, answer) | Reply::Failed(answer, _) => {
                Some(Part::Message(answer))
            }
            Reply::Denied(refused) => Some(Part::Denied(refused)),
            Reply::Malformed(text) => Some(Part::Message(Answer { text, shown: Shown::default() })),
        }
    }
}

type Joined = Result<(usize, Option<Part>), tokio::task::JoinError>;

fn keep(parts: &mut [Option<Part>], joined: Option<Joined>) {
    match joined {
        Some(Ok((index, part))) => {
            if let Some(place) = parts.get_mut(index) {
                *place = part;
            }
        }
        Some(Err(error)) => {
            tracing::error!(target: "proxy", %error, "an entry of an array body ended without an answer");
        }
        None => {}
    }
}

/// The answer to a request that got none, which is a fault of Paygate; nothing else has to have one.
fn lost(entry: &str) -> Option<Part> {
    let Ok(Message::Request(request)) = Message::read(entry) else { return None };
    let text = to_client::error(request.id, &fault::ours());
    Some(Part::Message(Answer { text, shown: Shown::default() }))
}

/// Why an array is no body, if it is none.
fn refused(entries: usize, entries_max: usize, version: Option<&str>) -> Option<String> {
    match version {
        None | Some(version::WITH_ARRAYS) => {}
        Some(_) => return Some("this protocol version has no arrays of messages".to_owned()),
    }
    if entries == 0 {
        return Some("an empty array".to_owned());
    }
    (entries > entries_max).then(|| {
        format!(
            "{entries} messages in an array, but at most {entries_max} are allowed (maxBatchCalls)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_lost_is_answered_all_the_same() {
        let request = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
        let Some(Part::Message(answer)) = lost(request) else { panic!("no answer") };
        let text = String::from_utf8(answer.text).unwrap();
        assert!(text.contains(r#""id":7"#) && text.contains("a fault of Paygate"), "{text}");
        assert!(lost(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).is_none());
    }

    #[test]
    fn only_one_version_has_arrays_and_they_are_bounded() {
        assert_eq!(refused(2, 2, None), None);
        assert_eq!(refused(1, 2, Some("2025-03-26")), None);
        for (entries, version) in [(1, Some("2025-06-18")), (1, Some("x")), (0, None), (3, None)] {
            assert!(refused(entries, 2, version).is_some(), "{entries} {version:?}");
        }
    }
}
