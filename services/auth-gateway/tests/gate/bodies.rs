//! Bodies that are taken apart: whatever an agent says in them, its upstream reads the identity of its token.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;

use crate::support::keeper::{Answer, agent_request, frame, framed, grpc_request};
use crate::support::upstream::{self, Upstream};
use crate::support::{Sandbox, World};

const PROTO: &str = r#"
syntax = "proto3";
package scores.v1;
service ScoreService {
  rpc Score(Asked) returns (Asked);
  rpc Endless(stream Asked) returns (stream Asked);
  rpc Early(stream Asked) returns (Asked);
}
message Asked { string word = 1; Caller caller = 2; }
message Caller { string user = 1; }
"#;
const SCORE: &str = "/scores.v1.ScoreService/Score";

/// The descriptors of the service, in a file that the policy names.
fn descriptors() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let parsed = protox::file::File::from_source("scores.proto", PROTO).expect("it parses");
    let set = prost_types::FileDescriptorSet {
        file: vec![parsed.file_descriptor_proto().clone()],
    };
    std::fs::write(file.path(), prost::Message::encode_to_vec(&set)).expect("write");
    file
}

fn policy(upstream: &Upstream, descriptors: &tempfile::NamedTempFile) -> String {
    let (address, file) = (upstream.address, descriptors.path().display());
    format!(
        "
version: 1
routes:
- name: chat
  http: {{ methods: [GET, POST] }}
  operation: chat
  upstream: {{ url: 'http://{address}' }}
  identity: {{ json: {{ /user: user, /meta/tenant: tenant }} }}
  limits: {{ request_bytes: 1KiB }}
- name: scores
  grpc:
    methods: [scores.v1.ScoreService/Score, scores.v1.ScoreService/Endless, scores.v1.ScoreService/Early]
    descriptor_set: {file}
  operation: score
  upstream: {{ url: 'http://{address}' }}
  identity: {{ protobuf: {{ caller.user: user }} }}
"
    )
}

struct Scene {
    world: World,
    sandbox: Sandbox,
    token: String,
    upstream: Upstream,
    _descriptors: tempfile::NamedTempFile,
}

impl Scene {
    async fn start() -> Self {
        let upstream = upstream::start().await;
        let descriptors = descriptors();
        let mut world = World::with_policy(&policy(&upstream, &descriptors)).await;
        let sandbox = world.sandbox("acme", "ann").await;
        let token = world.agent(&sandbox);
        Self {
            world,
            sandbox,
            token,
            upstream,
            _descriptors: descriptors,
        }
    }

    fn posting(&self, body: &str) -> Request<Body> {
        let mut request = agent_request("POST", "/r/chat/v1", &self.token);
        let json = "application/json".parse().expect("a header");
        request.headers_mut().insert("content-type", json);
        *request.body_mut() = Body::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        request
    }

    async fn post(&self, body: &str) -> Answer {
        self.sandbox.keeper.send(self.posting(body)).await
    }

    async fn score(&self, body: Body) -> Answer {
        let mut request = grpc_request(SCORE, &self.token);
        *request.body_mut() = body;
        self.sandbox.keeper.send(request).await
    }

    fn reached(&self) -> usize {
        self.upstream.requests.load(Ordering::Relaxed)
    }
}

/// A stream of messages to a method, each when the test says so.
fn streaming(method: &str, token: &str) -> (mpsc::Sender<Bytes>, Request<Body>) {
    let (messages, sent) = mpsc::channel(4);
    let sent = ReceiverStream::new(sent).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut request = grpc_request(&format!("/scores.v1.ScoreService/{method}"), token);
    *request.body_mut() = Body::new(StreamBody::new(sent));
    (messages, request)
}

/// `Asked { word: "w", caller: Caller { user } }`, with whatever is to stand behind it.
fn asked(user: &str, behind: &[u8]) -> Vec<u8> {
    let length = u8::try_from(user.len()).expect("short");
    let mut message = vec![0x0a, 1, b'w', 0x12, length + 2, 0x0a, length];
    message.extend_from_slice(user.as_bytes());
    message.extend_from_slice(behind);
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn json_arrives_with_the_tokens_identity_whatever_it_said() {
    let scene = Scene::start().await;
    let said = scene
        .post(r#" {"user": {"id": "eve"}, "n": 1.50, "meta": {"tenant": "other", "k": [1, 2]}} "#)
        .await;
    assert_eq!(said.http, 200, "{said:?}");
    let said = said.json();
    let body = r#"{"user":"ann","n":1.50,"meta":{"tenant":"acme","k":[1,2]}}"#;
    assert_eq!(said["body"], body);
    assert_eq!(said["headers"]["content-length"], body.len().to_string());
    assert_eq!(said["headers"]["content-type"], "application/json");
    // Where nothing was said, too; and a request without a body has none.
    let said = scene.post("{}").await.json();
    assert_eq!(said["body"], r#"{"meta":{"tenant":"acme"},"user":"ann"}"#);
    let said = scene.sandbox.keeper.get("/r/chat/v1", &scene.token).await;
    assert_eq!(said.json()["body"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_two_readers_read_differently_reaches_nobody_and_the_rule_is_told() {
    let scene = Scene::start().await;
    for (body, rule) in [
        (
            r#"{"user":"a","\u0075ser":"b"}"#,
            "must not have a member twice",
        ),
        (r#"{"User":"a"}"#, "must not have a member beside /user"),
        (
            r#"{"meta":"x"}"#,
            "must have an object, or a list where the pointer says *, on the way to /meta/tenant",
        ),
        (r#"{"a":1}x"#, "with nothing behind it"),
        ("", "must be JSON"),
        ("[]", "on the way to /meta/tenant"),
    ] {
        let answer = scene.post(body).await;
        assert_eq!(answer.http, 400, "{body}: {answer:?}");
        let said = answer.json();
        assert_eq!(said["reason"], "BODY_REFUSED", "{body}");
        assert_eq!(said["route"], "chat");
        assert_eq!(said["clause"], "identity.json");
        let message = said["message"].as_str().expect("a message");
        assert!(message.contains(rule), "{body}: {message}");
    }
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/json; charset=utf-16"),
        ("content-encoding", "gzip"),
    ] {
        let mut request = scene.posting("{}");
        let value = value.parse().expect("a header");
        request.headers_mut().insert(name, value);
        let answer = scene.sandbox.keeper.send(request).await;
        assert_eq!(answer.http, 415, "{name}: {answer:?}");
        assert_eq!(answer.json()["reason"], "BODY_TYPE_REFUSED");
    }
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(2_000));
    assert_eq!(scene.post(&long).await.http, 413);
    assert_eq!(scene.reached(), 0);
    scene.world.recorded("chat POST", "BODY_REFUSED").await;
    let records = scene.world.orchestrator.records.lock();
    let allowed = |record: &sandgate_api::audit::v1::Record| {
        record.action == "chat POST" && record.reason.is_empty()
    };
    assert!(!records.iter().any(allowed), "none of them was allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_with_the_tokens_identity_and_without_what_nobody_declared() {
    let scene = Scene::start().await;
    let hidden = [0x9a, 0x06, 3, b'e', b'v', b'e'];
    let answer = scene.score(framed(&asked("eve", &hidden))).await;
    assert_eq!(answer.status, 0, "{answer:?}");
    let said: serde_json::Value = serde_json::from_slice(&answer.message).expect("json");
    let mut frame = vec![0, 0, 0, 0];
    let expected = asked("ann", &[]);
    frame.push(u8::try_from(expected.len()).expect("short"));
    frame.extend_from_slice(&expected);
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(said["hex"], hex);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_break_a_rule_end_the_call_with_it() {
    let scene = Scene::start().await;
    let raw = |bytes: &'static [u8]| Body::new(Full::new(Bytes::from_static(bytes)));
    for (body, rule) in [
        (raw(&[1, 0, 0, 0, 1, 0]), "must not be compressed"),
        (
            raw(&[0, 0, 0, 0, 9, 0x0a]),
            "must end behind a whole message",
        ),
        (raw(&[0, 255, 255, 255, 255]), "must be messages of at most"),
        (raw(&[7]), "must have frames of gRPC"),
        (framed(&[0x0a, 9, b'x']), "must be a scores.v1.Asked"),
    ] {
        let answer = scene.score(body).await;
        assert_eq!(answer.status, 3, "{rule}: {answer:?}");
        let said = answer.headers.get("grpc-message").expect("a message");
        let said = said.to_str().expect("text").replace("%20", " ");
        assert!(said.contains(rule), "{said}");
    }
    scene.world.recorded("scores POST", "BODY_REFUSED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_behind_the_head_of_the_answer_may_still_end_the_call() {
    let scene = Scene::start().await;
    let (messages, request) = streaming("Endless", &scene.token);
    messages
        .send(frame(&asked("eve", &[])))
        .await
        .expect("sent");
    let answer = scene.sandbox.keeper.stream(request).await;
    assert_eq!(answer.status(), 200);
    let broken = Bytes::from_static(&[7, 0, 0, 0, 0]);
    messages.send(broken).await.expect("sent");
    let answer = Answer::of(answer).await;
    assert_eq!(answer.status, 3, "{answer:?}");
    assert_eq!(answer.message, b"first", "what came before it arrived");
    scene.world.recorded("scores POST", "BODY_REFUSED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_behind_the_end_of_the_answer_is_on_record_too() {
    let scene = Scene::start().await;
    let (messages, request) = streaming("Early", &scene.token);
    let answer = scene.sandbox.keeper.stream(request).await;
    assert_eq!(Answer::of(answer).await.status, 0);
    let broken = Bytes::from_static(&[7, 0, 0, 0, 0]);
    messages.send(broken).await.expect("sent");
    scene.world.recorded("scores POST", "BODY_REFUSED").await;
}
