//! `sandgate-auth-gateway`: the auth-gateway as a process of its own.

fn main() -> std::process::ExitCode {
    sandgate_auth_gateway::main(std::env::args_os().skip(1))
}
