//! Who may import whom, as docs/architecture.md says, kept true over `cargo metadata`.
//!
//! A crate that is in no rule fails the test: its place is decided when it is made, not when it hurts.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use sandgate_e2e::config;
use serde_json::Value;

/// The libraries and what each may import of ours, outside its own tests.
const LIBS: [(&str, &[&str]); 14] = [
    ("sandgate-types", &[]),
    ("sandgate-telemetry", &[]),
    ("sandgate-api", &["sandgate-types"]),
    (
        "sandgate-rpc",
        &["sandgate-types", "sandgate-api", "sandgate-telemetry"],
    ),
    ("sandgate-session", &["sandgate-types", "sandgate-api"]),
    ("sandgate-workspace", &["sandgate-types", "sandgate-api"]),
    (
        "sandgate-audit",
        &["sandgate-types", "sandgate-api", "sandgate-rpc"],
    ),
    ("sandgate-message", &[]),
    ("sandgate-egress", &["sandgate-types", "sandgate-rpc"]),
    (
        "sandgate-policy",
        &[
            "sandgate-types",
            "sandgate-rpc",
            "sandgate-session",
            "sandgate-egress",
            "sandgate-message",
        ],
    ),
    ("sandgate-spawn", &["sandgate-types"]),
    ("sandgate-db", &["sandgate-types"]),
    (
        "sandgate-backend",
        &[
            "sandgate-types",
            "sandgate-rpc",
            "sandgate-session",
            "sandgate-spawn",
        ],
    ),
    // For tests only, so it may know every other library.
    (
        "sandgate-testkit",
        &[
            "sandgate-types",
            "sandgate-telemetry",
            "sandgate-api",
            "sandgate-rpc",
            "sandgate-session",
            "sandgate-workspace",
            "sandgate-audit",
            "sandgate-spawn",
            "sandgate-backend",
            "sandgate-db",
            "sandgate-egress",
            "sandgate-message",
            "sandgate-policy",
        ],
    ),
];

/// They import libraries, and each other never: they speak proto.
const SERVICES: [&str; 5] = [
    "sandgate-orchestrator",
    "sandgate-token",
    "sandgate-auth-gateway",
    "sandgate-storage-sync",
    "sandgate-sandboxd",
];

/// Runs the services, so it imports them.
const CLI: &str = "sandgate";

/// Sees the mesh from outside: contracts and fixtures, no service.
const STORIES: (&str, &[&str]) = (
    "sandgate-e2e",
    &["sandgate-api", "sandgate-types", "sandgate-testkit"],
);

/// Builds first, on a machine that has nothing.
const CHORES: &str = "xtask";

const TESTKIT: &str = "sandgate-testkit";

/// An import: who, whom, and whether for its own tests only.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    to: String,
    for_tests: bool,
}

fn libraries() -> impl Iterator<Item = &'static str> {
    LIBS.into_iter().map(|(name, _)| name)
}

/// Why this import is against the rules, if it is.
fn objection(import: &Import) -> Option<&'static str> {
    let to = import.to.as_str();
    let is_library = libraries().any(|library| library == to);
    if to == TESTKIT && !import.for_tests && import.from != STORIES.0 {
        return Some("testkit is for tests: make it a dev-dependency");
    }
    if let Some((_, allowed)) = LIBS.into_iter().find(|(name, _)| *name == import.from) {
        return match (import.for_tests, is_library, allowed.contains(&to)) {
            (_, false, _) => {
                Some("a library never imports a service, the command line or the stories")
            }
            (false, true, false) => Some("this library may not know that one"),
            (true, true, _) | (false, true, true) => None,
        };
    }
    if SERVICES.contains(&import.from.as_str()) {
        return (!is_library)
            .then_some("a service imports libraries only: it speaks to other services in proto");
    }
    match import.from.as_str() {
        CLI if is_library || SERVICES.contains(&to) => None,
        CLI => Some("the command line imports services and libraries"),
        stories if stories == STORIES.0 => (!STORIES.1.contains(&to))
            .then_some("the stories see the mesh from outside: contracts and fixtures only"),
        CHORES => Some("the chores build before anything of ours does"),
        _ => Some(
            "this crate has no place yet: give it one in tests/tests/architecture.rs and docs/architecture.md",
        ),
    }
}

fn metadata() -> Value {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(config::repository())
        .output()
        .expect("run cargo metadata");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo's metadata")
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Our crates, and what each imports of ours.
fn workspace() -> (BTreeSet<String>, BTreeSet<Import>) {
    let metadata = metadata();
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .expect("packages");
    let ours: BTreeSet<String> = packages
        .iter()
        .map(|package| text(package, "name").to_owned())
        .collect();
    let mut imports = BTreeSet::new();
    for package in packages {
        for dependency in package
            .get("dependencies")
            .and_then(Value::as_array)
            .expect("dependencies")
        {
            let to = text(dependency, "name").to_owned();
            if ours.contains(&to) {
                let from = text(package, "name").to_owned();
                imports.insert(Import {
                    from,
                    to,
                    for_tests: text(dependency, "kind") == "dev",
                });
            }
        }
    }
    (ours, imports)
}

#[test]
fn every_import_between_our_crates_keeps_the_rules() {
    let (_, imports) = workspace();
    assert!(imports.len() > 10, "cargo told of few imports: {imports:?}");
    let broken: Vec<String> = imports
        .iter()
        .filter_map(|import| {
            Some(format!(
                "{} → {}: {}",
                import.from,
                import.to,
                objection(import)?
            ))
        })
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_crate_has_a_place_and_every_place_a_crate() {
    let (ours, _) = workspace();
    let placed: BTreeSet<String> = libraries()
        .chain(SERVICES)
        .chain([CLI, STORIES.0, CHORES])
        .map(str::to_owned)
        .collect();
    assert_eq!(ours, placed);
}

#[test]
fn the_rules_object_to_what_they_forbid() {
    let import = |from: &str, to: &str, for_tests| Import {
        from: from.into(),
        to: to.into(),
        for_tests,
    };
    let cases = BTreeMap::from([
        (import("sandgate-rpc", "sandgate-token", false), true),
        (import("sandgate-rpc", "sandgate-token", true), true),
        (
            import("sandgate-token", "sandgate-orchestrator", false),
            true,
        ),
        (import("sandgate-token", "sandgate-testkit", false), true),
        (import("sandgate-token", "sandgate-testkit", true), false),
        (import("sandgate-types", "sandgate-api", false), true),
        (import("sandgate-api", "sandgate-types", false), false),
        (import("sandgate", "sandgate-token", false), false),
        (import("sandgate-e2e", "sandgate-token", true), true),
        (import("sandgate-newcomer", "sandgate-types", false), true),
    ]);
    for (import, refused) in cases {
        assert_eq!(objection(&import).is_some(), refused, "{import:?}");
    }
}
