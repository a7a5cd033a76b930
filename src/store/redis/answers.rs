//! Answers that are kept for repetitions: written by the script that captures their call.

use super::books::Books;
use super::names::Names;
use crate::model::bounds::{REDIS_KEPT_ANSWERS_PER_KEY_MAX, REDIS_KEPT_BYTES_PER_KEY_MAX};
use crate::model::ids::{CallId, KeyId};
use crate::model::time::Time;
use crate::store::{Kept, Once, StoreError};

/// `until request call account`, a line break, then `+` and the answer, or `-`.
struct Record<'a> {
    until: Time,
    request: &'a str,
    payer: &'a str,
    kept: Kept,
}

/// The record, what the key uses of its room, ledger time, and whether the key is there.
type Asked = (Option<Vec<u8>>, Vec<Option<u64>>, Option<i64>, bool);

impl<'a> Record<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', bytes)?;
        let (head, rest) = bytes.split_at_checked(end)?;
        let mut words = std::str::from_utf8(head).ok()?.split(' ');
        let until = Time::from_ms(words.next()?.parse().ok()?);
        let request = words.next()?;
        let call = CallId::parse(&format!("call_{}", words.next()?))?;
        let payer = words.next()?;
        let (sign, answer) = rest.get(1..)?.split_first()?;
        let answer = (*sign == b'+').then(|| answer.to_vec());
        Some(Self { until, request, payer, kept: Kept { call, answer } })
    }
}

impl Books {
    /// What was kept of the captured call that a request repeats.
    pub(super) async fn kept(
        &self,
        key: &KeyId,
        once: &Once,
        now: Time,
    ) -> Result<Option<Kept>, StoreError> {
        let Some(namespace) = self.place_of(key).await? else { return Ok(None) };
        let names = Names::of(&namespace);
        let mut commands = redis::pipe();
        let (answers, bytes) = (format!("answers:{key}"), format!("bytes:{key}"));
        let id = hex::encode(once.id.bytes());
        commands.cmd("HGET").arg(names.kept()).arg(&id);
        commands.cmd("HMGET").arg(names.kept()).arg(&[&answers, &bytes]);
        commands.cmd("HGET").arg(names.meta()).arg("now");
        commands.cmd("HEXISTS").arg(names.account(&key.account())).arg("rev");
        let (record, used, ledger, is_there): Asked = self.link.ask_all(&commands).await?;
        if !is_there {
            return Ok(None);
        }
        let now = self.ledger_now(now).max(Time::from_ms(ledger.unwrap_or(0)));
        let record = record.as_deref().and_then(Record::read);
        // Nobody is shown what somebody else has paid for.
        let record = record.filter(|record| now < record.until && record.payer == key.as_str());
        if let Some(record) = record {
            return if record.request == hex::encode(once.request.bytes()) {
                Ok(Some(record.kept))
            } else {
                Err(StoreError::OnceMismatch)
            };
        }
        let used = |index: usize| used.get(index).copied().flatten().unwrap_or(0);
        let is_full =
            used(0) >= REDIS_KEPT_ANSWERS_PER_KEY_MAX || used(1) >= REDIS_KEPT_BYTES_PER_KEY_MAX;
        if is_full { Err(StoreError::OnceFull) } else { Ok(None) }
    }
}
