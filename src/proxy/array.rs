//! A JSON-RPC array as body, which only the protocol of 2025-03-26 knows: each entry is a message
//! of its own, handled and paid for on its own.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::identify::Caller;
use super::{Answer, Part, Proxy, Reply, Several, Shown};
use crate::protocol::from_client::{Invalid, Message};
use crate::protocol::to_client::NO_ID;

/// Entries of one array that are worked on at a time, so that one body does not crowd out others.
const ENTRIES_AT_A_TIME: usize = 16;

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
        let mut tasks = JoinSet::new();
        let mut parts: Vec<Option<Part>> = entries.iter().map(|_| None).collect();
        for (index, entry) in entries.iter().enumerate() {
            if tasks.len() >= ENTRIES_AT_A_TIME {
                keep(&mut parts, tasks.join_next().await);
            }
            let (proxy, caller) = (Arc::clone(self), caller.clone());
            let entry = body.slice_ref(entry.as_bytes());
            tasks.spawn(async move { (index, proxy.entry(&caller, &entry).await) });
        }
        while let Some(joined) = tasks.join_next().await {
            keep(&mut parts, Some(joined));
        }
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            return Reply::Accepted;
        }
        let shown = match self.identify(caller).await {
            Ok(identity) => self.shown(&identity, None).await,
            Err(_) => Shown::default(),
        };
        Reply::Several(Several { parts, shown })
    }

    async fn entry(self: &Arc<Self>, caller: &Caller, entry: &Bytes) -> Option<Part> {
        // A part of a text, cut at its own borders, is text.
        let text = std::str::from_utf8(entry).unwrap_or_default();
        let reply = match Message::read(text) {
            Ok(message) => self.message(caller, &message).await,
            Err(invalid) => Reply::Malformed(invalid.text()),
        };
        match reply {
            Reply::Accepted | Reply::Several(_) => None,
            Reply::Message(answer) => Some(Part::Message(answer)),
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

/// Why an array is no body, if it is none.
fn refused(entries: usize, entries_max: usize, version: Option<&str>) -> Option<String> {
    match version {
        None | Some("2025-03-26") => {}
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
    fn only_one_version_has_arrays_and_they_are_bounded() {
        assert_eq!(refused(2, 2, None), None);
        assert_eq!(refused(1, 2, Some("2025-03-26")), None);
        for (entries, version) in [(1, Some("2025-06-18")), (1, Some("x")), (0, None), (3, None)] {
            assert!(refused(entries, 2, version).is_some(), "{entries} {version:?}");
        }
    }
}
