//! The `sandboxd` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandgate_sandboxd::main(std::env::args_os().skip(1))
}
