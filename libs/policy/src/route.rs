//! One route: what it matches, and everything that happens to a request that it allows.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderName, Method};
use sandgate_egress::UpstreamSpec;
use sandgate_session::Claims;
use sandgate_types::{ByteSize, Malformed, RouteName, TenantId};

use crate::body::Body;
use crate::credential::Credential;

/// A route as the policy states it. Two that are equal serve every request alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Its name.
    pub name: RouteName,
    /// What it matches.
    pub matching: Matching,
    /// The operation that a token must carry.
    pub operation: String,
    /// The tenants that may use it; all when absent.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// Where requests go.
    pub upstream: UpstreamSpec,
    /// What the gate writes from the claims into the head of a request.
    pub identity: Identity,
    /// What becomes of the bodies of requests.
    pub body: Body,
    /// What else crosses.
    pub forward: Forward,
    /// What the gate adds, and no sandbox ever sees.
    pub credential: Option<Credential>,
    /// How large and how long.
    pub limits: Limits,
    /// How often, for each sandbox.
    pub rate: Option<Rate>,
}

/// What a route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    /// Requests to `/r/<name>/…`.
    Http {
        /// What the rest of the path must begin with, in whole segments; `/` for everything.
        path_prefix: String,
        /// The methods.
        methods: Vec<Method>,
        /// Whether a GET may become a WebSocket, whose messages go on as they are.
        websocket: bool,
    },
    /// gRPC methods.
    Grpc {
        /// Their paths, `/package.Service/Method`.
        methods: BTreeSet<String>,
    },
}

/// Where claims stand in the head of a request that goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Headers, written over whatever came in.
    pub headers: Vec<(HeaderName, Claim)>,
    /// Query parameters, behind those that crossed, among which none has such a name.
    pub query: Vec<(String, Claim)>,
}

/// A claim that can become a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The tenant.
    Tenant,
    /// The user.
    User,
    /// The conversation.
    Conversation,
    /// The sandbox.
    Sandbox,
    /// The session.
    Session,
}

impl Claim {
    /// Every claim, as the policy names it.
    pub const ALL: [(&'static str, Self); 5] = [
        ("tenant", Self::Tenant),
        ("user", Self::User),
        ("conversation", Self::Conversation),
        ("sandbox", Self::Sandbox),
        ("session", Self::Session),
    ];

    /// Reads the name of a claim.
    ///
    /// # Errors
    /// `field`, and what it must be.
    pub fn parse(field: &str, text: &str) -> Result<Self, Malformed> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, claim)| *claim).ok_or_else(|| {
            let rule = "must be tenant, user, conversation, sandbox or session";
            Malformed::new(field, rule)
        })
    }

    /// What a token says.
    #[must_use]
    pub fn of(self, claims: &Claims) -> &str {
        match self {
            Self::Tenant => claims.tenant.as_str(),
            Self::User => claims.user.as_str(),
            Self::Conversation => claims.conversation.as_str(),
            Self::Sandbox => claims.sandbox.as_str(),
            Self::Session => claims.session.as_str(),
        }
    }
}

/// What crosses beside what the protocol itself needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forward {
    /// Headers of requests.
    pub request_headers: BTreeSet<Lower>,
    /// Headers and trailers of answers.
    pub response_headers: BTreeSet<Lower>,
    /// Query parameters.
    pub query: BTreeSet<String>,
}

/// The name of a header, in the one spelling that is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lower(String);

impl Lower {
    /// The name of a header, which is lower case by its type.
    pub fn of(name: &HeaderName) -> Self {
        Self(name.as_str().to_owned())
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Lower {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// How large and how long a request and its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request's body, or of what a WebSocket carries to the upstream.
    pub request_bytes: ByteSize,
    /// Bytes of the answer's body, or of what a WebSocket carries to the sandbox.
    pub response_bytes: ByteSize,
    /// From the request's head to the last byte of the answer, or the end of a WebSocket.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: ByteSize::mib(16),
            response_bytes: ByteSize::mib(64),
            timeout: Duration::from_secs(300),
        }
    }
}

/// How often a sandbox may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: std::num::NonZeroU32,
    /// At once.
    pub burst: std::num::NonZeroU32,
}

impl RouteSpec {
    /// Whether sandboxes of `tenant` may use it, as far as the tenant goes.
    #[must_use]
    pub fn is_open_to(&self, tenant: &TenantId) -> bool {
        self.tenants
            .as_ref()
            .is_none_or(|tenants| tenants.contains(tenant))
    }
}

impl AsRef<Self> for RouteSpec {
    fn as_ref(&self) -> &Self {
        self
    }
}
