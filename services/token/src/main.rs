//! `sandgate-token`: the token service as a process of its own.

fn main() -> std::process::ExitCode {
    sandgate_token::main(std::env::args_os().skip(1))
}
