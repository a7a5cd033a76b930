//! Looking after leases: taken for keys that call, renewed while nobody uses them, given back when they are
//! not needed, ended when they were used.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use redis::{Value, cmd};

use super::super::books::{Books, random};
use super::super::link::{Reply, text};
use super::super::names::Names;
use super::open::{Granted, Lease};
use super::terms::{Terms, accounts_of};
use super::{LeaseOptions, Leases, Named};
use crate::model::bounds::{REDIS_CLOSE_WAIT, REDIS_LEASE_LOOK, REDIS_LEASES_MAX};
use crate::model::ids::KeyId;
use crate::model::time::Time;
use crate::store::{StoreError, clock};

/// Tenants whose Redis does not answer, and why: on a cluster the others are there.
#[derive(Default)]
pub(super) struct Away {
    namespaces: HashSet<String>,
    why: Option<StoreError>,
}

impl Away {
    pub(super) fn has(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    /// What came of something that was done for a tenant; if nothing, it is left alone for now.
    pub(super) fn note(&mut self, namespace: &str, done: Result<(), StoreError>) {
        if let Err(why) = done {
            self.namespaces.insert(namespace.to_owned());
            self.why.get_or_insert(why);
        }
    }
}

impl Books {
    /// Looks after leases, for ever.
    pub(in crate::store::redis) async fn follow_leases(self: Arc<Self>) {
        loop {
            tokio::time::sleep(REDIS_LEASE_LOOK).await;
            if let Err(error) = self.tend_leases(self.present()).await {
                tracing::debug!(target: "store", %error, "leases could not be looked after");
            }
        }
    }

    /// Does all that there is to do for leases now.
    pub(in crate::store::redis) async fn tend_leases(&self, now: Time) -> Result<(), StoreError> {
        let Some(leases) = &self.leases else { return Ok(()) };
        let _alone = leases.tending.lock().await;
        let mut away = Away::default();
        self.release_overdue(leases, now);
        self.stop_selling(leases, &mut away, now).await;
        // Their rows were all written before those that wait are read.
        let is_done = |lease: &&Lease| lease.is_idle();
        let id = |lease: &Lease| (lease.namespace.clone(), lease.id.clone());
        let done: Vec<(String, String)> =
            leases.table().ending.iter().filter(is_done).map(id).collect();
        self.report(leases, &mut away, now).await?;
        for (namespace, id) in done {
            if !away.has(&namespace) {
                away.note(&namespace, self.end_lease(leases, &id, now).await);
            }
        }
        if let Some(options) = leases.options {
            self.take_leases(leases, &options, &mut away, now).await;
        }
        self.end_forgotten(leases, &mut away, now).await?;
        away.why.map_or(Ok(()), Err)
    }

    fn release_overdue(&self, leases: &Leases, now: Time) {
        let mut released = Vec::new();
        {
            let mut table = leases.table();
            let super::Table { selling, ending, .. } = &mut *table;
            for lease in selling.values_mut().chain(ending) {
                for (call, sold) in lease.release_overdue(now) {
                    if let Err(error) = leases.file.write(sold) {
                        tracing::warn!(target: "store", %call, %error, "a release was not written");
                    }
                    released.push(call);
                }
            }
        }
        let mut memory = self.memory();
        for call in &released {
            memory.ended(call, 0);
        }
    }

    /// Those that were used end as soon as Redis is there again; those that are good for nothing, at once.
    async fn stop_selling(&self, leases: &Leases, away: &mut Away, now: Time) {
        let idle = leases.options.unwrap_or_default().idle;
        let mut used = Vec::new();
        {
            let mut table = leases.table();
            // While it could not be given back it may be good for something yet.
            if self.link.trouble().is_none() {
                table.terms.retain(|_, terms| terms.used.elapsed() < idle);
            }
            let version = |key| table.terms.get(key).map(|terms: &Terms| terms.version);
            let mut useless = Vec::new();
            for (key, lease) in &table.selling {
                if lease.is_used {
                    used.push((key.clone(), lease.namespace.clone()));
                } else if version(key) != Some(lease.version) || lease.is_over(now) {
                    useless.push(key.clone());
                }
            }
            for key in &useless {
                table.stop_selling(key);
            }
        }
        used.sort_unstable_by(|one, other| one.1.cmp(&other.1));
        let mut there = None;
        for (key, namespace) in used {
            if there.as_ref() != Some(&namespace) {
                let named = Named { namespace: &namespace, id: "", accounts: &[] };
                away.note(&namespace, self.lease_deed(&named, "look", None, now).await.map(drop));
            }
            if !away.has(&namespace) {
                leases.table().stop_selling(&key);
            }
            there = Some(namespace);
        }
    }

    /// Gives back what is left of a lease that ends, if no call of it is under way.
    async fn end_lease(&self, leases: &Leases, id: &str, now: Time) -> Result<(), StoreError> {
        let found = {
            let table = leases.table();
            let lease = table.ending.iter().find(|lease| lease.id == id && lease.is_idle());
            lease.map(|lease| {
                let of = (lease.namespace.clone(), lease.accounts.clone());
                (of, lease.is_used.then(|| lease.payer.clone()))
            })
        };
        let Some(((namespace, accounts), used)) = found else { return Ok(()) };
        let named = Named { namespace: &namespace, id, accounts: &accounts };
        self.lease_deed(&named, "end", None, now).await?;
        let mut table = leases.table();
        table.ending.retain(|lease| lease.id != id);
        // The next outage may come at once: another one is taken now.
        if let Some(terms) = used.and_then(|payer| table.terms.get_mut(&payer)) {
            terms.asked = None;
        }
        Ok(())
    }

    /// Gives back all that nothing was sold from, because this instance stops. What is left over it finds
    /// when it starts again.
    pub(in crate::store::redis) async fn give_back_leases(&self) {
        let Some(leases) = &self.leases else { return };
        {
            let mut table = leases.table();
            let keys: Vec<KeyId> = table.selling.keys().cloned().collect();
            for key in &keys {
                table.stop_selling(key);
            }
            table.terms.clear();
        }
        let all = self.tend_leases(self.present());
        match tokio::time::timeout(REDIS_CLOSE_WAIT, all).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(target: "store", %error, "leases are still out; they are given back by the next start");
            }
            Err(_) => {
                tracing::warn!(target: "store", "leases are still out; they are given back by the next start");
            }
        }
    }

    /// Gives back a key's lease that nothing was sold from; was there one?
    pub(super) async fn give_back_unused(&self, leases: &Leases, key: &KeyId, now: Time) -> bool {
        let id = {
            let mut table = leases.table();
            let lease = table.selling.get(key).filter(|lease| !lease.is_used);
            let Some(id) = lease.map(|lease| lease.id.clone()) else { return false };
            table.stop_selling(key);
            id
        };
        // If it cannot be given back now, it is when leases are looked after.
        self.end_lease(leases, &id, now).await.is_ok()
    }

    async fn take_leases(
        &self,
        leases: &Leases,
        options: &LeaseOptions,
        away: &mut Away,
        now: Time,
    ) {
        let due: Vec<(Terms, Option<String>)> = {
            let mut table = leases.table();
            let mut room = REDIS_LEASES_MAX.saturating_sub(table.count());
            let super::Table { terms, selling, .. } = &mut *table;
            let mut due = Vec::new();
            for (key, terms) in &*terms {
                let lease = selling.get(key);
                let is_early = terms.asked.is_some_and(|asked| asked.elapsed() < options.renewal);
                let is_new = lease.is_none();
                if away.has(&terms.namespace) {
                    continue;
                }
                if is_early || lease.is_some_and(|lease| lease.is_used) || (is_new && room == 0) {
                    continue;
                }
                room = room.saturating_sub(usize::from(is_new));
                due.push((terms.clone(), lease.map(|lease| lease.id.clone())));
            }
            due
        };
        for (terms, known) in due {
            if !away.has(&terms.namespace) {
                let taken = self.take_lease(leases, options, &terms, known, now).await;
                away.note(&terms.namespace, taken);
            }
        }
    }

    /// Takes a lease for a key, or renews it. It only ever grows, so that nothing is oversold if the answer
    /// is lost.
    async fn take_lease(
        &self,
        leases: &Leases,
        options: &LeaseOptions,
        terms: &Terms,
        known: Option<String>,
        now: Time,
    ) -> Result<(), StoreError> {
        let (deed, id) = match known {
            Some(id) => ("extend", id),
            None => ("take", hex::encode(random::<16>()?)),
        };
        let length_ms = i64::try_from(options.length.as_millis()).unwrap_or(i64::MAX);
        let whose = [leases.file.instance.as_str(), leases.file.run()];
        let plan = terms.plan(whose, options.calls, options.share, length_ms).to_string();
        let named = Named { namespace: &terms.namespace, id: &id, accounts: &terms.accounts };
        leases.table().touched.insert(terms.namespace.clone());
        let (sent, sent_wall) = (Instant::now(), clock::now());
        let reply = self.lease_deed(&named, deed, Some(&plan), now).await?;
        let mut table = leases.table();
        if let Some(terms) = table.terms.get_mut(&terms.payer) {
            terms.asked = Some(sent);
        }
        match reply.status.as_str() {
            "done" => {
                let until = Time::from_ms(reply.number(0));
                let granted = Granted { at: reply.now, until, sent, sent_wall };
                let rooms = rooms(&reply);
                let lease = Lease::new(id, terms, &rooms, granted, self.clock());
                let is_same = |known: &Lease| known.id == lease.id && !known.is_used;
                // It may have been used or given back meanwhile: then what was known before stays.
                if deed == "take" || table.selling.get(&terms.payer).is_some_and(is_same) {
                    table.selling.insert(terms.payer.clone(), lease);
                }
            }
            "stale" => {
                table.terms.remove(&terms.payer);
                table.stop_selling(&terms.payer);
            }
            // It was settled over our heads.
            "gone" => table.stop_selling(&terms.payer),
            strange => {
                let why = format!("the script of leases answered {strange}");
                return Err(StoreError::Read(why));
            }
        }
        Ok(())
    }

    /// Ends leases of this instance that it does not know of: of before its start, or asked for by a
    /// question whose answer was lost.
    async fn end_forgotten(
        &self,
        leases: &Leases,
        away: &mut Away,
        now: Time,
    ) -> Result<(), StoreError> {
        let renewal = leases.options.unwrap_or_default().renewal;
        let touched: Vec<String> = {
            let mut table = leases.table();
            if table.searched.is_some_and(|searched| searched.elapsed() < renewal) {
                return Ok(());
            }
            table.searched = Some(Instant::now());
            table.touched.iter().cloned().collect()
        };
        let unreported = leases.file.unreported().await?;
        for namespace in touched {
            if !away.has(&namespace) {
                // Their calls are reported first.
                let reported = |id: &str| !unreported.iter().any(|row| row.lease == id);
                let ended = self.end_forgotten_of(leases, &namespace, reported, now).await;
                away.note(&namespace, ended);
            }
        }
        Ok(())
    }

    async fn end_forgotten_of(
        &self,
        leases: &Leases,
        namespace: &str,
        is_reported: impl Fn(&str) -> bool,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut is_any = false;
        for out in self.leases_of(namespace).await? {
            if !leases.file.has_taken(&out.instance, &out.run) {
                continue;
            }
            is_any = true;
            let is_known = {
                let table = leases.table();
                let mut all = table.selling.values().chain(&table.ending);
                all.any(|lease| lease.id == out.id)
            };
            if !is_known && is_reported(&out.id) {
                let accounts = accounts_of(&out.accounts);
                let named = Named { namespace, id: &out.id, accounts: &accounts };
                self.lease_deed(&named, "forget", None, now).await?;
            }
        }
        let mut table = leases.table();
        if !is_any && !table.terms.values().any(|terms| terms.namespace == namespace) {
            table.touched.remove(namespace);
        }
        Ok(())
    }

    /// Runs the script of leases.
    pub(super) async fn lease_deed(
        &self,
        lease: &Named<'_>,
        deed: &str,
        plan: Option<&str>,
        now: Time,
    ) -> Result<Reply, StoreError> {
        let names = Names::of(lease.namespace);
        let mut keys = vec![names.meta(), names.leases(), names.due()];
        keys.extend(lease.accounts.iter().map(|account| names.account(account)));
        keys.push(names.journal());
        let mut args = vec![lease.id.as_bytes(), deed.as_bytes()];
        args.extend(plan.map(str::as_bytes));
        self.run(lease.namespace, &self.link.scripts.lease, &keys, now, &args).await
    }

    /// Gives up room of leases that have ended and were not reported, where it does not count any more.
    pub(in crate::store::redis) async fn lapse_leases(
        &self,
        namespace: &str,
        ended: &Reply,
        now: Time,
    ) -> Result<(), StoreError> {
        let Some(Value::Array(ids)) = ended.rest.get(2) else { return Ok(()) };
        for id in ids.iter().cloned().filter_map(text) {
            let mut get = cmd("HGET");
            get.arg(Names::of(namespace).leases()).arg(&id);
            let found: Option<String> = self.link.ask(&get).await?;
            let out = found.and_then(|found| super::LeaseOut::read(namespace, &id, &found));
            let accounts = out.map(|out| accounts_of(&out.accounts)).unwrap_or_default();
            let named = Named { namespace, id: &id, accounts: &accounts };
            self.lease_deed(&named, "lapse", None, now).await?;
        }
        Ok(())
    }
}

/// What was granted of each thing that was wanted.
fn rooms(reply: &Reply) -> Vec<i64> {
    let Some(Value::Array(rooms)) = reply.rest.get(1) else { return Vec::new() };
    rooms.iter().cloned().filter_map(text).map(|room| room.parse().unwrap_or(0)).collect()
}
