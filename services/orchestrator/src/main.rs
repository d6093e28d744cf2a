//! `sandgate-orchestrator`: the orchestrator as a process of its own.

fn main() -> std::process::ExitCode {
    // Every connection takes one.
    sandgate_rpc::raise_descriptor_limit();
    sandgate_orchestrator::main(std::env::args_os().skip(1))
}
