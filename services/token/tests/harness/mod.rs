//! The service over in-process pipes, on a fresh SQLite file, with clocks that a test moves.
#![allow(dead_code, reason = "each test binary uses a part of it")]

mod collector;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::api_key_service_client::ApiKeyServiceClient;
use sandgate_api::token::v1::revocation_service_client::RevocationServiceClient;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_api::token::v1::signing_key_service_client::SigningKeyServiceClient;
use sandgate_api::token::v1::tenant_service_client::TenantServiceClient;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use sandgate_api::{duration_to, timestamp_to};
use sandgate_db::DatabaseUrl;
use sandgate_rpc::config::SecretFile;
use sandgate_rpc::{
    CALLER_METADATA, Caller, Channel, ChannelOptions, Memory, Peer, Principal, Role, Service,
    SessionCaller, Shutdown, memory,
};
use sandgate_session::lease::Moment;
use sandgate_session::{Audience, Claims, KeySet, SESSION_TOKEN_METADATA, Verifier};
use sandgate_testkit::TestClock;
use sandgate_token::{
    Config, InitConfig, InitError, Initialized, Ports, ServeError, init, serve_by,
};
use sandgate_types::{ApiKeyId, Clock as _, InstanceId, SandboxId, SessionId, TenantId, UserId};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

pub(crate) use self::collector::Collector;

/// Nothing in here takes this long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A folder with the files of one service.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    pub(crate) clock: TestClock,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            clock: TestClock::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn init_config(&self) -> InitConfig {
        InitConfig {
            database: DatabaseUrl::sqlite(self.path("token.db")),
            master_key_file: self.path("config/master-key"),
            api_key_file: self.path("api-key"),
            audit_dir: self.path("audit"),
            certificates: None,
        }
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(
            DatabaseUrl::sqlite(self.path("token.db")),
            SecretFile::from(self.path("config/master-key")),
            self.path("audit"),
        );
        config.gates_end_with_us = true;
        config
    }

    pub(crate) async fn init(&self) -> Result<Initialized, InitError> {
        init(&self.init_config(), self.clock.shared()).await
    }

    pub(crate) async fn initialized() -> Self {
        let home = Self::new();
        home.init().await.expect("init");
        home
    }
}

/// A running service.
pub(crate) struct Token {
    pub(crate) home: Home,
    pub(crate) moments: Moments,
    pub(crate) collector: Collector,
    memory: Memory,
    shutdown: Shutdown,
    ended: oneshot::Receiver<Result<(), ServeError>>,
}

/// The clock of leases.
#[derive(Clone, Default)]
pub(crate) struct Moments(Arc<Mutex<Duration>>);

impl Moments {
    pub(crate) fn advance(&self, duration: Duration) {
        *self.0.lock() += duration;
    }

    fn shared(&self) -> sandgate_token::Moments {
        let clock = Arc::clone(&self.0);
        Arc::new(move || Moment::since_boot(*clock.lock()))
    }
}

impl Token {
    /// Initialized and ready.
    pub(crate) async fn start() -> Self {
        let home = Home::initialized().await;
        let config = home.config();
        let token = Self::spawn(home, config);
        token.ready().await;
        token
    }

    pub(crate) fn spawn(home: Home, config: Config) -> Self {
        let (listen, memory) = memory();
        let (shutdown, moments) = (Shutdown::new(), Moments::default());
        let collector = Collector::start(&shutdown);
        let (sender, ended) = oneshot::channel();
        let serving = serve_by(
            config,
            Ports {
                mesh: vec![listen],
                orchestrator: collector.target(),
            },
            home.clock.shared(),
            moments.shared(),
            shutdown.clone(),
        );
        shutdown.spawn("token", async move { drop(sender.send(serving.await)) });
        Self {
            home,
            moments,
            collector,
            memory,
            shutdown,
            ended,
        }
    }

    pub(crate) fn channel(&self, peer: Peer) -> Channel {
        Channel::new(self.memory.target(peer), ChannelOptions { retries: false })
    }

    pub(crate) fn service(&self, service: Service) -> Channel {
        self.channel(Peer::Service(service))
    }

    /// Waits until health says that it serves.
    pub(crate) async fn ready(&self) {
        tokio::time::timeout(LIMIT, self.health_reaches(ServingStatus::Serving))
            .await
            .expect("ready in time");
    }

    pub(crate) async fn health_reaches(&self, wanted: ServingStatus) {
        let mut health = HealthClient::new(self.service(Service::AuthGateway));
        let request = HealthCheckRequest {
            service: String::new(),
        };
        let mut stream = health.watch(request).await.expect("health").into_inner();
        while let Some(response) = stream.message().await.expect("health") {
            if response.status() == wanted {
                return;
            }
        }
        panic!("health ended");
    }

    pub(crate) fn tokens(&self, service: Service) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.service(service))
    }

    pub(crate) fn revocations(&self, service: Service) -> RevocationServiceClient<Channel> {
        RevocationServiceClient::new(self.service(service))
    }

    pub(crate) fn tenants(&self) -> TenantServiceClient<Channel> {
        TenantServiceClient::new(self.service(Service::AuthGateway))
    }

    pub(crate) fn signing_keys(&self) -> SigningKeyServiceClient<Channel> {
        SigningKeyServiceClient::new(self.service(Service::AuthGateway))
    }

    pub(crate) fn api_keys(&self) -> ApiKeyServiceClient<Channel> {
        ApiKeyServiceClient::new(self.service(Service::AuthGateway))
    }

    pub(crate) async fn verifier(&self) -> Verifier {
        let answer = self
            .tokens(Service::AuthGateway)
            .get_jwks(pb::GetJwksRequest {})
            .await
            .expect("keys");
        Verifier::new(KeySet::from_wire(&answer.into_inner().keys).expect("a key set"))
    }

    pub(crate) async fn mint(
        &self,
        request: pb::MintSessionRequest,
    ) -> Result<pb::MintSessionResponse, Status> {
        let answer = self
            .tokens(Service::Orchestrator)
            .mint_session(request)
            .await?;
        Ok(answer.into_inner())
    }

    /// The tokens of a session that has to be minted.
    pub(crate) async fn minted(&self, request: pb::MintSessionRequest) -> pb::TokenPair {
        let answer = self.mint(request).await.expect("minted");
        answer.tokens.expect("tokens")
    }

    /// The claims of a token that has to verify.
    pub(crate) async fn claims(&self, token: &str, audience: Audience) -> Claims {
        let verified = self
            .verifier()
            .await
            .verify(token, audience, self.home.clock.now());
        let verified = verified.expect("a token that verifies");
        Arc::unwrap_or_clone(verified.claims)
    }

    pub(crate) async fn renew(&self, daemon: &str) -> Result<pb::TokenPair, Status> {
        let claims = self.claims(daemon, Audience::Daemon).await;
        self.renew_as(&session_caller(&claims), Some(daemon)).await
    }

    pub(crate) async fn renew_as(
        &self,
        caller: &Caller,
        daemon: Option<&str>,
    ) -> Result<pb::TokenPair, Status> {
        let mut request = acting(caller, pb::RenewSessionRequest {});
        if let Some(daemon) = daemon {
            request
                .metadata_mut()
                .insert(SESSION_TOKEN_METADATA, daemon.parse().expect("ascii"));
        }
        let answer = self
            .tokens(Service::AuthGateway)
            .renew_session(request)
            .await?;
        Ok(answer.into_inner().tokens.expect("tokens"))
    }

    pub(crate) async fn revoke(&self, tenant: &str, scope: Scope) -> pb::RevokeResponse {
        let request = revocation(tenant, scope);
        self.revocations(Service::Orchestrator)
            .revoke(request)
            .await
            .expect("revoked")
            .into_inner()
    }

    pub(crate) fn end(&self) {
        self.shutdown.begin();
    }

    /// How it ended.
    pub(crate) async fn ended(&mut self) -> Result<(), ServeError> {
        let ended = &mut self.ended;
        tokio::time::timeout(LIMIT, ended)
            .await
            .expect("it ends in time")
            .expect("it ran")
    }
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse("tenant", name).expect("a name")
}

/// A person with an API key.
pub(crate) fn person(tenant_name: &str, roles: &[Role]) -> Caller {
    Caller {
        tenant: Some(tenant(tenant_name)),
        user: Some(UserId::parse("user", "ann").expect("a name")),
        may_name_users: false,
        roles: roles.to_vec(),
        principal: Principal::ApiKey(ApiKeyId::random(&mut rand::rng())),
    }
}

/// The caller that the gate states for a daemon token.
pub(crate) fn session_caller(claims: &Claims) -> Caller {
    Caller {
        tenant: Some(claims.tenant.clone()),
        user: Some(claims.user.clone()),
        may_name_users: false,
        roles: vec![Role::Daemon],
        principal: Principal::Session(SessionCaller {
            session: claims.session.clone(),
            sandbox: claims.sandbox.clone(),
            instance: claims.instance.clone(),
            generation: claims.generation,
            conversation: claims.conversation.clone(),
            token: claims.token.clone(),
        }),
    }
}

/// A request of the gate for a caller.
pub(crate) fn acting<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert_bin(
        CALLER_METADATA,
        MetadataValue::from_bytes(&caller.to_bytes()),
    );
    request
}

pub(crate) fn mint_request(clock: &TestClock) -> pb::MintSessionRequest {
    let rng = &mut rand::rng();
    pb::MintSessionRequest {
        session_id: SessionId::random(rng).as_str().to_owned(),
        tenant: "default".to_owned(),
        user: "ann".to_owned(),
        conversation: "c".to_owned(),
        sandbox_id: SandboxId::random(rng).as_str().to_owned(),
        instance_id: InstanceId::random(rng).as_str().to_owned(),
        generation: 1,
        template_operations: vec!["read".to_owned(), "write".to_owned()],
        requested_operations: None,
        policy_revision: 1,
        session_start: Some(timestamp_to(clock.now())),
        session_max: Some(duration_to(Duration::from_secs(24 * 3600))),
    }
}

pub(crate) fn revocation(tenant: &str, scope: Scope) -> pb::RevokeRequest {
    pb::RevokeRequest {
        target: Some(pb::RevocationTarget {
            tenant: tenant.to_owned(),
            scope: Some(scope),
        }),
        reason: "a test".to_owned(),
    }
}

/// Code and reason of a refusal.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("refused");
    let reason = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    (status.code(), reason)
}

/// The fields that a refusal names.
pub(crate) fn fields<T: std::fmt::Debug>(result: Result<T, Status>) -> Vec<String> {
    let status = result.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status
        .get_details_bad_request()
        .expect("BadRequest")
        .field_violations;
    violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}
