//! The mesh listener: the orchestrator's way to a keeper.

use std::time::Duration;

use prost::Message as _;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::attach_service_client::AttachServiceClient;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_rpc::{Channel, ChannelOptions, Peer, Service};
use sandgate_session::{Claims, Ticket};
use sandgate_types::{Clock as _, Generation, InstanceId, PolicyRevision, TokenId};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::support::World;

const POLICY: &str = "
version: 1
routes:
- name: web
  http: { methods: [GET] }
  operation: web
  upstream: { url: 'http://127.0.0.1:1' }
- name: dict
  http: { methods: [GET] }
  operation: lookup
  tenants: [other]
  upstream: { url: 'http://127.0.0.1:1' }
- name: scores
  grpc: { methods: [scores.v1.ScoreService/Score] }
  operation: score
  upstream: { url: 'http://127.0.0.1:1' }
";

fn channel(world: &World, service: Service) -> Channel {
    let target = world.mesh.target(Peer::Service(service));
    Channel::new(target, ChannelOptions { retries: false })
}

fn ticket(world: &mut World, claims: &Claims) -> Ticket {
    let now = world.clock.now();
    Ticket {
        ticket: TokenId::random(&mut world.rng),
        sandbox: claims.sandbox.clone(),
        session: claims.session.clone(),
        instance: claims.instance.clone(),
        generation: claims.generation,
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(60)),
    }
}

fn attach(world: &mut World, claims: &Claims) -> pb::AttachRequest {
    let ticket = ticket(world, claims);
    let mut daemon = claims.clone();
    daemon.audience = sandgate_session::Audience::Daemon;
    pb::AttachRequest {
        ticket: world.token.sign(&ticket),
        session_id: claims.session.as_str().to_owned(),
        sandbox_id: claims.sandbox.as_str().to_owned(),
        generation: claims.generation.get(),
        agent_token: world.token.sign(claims),
        daemon_token: world.token.sign(&daemon),
        ..pb::AttachRequest::default()
    }
}

fn to<T>(instance: &InstanceId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let id = instance.as_str().parse().expect("a header");
    request.metadata_mut().insert("x-instance-id", id);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_waits_for_the_feed_and_tells_the_keeper_the_sessions_routes() {
    let mut world = World::with_policy(POLICY).await;
    let claims = world.claims("acme", "ann");
    let keeper = world.connect(&claims.instance).await;
    let message = attach(&mut world, &claims);
    let mut client = AttachServiceClient::new(channel(&world, Service::Orchestrator));
    let attaching = client.attach(to(&claims.instance, message));
    let live = async {
        tokio::task::yield_now().await;
        world.orchestrator.live(&claims);
    };
    let (attached, ()) = tokio::join!(attaching, live);
    attached.expect("attached");
    let asked = keeper.asked.lock();
    let (path, headers, message) = asked.first().expect("it was asked");
    assert_eq!(path, "/sandgate.sandbox.v1.AttachService/Attach");
    assert!(headers.contains_key("sandgate-caller-bin"));
    let message = pb::AttachRequest::decode(message.as_slice()).expect("a message");
    // Not the other tenant's, and not the gRPC route, which has no base URL.
    assert_eq!(message.routes, ["web"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_or_tokens_for_anything_else_do_not_reach_the_keeper() {
    let mut world = World::with_policy(POLICY).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let other = world.claims("acme", "bob");
    let good = attach(&mut world, &sandbox.claims);
    let others = attach(&mut world, &other);
    let mut client = AttachServiceClient::new(channel(&world, Service::Orchestrator));
    let mut cases = vec![good.clone(); 5];
    cases[0].ticket = others.ticket.clone();
    cases[1].agent_token = others.agent_token.clone();
    cases[2].daemon_token = good.agent_token.clone();
    cases[3].generation = Generation::FIRST.next().get();
    cases[4].ticket = "nonsense".to_owned();
    for (number, case) in cases.into_iter().enumerate() {
        let refused = client.attach(to(&sandbox.claims.instance, case)).await;
        let status = refused.expect_err("refused");
        assert_eq!(
            status.code(),
            Code::FailedPrecondition,
            "{number}: {status}"
        );
    }
    let unnamed = client.attach(good.clone()).await.expect_err("refused");
    assert_eq!(unnamed.code(), Code::InvalidArgument);
    world.clock.advance(Duration::from_secs(60 + 31));
    let old = client.attach(to(&sandbox.claims.instance, good)).await;
    assert_eq!(old.expect_err("refused").code(), Code::FailedPrecondition);
    assert!(sandbox.keeper.asked.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_by_a_key_that_is_so_new_that_the_gate_has_not_heard_of_it_is_taken() {
    let mut world = World::with_policy(POLICY).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let mut message = attach(&mut world, &sandbox.claims);
    let mut daemon = sandbox.claims.clone();
    daemon.audience = sandgate_session::Audience::Daemon;
    let ticket = ticket(&mut world, &sandbox.claims);
    message.ticket = world.token.sign_by_next(&ticket);
    message.agent_token = world.token.sign_by_next(&sandbox.claims);
    message.daemon_token = world.token.sign_by_next(&daemon);
    let mut client = AttachServiceClient::new(channel(&world, Service::Orchestrator));
    let unpublished = client.attach(to(&sandbox.claims.instance, message.clone()));
    let status = unpublished.await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(sandbox.keeper.asked.lock().is_empty());
    world.token.publish_next();
    let attached = client.attach(to(&sandbox.claims.instance, message));
    attached.await.expect("attached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_under_rules_that_the_gate_does_not_know_is_not_attached() {
    let mut world = World::with_policy(POLICY).await;
    let mut sandbox = world.sandbox("acme", "ann").await;
    sandbox.claims.policy_revision = PolicyRevision::new(PolicyRevision::CURRENT.get() + 1);
    let message = attach(&mut world, &sandbox.claims);
    let mut client = AttachServiceClient::new(channel(&world, Service::Orchestrator));
    let refused = client.attach(to(&sandbox.claims.instance, message)).await;
    let status = refused.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.reason, "POLICY_REVISION_UNKNOWN");
    assert!(sandbox.keeper.asked.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_and_sync_pass_and_only_the_orchestrator_may_ask() {
    let mut world = World::with_policy(POLICY).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let instance = &sandbox.claims.instance;
    let orchestrator = channel(&world, Service::Orchestrator);
    let mut client = AttachServiceClient::new(orchestrator.clone());
    let drained = client
        .drain(to(instance, pb::DrainRequest::default()))
        .await;
    drained.expect("drained");
    let mut files = FileServiceClient::new(orchestrator);
    let synced = files
        .sync_files(to(instance, pb::SyncFilesRequest {}))
        .await;
    synced.expect("synced");
    let read = files
        .read_file(to(instance, pb::ReadFileRequest::default()))
        .await;
    assert_eq!(read.expect_err("refused").code(), Code::PermissionDenied);
    for service in [Service::Token, Service::StorageSync] {
        let mut client = AttachServiceClient::new(channel(&world, service));
        let refused = client
            .drain(to(instance, pb::DrainRequest::default()))
            .await;
        assert_eq!(refused.expect_err("refused").code(), Code::PermissionDenied);
    }
    assert_eq!(sandbox.keeper.asked.lock().len(), 2);
}
