//! May this call be made, and at what price? Pure.
