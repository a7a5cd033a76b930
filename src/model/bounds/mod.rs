//! Every bound of the product, each with its reason, in a file for each part; all are named `bounds::NAME`. A
//! queue, map, wait or body that is not bounded here is a bug. What an operator may change is named after its
//! config key and is only the default here.

mod admin;
mod alerts;
mod calls;
mod child;
mod cli;
mod front;
mod leases;
mod parked;
mod redis;
mod remote;
mod sessions;
mod several;
mod store;
mod usage;
mod webhooks;

pub use admin::*;
pub use alerts::*;
pub use calls::*;
pub use child::*;
pub use cli::*;
pub use front::*;
pub use leases::*;
pub use parked::*;
pub use redis::*;
pub use remote::*;
pub use sessions::*;
pub use several::*;
pub use store::*;
pub use usage::*;
pub use webhooks::*;
