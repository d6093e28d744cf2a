//! A token service that the test controls.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sandgate_api::duration_to;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::api_key_service_server::ApiKeyServiceServer;
use sandgate_api::token::v1::revocation_service_server::{
    RevocationService, RevocationServiceServer,
};
use sandgate_api::token::v1::token_service_server::{TokenService, TokenServiceServer};
use sandgate_api::token::v1::watch_revocations_response::Event;
use sandgate_rpc::{
    Caller, Peer, Principal, Readiness, Server, ServerOptions, Service, Shutdown, Target, memory,
};
use sandgate_session::jwt::{self, Content};
use sandgate_session::{Algorithm, RevocationSet, RevocationTarget, SESSION_TOKEN_METADATA};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{Shared, soon};

/// What is done when a key is asked for.
type Hook = Box<dyn Fn() + Send>;

#[derive(Clone)]
pub(crate) struct Token(pub(super) Arc<State>);

pub(super) struct State {
    pair: Ed25519KeyPair,
    /// The key that signs tokens of `k2`.
    next: Ed25519KeyPair,
    /// What is published, by id.
    keys: Mutex<BTreeMap<String, Vec<u8>>>,
    set: Mutex<RevocationSet>,
    targets: Mutex<Vec<RevocationTarget>>,
    watchers: Mutex<Vec<mpsc::UnboundedSender<pb::WatchRevocationsResponse>>>,
    lease: Mutex<Duration>,
    applied: watch::Sender<i64>,
    renewals: Shared<Vec<(Option<String>, Caller)>>,
    pub(super) lookups: Mutex<u32>,
    pub(super) on_create: Mutex<Hook>,
}

impl Token {
    pub(crate) fn start(shutdown: &Shutdown) -> (Self, Target) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
        let public = pair.public_key().as_ref().to_vec();
        let token = Self(Arc::new(State {
            pair,
            next: Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a seed"),
            keys: Mutex::new(BTreeMap::from([("k1".to_owned(), public)])),
            set: Mutex::default(),
            targets: Mutex::default(),
            watchers: Mutex::default(),
            lease: Mutex::new(Duration::from_secs(3)),
            applied: watch::Sender::new(0),
            renewals: Shared::default(),
            lookups: Mutex::default(),
            on_create: Mutex::new(Box::new(|| {})),
        }));
        let (listen, target) = memory();
        let server = Server::new(ServerOptions::new(Readiness::new()))
            .service(TokenServiceServer::new(token.clone()))
            .service(RevocationServiceServer::new(token.clone()))
            .service(ApiKeyServiceServer::new(token.clone()));
        let ending = shutdown.clone();
        shutdown.spawn("token", async move {
            server.serve(vec![listen], &ending).await.expect("serve");
        });
        (token, target.target(Peer::Service(Service::AuthGateway)))
    }

    pub(crate) fn sign<C: Content>(&self, content: &C) -> String {
        self.sign_as("k1", content)
    }

    /// Signs under another key's id.
    pub(crate) fn sign_as<C: Content>(&self, kid: &str, content: &C) -> String {
        let input = jwt::signing_input(&jwt::Headers::new(Algorithm::EdDsa, kid), content);
        let signature = self.0.pair.sign(input.as_bytes());
        jwt::assemble(input, signature.as_ref())
    }

    /// Signs by the next key, `k2`.
    pub(crate) fn sign_by_next<C: Content>(&self, content: &C) -> String {
        let input = jwt::signing_input(&jwt::Headers::new(Algorithm::EdDsa, "k2"), content);
        let signature = self.0.next.sign(input.as_bytes());
        jwt::assemble(input, signature.as_ref())
    }

    /// Publishes the next key as well.
    pub(crate) fn publish_next(&self) {
        let public = self.0.next.public_key().as_ref().to_vec();
        self.0.keys.lock().insert("k2".to_owned(), public);
    }

    /// Takes a key out of the list.
    pub(crate) fn withdraw(&self, kid: &str) {
        self.0.keys.lock().remove(kid);
    }

    /// What `content` looks like under another algorithm's header, to be signed.
    fn under<C: Content>(&self, algorithm: &str, content: &C) -> String {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"k1","typ":"sandgate-session+jwt"}}"#);
        let token = self.sign(content);
        let payload = token.split('.').nth(1).expect("three parts");
        format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header))
    }

    /// A token that names no algorithm, and has no signature.
    pub(crate) fn unsigned<C: Content>(&self, content: &C) -> String {
        jwt::assemble(self.under("none", content), &[])
    }

    /// A token signed by HMAC with what everybody knows: the public key.
    pub(crate) fn signed_by_the_public_key<C: Content>(&self, content: &C) -> String {
        let input = self.under("HS256", content);
        let public = self.0.pair.public_key();
        let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_ref());
        let signature = hmac::sign(&key, input.as_bytes());
        jwt::assemble(input, signature.as_ref())
    }

    /// Revokes, and tells every watcher.
    pub(crate) fn revoke(&self, target: &RevocationTarget) -> i64 {
        let mut set = self.0.set.lock();
        let sequence = set.head() + 1;
        set.apply(sequence, target).expect("the next number");
        self.0.targets.lock().push(target.clone());
        self.tell(Event::Revocation(revocation(sequence, target)));
        sequence
    }

    pub(crate) fn tell(&self, event: Event) {
        let message = pb::WatchRevocationsResponse { event: Some(event) };
        let mut watchers = self.0.watchers.lock();
        watchers.retain(|watcher| watcher.send(message.clone()).is_ok());
    }

    /// How long leases last from now on; none are granted for zero.
    pub(crate) fn leases(&self, lease: Duration) {
        *self.0.lease.lock() = lease;
    }

    /// Revokes and answers as the token service does: once the gate has acknowledged.
    pub(crate) async fn revoke_and_answer(&self, target: &RevocationTarget) {
        let sequence = self.revoke(target);
        let mut applied = self.0.applied.subscribe();
        let acknowledged = soon(applied.wait_for(|applied| *applied >= sequence)).await;
        acknowledged.expect("token outlives the test");
    }

    pub(crate) fn renewals(&self) -> Vec<(Option<String>, Caller)> {
        self.0.renewals.lock().clone()
    }

    /// Looks around whenever a key is asked for.
    pub(crate) fn on_create(&self, hook: impl Fn() + Send + 'static) {
        *self.0.on_create.lock() = Box::new(hook);
    }

    /// How often a key was looked up.
    pub(crate) fn lookups(&self) -> u32 {
        *self.0.lookups.lock()
    }
}

fn revocation(sequence: i64, target: &RevocationTarget) -> pb::Revocation {
    pb::Revocation {
        sequence,
        target: Some(target.to_wire()),
        revoked_at: None,
    }
}

#[tonic::async_trait]
impl TokenService for Token {
    async fn mint_session(
        &self,
        _request: Request<pb::MintSessionRequest>,
    ) -> Result<Response<pb::MintSessionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn renew_session(
        &self,
        request: Request<pb::RenewSessionRequest>,
    ) -> Result<Response<pb::RenewSessionResponse>, Status> {
        let token = request.metadata().get(SESSION_TOKEN_METADATA);
        let token = token.and_then(|token| token.to_str().ok().map(str::to_owned));
        let caller = Caller::of(&request)?;
        assert!(matches!(caller.principal, Principal::Session(_)));
        self.0.renewals.lock().push((token, caller));
        Ok(Response::new(pb::RenewSessionResponse { tokens: None }))
    }

    async fn validate_token(
        &self,
        _request: Request<pb::ValidateTokenRequest>,
    ) -> Result<Response<pb::ValidateTokenResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_jwks(
        &self,
        _request: Request<pb::GetJwksRequest>,
    ) -> Result<Response<pb::GetJwksResponse>, Status> {
        let key = |(kid, x): (&String, &Vec<u8>)| pb::JsonWebKey {
            kid: kid.clone(),
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: String::new(),
            alg: "EdDSA".to_owned(),
        };
        let keys = self.0.keys.lock();
        Ok(Response::new(pb::GetJwksResponse {
            keys: keys.iter().map(key).collect(),
        }))
    }
}

type Watch = Pin<Box<dyn Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RevocationService for Token {
    type WatchRevocationsStream = Watch;

    async fn revoke(
        &self,
        _request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn watch_revocations(
        &self,
        _request: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Watch>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let set = self.0.set.lock();
        let mut events = vec![Event::SnapshotBegin(pb::SnapshotBegin {
            incarnation: "one".to_owned(),
        })];
        for (index, target) in self.0.targets.lock().iter().enumerate() {
            let sequence = i64::try_from(index).expect("few") + 1;
            events.push(Event::Revocation(revocation(sequence, target)));
        }
        events.push(Event::SnapshotEnd(pb::SnapshotEnd { head: set.head() }));
        for event in events {
            let message = pb::WatchRevocationsResponse { event: Some(event) };
            sender.send(message).expect("it is open");
        }
        self.0.watchers.lock().push(sender);
        let stream = UnboundedReceiverStream::new(receiver).map(Ok);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn renew_lease(
        &self,
        request: Request<pb::RenewLeaseRequest>,
    ) -> Result<Response<pb::RenewLeaseResponse>, Status> {
        let applied = request.into_inner().applied;
        self.0.applied.send_replace(applied);
        let head = self.0.set.lock().head();
        let lease = if applied == head {
            *self.0.lease.lock()
        } else {
            Duration::ZERO
        };
        Ok(Response::new(pb::RenewLeaseResponse {
            lease: Some(duration_to(lease)),
            head,
        }))
    }
}
