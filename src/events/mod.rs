//! What happened, and who is told.

pub mod alerts;
pub mod denials;
pub mod metrics;
pub mod text_form;
pub mod usage_form;
pub mod webhooks;
