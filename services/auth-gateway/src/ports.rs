//! The gate's sockets, and its ways to the services of the mesh, bound and named before it serves.

use sandgate_rpc::{Listen, Target};
use sandgate_session::link::InstanceLink;
use tokio::sync::mpsc;

use crate::bound::Bound;

/// What the gate is joined by.
#[derive(Debug)]
pub struct Ports {
    /// Where clients connect.
    pub client: Vec<Bound>,
    /// Where services of the mesh connect.
    pub mesh: Vec<Listen>,
    /// The token service.
    pub token: Target,
    /// The orchestrator.
    pub orchestrator: Target,
    /// Storage-sync.
    pub storage: Target,
    /// The links of instances, as the backend makes them.
    pub links: mpsc::Receiver<InstanceLink>,
}
