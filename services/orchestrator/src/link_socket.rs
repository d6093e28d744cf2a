//! Where the gate of another process gets the links to instances: a Unix socket in a directory of ours alone.
//!
//! Whoever connects is of our uid, gets fresh links of all that live, and then each new one. The latest who
//! connected gets them; the one before is closed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sandgate_rpc::Shutdown;
use sandgate_session::link::{InstanceLink, send_link};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// After an accept that failed, for want of descriptors as a rule, which are not there a moment later either.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Permission bits of a directory that is ours alone.
const PRIVATE: u32 = 0o700;

/// Where a stream of links comes from; each call begins with all that live and ends the one before.
pub(crate) type Links = Arc<dyn Fn() -> mpsc::Receiver<InstanceLink> + Send + Sync>;

/// The socket, bound, and the lock that keeps others from taking it.
pub(crate) struct LinkSocket {
    listener: UnixListener,
    _lock: File,
}

impl LinkSocket {
    /// Binds the socket. The directory must be ours alone, and no other orchestrator may be on it.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let said =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let folder = path.parent().unwrap_or(Path::new("."));
        let facts = std::fs::symlink_metadata(folder).map_err(said)?;
        let ours = facts.is_dir() && facts.uid() == rustix::process::geteuid().as_raw();
        if !ours || facts.mode() & 0o777 != PRIVATE {
            return Err(said(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "its directory must be ours alone: chmod 700 it",
            )));
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.with_extension("lock"))
            .map_err(said)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            said(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another orchestrator serves there; end it first",
            ))
        })?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(said(error)),
            Ok(()) | Err(_) => {}
        }
        Ok(Self {
            listener: UnixListener::bind(path).map_err(said)?,
            _lock: lock,
        })
    }

    /// Serves until the end begins.
    pub(crate) async fn serve(self, links: Links, shutdown: Shutdown) {
        let mut latest: Option<Shutdown> = None;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a gate could not connect for its links");
                    tokio::select! {
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                        () = shutdown.cancelled() => return,
                    }
                    continue;
                }
            };
            if !is_ours(&stream) {
                tracing::warn!("a process of another uid asked for links");
                continue;
            }
            if let Some(before) = latest.take() {
                before.begin();
            }
            let end = shutdown.child();
            latest = Some(end.clone());
            let receiver = links();
            shutdown.spawn("links", async move {
                tokio::select! {
                    () = send_all(&stream, receiver) => {}
                    () = end.cancelled() => {}
                }
            });
        }
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

/// Sends links until there are no more or the other end has gone.
async fn send_all(stream: &UnixStream, mut links: mpsc::Receiver<InstanceLink>) {
    loop {
        tokio::select! {
            link = links.recv() => {
                let Some(link) = link else { return };
                if let Err(error) = send_link(stream, &link).await {
                    tracing::debug!(%error, "the gate took no more links");
                    return;
                }
            }
            // Nothing is ever sent to us; what becomes readable is the end.
            _closed = stream.readable() => {
                let mut byte = [0];
                match stream.try_read(&mut byte) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => return,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
    use std::task::Poll;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use sandgate_session::link::receive_link;
    use sandgate_testkit::Events;
    use sandgate_types::InstanceId;

    use super::*;

    fn private() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let mode = std::fs::Permissions::from_mode(PRIVATE);
        std::fs::set_permissions(folder.path(), mode).expect("chmod");
        folder
    }

    fn instance() -> InstanceId {
        InstanceId::random(&mut StdRng::seed_from_u64(1))
    }

    /// One living instance, and nothing after it.
    fn one() -> Links {
        Arc::new(|| {
            let (sender, receiver) = mpsc::channel(1);
            let (serve, _) = StdStream::pair().expect("a pair");
            let (call, _) = StdStream::pair().expect("a pair");
            let link = InstanceLink {
                instance: instance(),
                serve: serve.into(),
                call: call.into(),
            };
            sender.try_send(link).expect("room for one");
            // The backend keeps its end for those to come.
            std::mem::forget(sender);
            receiver
        })
    }

    /// A socket on which every accept fails, since nobody listens there.
    fn deaf() -> LinkSocket {
        let (end, gone) = StdStream::pair().expect("a pair");
        drop(gone);
        end.set_nonblocking(true).expect("a flag");
        let listener = StdListener::from(OwnedFd::from(end));
        LinkSocket {
            listener: UnixListener::from_std(listener).expect("a socket"),
            _lock: tempfile::tempfile().expect("a file"),
        }
    }

    #[tokio::test]
    async fn whoever_connects_last_gets_all_links_and_the_one_before_is_closed() {
        let folder = private();
        let path = folder.path().join("links.sock");
        let shutdown = Shutdown::new();
        let socket = LinkSocket::bind(&path).expect("bind");
        shutdown.spawn("links", socket.serve(one(), shutdown.clone()));
        let first = UnixStream::connect(&path).await.expect("connect");
        let link = receive_link(&first).await.expect("a link").expect("one");
        assert_eq!(link.instance, instance());
        let second = UnixStream::connect(&path).await.expect("connect");
        let link = receive_link(&second).await.expect("a link").expect("one");
        assert_eq!(link.instance, instance());
        assert!(receive_link(&first).await.expect("closed").is_none());
        shutdown.begin();
        assert!(shutdown.join(Duration::from_secs(5)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_takes_nobody_is_asked_again_after_a_pause() {
        let events = Events::capture();
        let refusal = "a gate could not connect for its links";
        events.announce(refusal);
        let refusals = || events.text().matches(refusal).count();
        let serving = deaf().serve(one(), Shutdown::new());
        // Time does not go on while the loop spins, so that is seen by what it says.
        let spinning = poll_fn(|_| match refusals() {
            0..=4 => Poll::Pending,
            _ => Poll::Ready(()),
        });
        tokio::select! {
            () = serving => panic!("nothing ends it"),
            () = spinning => panic!("it does not pause"),
            () = tokio::time::sleep(ACCEPT_PAUSE * 7 / 2) => {}
        }
        assert_eq!(refusals(), 4);
    }

    #[tokio::test]
    async fn a_directory_that_others_reach_and_a_second_orchestrator_are_refused() {
        let folder = private();
        let path = folder.path().join("links.sock");
        let _first = LinkSocket::bind(&path).expect("bind");
        let second = LinkSocket::bind(&path).err().expect("it is taken");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        let open = tempfile::tempdir().expect("a folder");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(open.path(), mode).expect("chmod");
        assert!(LinkSocket::bind(&open.path().join("links.sock")).is_err());
    }
}
