//! What the rest of Paygate holds of a server: a link that outlives its restarts.
//!
//! A call takes two steps, because the id is needed to write the line: [`Link::reserve`]
//! gives a [`Slot`] with the id, [`Slot::send`] takes the line and gives a [`Pending`]. Between
//! them and until the outcome, the call has a place in the table of calls. Whoever drops a slot or
//! a pending call gives the place back, and if the line was sent the server is told that nobody
//! waits for it any more; so a caller may be dropped at any point. A call belongs to the generation
//! that was there when it was reserved; it never moves on to the next one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::calls::{Calls, Outcome, Ticket};
use super::outbox::{Outbox, Push};
use super::tools::Tools;
use super::{Failure, Hello, Kind, LinkOptions, StartError, Status, ToolNames, supervise};
use crate::model::bounds;
use crate::protocol::from_server::{Answer, FromServer};

/// A link to one server. Cheap to clone; when the last clone is dropped the server is
/// stopped as by [`Link::stop`] without grace.
#[derive(Debug, Clone)]
pub struct Link {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    /// The grace with which to stop. Dropping it stops too.
    stop: watch::Sender<Option<Duration>>,
}

/// What the link, its supervisor and its calls share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: LinkOptions,
    pub(super) calls: Calls<Arc<Outbox>>,
    pub(super) status: watch::Sender<Status>,
    pub(super) first_answer: Mutex<Option<Arc<Answer>>>,
    pub(super) tools: Tools,
    /// Counts the processes or sessions that were greeted.
    pub(super) generation: AtomicU64,
    /// Where each server stands, if there are several behind the link.
    pub(super) members: Mutex<Vec<MemberStatus>>,
}

/// Where one of several servers behind a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its prefix.
    pub server: Arc<str>,
    /// Its status.
    pub status: Status,
    /// How many tools it lists.
    pub tools: usize,
}

impl Shared {
    /// Keeps what several servers say first, as if one had answered.
    pub(super) fn set_first_result(&self, result: &str) {
        let line = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#);
        if let FromServer::Answer(answer) = FromServer::read(line.as_bytes()) {
            *self.first_answer.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Arc::new(answer));
        }
    }
}

impl Link {
    /// Starts the server and waits until it has answered the first words and listed its tools.
    pub async fn start(options: LinkOptions) -> Result<Self, StartError> {
        let link = Self::new(options);
        supervise::start(link.shared(), link.handle.stop.subscribe()).await?;
        Ok(link)
    }

    /// Starts the server without waiting for it, and tries again for as long as it does not start.
    /// The receiver is told how the first start went.
    pub(super) fn launch(
        options: LinkOptions,
    ) -> (Self, oneshot::Receiver<Result<(), StartError>>) {
        let link = Self::new(options);
        let told = supervise::launch(link.shared(), link.handle.stop.subscribe());
        (link, told)
    }

    fn new(options: LinkOptions) -> Self {
        let shared = Arc::new(Shared {
            calls: Calls::new(options.calls_max),
            status: watch::Sender::new(Status::Starting),
            first_answer: Mutex::new(None),
            tools: Tools::default(),
            generation: AtomicU64::new(0),
            members: Mutex::default(),
            options,
        });
        Self { handle: Arc::new(Handle { shared, stop: watch::Sender::new(None) }) }
    }

    /// The server's name as configured.
    pub fn server(&self) -> &str {
        &self.shared().options.server
    }

    /// Where the link stands now.
    pub fn status(&self) -> Status {
        self.shared().status.borrow().clone()
    }

    /// How often the server was started and greeted. What was learned of one is old after the next.
    pub fn generation(&self) -> u64 {
        self.shared().generation.load(Ordering::Relaxed)
    }

    /// Where each of several servers stands; empty if there is only one.
    pub fn members(&self) -> Vec<MemberStatus> {
        self.shared().members.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What to tell whoever called a tool whose name belongs to none of several servers, if it does
    /// not. `batch_index` is the call's place in a batch.
    pub fn misnamed(&self, tool: &str, batch_index: Option<usize>) -> Option<String> {
        match &self.shared().options.kind {
            Kind::Several(options) => options.names.misnamed(tool, batch_index),
            Kind::Child(_) | Kind::Remote(_) => None,
        }
    }

    /// Follows where the link stands.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.shared().status.subscribe()
    }

    /// The server's own result of initialize or of server/discover, as JSON text. A restart may
    /// change it.
    pub fn first_result(&self) -> Option<Arc<str>> {
        self.first_answer()?.result_text().map(Into::into)
    }

    /// The whole message with that result.
    pub fn first_answer(&self) -> Option<Arc<Answer>> {
        self.shared().first_answer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which life of the server calls go to now; none while it is not ready.
    pub fn life(&self) -> Option<u64> {
        self.shared().calls.carrier().map(|outbox| outbox.life())
    }

    /// Makes room for a call, at once or not at all.
    pub fn reserve(&self) -> Result<Slot, Failure> {
        let (ticket, outbox) = self.shared().calls.enter()?;
        Ok(Slot::new(Arc::clone(self.shared()), ticket, outbox, OnGiveUp::Cancel))
    }

    /// How many calls are taken at a time.
    pub fn calls_max(&self) -> usize {
        self.shared().calls.customers_max()
    }

    /// The longest answer that is taken (`maxAnswerBytes`).
    pub fn answer_bytes_max(&self) -> usize {
        self.shared().options.answer_bytes_max
    }

    /// Calls in flight, reserved ones included.
    pub fn in_flight(&self) -> usize {
        self.shared().calls.in_flight()
    }

    /// Cancels a call in flight: it ends with [`Failure::Cancelled`], and the server is told.
    /// False if the call had its outcome already.
    pub fn cancel(&self, id: u64, reason: &str) -> bool {
        let outbox = self.shared().calls.carrier();
        let was_in_flight = self.shared().calls.resolve(id, Err(Failure::Cancelled));
        if let (true, Some(outbox)) = (was_in_flight, outbox) {
            outbox.push_control(&cancelled(id, reason));
        }
        was_in_flight
    }

    /// Takes all calls in flight as alive: they wait for something that is not the server's to give.
    pub fn keep_waiting(&self) {
        self.shared().calls.all_progressed(Instant::now());
    }

    /// Sends a line that has no answer, waiting for room. While the link is not ready the line is
    /// dropped, as the one that it was meant for is gone. `line` is one whole JSON-RPC message
    /// without its line end.
    pub async fn notify(&self, line: Vec<u8>) {
        let Some(outbox) = self.shared().calls.carrier() else {
            tracing::debug!(target: "upstream", server = self.server(), "a notification found nobody");
            return;
        };
        if timeout(bounds::REQUEST_TIMEOUT, outbox.push(&line)).await != Ok(Ok(())) {
            tracing::debug!(target: "upstream", server = self.server(), "a notification could not be sent");
        }
    }

    /// Sends a short line that has no answer, at once or not at all.
    pub fn tell(&self, line: &[u8]) {
        if let Some(outbox) = self.shared().calls.carrier() {
            outbox.push_control(line);
        }
    }

    /// The tools that the server lists.
    pub fn tools(&self) -> Arc<ToolNames> {
        self.shared().tools.names()
    }

    /// Fetches the list of tools again, unless it was fetched within the last second. All who
    /// ask at the same time share one fetch. If it fails, the old list stays.
    pub async fn refresh_tools(&self) {
        if self.shared().calls.carrier().is_some() {
            self.shared().tools.refresh(self.watch()).await;
        }
    }

    /// Sends a line that has no answer, at once. If there is no room it is dropped.
    pub(super) fn try_notify(&self, line: &[u8]) {
        let pushed = self.shared().calls.carrier().map(|outbox| outbox.try_push(line));
        if pushed != Some(Push::Queued) {
            tracing::debug!(target: "upstream", server = self.server(), "a notification could not be sent");
        }
    }

    /// What the link says first.
    pub(super) fn hello(&self) -> &Hello {
        &self.shared().options.hello
    }

    /// Follows the number of times that the list of tools was fetched.
    pub(super) fn tool_fetches(&self) -> watch::Receiver<u64> {
        self.shared().tools.fetches()
    }

    /// Stops the server and everything that came from it, and takes no more calls. Calls in
    /// flight may still be answered within the grace: for a child, half of it is to end by
    /// itself once its stdin is closed, half to heed SIGTERM; then it is killed. A remote server is told
    /// that its session is over.
    pub async fn stop(&self, grace: Duration) {
        self.handle.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(grace);
            first
        });
        let mut status = self.watch();
        let stopped = status.wait_for(|status| matches!(status, Status::Stopped { .. }));
        let longest = grace.saturating_add(2 * bounds::CHILD_KILL_WAIT);
        if timeout(longest, stopped).await.is_err() {
            tracing::error!(target: "upstream", server = self.server(), "the server could not be stopped in time");
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

/// Room for one call, and its id.
#[derive(Debug)]
pub struct Slot {
    place: Place,
    outcome: oneshot::Receiver<Outcome>,
}

impl Slot {
    fn new(shared: Arc<Shared>, ticket: Ticket, outbox: Arc<Outbox>, on_give_up: OnGiveUp) -> Self {
        let place = Place {
            shared,
            outbox,
            id: ticket.id,
            held: true,
            sent: false,
            on_give_up,
            reason: "the caller is gone",
        };
        Self { place, outcome: ticket.outcome }
    }

    /// Room for a request of Paygate itself, to the generation behind `outbox`.
    pub(super) fn own(
        shared: &Arc<Shared>,
        outbox: &Arc<Outbox>,
        on_give_up: OnGiveUp,
    ) -> Result<Self, Failure> {
        let ticket = shared.calls.enter_own()?;
        Ok(Self::new(Arc::clone(shared), ticket, Arc::clone(outbox), on_give_up))
    }

    /// The id that the line must carry. It is also the progress token to give to the server.
    pub fn id(&self) -> u64 {
        self.place.id
    }

    /// Sends the line: one whole JSON-RPC request with this slot's id, without its line end. If
    /// the queue to the server is full, the line waits in the pending call. The patience counts
    /// from now.
    pub fn send(mut self, line: Vec<u8>, patience: impl Into<Patience>) -> Pending {
        let patience = patience.into();
        let now = Instant::now();
        let after = |wait| now.checked_add(wait).unwrap_or(now + bounds::REQUEST_TIMEOUT_MAX);
        let waits = Waits {
            quiet: patience.quiet,
            deadline: after(patience.quiet.min(patience.whole)),
            ceiling: after(patience.whole),
        };
        let unsent = match self.place.outbox.try_push(&line) {
            Push::Queued => None,
            Push::Full | Push::Closed => Some(line),
        };
        self.place.sent = unsent.is_none();
        Pending { place: self.place, outcome: self.outcome, unsent, waits }
    }
}

/// A call that waits for its outcome.
#[derive(Debug)]
pub struct Pending {
    place: Place,
    outcome: oneshot::Receiver<Outcome>,
    unsent: Option<Vec<u8>>,
    waits: Waits,
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Without an answer and without a word of progress.
    pub quiet: Duration,
    /// In all, whatever progress is told.
    pub whole: Duration,
}

/// So long, whatever progress is told.
impl From<Duration> for Patience {
    fn from(whole: Duration) -> Self {
        Self { quiet: whole, whole }
    }
}

/// [`Patience`], begun.
#[derive(Debug, Clone, Copy)]
struct Waits {
    quiet: Duration,
    /// When it is over, if nothing is heard until then.
    deadline: Instant,
    ceiling: Instant,
}

impl Pending {
    /// The id of the call, for [`Link::cancel`].
    pub fn id(&self) -> u64 {
        self.place.id
    }

    /// Waits for the outcome.
    pub async fn answer(mut self) -> Outcome {
        loop {
            if let Ok(outcome) = timeout_at(self.waits.deadline, self.wait()).await {
                self.place.held = false;
                return outcome;
            }
            let heard = self.place.shared.calls.progressed_at(self.place.id);
            let next = heard.map(|at| (at + self.waits.quiet).min(self.waits.ceiling));
            let Some(next) = next.filter(|next| *next > self.waits.deadline) else {
                self.place.reason = "timeout";
                return Err(Failure::Timeout);
            };
            self.waits.deadline = next;
        }
    }

    async fn wait(&mut self) -> Outcome {
        if let Some(line) = &self.unsent {
            tokio::select! {
                biased;
                outcome = &mut self.outcome => return outcome.unwrap_or(Err(Failure::Exited)),
                pushed = self.place.outbox.push(line) => {
                    self.place.sent = pushed.is_ok();
                    if pushed.is_err() {
                        self.place.give_back();
                        return Err(Failure::Exited);
                    }
                }
            }
            self.unsent = None;
        }
        // The table never drops a waiter without an outcome; if it did, the server would be gone.
        (&mut self.outcome).await.unwrap_or(Err(Failure::Exited))
    }
}

/// What the server is told when a sent request is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnGiveUp {
    Cancel,
    /// The handshake must not be cancelled.
    Nothing,
}

/// A call's place in the table. Dropping it gives the place back if the call had no outcome.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    id: u64,
    held: bool,
    sent: bool,
    on_give_up: OnGiveUp,
    reason: &'static str,
}

impl Place {
    fn give_back(&mut self) {
        let had_no_outcome = self.held && self.shared.calls.give_up(self.id);
        self.held = false;
        if had_no_outcome && self.sent && self.on_give_up == OnGiveUp::Cancel {
            self.outbox.push_control(&cancelled(self.id, self.reason));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn cancelled(id: u64, reason: &str) -> Vec<u8> {
    let cut = reason.floor_char_boundary(bounds::CANCEL_REASON_BYTES_MAX);
    let reason = serde_json::Value::from(reason.get(..cut).unwrap_or_default());
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":{reason}}}}}"#)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_is_one_short_line_of_json() {
        let line = cancelled(4711, "client said \"stop\"\n");
        assert_eq!(
            String::from_utf8(line).unwrap(),
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4711,"reason":"client said \"stop\"\n"}}"#
        );
        assert!(cancelled(1, &"é".repeat(10_000)).len() < 2 * bounds::CANCEL_REASON_BYTES_MAX);
    }
}
