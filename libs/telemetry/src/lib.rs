//! Traces, metrics and logs, by the names that the whole mesh shares.
