//! What became of calls: one by one, added up, and at a glance.

pub(super) mod analytics;
pub(super) mod explain;
pub(super) mod metrics;
pub(super) mod status;
pub(super) mod usage;
pub(super) mod usage_list;
