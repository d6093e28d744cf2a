//! Keeper and runner together: a real runner over a folder of the test, a real keeper, and the test in the place
//! of the backend and of the gate.

mod agent;
mod bad_input;
mod files;
mod finished;
mod harness;
mod life;
mod ports;
mod processes;
mod store;
mod sync;
mod tree;
