//! The life of a call, from a message to its answer.
