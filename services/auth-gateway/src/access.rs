//! Access tokens of upstreams, by the client credentials grant of OAuth 2.0 (RFC 6749, section 4.4).
//!
//! One request at a time asks for one, the others wait for it; it is used until shortly before it expires. An endpoint
//! that gives none is left alone for a moment. Without a token no request goes on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sandgate_egress::{Dialing, Upstream};
use sandgate_policy::{ClientCredentials, CredentialPlace, CredentialValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;

use crate::policy::Added;
use crate::workers;

/// The longest answer of a token endpoint; tokens are a few KiB.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// The longest that an endpoint may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// How long an endpoint that gave no token is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// How long a token is used of which the endpoint does not say how long it is good. RFC 6749 leaves that open; the
/// upstream's refusal ends one that is not good any more.
const UNSAID: Duration = Duration::from_secs(300);
/// The longest that a token is used, whatever the endpoint says.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// So long before its end a token is not used any more: a request takes a while to arrive.
const BEFORE_END: Duration = Duration::from_secs(30);
/// Forms as `application/x-www-form-urlencoded` has them, in the one spelling that every reader takes.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Why there is no token. What the endpoint said is in no log: it may repeat what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoToken {
    /// It did not answer.
    #[error("the token endpoint did not answer")]
    Unreachable,
    /// It answered that it gives none.
    #[error("the token endpoint gave no token: {0}")]
    Refused(StatusCode),
    /// It answered something else.
    #[error("the token endpoint answered what is no bearer token")]
    Malformed,
    /// It gave none a moment ago.
    #[error("the token endpoint gave no token a moment ago")]
    LeftAlone,
}

/// The access tokens of one route.
pub(crate) struct AccessTokens {
    client: ClientCredentials,
    place: CredentialPlace,
    endpoint: Upstream,
    known: Mutex<Known>,
    /// One asks.
    asking: Semaphore,
}

#[derive(Default)]
struct Known {
    token: Option<(Arc<Added>, Instant)>,
    left_alone_until: Option<Instant>,
}

/// What an endpoint answers (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

impl AccessTokens {
    /// Asks nobody yet.
    pub(crate) fn new(client: ClientCredentials, place: CredentialPlace, dialing: Dialing) -> Self {
        let endpoint = Upstream::new(client.endpoint.clone(), false, workers::MAX, dialing);
        Self {
            client,
            place,
            endpoint,
            known: Mutex::default(),
            asking: Semaphore::new(1),
        }
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn current(&self) -> Result<Arc<Added>, NoToken> {
        if let Some(known) = self.good() {
            return Ok(known);
        }
        // It is never closed.
        let Ok(_asking) = self.asking.acquire().await else {
            return Err(NoToken::Unreachable);
        };
        if let Some(known) = self.good() {
            return Ok(known);
        }
        let alone = self.known.lock().left_alone_until;
        if alone.is_some_and(|until| Instant::now() < until) {
            return Err(NoToken::LeftAlone);
        }
        let asked = tokio::time::timeout(ASK_LIMIT, self.ask()).await;
        let asked = asked.unwrap_or(Err(NoToken::Unreachable));
        let mut known = self.known.lock();
        match asked {
            Ok((value, used)) => {
                let token = Added::new(value);
                known.token = Some((Arc::clone(&token), Instant::now() + used));
                Ok(token)
            }
            Err(none) => {
                tracing::warn!(error = %none, "an access token could not be had");
                known.left_alone_until = Some(Instant::now() + LEFT_ALONE);
                Err(none)
            }
        }
    }

    /// Forgets a token that the upstream has refused; a newer one stays.
    pub(crate) fn refused(&self, token: &Arc<Added>) {
        self.known
            .lock()
            .token
            .take_if(|(known, _)| Arc::ptr_eq(known, token));
    }

    fn good(&self) -> Option<Arc<Added>> {
        let known = self.known.lock();
        let token = known.token.as_ref();
        let token = token.filter(|(_, until)| Instant::now() < *until);
        token.map(|(token, _)| Arc::clone(token))
    }

    async fn ask(&self) -> Result<(CredentialValue, Duration), NoToken> {
        let request = self.request().ok_or(NoToken::Malformed)?;
        let target = match self.client.endpoint.base_path.as_str() {
            "" => "/",
            path => path,
        };
        let answer = self.endpoint.send(workers::number(), request, target).await;
        let answer = answer.map_err(|_| NoToken::Unreachable)?;
        if answer.status() != StatusCode::OK {
            return Err(NoToken::Refused(answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES)
            .collect()
            .await;
        let body = body.map_err(|_| NoToken::Malformed)?.to_bytes();
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| NoToken::Malformed)?;
        let Answer {
            access_token,
            token_type,
            expires_in,
        } = answer;
        let secret = SecretString::from(access_token);
        if !token_type.eq_ignore_ascii_case("bearer") || secret.expose_secret().is_empty() {
            return Err(NoToken::Malformed);
        }
        let life = expires_in.map_or(UNSAID, Duration::from_secs).min(LIFE_MAX);
        // One that lives shorter than that is used for half of its life.
        let used = life.saturating_sub(BEFORE_END).max(life / 2);
        let value = self.place.value(secret).map_err(|_| NoToken::Malformed)?;
        Ok((value, used))
    }

    /// The request, with the client's own name and secret by basic authentication, each escaped as a form's value
    /// (RFC 6749, section 2.3.1).
    fn request(&self) -> Option<Request<Body>> {
        let escaped = |text: &str| utf8_percent_encode(text, FORM).to_string();
        let id = escaped(&self.client.client_id);
        let secret = escaped(self.client.secret.expose_secret());
        let pair = STANDARD.encode(format!("{id}:{secret}"));
        let mut authorization = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
        authorization.set_sensitive(true);
        let mut form = "grant_type=client_credentials".to_owned();
        if !self.client.scopes.is_empty() {
            form.push_str("&scope=");
            form.push_str(&escaped(&self.client.scopes.join(" ")));
        }
        let mut request = Request::new(Body::new(Full::new(Bytes::from(form))));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, kind);
        Some(request)
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
