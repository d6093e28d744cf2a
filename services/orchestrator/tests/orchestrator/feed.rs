//! What gates hear of instances.

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::watch_endpoints_response::Event;
use tonic::Streaming;

use crate::backend::FakeBackend;
use crate::harness::{Harness, Run, fields};
use crate::peers::FakePeers;

async fn next(feed: &mut Streaming<pb::WatchEndpointsResponse>) -> Event {
    loop {
        let message = feed
            .message()
            .await
            .expect("the feed goes on")
            .expect("it goes on");
        match message.event.expect("an event") {
            Event::Heartbeat(_) => {}
            event @ (Event::Begin(_)
            | Event::Endpoint(_)
            | Event::RemovedInstanceId(_)
            | Event::Synced(_)) => {
                return event;
            }
        }
    }
}

async fn endpoint(feed: &mut Streaming<pb::WatchEndpointsResponse>) -> pb::Endpoint {
    match next(feed).await {
        Event::Endpoint(endpoint) => endpoint,
        other @ (Event::Begin(_)
        | Event::RemovedInstanceId(_)
        | Event::Synced(_)
        | Event::Heartbeat(_)) => panic!("no endpoint: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_a_spare_then_live_then_ending_then_gone() {
    let backend = FakeBackend::new();
    let spare = backend.spare();
    let orchestrator = Harness::start_with(backend, FakePeers::new()).await;
    let mut feed = orchestrator
        .endpoints()
        .watch_endpoints(pb::WatchEndpointsRequest {})
        .await
        .expect("a feed")
        .into_inner();
    assert!(matches!(next(&mut feed).await, Event::Begin(_)));
    let first = endpoint(&mut feed).await;
    assert_eq!(
        (first.state(), first.instance_id.as_str()),
        (pb::EndpointState::Spare, spare.as_str())
    );
    assert_eq!((first.generation, first.sandbox_id.as_str()), (0, ""));
    assert!(matches!(next(&mut feed).await, Event::Synced(_)));

    let sandbox = orchestrator.ready("demo").await;
    let live = endpoint(&mut feed).await;
    assert_eq!(
        (live.state(), live.generation),
        (pb::EndpointState::Live, 1)
    );
    assert_eq!(
        (live.sandbox_id.as_str(), live.user.as_str()),
        (sandbox.sandbox_id.as_str(), "ann")
    );
    assert!(live.session_id.starts_with('e') && live.ports.contains(&8080));

    orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
    let ending = endpoint(&mut feed).await;
    assert_eq!(ending.state(), pb::EndpointState::Ending);
    loop {
        match next(&mut feed).await {
            Event::Endpoint(again) => assert_eq!(again.state(), pb::EndpointState::Ending),
            Event::RemovedInstanceId(removed) => {
                break assert_eq!(removed, Run::of(&sandbox).instance);
            }
            other @ (Event::Begin(_) | Event::Synced(_) | Event::Heartbeat(_)) => {
                panic!("unexpected: {other:?}")
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_batch_of_activity_is_refused_by_place() {
    let orchestrator = Harness::start().await;
    let activity = pb::Activity {
        sandbox_id: "x".into(),
        instance_id: String::new(),
        last_active_at: None,
    };
    let request = pb::ReportActivityRequest {
        activities: vec![activity],
    };
    let refused = orchestrator
        .endpoints()
        .report_activity(request)
        .await
        .expect_err("no id");
    assert_eq!(fields(&refused), ["activities[0].sandbox_id"]);
    let request = pb::ReportActivityRequest {
        activities: vec![pb::Activity::default(); 1001],
    };
    let refused = orchestrator
        .endpoints()
        .report_activity(request)
        .await
        .expect_err("too many");
    assert_eq!(fields(&refused), ["activities"]);
}
