//! What the keeper calls through the gate, as small as can be: token and orchestrator here, storage beside.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::orchestrator::v1::instance_service_server::InstanceService;
use sandgate_api::orchestrator::v1::report_instance_request::Event;
use sandgate_api::token::v1 as token;
use sandgate_api::token::v1::token_service_server::TokenService;
use sandgate_types::{Clock as _, SystemClock};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::harness::NEVER;
use super::store::{Offers, Store};

/// The mesh as a keeper sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Mesh(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    store: Mutex<Store>,
    state: Mutex<State>,
    reports: watch::Sender<Vec<Event>>,
    /// Reports that came while nobody heard them.
    unheard: watch::Sender<Vec<Event>>,
    renewals: watch::Sender<Renewals>,
    offers: watch::Sender<Offers>,
}

#[derive(Debug, Default)]
struct State {
    authorizations: Vec<String>,
    /// Refuses everything.
    down: bool,
    /// Hears no report.
    deaf: bool,
}

#[derive(Debug, Default)]
struct Renewals {
    asked: usize,
    done: usize,
}

impl Mesh {
    /// The workspaces that are stored.
    pub(super) fn store(&self) -> parking_lot::MutexGuard<'_, Store> {
        self.0.store.lock()
    }

    /// Who offers chunks, and whether they are answered.
    pub(super) fn offers(&self) -> &watch::Sender<Offers> {
        &self.0.offers
    }

    /// Whether everything is refused from now on.
    pub(super) fn set_down(&self, down: bool) {
        self.0.state.lock().down = down;
    }

    /// Whether no report is heard from now on.
    pub(super) fn set_deaf(&self, deaf: bool) {
        self.0.state.lock().deaf = deaf;
    }

    /// Waits until what came unheard fits, and answers it.
    pub(super) async fn unheard(&self, fits: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let mut unheard = self.0.unheard.subscribe();
        let found = unheard.wait_for(|events| fits(events));
        let found = tokio::time::timeout(NEVER, found).await;
        found
            .expect("they come")
            .expect("the mesh is there")
            .clone()
    }

    /// The authorizations of all calls.
    pub(super) fn authorizations(&self) -> Vec<String> {
        self.0.state.lock().authorizations.clone()
    }

    /// Waits until tokens were asked for so often, whether or not there were any.
    pub(super) async fn renewals_asked(&self, count: usize) {
        self.renewals_reach(|renewals| renewals.asked >= count)
            .await;
    }

    /// Waits until tokens were renewed so often.
    pub(super) async fn renewed(&self, count: usize) {
        self.renewals_reach(|renewals| renewals.done >= count).await;
    }

    async fn renewals_reach(&self, fits: impl Fn(&Renewals) -> bool) {
        let mut renewals = self.0.renewals.subscribe();
        let reached = renewals.wait_for(fits);
        let reached = tokio::time::timeout(NEVER, reached).await;
        reached.expect("somebody asks").expect("the mesh is there");
    }

    /// Waits for a report that fits.
    pub(super) async fn reported<T>(&self, fits: impl Fn(&Event) -> Option<T>) -> T {
        let mut reports = self.0.reports.subscribe();
        let found = reports.wait_for(|reports| reports.iter().any(|event| fits(event).is_some()));
        let found = tokio::time::timeout(NEVER, found)
            .await
            .expect("a report comes")
            .expect("it does");
        found.iter().find_map(fits).expect("just seen")
    }

    /// Notes who calls; refuses when everything is refused.
    pub(super) fn enter<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.0.state.lock();
        let value = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        state
            .authorizations
            .push(value.unwrap_or_default().to_owned());
        if state.down {
            Err(Status::unavailable("down"))
        } else {
            Ok(())
        }
    }
}

#[tonic::async_trait]
impl InstanceService for Mesh {
    async fn report_instance(
        &self,
        request: Request<orchestrator::ReportInstanceRequest>,
    ) -> Result<Response<orchestrator::ReportInstanceResponse>, Status> {
        self.enter(&request)?;
        let event = request
            .into_inner()
            .event
            .ok_or_else(|| Status::invalid_argument("no event"))?;
        if self.0.state.lock().deaf {
            self.0.unheard.send_modify(|unheard| unheard.push(event));
            return Err(Status::unavailable("deaf"));
        }
        self.0.reports.send_modify(|reports| reports.push(event));
        Ok(Response::new(orchestrator::ReportInstanceResponse {}))
    }
}

#[tonic::async_trait]
impl TokenService for Mesh {
    async fn renew_session(
        &self,
        request: Request<token::RenewSessionRequest>,
    ) -> Result<Response<token::RenewSessionResponse>, Status> {
        self.0.renewals.send_modify(|renewals| renewals.asked += 1);
        self.enter(&request)?;
        let number = self.0.renewals.borrow().done + 1;
        let expires_at = SystemClock.now().plus(Duration::from_secs(3600));
        let tokens = token::TokenPair {
            agent_token: format!("agent-renewed-{number}"),
            daemon_token: format!("daemon-renewed-{number}"),
            expires_at: Some(sandgate_api::timestamp_to(expires_at)),
        };
        self.0.renewals.send_modify(|renewals| renewals.done += 1);
        Ok(Response::new(token::RenewSessionResponse {
            tokens: Some(tokens),
        }))
    }

    async fn mint_session(
        &self,
        _request: Request<token::MintSessionRequest>,
    ) -> Result<Response<token::MintSessionResponse>, Status> {
        Err(Status::permission_denied("not for keepers"))
    }

    async fn validate_token(
        &self,
        _request: Request<token::ValidateTokenRequest>,
    ) -> Result<Response<token::ValidateTokenResponse>, Status> {
        Err(Status::permission_denied("not for keepers"))
    }

    async fn get_jwks(
        &self,
        _request: Request<token::GetJwksRequest>,
    ) -> Result<Response<token::GetJwksResponse>, Status> {
        Err(Status::permission_denied("not for keepers"))
    }
}
