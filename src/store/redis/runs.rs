//! Requests with an idempotency key that run now: each on one instance. Whoever repeats one elsewhere waits
//! until its answer is kept, or until nobody runs it any more.
//!
//! The mark of a run is made before the kept answer is looked for, and taken away after it was kept, so
//! there is no gap. An instance that dies leaves its marks for a moment. One that hears nothing of Redis for
//! longer cannot keep its marks: then another one may run the same too, and the script that captures sees to it
//! that one of them is paid.

use std::sync::Arc;

use redis::cmd;
use tokio::time::{Instant, sleep};

use super::RedisClock;
use super::books::{Books, random};
use super::names::Names;
use crate::model::bounds::{
    REDIS_RUN_LEASE, REDIS_RUN_LOOK, REDIS_RUN_RENEWAL, REDIS_RUN_WAIT, REDIS_TOGETHER_MAX,
};
use crate::model::ids::KeyId;
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::{Kept, Once, StoreError};

/// Takes a mark away that is still ours.
const UNMARK: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// The mark of a run of this instance.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    name: String,
    /// Tells it from one that is made later.
    token: String,
}

impl Books {
    /// What was kept of the captured call that a request repeats. If there is none, the request runs on this
    /// instance from now on, until [`Books::run_ended`].
    pub(super) async fn recall(
        self: &Arc<Self>,
        key: &KeyId,
        once: &Once,
        now: Time,
    ) -> Result<Option<Kept>, StoreError> {
        let begun = Instant::now();
        while !self.mark_run(key, once).await? {
            if let Some(kept) = self.kept(key, once, now).await? {
                return Ok(Some(kept));
            }
            if begun.elapsed() > REDIS_RUN_WAIT {
                return Err(StoreError::Busy);
            }
            sleep(REDIS_RUN_LOOK).await;
        }
        let kept = self.kept(key, once, now).await;
        if !matches!(kept, Ok(None)) {
            self.run_ended(once);
        }
        kept
    }

    /// Marks a request as running here, unless it runs elsewhere.
    async fn mark_run(&self, key: &KeyId, once: &Once) -> Result<bool, StoreError> {
        if self.clock == RedisClock::Passed || self.memory().runs.contains_key(&once.id) {
            return Ok(true);
        }
        // Without a tenant there is nothing to find, nor anybody to charge.
        let Some(namespace) = self.place_of(key).await? else { return Ok(true) };
        let name = Names::of(&namespace).run(&once.id);
        let token = hex::encode(random::<8>()?);
        let length = i64::try_from(REDIS_RUN_LEASE.as_millis()).unwrap_or(i64::MAX);
        let mut set = cmd("SET");
        set.arg(&name).arg(&token).arg("NX").arg("GET").arg("PX").arg(length);
        let found: Option<String> = self.link.ask(&set).await?;
        // Asked for twice, it finds itself.
        let is_ours = found.is_none_or(|found| found == token);
        if is_ours {
            self.memory().runs.insert(once.id, Mark { name, token });
        }
        Ok(is_ours)
    }

    /// A request does not run here any more; all that is to be kept of it is.
    pub(super) fn run_ended(self: &Arc<Self>, once: &Once) {
        let Some(mark) = self.memory().runs.remove(&once.id) else { return };
        // At the very end of the process the mark ends by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let books = Arc::clone(self);
        runtime.spawn(async move { books.unmark(&mark).await });
    }

    async fn unmark(&self, mark: &Mark) {
        let mut unmark = cmd("EVAL");
        unmark.arg(UNMARK).arg(1).arg(&mark.name).arg(&mark.token);
        if let Err(error) = self.link.ask::<i64>(&unmark).await {
            tracing::debug!(target: "store", %error, "a repetition elsewhere waits a little longer");
        }
    }

    /// Takes all marks of this instance away.
    pub(super) async fn leave_runs(&self) {
        let runs: Vec<Mark> = self.memory().runs.drain().map(|(_, mark)| mark).collect();
        for mark in runs {
            self.unmark(&mark).await;
        }
    }

    /// Keeps the marks of what runs here.
    pub(super) async fn keep_runs(self: Arc<Self>) {
        let length = i64::try_from(REDIS_RUN_LEASE.as_millis()).unwrap_or(i64::MAX);
        loop {
            sleep(REDIS_RUN_RENEWAL).await;
            let marks: Vec<Mark> = self.memory().runs.values().cloned().collect();
            for some in marks.chunks(REDIS_TOGETHER_MAX) {
                let mut commands = redis::pipe();
                for Mark { name, token } in some {
                    // One that has lapsed is made again, unless it runs elsewhere by now.
                    let mut set = cmd("SET");
                    set.arg(name).arg(token).arg("NX").arg("PX").arg(length);
                    commands.add_command(set).ignore();
                    commands.cmd("PEXPIRE").arg(name).arg(length).ignore();
                }
                let kept: Result<(), StoreError> = self.link.ask_all(&commands).await;
                if let Err(error) = kept {
                    tracing::debug!(target: "store", %error, "what runs here may run elsewhere too");
                }
            }
        }
    }
}

impl Names {
    /// The mark of a request that runs.
    fn run(&self, id: &Digest) -> String {
        self.name(&format!("run:{}", hex::encode(id.bytes())))
    }
}
