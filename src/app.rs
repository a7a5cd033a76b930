//! Assembles all parts from a Config; starts, waits, drains and stops them.
