//! Answers that are kept for repetitions: written by the script that captures their call.

use super::books::Books;
use super::names::Names;
use super::texts::kept_answer;
use crate::model::bounds::{REDIS_KEPT_ANSWERS_PER_KEY_MAX, REDIS_KEPT_BYTES_PER_KEY_MAX};
use crate::model::ids::KeyId;
use crate::model::time::Time;
use crate::store::image::KeptAnswer;
use crate::store::replay::call_id;
use crate::store::{Kept, Once, StoreError};

/// The record, what the key uses of its room, ledger time, and whether the key is there.
type Asked = (Option<Vec<u8>>, Vec<Option<u64>>, Option<i64>, bool);

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
        // Nobody is shown what somebody else has paid for.
        let fits = |kept: &KeptAnswer| now < kept.until && kept.payer.as_str() == key.as_str();
        let kept = record.as_deref().and_then(kept_answer).filter(fits);
        if let Some((kept, call)) =
            kept.and_then(|kept| call_id(&kept.call).map(|call| (kept, call)))
        {
            return if kept.request == hex::encode(once.request.bytes()) {
                Ok(Some(Kept { call, answer: kept.answer }))
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
