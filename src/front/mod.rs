//! Everything that clients connect to. A front moves bytes: it hands a message to the proxy and
//! writes what it gets back. It never decides what a call costs or who may make it.
//!
//! [`http`] is for clients of any number over the network, [`stdio`] for the one that started this
//! process; [`reply`] says how a refusal looks, for every front.

pub mod http;
pub mod reply;
mod sentence;
pub mod stdio;
