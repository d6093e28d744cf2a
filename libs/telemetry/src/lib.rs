//! Traces, metrics and logs, by the names that the whole mesh shares.
//!
//! A process calls [`init`] once and [`Telemetry::flush`] last. Logs go to standard error; spans and metrics
//! go to a collector over OTLP when one is configured, and nowhere otherwise: nothing here opens a
//! connection that nobody asked for. Trace context crosses a process by [`propagation`] either way, so a
//! trace of our callers does not break in the middle.
//!
//! What is recorded is named by constants ([`semconv`], [`metric`]), and labels of metrics come from closed
//! enums, so that no id, path or message can become one.

mod init;
pub mod metric;
pub mod propagation;
pub mod semconv;

pub use init::{InitError, LogFormat, Settings, Telemetry, init};
