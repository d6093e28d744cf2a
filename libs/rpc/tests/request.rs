//! A request has one name: whoever is asked on its behalf gets it, and whoever asked is told.

mod wire;

use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_api::orchestrator::v1::ReportActivityRequest;
use sandgate_rpc::{Fault, Memory, Peer, Reason, RequestName, Service, Shutdown, memory};
use tonic::{Request, Status};
use wire::{Handler, client, gate};

const METADATA: &str = "sandgate-request-id";

fn named(name: &str) -> Request<ReportActivityRequest> {
    let mut request = Request::new(ReportActivityRequest::default());
    let metadata = request.metadata_mut();
    metadata.insert(METADATA, name.parse().expect("a value"));
    request
}

/// A service that asks another, and in a task of its own once more; and the names that the other was asked under.
fn two_hops() -> (Memory, Arc<Mutex<Vec<String>>>) {
    let (far_listen, far) = memory();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let note = move || {
        let name = RequestName::current().expect("every request has a name");
        sees.lock().push(name.as_str().to_owned());
        async { Ok(()) }
    };
    Handler::reporting(note).serve(far_listen, &Shutdown::new());
    let (near_listen, near) = memory();
    let tasks = Shutdown::new();
    let ask_on = move || {
        let (asked, tasks, target) = (Shutdown::new(), tasks.clone(), far.target(gate()));
        async move {
            let mut direct = client(target.clone(), false);
            direct
                .report_activity(ReportActivityRequest::default())
                .await?;
            let done = asked.clone();
            tasks.spawn("on its behalf", async move {
                let mut far = client(target, false);
                far.report_activity(ReportActivityRequest::default())
                    .await
                    .expect("an answer");
                done.begin();
            });
            asked.cancelled().await;
            Ok(())
        }
    };
    Handler::reporting(ask_on).serve(near_listen, &Shutdown::new());
    (near, seen)
}

#[tokio::test]
async fn every_hop_and_the_answer_have_the_name_that_the_gate_gave() {
    let (near, seen) = two_hops();
    let answer = client(near.target(gate()), false)
        .report_activity(named("l0gate-17"))
        .await
        .expect("an answer");
    assert_eq!(
        answer.metadata().get("x-request-id").expect("the name"),
        "l0gate-17"
    );
    assert_eq!(*seen.lock(), ["l0gate-17", "l0gate-17"]);
}

#[tokio::test]
async fn a_call_without_a_name_gets_one_and_so_does_one_whose_name_is_none() {
    let (near, seen) = two_hops();
    let mut names = Vec::new();
    for request in [
        Request::new(ReportActivityRequest::default()),
        named("Not a name"),
    ] {
        let answer = client(near.target(gate()), false)
            .report_activity(request)
            .await
            .expect("an answer");
        let name = answer.metadata().get("x-request-id").expect("the name");
        names.push(name.to_str().expect("text").to_owned());
    }
    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|name| RequestName::parse(name).is_some()));
    let [first, second] = [&names[0], &names[1]];
    assert_eq!(
        *seen.lock(),
        [first, first, second, second].map(String::clone)
    );
}

#[tokio::test]
async fn refusals_say_the_name_too() {
    let (listen, pipe) = memory();
    let busy = || -> Status { Fault::unavailable(Reason::new("test", "BUSY"), "busy").into() };
    let refusing = Handler::reporting(move || {
        let status = busy();
        async move { Err(status) }
    });
    refusing.serve(listen, &Shutdown::new());
    // The handler's own, and one before any handler: this peer may not call the method.
    for peer in [gate(), Peer::Service(Service::StorageSync)] {
        let status = client(pipe.target(peer), false)
            .report_activity(named("l0gate-18"))
            .await
            .expect_err("refused");
        assert_eq!(
            status.metadata().get("x-request-id").expect("the name"),
            "l0gate-18",
            "{status:?}"
        );
    }
}
