//! Everything that clients connect to.
