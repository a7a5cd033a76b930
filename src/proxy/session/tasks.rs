//! The tasks of one session, in the form of 2025-11-25: each is known under the id that the session's
//! own server gave it, to this session alone, and its hold waits here for it to end.
//!
//! An id that is not here is nobody's: the result of a task that another session has paid for, or has
//! not, is not to be had by knowing its name.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::bounds;
use crate::protocol::object::{Object, string};
use crate::protocol::sealed::Task;

/// One task.
#[derive(Debug)]
pub(in crate::proxy) struct OwnTask {
    pub(in crate::proxy) task: Task,
    /// Its hold has ended.
    over: AtomicBool,
    /// Its result is paid.
    paid: AtomicBool,
    /// Its server has told its end without being asked.
    told: AtomicBool,
}

impl OwnTask {
    pub(in crate::proxy) fn new(task: Task) -> Arc<Self> {
        let (over, paid, told) = Default::default();
        Arc::new(Self { task, over, paid, told })
    }

    pub(in crate::proxy) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(in crate::proxy) fn is_paid(&self) -> bool {
        self.paid.load(Ordering::Acquire)
    }

    pub(in crate::proxy) fn ended(&self, paid: bool) {
        self.paid.fetch_or(paid, Ordering::AcqRel);
        self.over.store(true, Ordering::Release);
    }
}

/// What a server has told of a task without being asked, or why it will tell no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Word {
    Completed,
    Failed,
    Cancelled,
    /// The server that ran it has ended.
    Lost,
}

impl Word {
    /// From a status; `None` if the task goes on.
    pub(in crate::proxy) fn of(status: &str) -> Option<Self> {
        match status {
            "completed" => Some(Self::Completed),
            "failed" => Some(Self::Failed),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// From a task as its server writes it (JSON text).
    pub(in crate::proxy) fn in_task(task: &str) -> Option<Self> {
        Self::of(&Object::read(task).ok()?.get("status").and_then(string)?)
    }
}

/// A task that is to be settled because of a word.
pub(in crate::proxy) type Heard = (Arc<OwnTask>, Word);

/// All tasks of one session.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Tasks {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    /// By the server's id, with the order in which they came.
    known: HashMap<String, (u64, Arc<OwnTask>)>,
    by_age: BTreeMap<u64, String>,
    /// What is still to be settled.
    heard: Vec<Heard>,
    closed: bool,
}

impl Tasks {
    /// Takes a task in. False if there is no room, or the session has ended. The oldest that is over
    /// gives way.
    pub(in crate::proxy) fn add(&self, id: &str, task: &Arc<OwnTask>) -> bool {
        let mut table = self.lock();
        if table.closed || (table.known.len() >= bounds::SESSION_TASKS_MAX && !table.make_room()) {
            return false;
        }
        table.last += 1;
        let age = table.last;
        table.by_age.insert(age, id.to_owned());
        if let Some((old, same)) = table.known.insert(id.to_owned(), (age, Arc::clone(task))) {
            // A server that gives one id twice has forgotten the first.
            table.by_age.remove(&old);
            table.hear(same, Word::Lost);
        }
        true
    }

    pub(in crate::proxy) fn find(&self, id: &str) -> Option<Arc<OwnTask>> {
        self.lock().known.get(id).map(|(_, task)| Arc::clone(task))
    }

    /// The server has told where a task stands (JSON text). Of its end once, so that a server which
    /// repeats itself is not asked for the result each time.
    pub(in crate::proxy) fn told(&self, task: &str) {
        let Some(word) = Word::in_task(task) else { return };
        let id = Object::read(task).ok().and_then(|task| task.get("taskId").and_then(string));
        let Some(id) = id else { return };
        let mut table = self.lock();
        let task = table.known.get(id.as_ref()).map(|(_, task)| Arc::clone(task));
        if let Some(task) = task.filter(|task| !task.told.swap(true, Ordering::AcqRel)) {
            table.hear(task, word);
        }
    }

    /// The server has ended, and what it ran with it.
    pub(in crate::proxy) fn lose_all(&self) {
        let mut table = self.lock();
        let all: Vec<_> = table.known.values().map(|(_, task)| Arc::clone(task)).collect();
        for task in all {
            table.hear(task, Word::Lost);
        }
    }

    /// What is to be settled. Once.
    pub(in crate::proxy) fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.lock().heard)
    }

    /// The session has ended: what is to be settled, all that was still open included.
    pub(in crate::proxy) fn close(&self) -> Vec<Heard> {
        self.lose_all();
        let mut table = self.lock();
        table.closed = true;
        table.known.clear();
        table.by_age.clear();
        std::mem::take(&mut table.heard)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Notes a word about a task, unless it waits already with one.
    fn hear(&mut self, task: Arc<OwnTask>, word: Word) {
        let waits = |heard: &Heard| Arc::ptr_eq(&heard.0, &task);
        if task.is_over() || self.heard.iter().any(waits) {
            return;
        }
        self.heard.push((task, word));
    }

    fn make_room(&mut self) -> bool {
        let is_over = |id: &String| self.known.get(id).is_some_and(|(_, task)| task.is_over());
        let Some(age) = self.by_age.iter().find(|(_, id)| is_over(id)).map(|(age, _)| *age) else {
            return false;
        };
        self.by_age.remove(&age).is_some_and(|id| self.known.remove(&id).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;

    fn task() -> Arc<OwnTask> {
        OwnTask::new(Task {
            call: None,
            key: String::new(),
            tool: "t".to_owned(),
            price: 1,
            until: Time::from_ms(1),
            life: 0,
            inner: "\"1\"".to_owned(),
        })
    }

    #[test]
    fn each_word_is_heard_once_and_the_end_loses_what_is_open() {
        let tasks = Tasks::default();
        let (one, two, three) = (task(), task(), task());
        for (id, task) in [("1", &one), ("2", &two), ("3", &three)] {
            assert!(tasks.add(id, task));
        }
        let told = |id: &str, status: &str| {
            tasks.told(&format!(r#"{{"taskId":"{id}","status":"{status}"}}"#));
        };
        told("1", "working");
        told("1", "completed");
        told("1", "failed");
        told("unknown", "failed");
        let heard = tasks.take_heard();
        assert_eq!(heard.iter().map(|(_, word)| *word).collect::<Vec<_>>(), [Word::Completed]);
        one.ended(true);
        told("1", "failed");
        assert!(tasks.take_heard().is_empty() && one.is_paid());
        // The same id for another task.
        assert!(tasks.add("2", &task()));
        assert_eq!(tasks.take_heard().len(), 1);
        told("3", "completed");
        assert_eq!(tasks.close().len(), 2);
        assert!(tasks.find("3").is_none() && !tasks.add("4", &task()));
    }

    #[test]
    fn they_are_bounded() {
        let tasks = Tasks::default();
        let first = task();
        assert!(tasks.add("first", &first));
        for id in 1..bounds::SESSION_TASKS_MAX {
            assert!(tasks.add(&id.to_string(), &task()));
        }
        assert!(!tasks.add("more", &task()));
        first.ended(false);
        assert!(tasks.add("more", &task()));
        assert!(tasks.find("first").is_none());
    }
}
