//! `sandgate-token`: the token service as a process of its own.

fn main() -> std::process::ExitCode {
    // Every connection takes one.
    sandgate_rpc::raise_descriptor_limit();
    sandgate_token::main(std::env::args_os().skip(1))
}
