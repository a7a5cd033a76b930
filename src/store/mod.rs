//! The only code that changes durable state.
