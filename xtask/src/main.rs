//! The chores of this repository: `cargo xtask <name>`. CI calls these and nothing else.

mod bench;
mod checks;
mod config;
mod stage;
mod test;
mod tools;

use std::process::ExitCode;

const MENU: &str = "\
cargo xtask test          build the binaries, then run every test
cargo xtask ci            everything that guards main, but the tests
cargo xtask bench [NAME]  run what is in tests/bench; one JSON line for each bar
cargo xtask help          this page
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test"] => test::run(),
        ["ci"] => checks::run(),
        ["bench", names @ ..] => bench::run(names),
        [] | ["help"] => {
            stage::say(MENU);
            Ok(())
        }
        _ => Err(anyhow::anyhow!(
            "there is no such chore; `cargo xtask help` lists them"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stage::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
