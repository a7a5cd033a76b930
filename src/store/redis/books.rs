//! The shared books as one instance sees them: the link, its memory, and how a script is run for a tenant.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use redis::{Script, cmd};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::asked::{AskedEnd, AskedHold};
use super::duties::sweep::Sweeping;
use super::duties::unsent::Sending;
use super::fit;
use super::format;
use super::lease::Leases;
use super::link::{Failed, Link, RedisStanding, Reply};
use super::loose_ends::LooseEnds;
use super::memory::{Memory, Seen};
use super::names::{self, Names};
use super::together::Gathering;
use super::tools::foreign::is_foreign;
use super::{RedisClock, RedisOptions};
use crate::model::audit::AuditEvent;
use crate::model::bounds::{REDIS_CLOSE_WAIT, REDIS_NOTES_MAX};
use crate::model::secret::SealKey;
use crate::model::time::Time;
use crate::store::local::OpenError;
use crate::store::local::copied::{Followed, JournalCopy};
use crate::store::{StoreError, clock};

pub(super) const LOST: &str = "Redis has come back with less than this instance has seen of it, or redisUrl names \
    another database; if it is the right one, put its books together again with `paygate ledger repair --redis URL \
    --db COPY`, see docs/several-instances.md";

/// The file and the reason are in the log: the page that shows this is for everybody.
const COPY_FAILS: &str = "this instance cannot write its copy of the journals (db), which a repair needs; its log says \
    why";

/// Books in Redis.
pub struct RedisStore {
    pub(super) books: Arc<Books>,
    pub(super) seal_key: SealKey,
    /// None once it is closed.
    notes: Mutex<Option<mpsc::Sender<AuditEvent>>>,
    writing: Mutex<Option<JoinHandle<()>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// What tells places in this instance's copy from those in others.
    pub(super) mark: String,
    standing: RedisStanding,
}

/// Why books in Redis cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RedisOpenError {
    /// It is not there, or does not let us in.
    #[error(
        "the books in Redis cannot be opened: {}; check redisUrl, and that Redis runs and lets this program in",
        without_hope(.0)
    )]
    Redis(#[from] StoreError),
    /// Its names would be mixed with ours.
    #[error(
        "this Redis database holds the keys of paygate-mcp under names that Paygate uses too; choose another database \
         number at the end of redisUrl, and bring the keys in with `paygate import --redis` (nothing was changed)"
    )]
    Foreign,
    /// Another release has written it, in a way that this one does not know.
    #[error("{0}")]
    Format(String),
    /// Not this instance's own file.
    #[error(transparent)]
    Copy(#[from] OpenError),
}

/// At a start nobody tries again in a moment.
fn without_hope(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable(why) => why.clone(),
        other => other.to_string(),
    }
}

/// What the store's methods and its tasks share.
pub(super) struct Books {
    /// What this instance is called among them.
    pub(super) name: String,
    pub(super) link: Link,
    pub(super) clock: RedisClock,
    memory: Mutex<Memory>,
    pub(super) copy: JournalCopy,
    pub(super) sending: tokio::sync::Mutex<Sending>,
    pub(super) sweeping: tokio::sync::Mutex<Sweeping>,
    /// Held by a look for alerts, and by new rules for them.
    pub(super) alert_turn: tokio::sync::Mutex<()>,
    /// Held while the journals are copied.
    pub(super) copying: tokio::sync::Mutex<()>,
    /// Is this instance told what the others change?
    pub(super) is_told: AtomicBool,
    /// Calls whose end is not known.
    pub(super) loose_ends: LooseEnds,
    /// Calls that go to Redis together.
    pub(super) holds: Gathering<AskedHold>,
    pub(super) ends: Gathering<AskedEnd>,
    /// Itself, for tasks of its own.
    pub(super) own: Weak<Self>,
    /// What may be sold while Redis is away.
    pub(super) leases: Option<Leases>,
}

/// A script to be run on a tenant's books.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) namespace: &'a str,
    pub(super) script: &'a Script,
    pub(super) keys: &'a [String],
    pub(super) now: Time,
    pub(super) args: &'a [&'a [u8]],
}

impl RedisStore {
    /// Connects, and reads the lists of tenants, teams and tokens.
    pub async fn open(options: &RedisOptions) -> Result<Self, RedisOpenError> {
        let copy = JournalCopy::open(options.copy.as_deref())?;
        let link = Link::open(options).await?;
        if is_foreign(&link).await? {
            return Err(RedisOpenError::Foreign);
        }
        if let Some(why) = format::other(&link).await? {
            return Err(RedisOpenError::Format(why));
        }
        format::claim(&link).await?;
        let standing = link.standing().await?;
        fit::say(&standing, None);
        link.keeps_books();
        let seal_key = seal_key(&link, copy.seal().await?).await?;
        let leases = Leases::open(options.copy.as_deref(), options.reach.on_unavailable)?;
        let mark = copy.mark().await?;
        let name = hex::encode(random::<8>()?);
        let books = Arc::new_cyclic(|own| Books {
            name,
            link,
            clock: options.clock,
            memory: Mutex::default(),
            copy,
            sending: tokio::sync::Mutex::default(),
            sweeping: tokio::sync::Mutex::default(),
            alert_turn: tokio::sync::Mutex::default(),
            copying: tokio::sync::Mutex::default(),
            is_told: AtomicBool::new(false),
            loose_ends: LooseEnds::default(),
            holds: Gathering::default(),
            ends: Gathering::default(),
            own: Weak::clone(own),
            leases,
        });
        books.copy.keep_seal(*seal_key.bytes()).await?;
        books.remember_copied().await?;
        books.take_up_loose_ends().await?;
        books.look_for_losses(&mut 0).await?;
        books.read_lists().await?;
        if let Some(leases) = &books.leases {
            leases.touch(&books.memory().known);
        }
        let (notes, to_write) = mpsc::channel(REDIS_NOTES_MAX);
        let mut tasks = vec![
            tokio::spawn(Arc::clone(&books).follow_lists()),
            tokio::spawn(Arc::clone(&books).follow_news()),
            tokio::spawn(Arc::clone(&books).keep_runs()),
            tokio::spawn(Arc::clone(&books).see_to_loose_ends()),
            tokio::spawn(Arc::clone(&books).follow_standing(standing.clone())),
        ];
        if books.leases.is_some() {
            tasks.push(tokio::spawn(Arc::clone(&books).follow_leases()));
        }
        let tasks = Mutex::new(tasks);
        let writing = Mutex::new(Some(tokio::spawn(Arc::clone(&books).write_notes(to_write))));
        let notes = Mutex::new(Some(notes));
        Ok(Self { books, seal_key, notes, writing, tasks, mark, standing })
    }

    /// What an outage of this Redis can lose.
    pub const fn standing(&self) -> &RedisStanding {
        &self.standing
    }

    /// Ends the tasks; they let go of the copy once they have ended.
    fn stop(&self) -> Vec<JoinHandle<()>> {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(JoinHandle::abort);
        tasks
    }

    /// Something for the audit log that nobody waits for.
    pub(super) fn note_later(&self, event: AuditEvent) {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = notes.as_ref().is_some_and(|notes| notes.try_send(event).is_ok());
        if !is_taken {
            tracing::warn!(target: "store", "an entry of the audit log was dropped");
        }
    }

    /// Ends the tasks and waits until they have ended, with what nobody waited for.
    pub(super) async fn end(&self) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writing) = writing {
            let abort = writing.abort_handle();
            if tokio::time::timeout(REDIS_CLOSE_WAIT, writing).await.is_err() {
                abort.abort();
            }
        }
        self.books.give_back_leases().await;
        for task in self.stop() {
            // That it was ended is what was asked for.
            task.await.ok();
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.stop();
        if let Some(writing) = self.writing.get_mut().unwrap_or_else(PoisonError::into_inner) {
            writing.abort();
        }
    }
}

/// The one that is there, or the one that was when this instance last ran, or a new one.
async fn seal_key(link: &Link, before: Option<Vec<u8>>) -> Result<SealKey, StoreError> {
    let new = before.map_or_else(|| random::<32>().map(Vec::from), Ok)?;
    let () = link.ask(cmd("SET").arg(names::SEAL).arg(&new).arg("NX")).await?;
    let found: Vec<u8> = link.ask(cmd("GET").arg(names::SEAL)).await?;
    let strange = || StoreError::Read(format!("{} is not a key of 32 bytes", names::SEAL));
    SealKey::from_slice(&found).ok_or_else(strange)
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    let none = |error| StoreError::Read(format!("no random numbers: {error}"));
    getrandom::fill(&mut bytes).map_err(none)?;
    Ok(bytes)
}

impl Books {
    /// The memory. It is only copies: a thread that panicked with it harmed nothing.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was copied before this start was seen before it.
    async fn remember_copied(&self) -> Result<(), StoreError> {
        let followed = self.copy.followed().await?;
        let mut memory = self.memory();
        for (journal, Followed { epoch, last, .. }) in followed {
            let seq = last.split('-').next().and_then(|seq| seq.parse().ok());
            if let Some((namespace, seq)) = Names::of_journal(&journal).zip(seq) {
                memory.seen.insert(namespace.to_owned(), Seen { epoch, seq, mark: String::new() });
            }
        }
        Ok(())
    }

    /// Runs a script on a tenant's books, which must have all that this instance has seen, or what a
    /// repair has made of it.
    pub(super) async fn run(
        &self,
        namespace: &str,
        script: &Script,
        keys: &[String],
        now: Time,
        args: &[&[u8]],
    ) -> Result<Reply, StoreError> {
        Ok(self.try_run(Run { namespace, script, keys, now, args }).await?)
    }

    /// The same, and whether it may have been done if there is no answer.
    pub(super) async fn try_run(&self, run: Run<'_>) -> Result<Reply, Failed> {
        let reply = self.send(&run).await?;
        if reply.status != "lost" {
            return Ok(reply);
        }
        let namespace = run.namespace;
        // Before these books were found wanting, or were closed, an attempt may have been done.
        let may_be_done = reply.is_repeated;
        let undone = |error| Failed { error, may_be_done };
        let seen = self.memory().seen.get(namespace).cloned().unwrap_or_default();
        if seen.epoch != reply.epoch
            && self.goes_on(namespace, &seen.epoch).await.map_err(undone)?
        {
            let reply = self.send(&run).await?;
            if reply.status != "lost" {
                return Ok(reply);
            }
        }
        let closed = self.closed_by(namespace).await.map_err(undone)?;
        let why = closed.unwrap_or_else(|| LOST.to_owned());
        let before = self.memory().lost.insert(namespace.to_owned(), why.clone());
        if before.as_ref() != Some(&why) {
            tracing::error!(
                target: "store", %namespace, seen = seen.seq, found = reply.seq,
                "the books in Redis cannot be sold from: {why}"
            );
        }
        Err(undone(StoreError::Unavailable(why)))
    }

    /// Sends it with what this instance has seen of the tenant's books, and learns from the answer.
    async fn send(&self, run: &Run<'_>) -> Result<Reply, Failed> {
        let Run { namespace, script, keys, now, args } = *run;
        let seen = self.memory().seen.get(namespace).cloned().unwrap_or_default();
        let clock = match self.clock {
            RedisClock::Server => 0,
            RedisClock::Passed => now.ms(),
        };
        let (clock, row) = (clock.to_string(), format!("{} {}", seen.seq, seen.mark));
        let head = [clock.as_bytes(), seen.epoch.as_bytes(), row.as_bytes()];
        let args: Vec<&[u8]> = head.into_iter().chain(args.iter().copied()).collect();
        let journal = Names::of(namespace).journal();
        let keys: Vec<String> = keys.iter().cloned().chain([journal]).collect();
        let sent = clock::now();
        let reply = self.link.run(script, &keys, &args).await;
        self.answered(reply.as_ref().err().map(|failed| &failed.error));
        let reply = reply?;
        if reply.status != "lost" {
            self.saw(namespace, &reply, sent);
        }
        Ok(reply)
    }

    /// Redis has answered, or has not.
    pub(super) fn answered(&self, error: Option<&StoreError>) {
        self.memory().trouble = match error {
            Some(StoreError::Unavailable(why)) => Some(why.clone()),
            Some(_) | None => None,
        };
    }

    fn saw(&self, namespace: &str, reply: &Reply, sent: Time) {
        let mut memory = self.memory();
        memory.lost.remove(namespace);
        let seen = match memory.seen.get_mut(namespace) {
            Some(seen) => seen,
            None => memory.seen.entry(namespace.to_owned()).or_default(),
        };
        if seen.epoch.is_empty() {
            seen.epoch.clone_from(&reply.epoch);
        }
        // Answers may overtake each other.
        if reply.seq > seen.seq || (reply.seq == seen.seq && seen.mark.is_empty()) {
            seen.seq = reply.seq;
            seen.mark.clone_from(&reply.mark);
        }
        memory.saw_time(reply.saved);
        memory.saw_clock(reply.now, sent, clock::now());
    }

    /// Redis's time after which nothing that is asked now may be done any more; none where time is passed.
    pub(super) fn latest(&self) -> Option<Time> {
        let ahead_ms = self.memory().ahead_ms;
        let there = Time::from_ms(clock::now().ms().saturating_add(ahead_ms));
        (self.clock == RedisClock::Server).then(|| there.plus(self.link.limit()))
    }

    /// Whose time it is.
    pub(super) const fn clock(&self) -> RedisClock {
        self.clock
    }

    /// Says once that this machine's clock is not Redis's: money goes by that one, records by this one.
    pub(super) fn compare_clocks(&self) {
        if self.clock == RedisClock::Passed {
            return;
        }
        if let Some(said) = self.memory().clocks_apart() {
            tracing::warn!(target: "store", "{said}");
        }
    }

    /// Can the books be sold from?
    pub(super) fn health(&self) -> Result<(), StoreError> {
        let lost = || self.memory().lost.values().next().cloned();
        self.trouble().or_else(lost).map_or(Ok(()), |why| Err(StoreError::Unavailable(why)))
    }

    /// Why Redis itself cannot be asked, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.link.trouble().or_else(|| self.memory().trouble.clone())
    }

    /// What is wrong although nearly all can be sold.
    pub(super) fn concern(&self) -> Option<String> {
        let memory = self.memory();
        let copy = memory.copy_trouble.as_ref().map(|_| COPY_FAILS.to_owned());
        memory.damaged.values().next().cloned().or(copy)
    }

    /// Ledger time as far as this instance knows it. By Redis's clock it goes on from the last answer.
    pub(super) fn ledger_now(&self, now: Time) -> Time {
        let memory = self.memory();
        match self.clock {
            RedisClock::Passed => memory.ledger_now.max(now),
            RedisClock::Server if memory.ledger_now == Time::ZERO => now,
            RedisClock::Server => {
                let present = Time::from_ms(now.ms().saturating_add(memory.ahead_ms));
                memory.ledger_now.max(present)
            }
        }
    }

    /// The moment of a change that brings no time with it.
    pub(super) fn present(&self) -> Time {
        match self.clock {
            RedisClock::Server => clock::now(),
            RedisClock::Passed => self.memory().ledger_now,
        }
    }

    /// Makes sure that a tenant's books have a mark that tells them from any others.
    pub(super) async fn begin_books(&self, namespace: &str) -> Result<(), StoreError> {
        let (meta, epoch) = (Names::of(namespace).meta(), hex::encode(random::<16>()?));
        let mut commands = redis::pipe();
        commands.sadd(names::NAMESPACES, namespace);
        // Whoever moves the books away looks for new tenants after it has said so.
        commands.cmd("GET").arg(names::CLOSED);
        commands.hset_nx(meta, "epoch", epoch).ignore();
        let (is_new, closed): (bool, Option<String>) = self.link.ask_all(&commands).await?;
        if let Some(why) = closed {
            return Err(StoreError::Unavailable(why));
        }
        self.memory().put_known(namespace);
        if is_new { self.changed().await } else { Ok(()) }
    }

    /// Writes what nobody waits for.
    async fn write_notes(self: Arc<Self>, mut notes: mpsc::Receiver<AuditEvent>) {
        while let Some(event) = notes.recv().await {
            if let Err(error) = self.note(&event).await {
                tracing::warn!(target: "store", %error, "an entry of the audit log was not written");
            }
        }
    }
}
