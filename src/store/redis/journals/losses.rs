//! Has Redis come back with less than this instance has seen? Every script tells. But a tenant of whom nobody
//! asks anything would not be noticed, and a credential that is not there any more is not even looked for in
//! any tenant's books: its owner must not be told that it is none.

use redis::cmd;

use crate::model::bounds::REDIS_LOOKED_AT_FOR_LOSSES;
use crate::model::secret::Digest;
use crate::store::StoreError;
use crate::store::redis::books::{Books, LOST};
use crate::store::redis::names::{self, Names};

impl Books {
    /// Looks at the books of some tenants, the next ones each time, and at those again that lack something.
    pub(in crate::store::redis) async fn look_for_losses(
        &self,
        place: &mut usize,
    ) -> Result<(), StoreError> {
        for namespace in self.next_seen(place) {
            let names = Names::of(&namespace);
            let keys = [names.meta(), names.holds(), names.due(), names.kept(), names.once()];
            let script = &self.link.scripts.sweep;
            // Of what is late, none is asked for.
            let looked = self.run(&namespace, script, &keys, self.present(), &[b"0"]).await;
            if self.link.trouble().is_some() {
                return looked.map(|_| ());
            }
        }
        Ok(())
    }

    fn next_seen(&self, place: &mut usize) -> Vec<String> {
        let memory = self.memory();
        let most = memory.seen.len().min(REDIS_LOOKED_AT_FOR_LOSSES);
        let begin = if *place < memory.seen.len() { *place } else { 0 };
        let next = memory.seen.keys().cycle().skip(begin).take(most).cloned();
        let lost = memory.lost.keys().take(REDIS_LOOKED_AT_FOR_LOSSES).cloned();
        *place = begin.saturating_add(most);
        lost.chain(next).collect()
    }

    /// Where a credential belongs, as far as a hint says. There is none for one that nobody has; but where
    /// something was lost, nobody knows that.
    pub(in crate::store::redis) async fn hint_of(
        &self,
        digest: &Digest,
    ) -> Result<Option<String>, StoreError> {
        let mut commands = redis::pipe();
        commands.add_command(cmd("GET").arg(names::digest(digest)).clone());
        commands.add_command(cmd("SCARD").arg(names::NAMESPACES).clone());
        let (hint, tenants): (Option<String>, usize) = self.link.ask_all(&commands).await?;
        match hint {
            None => self.judge_whole(None, tenants).map(|()| None),
            hint => Ok(hint),
        }
    }

    /// Refuses what would be written beside something that is lost, or read as if nothing were: of one tenant, or
    /// of all.
    pub(in crate::store::redis) async fn expect_whole(
        &self,
        namespace: Option<&str>,
    ) -> Result<(), StoreError> {
        let tenants: usize = self.link.ask(cmd("SCARD").arg(names::NAMESPACES)).await?;
        self.judge_whole(namespace, tenants)
    }

    fn judge_whole(&self, namespace: Option<&str>, tenants: usize) -> Result<(), StoreError> {
        let memory = self.memory();
        let lost = match namespace {
            Some(namespace) => memory.lost.get(namespace),
            None => memory.lost.values().next(),
        };
        // A tenant stays on the list for ever.
        let seen = memory.seen.values().filter(|seen| !seen.epoch.is_empty()).count();
        match lost {
            Some(why) => Err(StoreError::Unavailable(why.clone())),
            None if seen > tenants => Err(StoreError::Unavailable(LOST.to_owned())),
            None => Ok(()),
        }
    }

    /// A record is gone that a list still names: nothing of Paygate does that, but whoever throws keys out of
    /// Redis does. Says it once; `/health` does until a repair.
    pub(in crate::store::redis) fn damaged(&self, namespace: &str, what: &str) -> StoreError {
        let why = format!(
            "the record of {what} of {namespace} is gone from Redis; bring it back with `paygate ledger repair --redis \
             URL --db COPY`, and see that its maxmemory-policy is noeviction"
        );
        let before = self.memory().damaged.insert(namespace.to_owned(), why.clone());
        if before.as_ref() != Some(&why) {
            tracing::error!(target: "store", %namespace, "{why}");
        }
        StoreError::Unavailable(why)
    }
}
