//! The loader as a service sees it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Parser, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(about = "What a sample is for")]
struct Args {
    /// Where the rows are.
    #[arg(long, env = "SANDGATE_SAMPLE_DATABASE")]
    database: Option<String>,
    /// How long a drain may take.
    #[arg(long, env = "SANDGATE_SAMPLE_DRAIN_DELAY")]
    drain_delay: Option<Period>,
    /// How large a message may be.
    #[arg(long, env = "SANDGATE_SAMPLE_MESSAGE_MAX")]
    message_max: Option<Size>,
    /// Who may call.
    #[arg(long, env = "SANDGATE_SAMPLE_PEERS", value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// Whether reflection is on.
    #[arg(long, env = "SANDGATE_SAMPLE_REFLECTION")]
    reflection: Option<bool>,
}

impl Default for Args {
    fn default() -> Self {
        let delay = Period(std::time::Duration::from_secs(5));
        Self {
            database: None,
            drain_delay: Some(delay),
            message_max: None,
            peers: None,
            reflection: Some(false),
        }
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("write");
    file
}

fn start(arguments: &[&str], env: &[(&str, &str)]) -> Result<Loaded<Args>, Stop> {
    let env: BTreeMap<&str, &str> = env.iter().copied().collect();
    load(
        "sandgate-sample",
        arguments.iter().map(OsString::from),
        &env,
    )
}

fn with_file(text: &str, arguments: &[&str], env: &[(&str, &str)]) -> Result<Loaded<Args>, Stop> {
    let file = file(text);
    let path = file.path().to_str().expect("a plain path").to_owned();
    start(&[&["--config", &path], arguments].concat(), env)
}

fn problems(result: Result<Loaded<Args>, Stop>) -> Vec<String> {
    match result.expect_err("settings that are wrong") {
        Stop::Refused(problems) => problems.iter().map(ToString::to_string).collect(),
        Stop::Answered(text) => panic!("answered {text}"),
    }
}

fn answer(result: Result<Loaded<Args>, Stop>) -> String {
    match result.expect_err("an answer") {
        Stop::Answered(text) => text,
        Stop::Refused(problems) => panic!("refused {problems}"),
    }
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let text = "drain_delay: 2s\nmessage_max: 2MiB\ndatabase: of-the-file\n";
    let env = [
        ("SANDGATE_SAMPLE_MESSAGE_MAX", "3MiB"),
        ("SANDGATE_SAMPLE_DATABASE", "of-the-variable"),
    ];
    let loaded = with_file(text, &["--database", "of-the-flag"], &env).expect("settings");
    let printed = serde_yaml_ng::to_string(&loaded.args).expect("yaml");
    assert_eq!(
        printed,
        "database: of-the-flag\ndrain_delay: 2s\nmessage_max: 3MiB\npeers: null\nreflection: false\n"
    );
}

#[test]
fn the_file_may_be_named_by_a_variable_and_a_flag_names_another() {
    let (ours, other) = (file("database: ours\n"), file("database: other\n"));
    let path =
        |file: &tempfile::NamedTempFile| file.path().to_str().expect("a plain path").to_owned();
    let env = [("SANDGATE_SAMPLE_CONFIG", path(&ours))];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(
        start(&[], &env).expect("settings").args.database.as_deref(),
        Some("ours")
    );
    let flags = ["--config".to_owned(), path(&other)];
    let flags = flags.each_ref().map(String::as_str);
    assert_eq!(
        start(&flags, &env)
            .expect("settings")
            .args
            .database
            .as_deref(),
        Some("other")
    );
}

#[test]
fn a_typo_in_the_file_is_told_with_the_keys_that_there_are() {
    let problems = problems(with_file("databse: x\n", &[], &[]));
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}")
    };
    assert!(
        problem.contains("databse") && problem.contains("drain_delay"),
        "{problem}"
    );
}

#[test]
fn an_unknown_variable_of_this_process_is_a_problem_and_one_of_another_is_not() {
    let env = [
        ("SANDGATE_SAMPLE_DATABSE", "x"),
        ("SANDGATE_OTHER_DATABASE", "x"),
        ("PATH", "x"),
    ];
    let problems = problems(start(&[], &env));
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}")
    };
    assert!(
        problem.starts_with("SANDGATE_SAMPLE_DATABSE ")
            && problem.contains("SANDGATE_SAMPLE_DATABASE")
    );
}

#[test]
fn all_problems_are_told_at_once_each_with_its_place_and_rule() {
    let text = "databse: canary\ndrain_delay: canary\nmessage_max:\nlog_format: canary\n";
    let env = [
        ("SANDGATE_SAMPLE_MESSAGE_MAX", "canary"),
        ("SANDGATE_SAMPLE_LOG_FORMAT", "canary"),
    ];
    let problems = problems(with_file(text, &["--drain-delay", "canary"], &env));
    assert_eq!(problems.len(), 7, "{problems:#?}");
    for place in [
        "--drain-delay",
        "SANDGATE_SAMPLE_MESSAGE_MAX",
        "SANDGATE_SAMPLE_LOG_FORMAT",
        ": databse",
        ": drain_delay",
        ": message_max",
        ": log_format",
    ] {
        assert!(
            problems.iter().any(|problem| problem.contains(place)),
            "{place}: {problems:#?}"
        );
    }
    assert!(
        problems.iter().all(|problem| !problem.contains("canary")),
        "{problems:#?}"
    );
}

#[test]
fn a_file_that_is_missing_doubled_or_no_mapping_is_refused() {
    for text in [
        "- a\n- b\n",
        "database: a\ndatabase: b\n",
        "database: [",
        "just text\n",
    ] {
        assert_eq!(problems(with_file(text, &[], &[])).len(), 1, "{text}");
    }
    assert!(problems(start(&["--config", "/no/such/file"], &[]))[0].contains("/no/such/file"));
}

#[test]
fn an_empty_file_sets_nothing() {
    let loaded = with_file("\n", &[], &[]).expect("settings");
    assert_eq!(loaded.args.drain_delay, Args::default().drain_delay);
}

#[test]
fn an_unknown_flag_says_which_was_meant() {
    let problems = problems(start(&["--databse", "x"], &[]));
    assert!(
        problems[0].contains("did you mean --database?"),
        "{problems:?}"
    );
}

#[test]
fn the_printed_configuration_is_the_effective_one_without_secrets_and_can_be_read_again() {
    let env = [(
        "SANDGATE_SAMPLE_DATABASE",
        "postgres://app:canary-1@db/x?sslpassword=canary-2&a=b",
    )];
    let flags = ["--print-config", "--peers", "a,b"];
    let printed = answer(start(&flags, &env));
    assert!(!printed.contains("canary"), "{printed}");
    for line in [
        "drain_delay: 5s",
        "log_filter: info",
        "- b",
        "postgres://app:***redacted***@db/x",
    ] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
    let loaded = with_file(&printed, &[], &[]).expect("what was printed is a configuration");
    assert_eq!(
        loaded.args.peers,
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
}

#[test]
fn help_names_flags_and_variables_but_no_values() {
    let help = answer(start(
        &["--help"],
        &[("SANDGATE_SAMPLE_DATABASE", "canary")],
    ));
    for name in [
        "--drain-delay",
        "SANDGATE_SAMPLE_DRAIN_DELAY",
        "SANDGATE_SAMPLE_CONFIG",
        "--otlp-endpoint",
    ] {
        assert!(help.contains(name), "{name} in {help}");
    }
    assert!(!help.contains("canary"));
}

#[test]
fn help_begins_with_what_the_process_is_and_says_what_holds_where_nothing_is_set() {
    let help = answer(start(&["--help"], &[]));
    assert!(help.starts_with("What a sample is for\n"), "{help}");
    // However its lines are broken.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "How long a drain may take [default: 5s]",
        "Whether reflection is on [default: false]",
        "How logs look [default: text]",
        "What is logged, such as info or warn,sandgate_token=debug [default: info]",
    ] {
        assert!(help.contains(line), "{line} in {help}");
    }
    // Nothing holds for it.
    assert!(!help.contains("Where the rows are [default"), "{help}");
}

#[test]
fn a_process_answers_its_name_and_version() {
    for flag in ["--version", "-V"] {
        let version = answer(start(&[flag], &[]));
        assert_eq!(
            version,
            concat!("sandgate-sample ", env!("CARGO_PKG_VERSION"), "\n")
        );
    }
}

#[test]
fn telemetry_is_set_like_any_other_setting() {
    let env = [("SANDGATE_SAMPLE_OTLP_ENDPOINT", "http://127.0.0.1:4317")];
    let telemetry = with_file("log_format: json\n", &["--log-filter", "debug"], &env)
        .expect("settings")
        .telemetry;
    assert_eq!(telemetry.service, "sandgate-sample");
    assert_eq!(telemetry.format, sandgate_telemetry::LogFormat::Json);
    assert_eq!(
        (telemetry.filter.as_str(), telemetry.otlp.as_deref()),
        ("debug", Some("http://127.0.0.1:4317"))
    );
}

#[test]
fn a_secret_file_is_read_without_its_line_end_and_refused_when_others_can_read_it() {
    let file = file("s3cret\n");
    let secret = SecretFile::from(file.path().to_owned());
    assert_eq!(
        secret.read("key_file").expect("a secret").expose_secret(),
        "s3cret"
    );
    for mode in [0o604, 0o602, 0o644, 0o620] {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode))
            .expect("chmod");
        let refused = secret.read("key_file").expect_err("not its owner alone");
        assert_eq!(refused.field(), "key_file");
        assert!(
            refused.rule().contains("chmod 600") && !refused.rule().contains("s3cret"),
            "{refused}"
        );
    }
}

#[test]
fn a_secret_file_that_is_empty_missing_or_a_folder_is_refused() {
    let (empty, folder) = (file("\n"), tempfile::tempdir().expect("a folder"));
    for path in [
        empty.path(),
        folder.path(),
        std::path::Path::new("/no/such/file"),
    ] {
        assert!(
            SecretFile::from(path.to_owned()).read("key_file").is_err(),
            "{}",
            path.display()
        );
    }
}
