//! `sandgate-auth-gateway`: the auth-gateway as a process of its own.

fn main() -> std::process::ExitCode {
    // Every client, sandbox and upstream takes some.
    sandgate_rpc::raise_descriptor_limit();
    sandgate_auth_gateway::main(std::env::args_os().skip(1))
}
