//! storage-sync through the wire.

mod audit;
mod browse;
mod commit;
mod harness;
mod refused;
mod sync;
mod write;
