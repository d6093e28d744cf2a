//! The sandbox's own daemon: keeper and runner.

pub mod keeper;
