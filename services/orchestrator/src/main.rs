//! `sandgate-orchestrator`: the orchestrator as a process of its own.

fn main() -> std::process::ExitCode {
    sandgate_orchestrator::main(std::env::args_os().skip(1))
}
