//! What the orchestrator hears, and in which order.

use sandgate_api::orchestrator::v1::report_instance_request::Event;

use super::harness::Sandbox;
use super::sync::sync;

fn versions(events: &[Event]) -> Vec<String> {
    let version = |event: &Event| match event {
        Event::Synced(synced) => Some(synced.version.clone()),
        Event::Hydrated(_) | Event::HydrateFailed(_) | Event::CommandEnded(_) => None,
    };
    events.iter().filter_map(version).collect()
}

#[tokio::test]
async fn a_version_is_never_told_behind_a_newer_one() {
    let sandbox = Sandbox::attached().await;
    let hydrated = |event: &Event| matches!(event, Event::Hydrated(_)).then_some(());
    sandbox.mesh.reported(hydrated).await;
    sandbox.mesh.set_deaf(true);
    let mut stored = Vec::new();
    for name in ["a", "b"] {
        std::fs::write(sandbox.at(name), name).expect("a file");
        stored.push(sync(&sandbox).await.expect("synced").version);
    }
    let newest = stored.last().expect("two").clone();
    // So often that the older one, were it told beside the newer, would have come in between.
    let told = |events: &[Event]| {
        versions(events)
            .iter()
            .filter(|told| **told == newest)
            .count()
    };
    let unheard = sandbox.mesh.unheard(|events| told(events) >= 4).await;
    assert!(versions(&unheard).is_sorted(), "{unheard:?}");
    sandbox.mesh.set_deaf(false);
    let heard = |event: &Event| versions(std::slice::from_ref(event)).pop();
    assert_eq!(sandbox.mesh.reported(heard).await, newest);
}
