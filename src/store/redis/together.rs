//! Calls of one tenant that come at the same time go to Redis together: while a script is on its way, those
//! that come meanwhile gather, and the next script takes all of them. Nobody waits for others to come.
//!
//! One that finds nothing on its way goes at once, in its own task; the others are sent by a task of their
//! own, so that none of them depends on another's customer.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{Script, Value};
use tokio::sync::oneshot;

use super::RedisClock;
use super::asked::{AskedEnd, AskedHold, Given};
use super::books::{Books, Run};
use super::link::{Failed, Reply, text};
use super::names::Names;
use crate::model::bounds::{REDIS_CALLS_TOGETHER_MAX, REDIS_IN_FLIGHT_MAX, REDIS_SCRIPTS_AT_ONCE};
use crate::model::time::Time;
use crate::store::StoreError;

/// What a script says of one call: a word, and perhaps more lines.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    /// Ledger time at which it was said.
    pub(super) now: Time,
    /// An answer was lost before this one.
    pub(super) is_repeated: bool,
}

impl Answer {
    pub(super) fn word(&self) -> &str {
        self.line(0)
    }

    /// A line of it, the word being the first.
    pub(super) fn line(&self, index: usize) -> &str {
        self.text.split('\n').nth(index).unwrap_or_default()
    }

    pub(super) fn number(&self, index: usize) -> i64 {
        self.line(index).parse().unwrap_or(0)
    }
}

/// What a script says of each of several calls.
pub(super) fn answers(reply: Reply) -> Vec<Answer> {
    let Reply { now, is_repeated, rest, .. } = reply;
    let Some(Value::Array(answers)) = rest.into_iter().next() else { return Vec::new() };
    let one = |answer| Answer { text: text(answer).unwrap_or_default(), now, is_repeated };
    answers.into_iter().map(one).collect()
}

/// What may be asked for several calls at once.
pub(super) trait Gathers: Send + Sync + Sized + 'static {
    /// Where they gather.
    fn lines(books: &Books) -> &Gathering<Self>;

    /// The script that they are asked by.
    fn script(books: &Books) -> &Script;

    /// What the script is given for all of them.
    fn given(names: &Names, asks: &[Self]) -> Given;

    /// Asks for all of them; an answer for each.
    fn send(
        books: &Books,
        namespace: &str,
        now: Time,
        asks: &[Self],
    ) -> impl Future<Output = Result<Vec<Answer>, Failed>> + Send {
        async move {
            let Given { keys, args } = Self::given(&Names::of(namespace), asks);
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let run = Run { namespace, script: Self::script(books), keys: &keys, now, args: &args };
            books.try_run(run).await.map(answers)
        }
    }
}

impl Gathers for AskedHold {
    fn lines(books: &Books) -> &Gathering<Self> {
        &books.holds
    }

    fn script(books: &Books) -> &Script {
        &books.link.scripts.hold
    }

    fn given(names: &Names, asks: &[Self]) -> Given {
        Self::for_all(names, asks)
    }
}

impl Gathers for AskedEnd {
    fn lines(books: &Books) -> &Gathering<Self> {
        &books.ends
    }

    fn script(books: &Books) -> &Script {
        &books.link.scripts.resolve
    }

    fn given(names: &Names, asks: &[Self]) -> Given {
        Self::for_all(names, asks)
    }
}

/// One that waits for the script before it.
struct Waiting<A> {
    ask: A,
    now: Time,
    tell: oneshot::Sender<Result<Answer, Failed>>,
}

/// Those of one tenant.
struct Line<A> {
    /// Scripts on their way.
    running: usize,
    waiting: VecDeque<Waiting<A>>,
}

/// The lines of all tenants; none is ever taken away, as what is known of a tenant is not.
pub(super) struct Gathering<A>(Mutex<HashMap<String, Line<A>>>);

impl<A> Default for Gathering<A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Which way one goes.
enum Way<A> {
    AtOnce(A),
    Waits(oneshot::Receiver<Result<Answer, Failed>>),
    Full,
}

impl<A> Gathering<A> {
    fn lines(&self) -> MutexGuard<'_, HashMap<String, Line<A>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, namespace: &str, ask: A, now: Time) -> Way<A> {
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(namespace) else {
            let line = Line { running: 1, waiting: VecDeque::new() };
            lines.insert(namespace.to_owned(), line);
            return Way::AtOnce(ask);
        };
        if line.running < REDIS_SCRIPTS_AT_ONCE {
            line.running += 1;
            return Way::AtOnce(ask);
        }
        if line.waiting.len() >= REDIS_IN_FLIGHT_MAX {
            return Way::Full;
        }
        let (tell, told) = oneshot::channel();
        line.waiting.push_back(Waiting { ask, now, tell });
        Way::Waits(told)
    }

    /// A script is done: those that go next, with the turn of it.
    fn next(&self, namespace: &str, clock: RedisClock) -> Vec<Waiting<A>> {
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(namespace) else { return Vec::new() };
        let mut next: Vec<Waiting<A>> = Vec::new();
        while next.len() < REDIS_CALLS_TOGETHER_MAX
            && let Some(waiting) = line.waiting.pop_front_if(|waiting| {
                // Where time is passed in, one script has one.
                clock == RedisClock::Server || next.first().is_none_or(|one| one.now == waiting.now)
            })
        {
            next.push(waiting);
        }
        if next.is_empty() {
            line.running = line.running.saturating_sub(1);
        }
        next
    }
}

/// A script on its way; once it is done or given up, the next calls go.
struct Turn<'a, A: Gathers> {
    books: &'a Books,
    namespace: &'a str,
    kind: std::marker::PhantomData<fn() -> A>,
}

impl<A: Gathers> Drop for Turn<'_, A> {
    fn drop(&mut self) {
        let next = A::lines(self.books).next(self.namespace, self.books.clock);
        let (Some(_), Some(books)) = (next.first(), self.books.own.upgrade()) else { return };
        // At the end of the program nobody waits any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let namespace = self.namespace.to_owned();
        runtime.spawn(async move { books.send_all(&namespace, next).await });
    }
}

impl Books {
    /// Asks for one call, with others that come at the same time.
    pub(super) async fn together<A: Gathers>(
        &self,
        namespace: &str,
        ask: A,
        now: Time,
    ) -> Result<Answer, Failed> {
        let away = |why: &str, may_be_done| {
            let error = StoreError::Unavailable(why.to_owned());
            Failed { error, may_be_done }
        };
        match A::lines(self).enter(namespace, ask, now) {
            Way::AtOnce(ask) => {
                let _turn = Turn::<A> { books: self, namespace, kind: std::marker::PhantomData };
                let answers = A::send(self, namespace, now, &[ask]).await?;
                answers.into_iter().next().ok_or_else(strange)
            }
            Way::Waits(told) => {
                told.await.unwrap_or_else(|_| Err(away("this instance is stopping", true)))
            }
            Way::Full => Err(away("too much waits for Redis already", false)),
        }
    }

    async fn send_all<A: Gathers>(&self, namespace: &str, all: Vec<Waiting<A>>) {
        let _turn = Turn::<A> { books: self, namespace, kind: std::marker::PhantomData };
        let now = all.first().map_or(Time::ZERO, |one| one.now);
        let (asks, tells): (Vec<A>, Vec<_>) =
            all.into_iter().map(|waiting| (waiting.ask, waiting.tell)).unzip();
        let result = A::send(self, namespace, now, &asks).await;
        let mut answers = result.map(Vec::into_iter);
        for tell in tells {
            let answer = match &mut answers {
                Ok(answers) => answers.next().ok_or_else(strange),
                Err(failed) => Err(failed.clone()),
            };
            // Who has gone away has it seen to.
            tell.send(answer).ok();
        }
    }
}

fn strange() -> Failed {
    let error = StoreError::Read("a script's answer is none".to_owned());
    Failed { error, may_be_done: true }
}
