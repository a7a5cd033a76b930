//! A second opinion on the ledger: operations to draw, and a model that recomputes every number
//! from the list of everything that ever happened.

pub(crate) mod naive;
pub(crate) mod operations;
