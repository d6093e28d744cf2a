//! The binary of storage-sync.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandgate_storage_sync::main(std::env::args_os().skip(1))
}
