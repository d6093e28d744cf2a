//! What becomes of the body of a request: passed on as it is, or taken apart, with identity written into it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sandgate_message::json::{Json, Pointer};
use sandgate_message::protobuf::{Rewriter, Unknown};
use sandgate_session::Claims;

use crate::route::Claim;

/// What becomes of the bodies of a route's requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Body {
    /// They go on as they are.
    #[default]
    AsIs,
    /// They are JSON.
    Json(JsonBody),
    /// They are messages of gRPC.
    Messages(Messages),
}

/// A body that is too odd, or too hostile, to go on: which part of the route says so, and the rule. Nothing of the
/// body is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyRefused {
    /// The part of the route, as the policy spells it.
    pub clause: &'static str,
    /// What the body must be.
    pub rule: String,
}

/// JSON into which claims are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonBody {
    /// Where which claim goes; none leads to another.
    pub identity: Vec<(Pointer, Claim)>,
}

impl JsonBody {
    /// The body as it goes on.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn rewrite(&self, body: &[u8], claims: &Claims) -> Result<String, BodyRefused> {
        let refused = |rule: String| BodyRefused {
            clause: "identity.json",
            rule,
        };
        let mut json = Json::parse(body).map_err(|rule| refused(rule.to_string()))?;
        for (pointer, claim) in &self.identity {
            let set = json.set(pointer, claim.of(claims));
            set.map_err(|rule| refused(rule.to_string()))?;
        }
        Ok(json.write())
    }
}

/// Messages of gRPC, read by a set of descriptors.
#[derive(Clone)]
pub struct Messages {
    /// The set, by which two of these are compared.
    pub(crate) source: Arc<[u8]>,
    pub(crate) unknown: Unknown,
    /// Where which claim goes, as the policy spells it.
    pub(crate) identity: Vec<(String, Claim)>,
    /// By the path of the method.
    pub(crate) by_method: BTreeMap<String, Rewriter>,
}

impl Messages {
    /// A message of a method as it goes on.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn rewrite(
        &self,
        method: &str,
        message: &[u8],
        claims: &Claims,
    ) -> Result<Vec<u8>, BodyRefused> {
        let refused = |rule: String| BodyRefused {
            clause: "grpc.descriptor_set",
            rule,
        };
        // Every method of the route has one.
        let rewriter = self.by_method.get(method);
        let rewriter = rewriter.ok_or_else(|| refused("must be of a known method".to_owned()))?;
        let texts = self.identity.iter().map(|(_, claim)| claim.of(claims));
        rewriter
            .rewrite(message, texts)
            .map_err(|rule| refused(rule.to_string()))
    }
}

impl PartialEq for Messages {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            source,
            unknown,
            identity,
            by_method,
        } = self;
        *source == other.source
            && *unknown == other.unknown
            && *identity == other.identity
            && by_method.keys().eq(other.by_method.keys())
    }
}

impl Eq for Messages {}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Descriptors know one another, and some of them themselves.
        f.debug_struct("Messages")
            .field("identity", &self.identity)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}
