//! Finds and ends everything that came from a child, also what left its process group.
//!
//! A process group is killed with one signal, but a process may leave it (`setsid`) and may even
//! leave the tree, by letting its parent die. So Paygate is a child subreaper: whatever loses its
//! parent becomes a child of Paygate and stays findable in `/proc`. What belongs to a child:
//!
//! * its tree and its group, and the trees of those;
//! * what was in its tree when somebody looked before it was ended;
//! * an orphan that still holds one of the pipes that the child was given;
//! * an orphan whose environment has the child's mark, which all inherit that do not clear it;
//! * an orphan that cannot have come from any other child, because all others that live are
//!   younger than it. With several children an orphan that has no mark may have to wait for the end of
//!   the older ones; no orphan survives the last.
//!
//! Processes in Paygate's own group are never touched: whoever embeds Paygate may have children
//! too. Nor are the children themselves: their exit status belongs to tokio. The register of
//! children is locked while one is spawned, so that a child cannot be taken for an orphan before
//! it is registered. Signals go through a pidfd whose process was checked after it was opened, so
//! a number that the kernel has given to somebody else in between is not hit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::model::bounds;

/// The children of all links that run now: pid and start time.
static LEADERS: Mutex<BTreeMap<i32, u64>> = Mutex::new(BTreeMap::new());
static LAST_REAP: Mutex<Option<Instant>> = Mutex::new(None);
static SUBREAPER: Once = Once::new();

/// What tells the descendants of one child from those of all others, here and in other Paygates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    /// The variable of the environment that holds it.
    pub(super) const NAME: &'static str = "MCP_SERVER_MARK";

    pub(super) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let ourselves = rustix::process::getpid().as_raw_pid();
        let started = Process::read(ourselves).map_or(0, |process| process.started);
        Self(format!("{ourselves}-{started}-{number}"))
    }

    pub(super) fn value(&self) -> &str {
        &self.0
    }

    /// Was this process born with the mark? `None` while it has no environment, as for a moment when
    /// it becomes another program.
    fn is_on(&self, pid: i32) -> Option<bool> {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mark = format!("{}={}", Self::NAME, self.0);
        let mut variables = environment.split(|byte| *byte == 0);
        (!environment.is_empty()).then(|| variables.any(|variable| variable == mark.as_bytes()))
    }
}

/// A registered child. Dropping it takes it off the register.
#[derive(Debug)]
pub(super) struct Leader {
    family: Family,
}

/// What identifies a child's descendants.
#[derive(Debug, Clone)]
pub(super) struct Family {
    leader: i32,
    started: u64,
    mark: Mark,
    /// The inodes of the pipes that the child was given.
    pipes: Vec<u64>,
    /// Descendants seen earlier.
    known: Seen,
}

/// Processes by pid and start time, which together name one process for ever.
pub(super) type Seen = BTreeSet<(i32, u64)>;

/// One line of the process table.
#[derive(Debug, Clone, Copy)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    started: u64,
    zombie: bool,
}

/// Spawns a child under the register's lock and registers it. `spawn` returns the child, its pid
/// and the inodes of its pipes.
pub(super) fn spawn<T>(
    mark: Mark,
    spawn: impl FnOnce() -> io::Result<(T, i32, Vec<u64>)>,
) -> io::Result<(T, Leader)> {
    SUBREAPER.call_once(|| {
        if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!(target: "upstream", %error, "descendants that leave a child's tree cannot be followed");
        }
    });
    let mut leaders = lock(&LEADERS);
    let (child, leader, pipes) = spawn()?;
    let started = Process::read(leader).map_or(0, |process| process.started);
    leaders.insert(leader, started);
    let family = Family { leader, started, mark, pipes, known: BTreeSet::new() };
    Ok((child, Leader { family }))
}

impl Leader {
    /// Remembers what [`Family::look`] has seen.
    pub(super) fn remember(&mut self, seen: Seen) {
        self.family.known = seen;
    }

    /// What [`Family::end`] needs, to be moved to a thread that may block.
    pub(super) fn family(&self) -> Family {
        self.family.clone()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        lock(&LEADERS).remove(&self.family.leader);
    }
}

impl Family {
    /// Who is in the family now: after the child's death its tree is gone. Blocks while it reads
    /// `/proc`, some milliseconds at most.
    pub(super) fn look(&self) -> Seen {
        self.members().0.iter().map(|process| (process.pid, process.started)).collect()
    }

    /// Kills and collects all descendants, in rounds, until none is found. Blocks for as long as
    /// that takes, bounded. Returns how many are left.
    #[expect(
        clippy::disallowed_methods,
        reason = "runs on a blocking thread, a few milliseconds a round"
    )]
    pub(super) fn end(&self) -> usize {
        for round in 0..bounds::DESCENDANT_KILL_ROUNDS {
            let (members, unclear) = self.members();
            if members.is_empty() && !(unclear && round < bounds::DESCENDANT_MARK_ROUNDS) {
                return 0;
            }
            for process in &members {
                process.end();
            }
            std::thread::sleep(bounds::DESCENDANT_KILL_PAUSE);
        }
        self.members().0.len()
    }

    /// Kills all descendants that are found now, without waiting for them.
    pub(super) fn kill_once(&self) {
        self.members().0.iter().for_each(Process::end);
    }

    /// All descendants, the child itself not among them; and whether there are orphans that may be or
    /// become some.
    fn members(&self) -> (Vec<Process>, bool) {
        let leaders = lock(&LEADERS);
        let others: Vec<u64> = leaders
            .iter()
            .filter(|(pid, _)| **pid != self.leader)
            .map(|(_, started)| *started)
            .collect();
        let ourselves = Ourselves::now();
        let table: Vec<Process> = table()
            .into_iter()
            .filter(|process| process.pid != ourselves.pid && process.group != ourselves.group)
            .filter(|process| process.pid == self.leader || !leaders.contains_key(&process.pid))
            .collect();
        drop(leaders);

        let mut unclear = false;
        let mut family: BTreeSet<i32> = table
            .iter()
            .filter(|process| {
                let ours = self.is_ours(process, &others, &ourselves);
                unclear |= ours.is_none();
                ours == Some(true)
            })
            .map(|process| process.pid)
            .collect();
        family.insert(self.leader);
        loop {
            let before = family.len();
            family.extend(
                table
                    .iter()
                    .filter(|process| family.contains(&process.parent))
                    .map(|process| process.pid)
                    .collect::<Vec<_>>(),
            );
            if family.len() == before {
                break;
            }
        }
        family.remove(&self.leader);
        // A zombie whose parent lives is the parent's to collect; it becomes ours with its end.
        let members = table
            .into_iter()
            .filter(|process| family.contains(&process.pid))
            .filter(|process| !process.zombie || process.parent == ourselves.pid);
        (members.collect(), unclear)
    }

    /// `None` while that cannot be seen.
    fn is_ours(&self, process: &Process, others: &[u64], ourselves: &Ourselves) -> Option<bool> {
        if process.group == self.leader
            || process.session == self.leader
            || self.known.contains(&(process.pid, process.started))
        {
            return Some(true);
        }
        if process.parent != ourselves.pid || process.started < self.started {
            return Some(false);
        }
        let is_nobody_elses = others.iter().all(|other| *other > process.started);
        if is_nobody_elses || self.has_pipe(process.pid) {
            return Some(true);
        }
        if process.zombie { Some(false) } else { self.mark.is_on(process.pid) }
    }

    fn has_pipe(&self, pid: i32) -> bool {
        (0..3).any(|descriptor| {
            std::fs::read_link(format!("/proc/{pid}/fd/{descriptor}"))
                .ok()
                .and_then(|target| {
                    target.to_str()?.strip_prefix("pipe:[")?.strip_suffix(']')?.parse().ok()
                })
                .is_some_and(|inode| self.pipes.contains(&inode))
        })
    }
}

/// Collects orphans that ended by themselves. Looks at most once per interval, however many links
/// ask for it.
pub(super) fn reap_orphans() {
    {
        let mut last = lock(&LAST_REAP);
        if last.is_some_and(|last| last.elapsed() < bounds::ORPHAN_REAP_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
    }
    let leaders = lock(&LEADERS);
    let ourselves = Ourselves::now();
    table()
        .iter()
        .filter(|process| {
            process.zombie && process.parent == ourselves.pid && process.group != ourselves.group
        })
        .filter(|process| !leaders.contains_key(&process.pid))
        .for_each(Process::reap);
}

struct Ourselves {
    pid: i32,
    group: i32,
}

impl Ourselves {
    fn now() -> Self {
        Self {
            pid: rustix::process::getpid().as_raw_pid(),
            group: rustix::process::getpgrp().as_raw_pid(),
        }
    }
}

impl Process {
    /// Reads `/proc/<pid>/stat`. The command's name stands in brackets and may hold anything.
    fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        let after_name = stat.get(memchr::memrchr(b')', &stat)? + 1..)?;
        let fields: Vec<&str> =
            std::str::from_utf8(after_name).ok()?.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Self {
            pid,
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    fn end(&self) {
        if self.zombie {
            self.reap();
        } else if let Err(error) = self.kill() {
            tracing::debug!(target: "upstream", pid = self.pid, %error, "a descendant was gone before it was killed");
        }
    }

    fn kill(&self) -> rustix::io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(());
        };
        let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // Kernels before 5.3 have no such handles.
            Err(rustix::io::Errno::NOSYS) => {
                return rustix::process::kill_process(pid, Signal::KILL);
            }
            opened => opened?,
        };
        if Self::read(self.pid).is_none_or(|now| now.started != self.started) {
            return Err(rustix::io::Errno::SRCH);
        }
        rustix::process::pidfd_send_signal(handle, Signal::KILL)
    }

    fn reap(&self) {
        // Somebody else may have collected it in between; then there is nothing to do.
        rustix::process::waitpid(Pid::from_raw(self.pid), WaitOptions::NOHANG).ok();
    }
}

/// All processes that can be seen. The kernel's own bound on pids bounds it.
fn table() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
