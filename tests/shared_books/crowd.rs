//! Five hundred clients at once, each with a connection of its own that it keeps.

use std::thread;

use crate::support::Connection;

pub(crate) const CLIENTS: usize = 500;

/// Small, because there are many.
const STACK: usize = 256 << 10;

/// The same numbers for the same seed, on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// Each client does its part at the same time as all others; what each of them has seen.
pub(crate) fn all_at_once<T: Send>(count: usize, client: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let start = |number| {
            let client = &client;
            let builder = thread::Builder::new().stack_size(STACK);
            builder.spawn_scoped(scope, move || client(number)).unwrap()
        };
        let clients: Vec<_> = (0..count).map(start).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// A connection to one of several instances.
pub(crate) fn connected(addresses: &[String], number: usize) -> Connection {
    Connection::open(&addresses[number % addresses.len()]).unwrap()
}
