//! The two sockets of each instance: on *serve* the gate is the client, on *call* it is the server.
//!
//! A new link of an instance takes the place of the old one, whose connections end. An instance is who its
//! link says, since the backend made both ends; nothing that comes over it can claim to be another.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::RwLock;
use sandgate_rpc::{HEADER_LIST_MAX_BYTES, Outgoing, Shutdown};
use sandgate_session::link::InstanceLink;
use sandgate_types::InstanceId;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::body::Body;
use tracing::Instrument as _;

use crate::refusal::Refusal;

/// How long a call waits for a link that was promised: a restart of the backend takes less.
const LINK_WAIT: Duration = Duration::from_secs(2);

/// The links of all instances.
#[derive(Debug)]
pub(crate) struct Links {
    next: AtomicU64,
    table: RwLock<HashMap<InstanceId, Link>>,
    changed: watch::Sender<u64>,
}

/// One instance's link.
#[derive(Debug)]
struct Link {
    number: u64,
    serve: SendRequest<Body>,
    /// Ends what the link carries, when another takes its place.
    ending: Shutdown,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            table: RwLock::default(),
            changed: watch::Sender::new(0),
        }
    }
}

/// A link that was taken; whoever serves its call side gives its hold back at the end.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The call side.
    pub(crate) call: UnixStream,
    /// Whose it is.
    pub(crate) hold: Hold,
}

/// A link's place in the table.
#[derive(Debug)]
pub(crate) struct Hold {
    /// The instance.
    pub(crate) instance: InstanceId,
    /// Begins when another link takes the place, or the serve side has ended.
    pub(crate) ending: Shutdown,
    number: u64,
}

impl Links {
    /// Takes a link: connects its serve side, and answers its call side for the sandbox listener.
    ///
    /// # Errors
    /// When the descriptors are no sockets that can be used.
    pub(crate) async fn take(&self, link: InstanceLink, shutdown: &Shutdown) -> io::Result<Taken> {
        let InstanceLink {
            instance,
            serve,
            call,
        } = link;
        let (serve, call) = (stream(serve)?, stream(call)?);
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEADER_LIST_MAX_BYTES)
            .handshake(TokioIo::new(serve))
            .await
            .map_err(io::Error::other)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ending = shutdown.child();
        let over = ending.clone();
        // Both sides live and die together: the keeper is one process.
        ending.spawn("serve link", async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a serve link ended");
                    }
                    over.begin();
                }
                () = over.cancelled() => {}
            }
        });
        let link = Link {
            number,
            serve: sender,
            ending: ending.clone(),
        };
        let old = self.table.write().insert(instance.clone(), link);
        if let Some(old) = old {
            old.ending.begin();
        }
        self.ring();
        Ok(Taken {
            call,
            hold: Hold {
                instance,
                ending,
                number,
            },
        })
    }

    /// Forgets a link that ended, unless another has taken its place.
    pub(crate) fn ended(&self, hold: &Hold) {
        let mut table = self.table.write();
        if table
            .get(&hold.instance)
            .is_some_and(|link| link.number == hold.number)
        {
            table.remove(&hold.instance);
        }
        drop(table);
        hold.ending.begin();
        self.ring();
    }

    fn ring(&self) {
        self.changed
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    fn usable(&self, instance: &InstanceId) -> Option<SendRequest<Body>> {
        let table = self.table.read();
        let link = table.get(instance)?;
        (!link.serve.is_closed()).then(|| link.serve.clone())
    }

    /// Sends a request to an instance and waits for the head of its answer.
    ///
    /// # Errors
    /// [`Refusal::SandboxUnreachable`], when there is no link, or it broke.
    pub(crate) async fn send(
        &self,
        instance: &InstanceId,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Refusal> {
        let unreachable = Refusal::SandboxUnreachable;
        *request.uri_mut() = toward(request.uri()).map_err(|_| unreachable.clone())?;
        let path = request.uri().path().to_owned();
        let outgoing = Outgoing::begin(&path, request.headers_mut());
        *request.version_mut() = http::Version::HTTP_2;
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                if let Some(sender) = self.usable(instance) {
                    return Some(sender);
                }
                changed.changed().await.ok()?;
            }
        };
        let sender = tokio::time::timeout(LINK_WAIT, wait).await.ok().flatten();
        let mut sender = sender.ok_or_else(|| unreachable.clone())?;
        let sending = sender.send_request(request);
        let answered = sending.instrument(outgoing.span().clone()).await;
        let response = answered.map_err(|error| {
            tracing::debug!(%error, "an instance did not answer");
            unreachable
        })?;
        outgoing.ended(Ok(response.headers()));
        Ok(response)
    }
}

/// The same path on the one authority that there is: the socket is the address.
fn toward(uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().cloned();
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(Authority::from_static("sandbox"))
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
}

fn stream(descriptor: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
