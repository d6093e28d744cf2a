//! The local backend, set up from the templates.

use std::ffi::OsString;
use std::sync::Arc;

use sandgate_backend::{Limits, LocalBackend, LocalConfig, LocalTemplate, StartError};
use sandgate_rpc::Shutdown;

use crate::template::{Template, Templates};

/// Starts the backend of this machine. `sandboxd` is how that program is called, and
/// `otlp_endpoint` where keepers send what they tell; its tasks end with `shutdown`, which should begin after the
/// service has ended.
///
/// # Errors
/// [`StartError`], which says what to enable.
pub async fn local_backend(
    templates: &Templates,
    sandboxd: Vec<OsString>,
    first_uid: u32,
    otlp_endpoint: Option<String>,
    shutdown: Shutdown,
) -> Result<Arc<LocalBackend>, StartError> {
    let config = LocalConfig {
        templates: templates.iter().map(local).collect(),
        sandboxd,
        first_uid,
        otlp_endpoint,
    };
    LocalBackend::start(config, shutdown).await
}

fn local(template: &Template) -> LocalTemplate {
    let limits = template.limits;
    LocalTemplate {
        name: template.name.clone(),
        pool_size: usize::try_from(template.pool_size).unwrap_or(usize::MAX),
        limits: Limits {
            memory: limits.memory,
            memory_bound_hard: limits.memory_bound_hard,
            disk: limits.disk,
            home: limits.home,
            tmp: limits.tmp,
            processes: limits.processes,
            descriptors: limits.descriptors,
        },
    }
}
