//! A wire between a client and a server that a test cuts where it hurts: one connection behind another,
//! byte by byte the same, until something that was asked for goes by.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What becomes of a request that a test has been waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives, and its connection is gone.
    LoseRequest,
    /// It arrives, and its connection is gone before the answer.
    LoseAnswer,
    /// It arrives, and nothing comes back over its connection any more, which stays open.
    Silence,
    /// It never arrives, nor does anything behind it, over a connection that stays open.
    Swallow,
    /// It arrives, and the server hears that the client will say nothing more.
    HalfClose,
    /// It arrives when nobody waits for it any more.
    Late(Duration),
}

#[derive(Default)]
struct Plan {
    /// Text that a request has in it, and what becomes of it, each once.
    faults: Vec<(String, Fault)>,
    /// How many were met.
    met: usize,
    /// Late ones that the server has dealt with.
    late: usize,
    /// How long each answer takes longer.
    delay: Duration,
    /// Nothing comes back at all.
    is_mute: bool,
    /// Nobody comes through.
    is_cut: bool,
    /// Connections that may be open.
    open: Vec<Weak<Ends>>,
}

/// A wire to one server.
pub struct Wire {
    port: u16,
    plan: Arc<Mutex<Plan>>,
}

/// Both ends of one connection.
struct Ends {
    client: TcpStream,
    server: TcpStream,
    is_silent: Mutex<bool>,
    is_late: Mutex<bool>,
}

impl Wire {
    /// A wire to a server on this machine.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan: Arc<Mutex<Plan>> = Arc::default();
        let shared = Arc::clone(&plan);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                client.set_nodelay(true).unwrap_or_default();
                server.set_nodelay(true).unwrap_or_default();
                let (is_silent, is_late) = (Mutex::default(), Mutex::default());
                let ends = Arc::new(Ends { client, server, is_silent, is_late });
                {
                    let mut plan = lock(&shared);
                    if plan.is_cut {
                        continue;
                    }
                    plan.open.push(Arc::downgrade(&ends));
                }
                let (plan, other) = (Arc::clone(&shared), Arc::clone(&ends));
                thread::spawn(move || requests(&other, &plan));
                let plan = Arc::clone(&shared);
                thread::spawn(move || answers(&ends, &plan));
            }
        });
        Self { port, plan }
    }

    /// Where the client goes.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The next request with this text in it meets a fault.
    pub fn plan(&self, text: &str, fault: Fault) {
        lock(&self.plan).faults.push((text.to_owned(), fault));
    }

    /// How many requests have met one.
    pub fn met(&self) -> usize {
        lock(&self.plan).met
    }

    /// How many arrived late and have been dealt with.
    pub fn late(&self) -> usize {
        lock(&self.plan).late
    }

    /// Every answer takes longer.
    pub fn delay(&self, delay: Duration) {
        lock(&self.plan).delay = delay;
    }

    /// Every connection ends, and there is no other; or there is again.
    pub fn cut(&self, is_cut: bool) {
        let mut plan = lock(&self.plan);
        plan.is_cut = is_cut;
        for ends in plan.open.drain(..).filter_map(|ends| ends.upgrade()) {
            ends.client.shutdown(Shutdown::Both).unwrap_or_default();
            ends.server.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    /// Nothing comes back any more, over no connection; or it does again.
    pub fn mute(&self, is_mute: bool) {
        lock(&self.plan).is_mute = is_mute;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn requests(ends: &Ends, plan: &Mutex<Plan>) {
    let mut buffer = vec![0; 64 << 10];
    let mut is_cut_off = false;
    while let Ok(count) = (&ends.client).read(&mut buffer) {
        let request = &buffer[..count];
        if count == 0 {
            break;
        }
        let fault = {
            let mut plan = lock(plan);
            let here = |text: &str| request.windows(text.len()).any(|part| part == text.as_bytes());
            let found = plan.faults.iter().position(|(text, _)| here(text));
            plan.met += usize::from(found.is_some());
            found.map(|index| plan.faults.remove(index).1)
        };
        match fault {
            Some(Fault::LoseRequest) => break,
            Some(Fault::Swallow) => is_cut_off = true,
            Some(Fault::LoseAnswer | Fault::Silence) => *lock(&ends.is_silent) = true,
            Some(Fault::Late(delay)) => {
                *lock(&ends.is_late) = true;
                thread::sleep(delay);
            }
            Some(Fault::HalfClose) | None => {}
        }
        if is_cut_off {
            continue;
        }
        if (&ends.server).write_all(request).is_err() {
            break;
        }
        match fault {
            Some(Fault::LoseAnswer) => {
                // The server has read it once it has nothing left to answer.
                ends.server.shutdown(Shutdown::Write).unwrap_or_default();
                return;
            }
            Some(Fault::HalfClose | Fault::Late(_)) => {
                ends.server.shutdown(Shutdown::Write).unwrap_or_default();
            }
            _ => {}
        }
    }
    ends.client.shutdown(Shutdown::Both).unwrap_or_default();
    ends.server.shutdown(Shutdown::Both).unwrap_or_default();
}

fn answers(ends: &Arc<Ends>, plan: &Mutex<Plan>) {
    let mut buffer = vec![0; 64 << 10];
    let (later, slow) = mpsc::channel::<(Instant, Vec<u8>)>();
    let other = Arc::clone(ends);
    thread::spawn(move || {
        // They overlap: a long wire is not a narrow one.
        for (at, answer) in slow {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if (&other.client).write_all(&answer).is_err() {
                break;
            }
        }
        other.client.shutdown(Shutdown::Both).unwrap_or_default();
    });
    while let Ok(count) = (&ends.server).read(&mut buffer) {
        if count == 0 {
            break;
        }
        let (delay, is_mute) = {
            let plan = lock(plan);
            (plan.delay, plan.is_mute)
        };
        if is_mute || *lock(&ends.is_silent) {
            continue;
        }
        if *lock(&ends.is_late) {
            continue;
        }
        if later.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
            break;
        }
    }
    lock(plan).late += usize::from(*lock(&ends.is_late));
}
