//! Sandboxes on this machine.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc};

use sandgate_rpc::Shutdown;
use sandgate_session::link::InstanceLink;
use sandgate_types::{Clock, InstanceId};

use crate::config::LocalConfig;
use crate::contract::{
    Backend, BackendError, Capabilities, ClaimRequest, Claimed, InstanceEvent, InstanceState,
    PoolState,
};
