//! The gate as a process of its own: sockets, and serving.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sandgate_rpc::config::{HeldDirs, Loaded};
use sandgate_rpc::{Listen, Service, ServiceTls, Shutdown, Target, run_process};
use sandgate_session::link::{InstanceLink, receive_link};
use sandgate_types::SystemClock;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::bound::Bound;
use crate::config::{Args, Config, Sockets};
use crate::facing::ClientFacingTls;
use crate::ports::Ports;
use crate::server::serve;

/// When the orchestrator's socket is not there.
const AGAIN: Duration = Duration::from_millis(500);
/// Links that wait to be taken.
const LINKS_WAITING: usize = 64;

/// The process, from its arguments (those after its name) to its exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    run_process::<Args, _, _, _>("sandgate-auth-gateway", arguments, run)
}

async fn run(settings: Loaded<(Config, Sockets)>, shutdown: Shutdown) -> anyhow::Result<()> {
    let (config, sockets) = settings.args;
    let _held = HeldDirs::of([config.audit_dir.as_path()])?;
    let ports = bind(sockets, &shutdown).await?;
    let served = serve(config, ports, Arc::new(SystemClock), shutdown.clone()).await;
    shutdown.begin();
    Ok(served?)
}

async fn bind(sockets: Sockets, shutdown: &Shutdown) -> anyhow::Result<Ports> {
    let Sockets {
        client_listen,
        client_socket,
        client_tls,
        listen,
        certificate,
        key,
        roots,
        token,
        orchestrator,
        storage,
        links_socket,
    } = sockets;
    let facing =
        client_tls.map(|(certificate, key)| ClientFacingTls::load(&certificate, &key, shutdown));
    let facing = facing.transpose()?;
    let mut client = Vec::new();
    if let Some(address) = client_listen {
        client.push(Bound::tcp(address, facing).await?);
    }
    if let Some(path) = client_socket {
        client.push(Bound::unix(&path)?);
    }
    let tls = ServiceTls::load(&certificate, &key, &roots, shutdown)?;
    let mesh = vec![Listen::tcp(listen, Some(tls.server())).await?];
    let target = |authority: &str, expected| Target::tcp(authority, Some(tls.client(expected)));
    let (sender, links) = mpsc::channel(LINKS_WAITING);
    shutdown.spawn(
        "links socket",
        fetch_links(links_socket, sender, shutdown.clone()),
    );
    Ok(Ports {
        client,
        mesh,
        token: target(&token, Service::Token),
        orchestrator: target(&orchestrator, Service::Orchestrator),
        storage: target(&storage, Service::StorageSync),
        links,
    })
}

/// Connects to the orchestrator's socket, again and again, and passes on what it gives.
async fn fetch_links(path: PathBuf, sender: mpsc::Sender<InstanceLink>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            fetched = fetch_once(&path, &sender) => {
                if let Err(error) = fetched {
                    tracing::debug!(%error, "the links socket was lost");
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn fetch_once(path: &PathBuf, sender: &mpsc::Sender<InstanceLink>) -> std::io::Result<()> {
    let stream = UnixStream::connect(path).await?;
    let peer = stream.peer_cred()?.uid();
    if peer != rustix::process::getuid().as_raw() {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    while let Some(link) = receive_link(&stream).await? {
        if sender.send(link).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
