//! Process set-up that needs unsafe, alone: namespaces, mounts, limits, filters, terminals.
//!
//! - [`process`] starts the agent's processes, inside.
//! - [`helper`] starts the daemons of a sandbox, outside, so that they die with whoever started them.
//! - [`sandbox`] makes a sandbox and becomes its first process.
//!
//! A sandbox starts from nothing: what it has is listed in [`sandbox`], and whatever cannot be applied is an
//! error. It is made with the kernel's own calls rather than by a container library: the ones there are take
//! on a uid only after the namespaces, leave `/dev` and `/` unbounded, and keep a process between us and the
//! sandbox's first.

pub mod control;
pub mod helper;
pub mod inherited;
pub mod limits;
pub mod memory;
pub mod process;
pub mod sandbox;

mod capability;
mod counters;
mod filter;
mod mounts;
mod network;
mod signals;
mod spec;
mod start;
