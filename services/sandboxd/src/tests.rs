//! Keeper and runner together: a real runner over a folder of the test, a real keeper, and the test in the place
//! of the backend and of the gate.

mod agent;
mod attach;
mod bad_input;
mod files;
mod finished;
mod folder;
mod full_disk;
mod harness;
mod held_files;
mod hydration;
mod left_out;
mod life;
mod mesh;
mod output;
mod paths;
mod ports;
mod processes;
mod refused;
mod renewal;
mod reports;
mod restored;
mod store;
mod sync;
mod terminal;
mod tree;
