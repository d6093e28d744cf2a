//! What the client listener answers without a key: whether the gate is ready, and what its methods are.

use std::collections::BTreeSet;
use std::time::Duration;

use sandgate_rpc::{Readiness, Role, Shutdown};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Health follows readiness within this.
const HEALTH_EVERY: Duration = Duration::from_millis(50);
/// Whoever asks by reflection finds it too.
const HEALTH: &str = "grpc.health.v1.Health";

/// Health and reflection of the client listener.
pub(crate) async fn routes(
    reflection: bool,
) -> Result<(HealthReporter, Routes), tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("", ServingStatus::NotServing)
        .await;
    let mut routes = Routes::new(health);
    if reflection {
        let described = || {
            let mut builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(sandgate_api::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // What errors are detailed in, so that grpcurl can show it.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .with_service_name(HEALTH);
            for service in services_for_clients() {
                builder = builder.with_service_name(service);
            }
            builder
        };
        let newer = described().build_v1()?;
        let older = described().build_v1alpha()?;
        routes = routes.add_service(newer).add_service(older);
    }
    Ok((reporter, routes.prepare()))
}

/// Services with at least one method that some client may call.
fn services_for_clients() -> BTreeSet<&'static str> {
    let clients = [Role::Caller, Role::Operator, Role::Admin];
    let methods = sandgate_api::METHODS.iter().filter(|method| {
        let access = method.access.as_ref();
        access.is_some_and(|access| clients.iter().any(|role| access.allows_role(*role)))
    });
    methods
        .filter_map(|method| method.path.trim_start_matches('/').split('/').next())
        .collect()
}

/// Tells of readiness as health, until the shutdown begins.
pub(crate) async fn follow_health(
    reporter: HealthReporter,
    readiness: Readiness,
    shutdown: Shutdown,
) {
    let mut told = None;
    loop {
        let ready = readiness.is_ready();
        if told != Some(ready) {
            let status = if ready {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            reporter.set_service_status("", status).await;
            told = Some(ready);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(HEALTH_EVERY) => {}
        }
    }
}
