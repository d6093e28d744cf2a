//! The sandbox's own daemon, in two roles that never share a process namespace.
//!
//! The *runner* is the first process of the sandbox; it starts processes and touches files. The *keeper* is
//! outside; it has the identity, the link to the gate and the agent's local listener. Both are started by the
//! backend with an empty environment and with sockets as their only descriptors, and end with them.

mod keeper;
mod protocol;
mod role;
mod runner;
#[cfg(test)]
mod tests;

pub use role::main;
