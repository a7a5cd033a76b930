//! Whole books in Redis: verified against their journal, and repaired from the copies that instances keep
//! after Redis has come back with less.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "whole_books/after.rs"]
mod after;
#[path = "whole_books/import.rs"]
mod import;
#[path = "whole_books/life.rs"]
mod life;
#[path = "whole_books/migrate.rs"]
mod migrate;
#[path = "whole_books/repair.rs"]
mod repair;
#[path = "whole_books/running.rs"]
mod running;
mod support;
#[path = "whole_books/verify.rs"]
mod verify;
