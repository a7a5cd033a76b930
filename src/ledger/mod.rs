//! The books: counters, holds and journal entries as a deterministic state machine. No I/O, no clock.
