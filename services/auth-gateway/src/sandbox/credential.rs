//! The credential of one request on its way to an upstream: fetched, written, and kept out of the answer.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use hyper::body::Incoming;
use sandgate_policy::takes_credential;
use tokio::time::Instant;
use tonic::body::Body;

use crate::echo::{Scanned, is_plain_text};
use crate::guard::Verdict;
use crate::policy::{Added, Held, Route};
use crate::refusal::Refusal;
use crate::streams::Open;

/// What a request carries; nothing, where its route has none or its method takes none.
pub(super) struct Carries {
    route: Arc<Route>,
    added: Option<Arc<Added>>,
}

impl Carries {
    /// What a request by `route` carries, once it is there.
    ///
    /// # Errors
    /// That it could not be had, or that the request was over before.
    pub(super) async fn by(
        route: &Arc<Route>,
        method: &Method,
        deadline: Instant,
        open: &Open,
    ) -> Result<Self, Refusal> {
        let held = route.credential.as_ref();
        let added = match held.filter(|_| takes_credential(method)) {
            None => None,
            Some(Held::Known(added)) => Some(Arc::clone(added)),
            Some(Held::Fetched(tokens)) => {
                let token = tokio::select! {
                    reason = open.cut().happened() => return Err(Refusal::Cut(reason)),
                    () = tokio::time::sleep_until(deadline) => return Err(Refusal::DeadlineExceeded),
                    token = tokens.current() => token,
                };
                let missing = |_| Refusal::CredentialMissing(route.spec.name.clone());
                Some(token.map_err(missing)?)
            }
        };
        Ok(Self {
            route: Arc::clone(route),
            added,
        })
    }

    /// Writes what was fetched; what the policy knows is in what it allowed.
    pub(super) fn write(&self, headers: &mut HeaderMap, target: &mut String) {
        if let (Some(token), Some(Held::Fetched(_))) = (&self.added, &self.route.credential) {
            token.value.write(headers, target);
        }
    }

    /// Hears how the upstream took it.
    pub(super) fn answered(&self, status: StatusCode) {
        if let (StatusCode::UNAUTHORIZED, Some(token), Some(Held::Fetched(tokens))) =
            (status, &self.added, &self.route.credential)
        {
            tokens.refused(token);
        }
    }

    /// Refuses an answer whose headers repeat it.
    ///
    /// # Errors
    /// That they do.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.added {
            Some(added) if added.secrets.are_in(headers) => Err(self.echoed()),
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the body of an answer where it repeats it, as far as it is text. Messages of gRPC are not read.
    pub(super) fn scan(
        &self,
        body: Incoming,
        headers: &HeaderMap,
        grpc: bool,
        verdict: &Verdict,
    ) -> Body {
        match &self.added {
            Some(added) if !grpc && is_plain_text(headers) => {
                let secrets = added.secrets.clone();
                Body::new(Scanned::new(body, secrets, verdict, self.echoed()))
            }
            Some(_) | None => Body::new(body),
        }
    }

    /// Trailers without those that repeat it: what came before them has been sent.
    pub(super) fn taken_from(&self, trailers: HeaderMap) -> HeaderMap {
        match &self.added {
            Some(added) => added.secrets.taken_from(trailers),
            None => trailers,
        }
    }

    fn echoed(&self) -> Refusal {
        Refusal::CredentialEchoed(self.route.spec.name.clone())
    }
}
