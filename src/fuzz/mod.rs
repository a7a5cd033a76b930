//! What must hold for any bytes at all: one function for each place where bytes from outside are
//! read. A function panics if a rule is broken; that no input panics is the first rule of each.
//!
//! `run` throws a corpus and seeded mutations of it at them with every test run. The crate in
//! `fuzz/` does the same by hand with a fuzzer that follows coverage. An input that broke a rule is
//! kept in `fuzz/corpus/TARGET/` with the name of its fault. None of this is in the binary.
#![allow(
    clippy::missing_panics_doc,
    reason = "to panic is how a target says that a rule is broken"
)]

mod client;
#[cfg(test)]
mod run;
mod server;
mod stream;

pub use client::client_message;
pub use server::server_message;
pub use stream::event_stream;

/// A target: its name, which is also its folder in the corpus, and what must hold.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("client_message", client_message),
    ("server_message", server_message),
    ("event_stream", event_stream),
    ("line_framing", line_framing),
    ("headers", headers),
];

/// The lines that a server writes, however they are cut on their way.
pub fn line_framing(bytes: &[u8]) {
    crate::upstream::fuzz::line_framing(bytes);
}

/// The headers that Paygate reads.
pub fn headers(bytes: &[u8]) {
    crate::front::http::fuzz::headers(bytes);
}
