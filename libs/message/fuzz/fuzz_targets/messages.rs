//! Any bytes for the reader of what is called `messages` in `checks.rs`.
#![no_main]

#[allow(dead_code, reason = "each target has its own check")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::messages(bytes));
