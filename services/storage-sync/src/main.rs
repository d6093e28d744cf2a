//! The binary of storage-sync.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Every connection takes one.
    sandgate_rpc::raise_descriptor_limit();
    sandgate_storage_sync::main(std::env::args_os().skip(1))
}
