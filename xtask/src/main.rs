//! The chores of this repository: `cargo xtask help` prints the menu, and CI calls these and nothing else.
//!
//! It builds before anything else does, on machines that have nothing, so it leans on few crates. A chore
//! prints what it does; it fails with what to do about it.
#![expect(
    clippy::print_stdout,
    reason = "a chore talks to the person who called it"
)]

mod bench;
mod ci;
mod command;
mod machine;
mod messages;
mod postgres;
mod stage;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use machine::Machine;

const MENU: &str = "\
cargo xtask <chore>

  test [-- args]   build the binaries, prepare Postgres, Python and grpcurl, then `cargo test --workspace`
                   (arguments after -- go to `cargo test`, for example: -- -p sandgate-e2e --test run)
  ci               everything else that guards main: fmt, clippy, doc, deny, machete, buf, helm, messages, benches
  ci <check>…      only these checks
  bench [name…]    the benches of tests/bench in release; ends with one JSON line for each bar
  help             this menu
";

/// sysexits(3): the command was used wrongly.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = match arguments.split_first() {
        Some((chore, rest)) => (chore.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let machine = match Machine::look() {
        Ok(machine) => machine,
        Err(error) => return fail(&error),
    };
    let done = match chore {
        "test" => test::run(&machine, rest),
        "ci" => ci::run(&machine, rest),
        "bench" => bench::run(&machine, rest),
        "help" | "--help" | "-h" => {
            print!("{MENU}");
            return ExitCode::SUCCESS;
        }
        unknown => {
            println!("xtask: no chore is called {unknown:?}\n\n{MENU}");
            return ExitCode::from(USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    println!("xtask: {error:#}");
    ExitCode::FAILURE
}
