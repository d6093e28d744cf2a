//! What the mesh tells: one trace from a client to the backend that its agent asks, one name for each request, metrics
//! of every service, and no secret in any of it.

mod story;
mod traces;

use std::collections::BTreeSet;

use sandgate_e2e::canary::{Found, Needle, files_below, has_token, searchable};
use sandgate_e2e::collector::Collector;
use story::Story;

/// The mesh, and the keeper of a sandbox, as they name themselves.
const MESH: &str = "sandgate";
const KEEPER: &str = "sandboxd";

/// What a label may be called, and which values it may have.
fn is_closed(label: &(String, String)) -> bool {
    let (key, value) = label;
    let is_constant = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !text.is_empty() && text.bytes().all(plain)
    };
    match key.as_str() {
        "method" => value == "other" || sandgate_api::find(value).is_some(),
        "status" | "outcome" => is_constant(value),
        "listener" => ["client", "sandbox"].contains(&value.as_str()),
        _ => false,
    }
}

fn is_by_convention(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let plain = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    words.len() >= 4
        && words.first() == Some(&"sandgate")
        && matches!(words.last(), Some(&("total" | "seconds" | "bytes")))
        && words.iter().all(plain)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_counts_its_calls_by_labels_of_which_there_are_few() {
    let story = Story::begin().await;
    let created = story.create().await;
    story.run(&created.sandbox).await;
    let counted = [
        (
            MESH,
            "/sandgate.orchestrator.v1.SandboxService/CreateSandbox",
        ),
        (MESH, "/sandgate.token.v1.TokenService/MintSession"),
        (MESH, "/sandgate.storage.v1.WorkspaceService/GetWorkspace"),
        (MESH, "/sandgate.sandbox.v1.AttachService/Attach"),
        (KEEPER, "/sandgate.sandbox.v1.ProcessService/RunProcess"),
    ];
    for (service, method) in counted {
        for metric in [
            "sandgate_rpc_requests_total",
            "sandgate_rpc_request_duration_seconds",
        ] {
            let wanted = ("method".to_owned(), method.to_owned());
            let what = format!("{metric} of {method} in {service}");
            let counts = |all: &Collector| {
                let series = all.series();
                let found = series.iter().find(|one| {
                    (&*one.service, &*one.name) == (service, metric) && one.labels.contains(&wanted)
                });
                found.cloned()
            };
            story.collector.wait_for(&what, counts).await;
        }
    }
    let names: BTreeSet<_> = story
        .collector
        .series()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert!(names.contains("sandgate_gate_requests_total"), "{names:?}");
    assert!(names.iter().all(|name| is_by_convention(name)), "{names:?}");
    for series in story.collector.series() {
        assert!(series.labels.iter().all(is_closed), "{series:?}");
    }
}

/// A place that others may read.
struct Place {
    name: String,
    text: String,
    /// Whether it may hold what the agent wrote into its workspace.
    holds_files: bool,
    /// Whether it may hold the API key.
    holds_key: bool,
}

impl Place {
    fn new(name: &str, text: String) -> Self {
        Self {
            name: name.to_owned(),
            text,
            holds_files: false,
            holds_key: false,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_logged_recorded_or_kept() {
    let mut story = Story::begin().await;
    let created = story.create().await;
    let sandbox = created.sandbox.as_str();
    story.run(sandbox).await;
    story.write(sandbox).await;
    let reached = story.backend.reached();
    let asked = reached.first().expect("the agent asked");
    assert_eq!(asked.headers["x-note"], story::HEADER_SECRET);
    assert_eq!(asked.headers["x-upstream-key"], story::UPSTREAM_SECRET);
    assert_eq!(asked.body, story::BODY_SECRET);
    let described = story.described(sandbox).await;
    let records = story.records(|record| record.action == "notes POST").await;
    story.end();

    let mut places = vec![
        Place::new("answers", described),
        Place::new("records", format!("{records:?}")),
        Place::new("log", story.log()),
        Place::new("spans and metrics", searchable(&story.collector.bytes())),
    ];
    let data = story.home.data();
    for Found { path, text } in files_below(&data) {
        let path = path.strip_prefix(&data).expect("below");
        places.push(Place {
            holds_files: path.starts_with("objects"),
            holds_key: path.ends_with("api-key"),
            ..Place::new(&path.display().to_string(), text)
        });
    }
    // The search looks where something is: what is no secret is found in each of them.
    let known = [
        ("answers", sandbox),
        ("records", sandbox),
        ("log", &created.request),
        ("spans", sandbox),
        ("spans", &created.request),
        ("orchestrator.db", sandbox),
        ("storage-sync.db", story::CONVERSATION),
        ("token.db", "default"),
        ("audit", sandbox),
    ];
    for (place, text) in known {
        let needle = Needle::new("what is known", text);
        let mut named = places.iter().filter(|there| there.name.starts_with(place));
        assert!(
            named.any(|there| needle.is_in(&there.text)),
            "{place} does not know {text}"
        );
    }
    let objects = places.iter().filter(|place| place.holds_files);
    assert!(objects.count() > 0, "the file was stored");

    let key = Needle::new("the API key", &story.key);
    assert!(
        places
            .iter()
            .any(|place| place.holds_key && key.is_in(&place.text))
    );
    let file = Needle::new("a file's content", story::FILE_SECRET);
    let nowhere = [
        Needle::new("the environment of the create", story::CREATE_SECRET),
        Needle::new("the environment of a process", story::PROCESS_SECRET),
        Needle::new("the input of a process", story::STDIN_SECRET),
        Needle::new("a header of the agent", story::HEADER_SECRET),
        Needle::new("a body of the agent", story::BODY_SECRET),
        Needle::new("the credential of an upstream", story::UPSTREAM_SECRET),
    ];
    for place in &places {
        let Place {
            name,
            text,
            holds_files,
            holds_key,
        } = place;
        let found: Vec<_> = nowhere
            .iter()
            .chain((!holds_files).then_some(&file))
            .chain((!holds_key).then_some(&key))
            .filter(|needle| needle.is_in(text))
            .map(|needle| needle.what)
            .collect();
        assert!(found.is_empty(), "{name} holds {found:?}");
        assert!(!has_token(text), "{name} holds a token");
    }
}
