//! What one instance at a time does for all of them: alerts, webhooks, ending what is late.

pub(super) mod alerts;
pub(super) mod outbox;
pub(super) mod sweep;
pub(super) mod unsent;
