//! A WebSocket of the agent's: asked for over HTTP/1.1, and on to the gate as an extended CONNECT (RFC 8441).
//!
//! The gate decides on it. Only when it has said yes is the handshake answered, and then bytes go both ways.

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sandgate_rpc::{WEBSOCKET, WebSocketKey};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;

use super::refusal::Refusal;
use super::{Counted, Place, toward_agent, toward_gate};
use crate::keeper::gate::Gate;

/// A handshake that can be taken.
pub(super) struct Asked {
    head: http::request::Parts,
    key: WebSocketKey,
    /// The agent's end, once the handshake was answered.
    agent: OnUpgrade,
}

/// The handshake of a request that asks for an upgrade; `None` when it is any other.
pub(super) fn asked(mut request: Request<Incoming>) -> Option<Asked> {
    let agent = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let key = WebSocketKey::asked(&head)?;
    Some(Asked { head, key, agent })
}

impl Asked {
    /// Asks the gate, and answers what it says. What goes over the WebSocket then counts as a request and as a
    /// connection until it ends.
    pub(super) async fn forward(
        self,
        gate: &Gate,
        authorization: http::HeaderValue,
        place: Place,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Refusal> {
        let Self {
            mut head,
            key,
            agent,
        } = self;
        toward_gate(&mut head, authorization);
        head.method = Method::CONNECT;
        // The handshake with the upstream is the gate's own, and offers no extensions.
        head.headers.remove(header::SEC_WEBSOCKET_KEY);
        head.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        head.extensions.insert(Protocol::from_static(WEBSOCKET));
        let request = Request::from_parts(head, Body::empty());
        let mut response = gate.send(request).await.map_err(Refusal::Gate)?;
        let taken = response.status().is_success();
        let upstream = hyper::upgrade::on(&mut response);
        let (mut head, body) = response.into_parts();
        toward_agent(&mut head);
        if !taken {
            let body = Counted {
                body,
                _permit: permit,
            };
            return Ok(Response::from_parts(head, Body::new(body)));
        }
        let ending = place.tasks.clone();
        place.tasks.spawn("websocket", async move {
            let carrying = async {
                if let Ok((agent, upstream)) = tokio::try_join!(agent, upstream) {
                    carry(agent, upstream).await;
                }
            };
            tokio::select! {
                () = carrying => {}
                () = ending.cancelled() => {}
            }
            drop((place.permit, permit));
        });
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        key.take(&mut head.headers);
        Ok(Response::from_parts(head, Body::empty()))
    }
}

async fn carry(agent: Upgraded, upstream: Upgraded) {
    let (mut agent, mut upstream) = (TokioIo::new(agent), TokioIo::new(upstream));
    let carried = tokio::io::copy_bidirectional(&mut agent, &mut upstream).await;
    if let Err(error) = carried {
        tracing::debug!(%error, "a WebSocket broke");
    }
}
