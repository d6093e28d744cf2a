//! Who asks: people, programs, and keepers.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::orchestrator::v1 as pb;
use sandgate_rpc::{CALLER_METADATA, Caller, Principal, Role, SessionCaller};
use sandgate_types::{
    ApiKeyId, ConversationId, Generation, InstanceId, SandboxId, SessionId, TenantId, TokenId,
    UserId,
};
use tonic::Request;
use tonic::metadata::MetadataValue;

use super::END;

/// Who asks.
#[derive(Clone)]
pub(crate) struct Asker(pub(super) Caller);

impl Asker {
    pub(crate) fn new(tenant: &str, user: &str) -> Self {
        Self::with(tenant, Some(user), false)
    }

    pub(crate) fn application(tenant: &str) -> Self {
        Self::with(tenant, None, true)
    }

    pub(crate) fn administrator() -> Self {
        let mut administrator = Self::with("mesh", Some("root"), false);
        administrator.0.roles.push(Role::Admin);
        administrator
    }

    pub(crate) fn without_operator(mut self) -> Self {
        self.0.roles.retain(|role| *role != Role::Operator);
        self
    }

    /// As records name it.
    pub(crate) fn principal(&self) -> String {
        match &self.0.principal {
            Principal::ApiKey(key) => key.as_str().to_owned(),
            other @ (Principal::Session(_) | Principal::Service(_)) => panic!("no key: {other:?}"),
        }
    }

    fn with(tenant: &str, user: Option<&str>, may_name_users: bool) -> Self {
        let key = tenant.len() * 31 + user.map_or(0, str::len);
        Self(Caller {
            tenant: Some(TenantId::parse("tenant", tenant).expect("valid")),
            user: user.map(|user| UserId::parse("user", user).expect("valid")),
            may_name_users,
            roles: vec![Role::Caller, Role::Operator],
            principal: Principal::ApiKey(ApiKeyId::random(&mut StdRng::seed_from_u64(key as u64))),
        })
    }
}

/// A keeper's session.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) sandbox: String,
    pub(crate) instance: String,
    pub(crate) generation: i64,
}

impl Run {
    pub(crate) fn of(sandbox: &pb::Sandbox) -> Self {
        let instance = sandbox.instance.as_ref().expect("it runs");
        Self {
            sandbox: sandbox.sandbox_id.clone(),
            instance: instance.instance_id.clone(),
            generation: instance.generation,
        }
    }

    pub(crate) fn instance(&self) -> InstanceId {
        InstanceId::parse("instance_id", &self.instance).expect("an id")
    }

    pub(super) fn caller(&self, asker: &Caller) -> Caller {
        let mut rng = StdRng::seed_from_u64(3);
        Caller {
            roles: vec![Role::Daemon],
            principal: Principal::Session(SessionCaller {
                session: SessionId::random(&mut rng),
                sandbox: SandboxId::parse("sandbox_id", &self.sandbox).expect("an id"),
                instance: self.instance(),
                generation: Generation::parse("generation", self.generation).expect("a generation"),
                conversation: ConversationId::parse("conversation", "c").expect("valid"),
                token: TokenId::random(&mut rng),
            }),
            ..asker.clone()
        }
    }
}

pub(super) fn by<T>(message: T, caller: &Caller) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(END);
    let value = MetadataValue::from_bytes(&caller.to_bytes());
    request.metadata_mut().insert_bin(CALLER_METADATA, value);
    request
}
