//! Traces: who goes on in whose, from the client on.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use sandgate_e2e::collector::{Collector, Span};

use crate::story::{CLIENT_SPAN, CREATE_TRACE, HYDRATE_TRACE, RESUME_TRACE, RUN_TRACE, Story};
use crate::{KEEPER, MESH};

const CREATE: &str = "sandgate.orchestrator.v1.SandboxService/CreateSandbox";
const RESUME: &str = "sandgate.orchestrator.v1.SandboxService/ResumeSandbox";
const MINT: &str = "sandgate.token.v1.TokenService/MintSession";
const HEAD: &str = "sandgate.storage.v1.WorkspaceService/GetWorkspace";
const ATTACH: &str = "sandgate.sandbox.v1.AttachService/Attach";
const HYDRATE: &str = "sandgate.storage.v1.SyncService/Hydrate";
const RUN: &str = "sandgate.sandbox.v1.ProcessService/RunProcess";

/// Who makes a span, what it is called, and of which kind it is.
type Hop = (&'static str, &'static str, SpanKind);

/// A client's command, as far as the sandbox.
const TO_SANDBOX: [Hop; 3] = [
    (MESH, RUN, SpanKind::Server),
    (MESH, RUN, SpanKind::Client),
    (KEEPER, RUN, SpanKind::Server),
];

/// A client's call of the orchestrator, through the gate.
fn served(method: &'static str) -> [Hop; 3] {
    [
        (MESH, method, SpanKind::Server),
        (MESH, method, SpanKind::Client),
        (MESH, method, SpanKind::Server),
    ]
}

/// A call of the mesh to `service`.
fn asks(method: &'static str, service: &'static str) -> [Hop; 2] {
    [
        (MESH, method, SpanKind::Client),
        (service, method, SpanKind::Server),
    ]
}

/// The orchestrator's attach, through the gate.
fn attaches() -> [Hop; 4] {
    let [[to_gate, gate], [to_keeper, keeper]] = [asks(ATTACH, MESH), asks(ATTACH, KEEPER)];
    [to_gate, gate, to_keeper, keeper]
}

/// What a keeper does to bring files in: it asks storage, through the gate.
fn brings_in() -> [Hop; 5] {
    [
        (KEEPER, "hydrate", SpanKind::Internal),
        (KEEPER, HYDRATE, SpanKind::Client),
        (MESH, HYDRATE, SpanKind::Server),
        (MESH, HYDRATE, SpanKind::Client),
        (MESH, HYDRATE, SpanKind::Server),
    ]
}

/// A request of the agent to a route's upstream, as the gate tells of it.
fn asks_route(request: &'static str, route: &'static str) -> [Hop; 2] {
    [
        (MESH, request, SpanKind::Server),
        (MESH, route, SpanKind::Client),
    ]
}

/// One span after the other, from the client's on.
/// Waits for each, and answers the last.
async fn chain(collector: &Collector, trace: &str, hops: &[Hop]) -> Span {
    let mut parent = CLIENT_SPAN.to_owned();
    let mut last = None;
    for (service, name, kind) in hops {
        let what = format!("{kind:?} {name} of {service} below {parent}");
        let is_next = |span: &Span| {
            (&*span.trace, &*span.parent) == (trace, &*parent)
                && (&*span.service, &*span.name, span.kind) == (*service, *name, *kind)
        };
        let found = collector
            .wait_for(&what, |all| all.spans().into_iter().find(is_next))
            .await;
        parent.clone_from(&found.id);
        last = Some(found);
    }
    last.expect("there are hops")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_client_through_the_sandbox_to_the_backend() {
    let story = Story::begin().await;
    let created = story.create().await;
    let given = story.run(&created.sandbox).await;
    let keeper = chain(&story.collector, RUN_TRACE, &TO_SANDBOX).await;
    assert_eq!(given, format!("00-{RUN_TRACE}-{}-01", keeper.id));
    let of_call = ["rpc.system", "rpc.service", "rpc.method"].map(|key| keeper.text(key));
    let service = "sandgate.sandbox.v1.ProcessService";
    assert_eq!(of_call, [Some("grpc"), Some(service), Some("RunProcess")]);
    let whole: Vec<_> = TO_SANDBOX
        .into_iter()
        .chain(asks_route("notes POST", "notes"))
        .collect();
    let gate = chain(&story.collector, RUN_TRACE, &whole).await;
    let reached = story.backend.reached();
    let [asked] = reached.as_slice() else {
        panic!("one request, got {reached:?}")
    };
    assert_eq!(
        asked.headers["traceparent"],
        format!("00-{RUN_TRACE}-{}-01", gate.id)
    );
    assert!(
        !asked.headers.contains_key("tracestate"),
        "a sandbox's text"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_speaks_grpc_is_asked_in_the_same_trace() {
    let story = Story::begin().await;
    let created = story.create().await;
    let answer = story.ask_scores(&created.sandbox).await;
    // The sum of its bytes.
    assert!(answer.contains("\"score\": \"417\""), "{answer}");
    let hops: Vec<_> = TO_SANDBOX
        .into_iter()
        .chain(asks_route("scores POST", "scores"))
        .collect();
    let gate = chain(&story.collector, RUN_TRACE, &hops).await;
    let reached = story.scores.reached();
    let [asked] = reached.as_slice() else {
        panic!("one call, got {reached:?}")
    };
    let expected = format!("00-{RUN_TRACE}-{}-01", gate.id);
    assert_eq!(asked["traceparent"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_given_a_trace_keeps_it() {
    let story = Story::begin().await;
    let created = story.create().await;
    let own = [("TRACEPARENT".to_owned(), "its own".to_owned())];
    let print = "import os; print(os.environ['TRACEPARENT'])";
    let printed = story
        .python(&created.sandbox, print, own.into(), Vec::new())
        .await;
    assert_eq!(printed, "its own\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_one_trace_and_has_one_name_in_all_services_the_log_and_the_records() {
    let story = Story::begin().await;
    let created = story.create().await;
    let mut named = Vec::new();
    for further in [
        asks(MINT, MESH).to_vec(),
        asks(HEAD, MESH).to_vec(),
        attaches().to_vec(),
    ] {
        let hops: Vec<_> = served(CREATE).into_iter().chain(further).collect();
        named.push(chain(&story.collector, CREATE_TRACE, &hops).await);
    }
    named.push(chain(&story.collector, CREATE_TRACE, &served(CREATE)[..1]).await);
    named.push(chain(&story.collector, CREATE_TRACE, &served(CREATE)).await);
    for span in named {
        let name = span.text("sandgate.request_id");
        assert_eq!(name, Some(&*created.request), "{span:?}");
    }
    // Answers only once there is such a record.
    story
        .records(|record| record.request_id == created.request && record.action == CREATE)
        .await;
    let in_log = format!("sandgate.request_id=\"{}\"", created.request);
    let log = story.log();
    for method in [CREATE, MINT, HEAD, ATTACH] {
        let said = |line: &str| line.contains(&in_log) && line.contains(method);
        assert!(log.lines().any(said), "{method} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_that_a_create_or_a_resume_brings_in_are_brought_in_its_trace() {
    let story = Story::begin().await;
    let former = story.create().await;
    story.write(&former.sandbox).await;
    story.delete(&former.sandbox).await;
    let hops = |method| -> Vec<_> {
        let asked = served(method).into_iter().chain(attaches());
        asked.chain(brings_in()).collect()
    };
    let created = story.create_in(HYDRATE_TRACE).await;
    // Before its keeper ends: what that has not told by then is told by nobody.
    chain(&story.collector, HYDRATE_TRACE, &hops(CREATE)).await;
    story.suspend(&created.sandbox).await;
    story.resume(&created.sandbox).await;
    chain(&story.collector, RESUME_TRACE, &hops(RESUME)).await;
    // The control: where there is nothing to bring in, nobody does.
    let spans = story.collector.spans();
    let first = spans.iter().filter(|span| span.trace == CREATE_TRACE);
    assert!(!first.map(|span| &*span.name).any(|name| name == "hydrate"));
}
