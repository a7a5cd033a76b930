//! The operator's API: one file per noun.
