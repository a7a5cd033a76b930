//! What webhooks have still to send, read from the journals themselves. One instance at a time has the right
//! to send, and says in Redis how far it came in each journal; whoever takes over goes on from there. So
//! every event is sent by one instance, and at least once.
//!
//! The cursor that the sender knows counts the events that it was given; what it means is kept here.

use std::collections::{BTreeMap, HashMap, VecDeque};

use redis::cmd;

use crate::model::audit::AuditRow;
use crate::model::bounds::{REDIS_DUTY_LEASE, REDIS_UNSENT_ROWS, REDIS_UNSENT_WAITING_MAX};
use crate::model::ids::{CallId, KeyId};
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::model::usage::UsageEvent;
use crate::model::webhook::{ADMIN_EVENTS, Batch, Cursor};
use crate::store::StoreError;
use crate::store::local::copied_rows::ToldRefusal;
use crate::store::redis::books::Books;
use crate::store::redis::journals::copy::audit;
use crate::store::redis::journals::journal::{Entry, Row};
use crate::store::redis::names::{self, Names};
use crate::store::redis::records::credits::pairs;

/// How far a journal was sent: all rows up to one, and of the row after it perhaps a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store::redis) struct Place {
    /// Id of a row; empty before the first.
    id: String,
    /// How many events of this row were sent; `None` for all.
    part: Option<usize>,
}

impl Place {
    fn read(text: &str) -> Self {
        match text.split_once('/') {
            Some((id, part)) => Self { id: id.to_owned(), part: part.parse().ok() },
            None => Self { id: text.to_owned(), part: None },
        }
    }

    fn text(&self) -> String {
        self.part.map_or_else(|| self.id.clone(), |part| format!("{}/{part}", self.id))
    }

    /// Where to read on.
    fn after(&self) -> String {
        match (self.id.as_str(), self.part) {
            ("", _) => "-".to_owned(),
            (id, Some(_)) => id.to_owned(),
            (id, None) => format!("({id}"),
        }
    }
}

/// Something to send.
#[derive(Clone, Debug)]
enum Event {
    Usage(UsageEvent),
    Admin(AuditRow),
}

/// An event, and how far its journal is sent with it.
#[derive(Clone, Debug)]
struct Waiting {
    journal: String,
    place: Place,
    at: Time,
    event: Event,
}

/// The outbox as the instance sees it that may have the right to send.
#[derive(Debug, Default)]
pub(in crate::store::redis) struct Sending {
    /// Counts the owners of the right; empty while it is somebody else's.
    pub(in crate::store::redis) turn: String,
    /// Events that were ended in this turn and before.
    pub(in crate::store::redis) ended: i64,
    /// Number of the last end.
    pub(in crate::store::redis) ends: i64,
    /// Rows that left Redis before they were sent.
    pub(in crate::store::redis) lost: i64,
    waiting: VecDeque<Waiting>,
    /// Behind what is waiting.
    read: HashMap<String, Place>,
}

impl Sending {
    /// The right is somebody else's.
    pub(in crate::store::redis) fn give_up(&mut self) {
        self.turn.clear();
        self.waiting.clear();
        self.read.clear();
        self.lost = 0;
    }

    /// The number of the turn, by which a cursor is known to be of this one.
    pub(in crate::store::redis) fn turn_number(&self) -> i64 {
        self.turn.parse().unwrap_or(0)
    }

    /// How far the journals are sent with what a cursor has passed.
    pub(in crate::store::redis) fn places_after(&self, after: Cursor) -> BTreeMap<String, String> {
        let count = usize::try_from(after.usage.saturating_sub(self.ended)).unwrap_or(0);
        let ended = self.waiting.iter().take(count);
        ended.map(|one| (one.journal.clone(), one.place.text())).collect()
    }

    /// Takes away what a cursor has passed.
    pub(in crate::store::redis) fn drop_ended(&mut self, after: Cursor) {
        while self.ended < after.usage && self.waiting.pop_front().is_some() {
            self.ended = self.ended.saturating_add(1);
        }
        self.ended = self.ended.max(after.usage);
    }
}

impl Books {
    /// Takes or keeps the right to send; is it ours?
    async fn own_outbox(&self, sending: &mut Sending, may_take: bool) -> Result<bool, StoreError> {
        let length = REDIS_DUTY_LEASE.as_millis().to_string();
        let args = ["own", &self.name, &length, if may_take { "1" } else { "0" }];
        let (word, turn) = self.outbox_deed(&args.map(str::to_owned)).await?;
        if word != "mine" {
            sending.give_up();
            return Ok(false);
        }
        if sending.turn != turn {
            sending.give_up();
            let fields = pairs(self.link.ask(cmd("HGETALL").arg(names::WEBHOOKS)).await?);
            let places = fields.into_iter().filter_map(|(field, text)| {
                Some((field.strip_prefix("at:")?.to_owned(), Place::read(&text)))
            });
            (sending.read, sending.turn) = (places.collect(), turn);
            let sent = sending.read.iter().map(|(journal, place)| (journal.clone(), place.text()));
            self.remember_sent(sent.collect()).await;
        }
        Ok(true)
    }

    /// Keeps in this instance's copy how far it was sent. Without that a repair would have more sent twice.
    pub(in crate::store::redis) async fn remember_sent(&self, sent: Vec<(String, String)>) {
        if sent.is_empty() {
            return;
        }
        if let Err(error) = self.copy.keep_sent(sent).await {
            tracing::debug!(target: "store", %error, "how far webhooks were sent is not in the copy");
        }
    }

    /// Keeps the right to send while a receiver is slow.
    pub(in crate::store::redis) async fn keep_outbox(&self) -> Result<(), StoreError> {
        // Whoever is reading or writing keeps it too.
        let Ok(mut sending) = self.sending.try_lock() else { return Ok(()) };
        if !sending.turn.is_empty() {
            self.own_outbox(&mut sending, false).await?;
        }
        Ok(())
    }

    /// The next events behind a cursor; none while another instance sends.
    pub(in crate::store::redis) async fn unsent(
        &self,
        after: Cursor,
        limit: usize,
    ) -> Result<Batch, StoreError> {
        let mut sending = self.sending.lock().await;
        let nothing = Batch { after, ..Batch::default() };
        if !self.own_outbox(&mut sending, true).await? {
            return Ok(nothing);
        }
        let turn = sending.turn_number();
        let seen = if after.audit == turn { after.usage.saturating_sub(sending.ended) } else { 0 };
        let skip = usize::try_from(seen).unwrap_or(0).min(sending.waiting.len());
        if sending.waiting.len() <= skip.saturating_add(limit) {
            self.read_unsent(&mut sending).await?;
        }
        let mut batch = nothing;
        let begin = sending.ended.saturating_add(i64::try_from(skip).unwrap_or(0));
        batch.after = Cursor { usage: begin, audit: turn };
        for waiting in sending.waiting.iter().skip(skip).take(limit) {
            batch.after.usage = batch.after.usage.saturating_add(1);
            match &waiting.event {
                Event::Usage(event) => batch.usage.push(event.clone()),
                Event::Admin(row) => batch.admin.push(row.clone()),
            }
        }
        batch.has_more = sending.waiting.len() > skip.saturating_add(limit);
        Ok(batch)
    }

    /// Reads what is new in all journals, in the order of time as far as that goes.
    async fn read_unsent(&self, sending: &mut Sending) -> Result<(), StoreError> {
        let mut journals = self.journals_with_more(&sending.read).await?;
        journals
            .extend([names::JOURNAL, names::REFUSED].map(|name| (name.to_owned(), String::new())));
        let mut queues: Vec<VecDeque<Waiting>> = Vec::new();
        let mut room = REDIS_UNSENT_WAITING_MAX.saturating_sub(sending.waiting.len());
        for (journal, namespace) in journals {
            if room == 0 {
                break;
            }
            let queue = self.read_journal(sending, &journal, &namespace).await?;
            room = room.saturating_sub(queue.len());
            queues.push(queue);
        }
        loop {
            let heads = queues.iter_mut().filter(|queue| !queue.is_empty());
            let Some(first) = heads.min_by_key(|queue| queue.front().map(|head| head.at)) else {
                return Ok(());
            };
            sending.waiting.extend(first.pop_front());
        }
    }

    /// The journals of tenants in which there is more, with their tenants.
    async fn journals_with_more(
        &self,
        read: &HashMap<String, Place>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut found = Vec::new();
        for end in self.journal_ends().await? {
            let journal = Names::of(&end.namespace).journal();
            let newest = Place { id: format!("{}-0", end.seq), part: None };
            if read.get(&journal).unwrap_or(&Place::read("0-0")) != &newest {
                found.push((journal, end.namespace));
            }
        }
        Ok(found)
    }

    async fn read_journal(
        &self,
        sending: &mut Sending,
        journal: &str,
        namespace: &str,
    ) -> Result<VecDeque<Waiting>, StoreError> {
        let mut place = sending.read.get(journal).cloned().unwrap_or_default();
        let mut range = cmd("XRANGE");
        range.arg(journal).arg(place.after()).arg("+").arg("COUNT").arg(REDIS_UNSENT_ROWS);
        let rows: Vec<Entry> = self.link.ask(&range).await?;
        if let Some((first, _)) = rows.first().filter(|_| !namespace.is_empty()) {
            sending.lost = sending.lost.saturating_add(missing(&place, first));
        }
        let mut queue = VecDeque::new();
        for entry in rows {
            let id = entry.0.clone();
            let sent = if place.id == id { place.part.unwrap_or(0) } else { 0 };
            let events = match Row::read_or_tell(journal, entry) {
                Some(row) => self.events(journal, namespace, &id, &row).await?,
                None => Vec::new(),
            };
            let count = events.len();
            for (index, (at, event)) in events.into_iter().enumerate().skip(sent) {
                let used = index.saturating_add(1);
                let part = Some(used).filter(|used| *used < count);
                let place = Place { id: id.clone(), part };
                queue.push_back(Waiting { journal: journal.to_owned(), place, at, event });
            }
            place = Place { id, part: None };
        }
        sending.read.insert(journal.to_owned(), place);
        Ok(queue)
    }

    /// What a row has to tell.
    async fn events(
        &self,
        journal: &str,
        namespace: &str,
        id: &str,
        row: &Row,
    ) -> Result<Vec<(Time, Event)>, StoreError> {
        let mark = |index: usize| mark(journal, id, index);
        match row.kind.as_str() {
            "audit" => {
                let entry = audit(&row.detail, &row.balance);
                let told = entry.filter(|entry| ADMIN_EVENTS.contains(&entry.kind.as_str()));
                let event = told.map(|entry| Event::Admin(AuditRow { id: mark(0), ..entry }));
                Ok(event.into_iter().map(|event| (row.at, event)).collect())
            }
            "refused" => {
                let all: Vec<ToldRefusal> =
                    serde_json::from_str(&row.detail).unwrap_or_else(|error| {
                        tracing::error!(target: "store", row = id, %error, "refusals cannot be read");
                        Vec::new()
                    });
                let mut events = Vec::with_capacity(all.len());
                for (index, refusal) in all.into_iter().enumerate() {
                    let event = self.named(refusal.event(mark(index))).await?;
                    events.push((event.at, Event::Usage(event)));
                }
                Ok(events)
            }
            "call" | "refund" => {
                let call = CallId::parse(&format!("call_{}", row.call));
                let labels = match call {
                    Some(call) if row.kind == "refund" => self.copy.labels_of(call).await?,
                    _ => Some(row.labels.clone()).filter(|labels| !labels.is_empty()),
                };
                let mut events = Vec::new();
                for (index, (tool, price, charged, outcome)) in row.calls().into_iter().enumerate()
                {
                    let event = UsageEvent {
                        place: mark(index),
                        at: row.at,
                        call: call.map(|call| *call.bytes()),
                        key: row.account.as_str().to_owned(),
                        key_name: String::new(),
                        key_first: String::new(),
                        namespace: namespace.to_owned(),
                        tool,
                        price,
                        charged,
                        outcome,
                        allowed: true,
                        count: 1,
                        labels: labels.clone(),
                    };
                    events.push((row.at, Event::Usage(self.named(event).await?)));
                }
                Ok(events)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The same with what its key is called now.
    async fn named(&self, event: UsageEvent) -> Result<UsageEvent, StoreError> {
        let Some(id) = KeyId::parse(&event.key) else { return Ok(event) };
        let Some(key) = self.key(&id).await? else { return Ok(event) };
        let (key_name, key_first) = (key.name.clone(), key.ends.first.clone());
        Ok(UsageEvent { key_name, key_first, ..event })
    }
}

/// Rows between a place and the first that is there.
fn missing(place: &Place, first: &str) -> i64 {
    let number = |id: &str| id.split('-').next().and_then(|number| number.parse::<i64>().ok());
    let before = number(&place.id).unwrap_or(0);
    let expected = if place.part.is_some() { before } else { before.saturating_add(1) };
    number(first).map_or(0, |first| first.saturating_sub(expected).max(0))
}

/// A number for an event that is the same on every instance, and nearly surely of no other.
fn mark(journal: &str, id: &str, index: usize) -> i64 {
    let digest = Digest::of_parts([journal.as_bytes(), id.as_bytes(), &index.to_be_bytes()]);
    let bytes = digest.bytes().iter().take(7);
    bytes.fold(0_i64, |number, byte| (number << 8) | i64::from(*byte))
}
