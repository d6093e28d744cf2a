//! The `sandgate` command: the command line, and the whole mesh in one process for one machine.

mod admin;
mod aftermath;
mod args;
mod client;
mod command;
mod config;
mod conversation;
mod data_dir;
mod failure;
mod follow;
mod init;
mod mesh;
mod policy;
mod quota;
mod report;
mod run;
mod signals;
mod terminal;
mod up;

use std::process::ExitCode;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let Cli { data_dir, command } = Cli::read();
    // Every client, sandbox and upstream takes some.
    sandgate_rpc::raise_descriptor_limit();
    match command {
        Command::Orchestrator(own) => sandgate_orchestrator::main(own.arguments.into_iter()),
        Command::Token(own) => sandgate_token::main(own.arguments.into_iter()),
        Command::AuthGateway(own) => sandgate_auth_gateway::main(own.arguments.into_iter()),
        Command::StorageSync(own) => sandgate_storage_sync::main(own.arguments.into_iter()),
        Command::Sandboxd(own) => sandgate_sandboxd::main(own.arguments.into_iter()),
        own @ (Command::Run(_)
        | Command::Up(_)
        | Command::Init(_)
        | Command::GenSecret
        | Command::Ls(_)
        | Command::Suspend(_)
        | Command::Rm(_)
        | Command::Files(_)
        | Command::Quota(_)
        | Command::Tenant(_)
        | Command::ApiKey(_)
        | Command::Key(_)
        | Command::Revoke(_)
        | Command::Policy(_)) => command::run(data_dir, own),
    }
}
