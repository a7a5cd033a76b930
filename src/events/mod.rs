//! What happened, and who is told.

pub mod alerts;
pub mod denials;
pub mod metrics;
pub mod text_form;
