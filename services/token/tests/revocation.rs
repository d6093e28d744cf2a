//! RevocationService, through the wire.

mod harness;

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use harness::{LIMIT, Token, acting, fields, mint_request, person, refused, revocation};
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_api::token::v1::watch_revocations_response::Event;
use sandgate_api::{duration_from, timestamp_to};
use sandgate_rpc::{Role, Service};
use sandgate_session::lease::LEASE;
use sandgate_session::{RevocationSet, RevocationTarget};
use sandgate_types::Clock as _;
use tonic::{Code, Streaming};

/// A gate as it follows the feed.
struct Gate {
    stream: Streaming<pb::WatchRevocationsResponse>,
    incarnation: String,
    set: RevocationSet,
}

impl Gate {
    async fn follow(token: &Token, incarnation: &str, resume_after: i64) -> Self {
        let request = pb::WatchRevocationsRequest {
            incarnation: incarnation.to_owned(),
            resume_after,
        };
        let stream = token
            .revocations(Service::AuthGateway)
            .watch_revocations(request)
            .await
            .expect("a stream");
        Self {
            stream: stream.into_inner(),
            incarnation: incarnation.to_owned(),
            set: RevocationSet::new(),
        }
    }

    async fn next(&mut self) -> Event {
        let message = tokio::time::timeout(LIMIT, self.stream.message())
            .await
            .expect("in time");
        message
            .expect("no error")
            .expect("no end")
            .event
            .expect("an event")
    }

    /// Applies events until a heartbeat agrees.
    async fn in_step(&mut self) {
        loop {
            match self.next().await {
                Event::SnapshotBegin(begin) => {
                    self.incarnation = begin.incarnation;
                    self.set = RevocationSet::new();
                }
                Event::Revocation(revocation) => {
                    let target =
                        RevocationTarget::from_wire("target", revocation.target.expect("a target"));
                    self.set
                        .apply(revocation.sequence, &target.expect("valid"))
                        .expect("no gap");
                }
                Event::SnapshotEnd(end) => assert_eq!(end.head, self.set.head()),
                Event::Heartbeat(beat) => {
                    assert!(self.set.agrees_with(beat.head, &beat.running_hash));
                    return;
                }
            }
        }
    }

    async fn lease(&self, token: &Token, gate: &str) -> (Duration, i64) {
        lease(token, gate, &self.incarnation, self.set.head()).await
    }
}

async fn lease(token: &Token, gate: &str, incarnation: &str, applied: i64) -> (Duration, i64) {
    let request = pb::RenewLeaseRequest {
        gate_id: gate.to_owned(),
        incarnation: incarnation.to_owned(),
        applied,
    };
    let answer = token
        .revocations(Service::AuthGateway)
        .renew_lease(request)
        .await
        .expect("an answer");
    let pb::RenewLeaseResponse { lease, head } = answer.into_inner();
    (
        duration_from("lease", &lease.expect("a lease")).expect("valid"),
        head,
    )
}

fn user(name: &str) -> Scope {
    Scope::User(name.to_owned())
}

#[tokio::test]
async fn a_gate_begins_with_a_snapshot_and_follows_in_order() {
    let token = Token::start().await;
    token.revoke("default", user("a")).await;
    token.revoke("default", user("b")).await;
    let mut gate = Gate::follow(&token, "", 0).await;
    gate.in_step().await;
    assert_eq!(gate.set.head(), 2);
    token.revoke("default", user("c")).await;
    while gate.set.head() < 3 {
        gate.in_step().await;
    }
}

#[tokio::test]
async fn a_gate_resumes_where_it_stopped_and_gets_no_snapshot() {
    let token = Token::start().await;
    token.revoke("default", user("a")).await;
    let mut gate = Gate::follow(&token, "", 0).await;
    gate.in_step().await;
    token.revoke("default", user("b")).await;
    let mut resumed = Gate::follow(&token, &gate.incarnation, 1).await;
    let Event::Revocation(revocation) = resumed.next().await else {
        panic!("no revocation comes first");
    };
    assert_eq!(revocation.sequence, 2);
}

#[tokio::test]
async fn a_gate_of_another_incarnation_or_from_the_future_gets_a_snapshot() {
    let token = Token::start().await;
    token.revoke("default", user("a")).await;
    let mut gate = Gate::follow(&token, "", 0).await;
    gate.in_step().await;
    for (incarnation, after) in [
        ("other", 1),
        (gate.incarnation.as_str(), 2),
        (gate.incarnation.as_str(), -1),
    ] {
        let mut other = Gate::follow(&token, incarnation, after).await;
        assert!(
            matches!(other.next().await, Event::SnapshotBegin(_)),
            "{incarnation} {after}"
        );
        other.in_step().await;
    }
}

/// Has the gate apply the first revocation; the answer must not come before.
async fn assert_unanswered_until_applied<T: Debug>(
    gate: &mut Gate,
    revoking: Pin<&mut impl Future<Output = T>>,
) {
    let applied = async {
        while gate.set.head() < 1 {
            gate.in_step().await;
        }
    };
    tokio::select! {
        answer = revoking => panic!("answered before the gate applied it: {answer:?}"),
        () = applied => {}
    }
}

#[tokio::test]
async fn a_revocation_is_answered_when_the_gate_has_applied_it() {
    let token = Token::start().await;
    let mut gate = Gate::follow(&token, "", 0).await;
    gate.in_step().await;
    assert_eq!(gate.lease(&token, "g1").await, (LEASE, 0));
    let mut client = token.revocations(Service::Orchestrator);
    let revoking = client.revoke(revocation("default", user("a")));
    tokio::pin!(revoking);
    assert_unanswered_until_applied(&mut gate, revoking.as_mut()).await;
    let (granted, answer) = tokio::join!(gate.lease(&token, "g1"), revoking);
    assert_eq!(granted, (LEASE, 1));
    let expected = pb::RevokeResponse {
        sequence: 1,
        acknowledged: 1,
        lapsed: 0,
    };
    assert_eq!(answer.expect("revoked").into_inner(), expected);
}

#[tokio::test]
async fn a_gate_that_is_silent_or_behind_loses_its_lease_and_the_revocation_says_so() {
    let token = Token::start().await;
    let mut gate = Gate::follow(&token, "", 0).await;
    gate.in_step().await;
    gate.lease(&token, "g1").await;
    let mut client = token.revocations(Service::Orchestrator);
    let revoking = client.revoke(revocation("default", user("a")));
    tokio::pin!(revoking);
    assert_unanswered_until_applied(&mut gate, revoking.as_mut()).await;
    // It says that it has applied nothing of it: no longer lease, and when the old one is over, no waiting.
    assert_eq!(
        lease(&token, "g1", &gate.incarnation, 0).await,
        (Duration::ZERO, 1)
    );
    token.moments.advance(LEASE);
    let late = lease(&token, "g1", &gate.incarnation, 0);
    let (granted, answer) = tokio::join!(late, revoking);
    assert_eq!(granted, (Duration::ZERO, 1));
    let expected = pb::RevokeResponse {
        sequence: 1,
        acknowledged: 0,
        lapsed: 1,
    };
    assert_eq!(answer.expect("revoked").into_inner(), expected);
}

#[tokio::test]
async fn a_gate_of_another_incarnation_gets_no_lease() {
    let token = Token::start().await;
    assert_eq!(lease(&token, "g1", "other", 0).await, (Duration::ZERO, 0));
    let mut gate = Gate::follow(&token, "", 0).await;
    gate.in_step().await;
    assert_eq!(
        lease(&token, "g1", &gate.incarnation, 7).await.0,
        Duration::ZERO
    );
    assert_eq!(lease(&token, "g1", &gate.incarnation, 0).await.0, LEASE);
}

#[tokio::test]
async fn what_is_revoked_twice_has_one_number() {
    let token = Token::start().await;
    assert_eq!(token.revoke("default", user("a")).await.sequence, 1);
    assert_eq!(token.revoke("default", user("b")).await.sequence, 2);
    assert_eq!(token.revoke("default", user("a")).await.sequence, 1);
}

#[tokio::test]
async fn an_operator_revokes_in_their_own_tenant_only_and_an_administrator_everywhere() {
    let token = Token::start().await;
    let revoke = |tenant: &str, roles: &[Role]| {
        let request = acting(&person(tenant, roles), revocation("default", user("a")));
        let mut client = token.revocations(Service::AuthGateway);
        async move { client.revoke(request).await }
    };
    let foreign = refused(revoke("acme", &[Role::Operator]).await);
    assert_eq!(
        foreign,
        (Code::PermissionDenied, "TENANT_NOT_YOURS".to_owned())
    );
    assert_eq!(
        refused(revoke("default", &[Role::Caller]).await).0,
        Code::PermissionDenied
    );
    assert!(revoke("default", &[Role::Operator]).await.is_ok());
    assert!(revoke("acme", &[Role::Admin]).await.is_ok());
}

#[tokio::test]
async fn what_a_revocation_lacks_is_named() {
    let token = Token::start().await;
    let revoke = |request: pb::RevokeRequest| {
        let mut client = token.revocations(Service::Orchestrator);
        async move { client.revoke(request).await }
    };
    assert_eq!(
        fields(revoke(pb::RevokeRequest::default()).await),
        ["reason"]
    );
    let targetless = pb::RevokeRequest {
        target: None,
        reason: "r".to_owned(),
    };
    assert_eq!(fields(revoke(targetless).await), ["target"]);
    let long = pb::RevokeRequest {
        reason: "r".repeat(257),
        ..revocation("default", user("a"))
    };
    assert_eq!(fields(revoke(long).await), ["reason"]);
    assert_eq!(
        fields(revoke(revocation("", user("a"))).await),
        ["target.tenant"]
    );
    let future = timestamp_to(token.home.clock.now().plus(Duration::from_secs(1)));
    let future = revocation("default", Scope::SessionsBefore(future));
    assert_eq!(fields(revoke(future).await), ["target.sessions_before"]);
}

#[tokio::test]
async fn revocations_outlive_the_process() {
    let mut token = Token::start().await;
    let request = mint_request(&token.home.clock);
    token
        .revoke("default", Scope::InstanceId(request.instance_id.clone()))
        .await;
    token.end();
    token.ended().await.expect("a clean end");
    let config = token.home.config();
    let again = Token::spawn(token.home, config);
    again.ready().await;
    assert_eq!(refused(again.mint(request).await).1, "SESSION_REVOKED");
}

#[tokio::test]
async fn a_fresh_process_waits_for_gates_of_the_one_before() {
    let token = Token::start().await;
    let mut config = token.home.config();
    config.gates_end_with_us = false;
    let Token { home, .. } = token;
    let token = Token::spawn(home, config);
    token.ready().await;
    let mut client = token.revocations(Service::Orchestrator);
    let revoking = client.revoke(revocation("default", user("a")));
    tokio::pin!(revoking);
    let mut gate = Gate::follow(&token, "", 0).await;
    assert_unanswered_until_applied(&mut gate, revoking.as_mut()).await;
    token.moments.advance(LEASE);
    let (_granted, answer) = tokio::join!(gate.lease(&token, "g1"), revoking);
    assert_eq!(answer.expect("revoked").into_inner().sequence, 1);
}
