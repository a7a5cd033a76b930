//! Credits: added, corrected, given back, and what a customer may know of the own ones.

pub(super) mod adjust;
pub(super) mod balance;
pub(super) mod refund;
pub(super) mod topup;
