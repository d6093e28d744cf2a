//! Each service of the mesh of separate processes dies at each of its named places; it is started again, and the
//! conversation goes on as if nothing had been.

use std::collections::BTreeSet;

use sandgate_e2e::config;
use sandgate_e2e::mesh::Home;
use sandgate_e2e::points;
use sandgate_e2e::processes::Service;

use crate::keys;
use crate::life::{Mesh, live};

/// Goes through all places of a service. Places of an end are passed by a suspend first, and by a delete where
/// there was none.
async fn dies_anywhere(service: Service) {
    let home = Home::new();
    let mesh = Mesh::start(&home, config::crashing_binaries());
    let all = points::crash_points(service).into_iter();
    let points: BTreeSet<String> = all.filter(|point| !keys::are_made_at(point)).collect();
    assert!(!points.is_empty(), "{service:?} has no crash points");
    for point in points {
        let lives: &[bool] = if point.starts_with("end-") {
            &[true, false]
        } else {
            &[true]
        };
        for &suspends in lives {
            let row = format!("{point}{}", if suspends { "" } else { "-of-delete" });
            mesh.kept(service).kill(Some(&point));
            live(&mesh, &mesh.client(&row), &row, suspends).await;
            assert_eq!(mesh.deaths(), [(service, 1)], "{row} was passed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_through_an_orchestrator_that_dies_anywhere() {
    dies_anywhere(Service::Orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_through_a_token_service_that_dies_anywhere() {
    dies_anywhere(Service::Token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_through_a_gate_that_dies_anywhere() {
    dies_anywhere(Service::Gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_through_a_storage_that_dies_anywhere() {
    dies_anywhere(Service::Storage).await;
}

#[test]
fn every_service_that_has_crash_points_is_told_to_die_at_them() {
    let told: BTreeSet<&str> = Service::ALL
        .iter()
        .map(|service| service.folder())
        .collect();
    let folders = points::folders_with_crash_points();
    let found: BTreeSet<&str> = folders.iter().map(String::as_str).collect();
    assert_eq!(
        found.difference(&told).count(),
        0,
        "{found:?} beyond {told:?}"
    );
}
