//! A small but real agent works inside a sandbox: it reads its workspace, asks an HTTP and a gRPC backend
//! through the gate, and writes results, which are checked from outside, byte by byte.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sandgate_e2e::mesh::Home;
use sandgate_e2e::{backend, config, python};

const WORDS: [&str; 4] = ["gate", "sand", "box", "lease"];

fn policy(folder: &Path, http: &str, grpc: &str) -> String {
    let key = folder.join("upstream.key");
    std::fs::write(&key, "upstream-canary\n").expect("a credential");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let text = format!(
        "version: 1
routes:
  - name: words
    http:
      path_prefix: /define
      methods: [GET]
    operation: define
    tenants: [default]
    upstream:
      url: http://{http}
    identity:
      headers: {{ x-tenant: tenant, x-user: user, x-conversation: conversation }}
    forward:
      query: [word]
    credential:
      header: x-upstream-key
      file: {}
  - name: scores
    grpc:
      methods: [scores.v1.ScoreService/Score, scores.v1.ScoreService/Totals]
    operation: score
    upstream:
      url: http://{grpc}
    identity:
      headers: {{ x-tenant: tenant, x-conversation: conversation }}
",
        key.display()
    );
    let file = folder.join("policy.yaml");
    std::fs::write(&file, text).expect("a policy");
    file.to_str().expect("a plain path").to_owned()
}

#[test]
fn an_agent_asks_both_backends_through_the_gate_and_its_results_are_there_without_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (http, grpc) = runtime.block_on(async { (backend::http().await, backend::grpc().await) });
    let home = Home::new();
    let file = policy(
        home.path(),
        &http.address.to_string(),
        &grpc.address.to_string(),
    );
    let _up = home.up(&["--policy", &file]);

    let stubs = tempfile::tempdir().expect("a folder");
    python::generate_stubs(&config::repository().join("tests/proto"), stubs.path());
    home.put("agent", stubs.path(), &["."], "/workspace/lib");
    home.put(
        "agent",
        &python::site_packages(),
        &["grpc", "google", "typing_extensions.py"],
        "/workspace/lib",
    );
    home.put(
        "agent",
        &config::repository().join("tests/python"),
        &["agent.py"],
        "/workspace",
    );
    let input = tempfile::tempdir().expect("a folder");
    std::fs::write(
        input.path().join("words.csv"),
        format!("word\n{}\n", WORDS.join("\n")),
    )
    .expect("input");
    home.put("agent", input.path(), &["."], "/workspace/input");

    let ran = home.run("agent", &["/usr/bin/python3", "agent.py"]);
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "4 words done\n",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );

    let stored = |path: &str| {
        let output = home
            .sandgate(["files", "agent", path])
            .output()
            .expect("start sandgate");
        String::from_utf8(output.stdout).expect("text")
    };
    let expected: String = WORDS
        .iter()
        .map(|word| {
            let score: i64 = word.bytes().map(i64::from).sum();
            let row = serde_json::json!({
                "definition": {
                    "definition": format!("what is called {word}"),
                    "identity": {
                        "x-conversation": "agent",
                        "x-tenant": "default",
                        "x-user": "local",
                    },
                    "path": "/define",
                },
                "identity": { "x-conversation": "agent", "x-tenant": "default" },
                "score": score,
                "word": word,
            });
            row.to_string() + "\n"
        })
        .collect();
    let compact = stored("output/results.jsonl")
        .replace(", ", ",")
        .replace("\": ", "\":");
    assert_eq!(compact, expected.replace(", ", ","));
    let reached = http.reached();
    assert_eq!(reached.len(), WORDS.len());
    assert!(
        reached
            .iter()
            .all(|headers| headers["x-upstream-key"] == "upstream-canary")
    );
    let mut total = 0;
    let totals: Vec<i64> = WORDS
        .iter()
        .map(|word| {
            total += word.bytes().map(i64::from).sum::<i64>();
            total
        })
        .collect();
    assert_eq!(stored("output/totals.json"), format!("{totals:?}"));
}

#[test]
fn what_no_route_names_is_refused_and_says_so() {
    let home = Home::new();
    let ask = "
import urllib.request, urllib.error
for path in ['/r/nowhere/x', '/sandgate.token.v1.TokenService/RenewSession', '/../etc']:
    try:
        urllib.request.urlopen('http://127.0.0.1:4040' + path, data=b'', timeout=10)
        print('let through')
    except urllib.error.HTTPError as error:
        print(error.code)
";
    let output = home.run("agent", &["/usr/bin/python3", "-c", ask]);
    let codes = String::from_utf8_lossy(&output.stdout).into_owned();
    let codes: Vec<&str> = codes.lines().collect();
    assert_eq!(
        codes.len(),
        3,
        "{codes:?} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        codes
            .iter()
            .all(|code| ["400", "401", "403", "404"].contains(code)),
        "{codes:?}"
    );
}
