//! A process to start, as a request describes it; every field that is wrong is named at once.

use std::time::Duration;

use sandgate_api::sandbox::v1 as pb;
use sandgate_types::{Malformed, Violations};

use crate::keeper::environment::Environment;
use crate::keeper::instance::WORKSPACE;
use crate::keeper::processes::Launch;
use crate::keeper::runner::Size;

/// The published limits of a process to start.
const ARGUMENTS_MAX: usize = 1024;
const ARGUMENTS_MAX_BYTES: usize = 128 * 1024;
pub(super) const STDIN_MAX_BYTES: usize = 1024 * 1024;
const PATH_MAX_BYTES: usize = 4096;
const TERMINAL_MAX: u32 = 1000;

/// Reads a program and its arguments from the request field `field`.
pub(in crate::keeper::grpc) fn parse_argv(
    field: &str,
    argv: Vec<String>,
) -> Result<Vec<String>, Malformed> {
    let bytes: usize = argv.iter().map(String::len).sum();
    if argv.is_empty() || argv.len() > ARGUMENTS_MAX || bytes > ARGUMENTS_MAX_BYTES {
        return Err(Malformed::new(
            field,
            "must be 1 to 1,024 arguments of together at most 128 KiB",
        ));
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err(Malformed::new(field, "must not contain NUL"));
    }
    Ok(argv)
}

pub(super) fn parse(request: pb::RunProcessRequest) -> Result<Launch, Violations> {
    let pb::RunProcessRequest {
        argv,
        environment,
        cwd,
        stdin,
        keep_stdin_open,
        pty,
        timeout,
    } = request;
    let mut violations = Violations::new();
    let argv = violations.check(parse_argv("argv", argv));
    let environment = violations.check(Environment::parse("environment", environment));
    let cwd = violations.check(parse_cwd(cwd));
    if stdin.len() > STDIN_MAX_BYTES {
        violations.push(Malformed::new("stdin", "must have at most 1 MiB"));
    }
    let terminal = violations.check(pty.map(|size| parse_size("pty", size)).transpose());
    let timeout = violations.check(timeout.map(|timeout| parse_timeout(&timeout)).transpose());
    match (argv, environment, cwd, terminal, timeout) {
        (Some(argv), Some(environment), Some(cwd), Some(terminal), Some(timeout)) => {
            violations.or(Launch {
                argv,
                trace: Environment::of_call(),
                environment,
                cwd,
                terminal,
                stdin,
                keep_stdin_open,
                timeout,
            })
        }
        _ => Err(violations),
    }
}

fn parse_cwd(cwd: String) -> Result<String, Malformed> {
    if cwd.is_empty() {
        return Ok(WORKSPACE.to_owned());
    }
    if !cwd.starts_with('/') || cwd.contains('\0') || cwd.len() > PATH_MAX_BYTES {
        return Err(Malformed::new(
            "cwd",
            "must be an absolute path of at most 4,096 bytes without NUL",
        ));
    }
    Ok(cwd)
}

pub(super) fn parse_size(field: &str, size: pb::PtySize) -> Result<Size, Malformed> {
    let pb::PtySize { rows, columns } = size;
    let number = |count: u32| {
        u16::try_from(count)
            .ok()
            .filter(|count| (1..=TERMINAL_MAX).contains(&u32::from(*count)))
    };
    match (number(rows), number(columns)) {
        (Some(rows), Some(columns)) => Ok(Size { rows, columns }),
        _ => Err(Malformed::new(
            field,
            "must have 1 to 1,000 rows and columns",
        )),
    }
}

fn parse_timeout(timeout: &prost_types::Duration) -> Result<Duration, Malformed> {
    let timeout = sandgate_api::duration_from("timeout", timeout)?;
    if timeout.is_zero() {
        Err(Malformed::new("timeout", "must be more than 0"))
    } else {
        Ok(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(argv: &[&str]) -> pb::RunProcessRequest {
        pb::RunProcessRequest {
            argv: argv.iter().map(|text| (*text).to_owned()).collect(),
            ..Default::default()
        }
    }

    fn fields(request: pb::RunProcessRequest) -> Vec<String> {
        let violations = parse(request).expect_err("refused");
        violations
            .iter()
            .map(|malformed| malformed.field().to_owned())
            .collect()
    }

    #[test]
    fn what_cannot_be_started_is_refused_by_every_field_at_once() {
        assert_eq!(fields(request(&[])), ["argv"]);
        assert_eq!(fields(request(&["a\0b"])), ["argv"]);
        assert_eq!(fields(request(&["x"; ARGUMENTS_MAX + 1])), ["argv"]);
        assert_eq!(
            fields(request(&[&"x".repeat(ARGUMENTS_MAX_BYTES + 1)])),
            ["argv"]
        );
        let wrong = pb::RunProcessRequest {
            environment: [(String::new(), String::new())].into(),
            cwd: "relative".to_owned(),
            stdin: vec![0; STDIN_MAX_BYTES + 1],
            pty: Some(pb::PtySize {
                rows: 0,
                columns: 1001,
            }),
            timeout: Some(prost_types::Duration {
                seconds: 0,
                nanos: 0,
            }),
            ..request(&["true"])
        };
        assert_eq!(
            fields(wrong),
            ["environment", "cwd", "stdin", "pty", "timeout"]
        );
    }

    #[test]
    fn a_process_starts_in_the_workspace_unless_it_says_where() {
        assert_eq!(parse(request(&["true"])).expect("valid").cwd, "/workspace");
        let elsewhere = pb::RunProcessRequest {
            cwd: "/tmp".to_owned(),
            ..request(&["true"])
        };
        assert_eq!(parse(elsewhere).expect("valid").cwd, "/tmp");
    }
}
