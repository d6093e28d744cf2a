//! Process set-up that needs unsafe, alone: namespaces, limits, filters, terminals.
//!
//! Three things are started here: the runner, inside namespaces ([`sandbox`]); the keeper, outside them
//! ([`keeper`]); and the agent's processes, by the runner ([`process`]). What they get is listed in code; what is
//! not listed they do not have. Each use of `unsafe` stands beside its argument.

pub mod harden;
pub mod process;
mod sys;

pub use harden::{enter_runner, seal};
