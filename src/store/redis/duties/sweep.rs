//! What ends by itself: holds that nobody has ended, answers and deeds whose time has passed. One instance at
//! a time looks for it, and another one when that has been gone for a moment. Two of them at once would do
//! no harm: each end happens once, in a script that knows better.

use redis::cmd;

use crate::model::bounds::{REDIS_SWEEP_LEASE, REDIS_SWEPT_TENANTS};
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::redis::RedisClock;
use crate::store::redis::books::Books;
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::lists::CHUNK;

/// How far the tenants were gone round.
#[derive(Debug, Default)]
pub(in crate::store::redis) struct Sweeping {
    is_ours: bool,
    /// Place in the list of tenants where the next look begins.
    next: usize,
}

impl Books {
    /// Looks at some tenants, the next ones each time, if this instance is the one to do it; how many holds
    /// were released.
    pub(in crate::store::redis) async fn sweep(&self, now: Time) -> Result<usize, StoreError> {
        let Ok(mut sweeping) = self.sweeping.try_lock() else { return Ok(0) };
        let Some(present) = self.own_sweeping(&mut sweeping, now).await? else { return Ok(0) };
        let some = self.next_tenants(&mut sweeping);
        let mut count = 0_usize;
        for namespace in self.with_something_due(some, present).await? {
            count = count.saturating_add(self.expire_in(&namespace, now).await?);
        }
        Ok(count)
    }

    /// Takes or keeps the turn; the time by whose clock things end, if it is ours.
    async fn own_sweeping(
        &self,
        sweeping: &mut Sweeping,
        now: Time,
    ) -> Result<Option<Time>, StoreError> {
        if self.clock == RedisClock::Passed {
            // Whoever says what time it is says what ends.
            return Ok(Some(now));
        }
        let length = i64::try_from(REDIS_SWEEP_LEASE.as_millis()).unwrap_or(i64::MAX);
        let mut take = cmd("SET");
        take.arg(names::SWEEPER).arg(&self.name).arg("NX").arg("GET").arg("PX").arg(length);
        let owner: Option<String> = self.link.ask(&take).await?;
        sweeping.is_ours = owner.as_ref().is_none_or(|owner| *owner == self.name);
        if !sweeping.is_ours {
            return Ok(None);
        }
        if owner.is_some() {
            let mut keep = cmd("PEXPIRE");
            keep.arg(names::SWEEPER).arg(length);
            self.link.ask::<i64>(&keep).await?;
        }
        let (seconds, micros): (i64, i64) = self.link.ask(&cmd("TIME")).await?;
        let ms = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
        Ok(Some(Time::from_ms(ms)))
    }

    /// The next tenants of the round, at most so many that all of Redis is not asked each second.
    fn next_tenants(&self, sweeping: &mut Sweeping) -> Vec<String> {
        let memory = self.memory();
        let count = memory.known.len();
        let begin = if sweeping.next < count { sweeping.next } else { 0 };
        let known = memory.known.iter().cycle().skip(begin);
        let some: Vec<String> = known.take(count.min(REDIS_SWEPT_TENANTS)).cloned().collect();
        sweeping.next = begin.saturating_add(some.len()).checked_rem(count).unwrap_or(0);
        some
    }

    /// Those tenants that have something whose time has passed. Ledger time may be ahead of any clock.
    async fn with_something_due(
        &self,
        tenants: Vec<String>,
        present: Time,
    ) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for chunk in tenants.chunks(CHUNK) {
            let mut commands = redis::pipe();
            for namespace in chunk {
                let names = Names::of(namespace);
                let first = commands.cmd("ZRANGEBYSCORE").arg(names.due()).arg("-inf").arg("+inf");
                first.arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
                commands.cmd("HGET").arg(names.meta()).arg("now");
            }
            let firsts: Vec<redis::Value> = self.link.ask_all(&commands).await?;
            for (namespace, pair) in chunk.iter().zip(firsts.chunks_exact(2)) {
                let [first, ledger] = pair else { continue };
                let first: Vec<(String, f64)> =
                    redis::from_redis_value(first.clone()).unwrap_or_default();
                let ledger: Option<i64> =
                    redis::from_redis_value(ledger.clone()).unwrap_or_default();
                let now = present.ms().max(ledger.unwrap_or(0));
                #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53")]
                let now = now as f64;
                if first.first().is_some_and(|(_, due)| *due <= now) {
                    found.push(namespace.clone());
                }
            }
        }
        Ok(found)
    }

    /// Lets the next instance take over at once.
    pub(in crate::store::redis) async fn leave_sweeping(&self) {
        let mut sweeping = self.sweeping.lock().await;
        if !std::mem::take(&mut sweeping.is_ours) {
            return;
        }
        if let Err(error) = self.link.ask::<i64>(cmd("DEL").arg(names::SWEEPER)).await {
            tracing::debug!(target: "store", %error, "another instance takes over a little later");
        }
    }
}
