//! Where clients of the mesh are served: a socket in the data directory, and an address when others are to come.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use sandgate_auth_gateway::Bound;

/// Takes the socket, and the address if there is one; answers the address with the port that it got.
pub(super) async fn listen(
    socket: &Path,
    address: Option<&str>,
) -> anyhow::Result<(Vec<Bound>, Option<SocketAddr>)> {
    let mut bound = vec![Bound::unix(socket)?];
    let Some(text) = address else {
        return Ok((bound, None));
    };
    let wanted: SocketAddr = text.parse().with_context(|| {
        format!("--listen must be an address and a port, like 127.0.0.1:7070, not {text:?}")
    })?;
    ensure!(
        wanted.ip().is_loopback(),
        "--listen must be a loopback address, like 127.0.0.1:7070, not {wanted}: `up` has no certificate for clients; services that are processes of their own may have one, see docs/operations.md"
    );
    let taken = Bound::tcp(wanted, None).await.context(
        "is another `sandgate up` there? choose another address with --listen HOST:PORT; port 0 is any that is free",
    )?;
    let address = taken.local_addr();
    bound.push(taken);
    Ok((bound, address))
}
