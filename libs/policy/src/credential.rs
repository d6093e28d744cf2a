//! What the gate adds toward an upstream, and no sandbox ever sees.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use sandgate_egress::UpstreamSpec;
use secrecy::{ExposeSecret as _, SecretString};

use crate::query;

/// A credential of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Where it stands in a request.
    pub place: CredentialPlace,
    /// Where it comes from.
    pub source: CredentialSource,
}

/// Where a credential stands in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialPlace {
    /// In a header.
    Header {
        /// Its name.
        name: HeaderName,
        /// What stands before the secret.
        prefix: String,
    },
    /// In a query parameter of this name.
    Query(String),
}

/// Where a credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// The policy's own files.
    Known(CredentialValue),
    /// A token endpoint, by the client credentials grant of OAuth 2.0 (RFC 6749, section 4.4).
    ClientCredentials(ClientCredentials),
}

/// By what a token endpoint gives access tokens.
#[derive(Clone)]
pub struct ClientCredentials {
    /// The endpoint; its path is the upstream's base path.
    pub endpoint: UpstreamSpec,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub secret: SecretString,
    /// What is asked for; the endpoint's own choice when empty.
    pub scopes: Vec<String>,
}

/// A secret as it stands in requests.
#[derive(Clone)]
pub struct CredentialValue {
    written: Written,
    secrets: Vec<SecretString>,
}

#[derive(Clone, PartialEq, Eq)]
enum Written {
    /// Marked as sensitive.
    Header(HeaderName, HeaderValue),
    /// `name=value`, escaped.
    Query(SecretText),
}

/// Text that is never shown, and compared as a whole.
#[derive(Clone, PartialEq, Eq)]
struct SecretText(String);

/// The secret cannot stand in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must hold text that can be a header's value, on one line")]
pub struct NoHeaderValue;

impl Credential {
    /// The header that is written, if it is one.
    pub fn header(&self) -> Option<&HeaderName> {
        match &self.place {
            CredentialPlace::Header { name, .. } => Some(name),
            CredentialPlace::Query(_) => None,
        }
    }

    /// The query parameter that is written, if it is one.
    pub fn query(&self) -> Option<&str> {
        match &self.place {
            CredentialPlace::Header { .. } => None,
            CredentialPlace::Query(name) => Some(name),
        }
    }
}

impl CredentialPlace {
    /// A secret as it stands in this place.
    ///
    /// # Errors
    /// [`NoHeaderValue`].
    pub fn value(&self, secret: SecretString) -> Result<CredentialValue, NoHeaderValue> {
        let written = match self {
            Self::Header { name, prefix } => {
                let text = format!("{prefix}{}", secret.expose_secret());
                Written::Header(name.clone(), sensitive(text)?)
            }
            Self::Query(name) => {
                let pair = query::pair(name, secret.expose_secret());
                Written::Query(SecretText(pair))
            }
        };
        Ok(CredentialValue {
            written,
            secrets: vec![secret],
        })
    }
}

impl CredentialValue {
    /// A user and a password, by basic authentication (RFC 7617).
    ///
    /// # Errors
    /// [`NoHeaderValue`], which base64 never is.
    pub fn basic(user: &str, password: SecretString) -> Result<Self, NoHeaderValue> {
        let pair = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
        let value = sensitive(format!("Basic {pair}"))?;
        Ok(Self {
            written: Written::Header(http::header::AUTHORIZATION, value),
            secrets: vec![password, SecretString::from(pair)],
        })
    }

    /// Writes it into a request that goes on, over whatever is there.
    pub fn write(&self, headers: &mut HeaderMap, target: &mut String) {
        match &self.written {
            Written::Header(name, value) => {
                headers.insert(name.clone(), value.clone());
            }
            Written::Query(SecretText(pair)) => query::append_pair(target, pair),
        }
    }

    /// A target that it was written into, fit to be shown.
    pub fn hidden_in(&self, target: &str) -> String {
        match &self.written {
            Written::Header(_, _) => target.to_owned(),
            Written::Query(SecretText(pair)) => {
                let name = pair.split('=').next().unwrap_or_default();
                target.replace(pair, &format!("{name}=(the credential)"))
            }
        }
    }

    /// What must not come back in an answer.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.expose_secret())
    }
}

fn sensitive(text: String) -> Result<HeaderValue, NoHeaderValue> {
    let mut value = HeaderValue::try_from(text).map_err(|_| NoHeaderValue)?;
    value.set_sensitive(true);
    Ok(value)
}

impl PartialEq for CredentialValue {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for CredentialValue {}

impl PartialEq for ClientCredentials {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            endpoint,
            client_id,
            secret,
            scopes,
        } = self;
        *endpoint == other.endpoint
            && *client_id == other.client_id
            && secret.expose_secret() == other.secret.expose_secret()
            && *scopes == other.scopes
    }
}

impl Eq for ClientCredentials {}

impl fmt::Debug for CredentialValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialValue").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("endpoint", &self.endpoint)
            .field("client_id", &self.client_id)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &CredentialValue, target: &str) -> (HeaderMap, String) {
        let (mut headers, mut target) = (HeaderMap::new(), target.to_owned());
        value.write(&mut headers, &mut target);
        (headers, target)
    }

    #[test]
    fn a_secret_stands_where_its_place_says_in_one_spelling() {
        let header = CredentialPlace::Header {
            name: HeaderName::from_static("x-key"),
            prefix: "Token ".to_owned(),
        };
        let value = header
            .value(SecretString::from("se cret"))
            .expect("a value");
        let (headers, target) = written(&value, "/a?b=1");
        assert_eq!(
            (&headers["x-key"], target.as_str()),
            (&HeaderValue::from_static("Token se cret"), "/a?b=1")
        );
        assert!(headers["x-key"].is_sensitive());
        assert!(header.value(SecretString::from("two\nlines")).is_err());

        let query = CredentialPlace::Query("key".to_owned());
        let value = query
            .value(SecretString::from("a&b=c/\u{e9}"))
            .expect("a value");
        assert_eq!(written(&value, "/a").1, "/a?key=a%26b%3Dc%2F%C3%A9");
        let (_, target) = written(&value, "/a?b=1");
        assert_eq!(target, "/a?b=1&key=a%26b%3Dc%2F%C3%A9");
        assert_eq!(value.hidden_in(&target), "/a?b=1&key=(the credential)");

        // The example of RFC 7617, section 2.
        let value = CredentialValue::basic("Aladdin", SecretString::from("open sesame"));
        let (headers, _) = written(&value.expect("a value"), "/");
        assert_eq!(
            headers["authorization"],
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let query = CredentialPlace::Query("key".to_owned());
        let value = query.value(SecretString::from("hush")).expect("a value");
        let shown = format!("{value:?}");
        assert!(!shown.contains("hush"), "{shown}");
        let client = ClientCredentials {
            endpoint: UpstreamSpec::parse("url", "https://issuer.example.com/token")
                .expect("a url"),
            client_id: "us".to_owned(),
            secret: SecretString::from("hush"),
            scopes: Vec::new(),
        };
        let shown = format!("{client:?}");
        assert!(!shown.contains("hush") && shown.contains("us"), "{shown}");
    }
}
