//! The credential of a route: its place, and the files that it is in.

use sandgate_egress::{Network, Scheme, UpstreamSpec};
use sandgate_rpc::config::SecretFile;
use sandgate_types::{Malformed, Violations};
use secrecy::SecretString;

use super::PolicyContext;
use crate::credential::{
    ClientCredentials, Credential, CredentialPlace, CredentialSource, CredentialValue,
};
use crate::document::Section;
use crate::fields;

/// Keys of a credential that are planned.
pub(super) const UNBUILT_CREDENTIAL: &[&str] =
    &["tenant_store", "user_store", "store", "aws", "github_app"];
/// The longest text of an id or a scope.
const TEXT_MAX_BYTES: usize = 256;
/// Scopes of one credential.
const SCOPES_MAX: usize = 64;
/// Headers by which callers show keys of their own, beside those that can never be listed.
const CALLERS_HEADERS: [&str; 6] = [
    "api-key",
    "apikey",
    "private-token",
    "x-api-key",
    "x-auth-token",
    "x-goog-api-key",
];
/// Query parameters by which they do.
const CALLERS_QUERY: [&str; 6] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth_token",
    "private_token",
];

/// Whether a header is one by which callers show keys of their own.
pub(super) fn is_callers_header(name: &str) -> bool {
    CALLERS_HEADERS.contains(&name)
}

/// Whether a query parameter is.
pub(super) fn is_callers_query(name: &str) -> bool {
    CALLERS_QUERY.contains(&name.to_ascii_lowercase().as_str())
}

pub(super) fn credential(
    route: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<Credential> {
    let mut section = route.section("credential", violations)?;
    let kinds = ["header", "basic", "query", "oauth2"];
    let given = kinds.map(|kind| section.has(kind));
    let credential = match given {
        [true, false, false, false] => header(&mut section, context, violations),
        [false, true, false, false] => basic(&mut section, context, violations),
        [false, false, true, false] => query(&mut section, context, violations),
        [false, false, false, true] => oauth2(&mut section, context, violations),
        [_, _, _, _] => {
            // A planned one is told as such, below.
            if !UNBUILT_CREDENTIAL.iter().any(|kind| section.has(kind)) {
                let rule = "must have one of header, basic, query and oauth2";
                violations.push(Malformed::new(route.path("credential"), rule));
                return None;
            }
            None
        }
    };
    section.close(UNBUILT_CREDENTIAL, violations);
    credential
}

/// The secret of the file that `file` names.
fn secret(
    section: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<(String, SecretString)> {
    let field = section.path("file");
    let file = section.required("file", violations)?;
    let file = SecretFile::from(context.folder.join(file));
    let secret = violations.check(file.read(&field))?;
    Some((field, secret))
}

fn header(
    section: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<Credential> {
    let name = section.required("header", violations);
    let name = name
        .and_then(|name| violations.check(fields::written_header(&section.path("header"), &name)));
    let prefix = section.text("prefix", violations).unwrap_or_default();
    let secret = secret(section, context, violations);
    let place = CredentialPlace::Header {
        name: name?,
        prefix,
    };
    known(place, secret?, violations)
}

fn query(
    section: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<Credential> {
    let name = section.required("query", violations);
    let name =
        name.and_then(|name| violations.check(fields::query_name(&section.path("query"), &name)));
    let secret = secret(section, context, violations);
    known(CredentialPlace::Query(name?), secret?, violations)
}

fn known(
    place: CredentialPlace,
    (field, secret): (String, SecretString),
    violations: &mut Violations,
) -> Option<Credential> {
    let value = place.value(secret);
    let value = value.map_err(|error| Malformed::new(field, error.to_string()));
    let source = CredentialSource::Known(violations.check(value)?);
    Some(Credential { place, source })
}

fn basic(
    section: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<Credential> {
    let mut basic = section.section("basic", violations)?;
    let user = basic.required("user", violations);
    let user = user.and_then(|user| {
        // A colon ends the user (RFC 7617).
        let fits = |user: &str| is_text(user) && !user.contains(':');
        let rule = "must be 1 to 256 visible characters of ASCII without a colon";
        checked(basic.path("user"), user, fits, rule, violations)
    });
    let password = secret(&mut basic, context, violations);
    basic.close(&[], violations);
    let value = CredentialValue::basic(&user?, password?.1);
    let value = value.map_err(|error| Malformed::new(section.path("basic"), error.to_string()));
    let source = CredentialSource::Known(violations.check(value)?);
    let place = CredentialPlace::Header {
        name: http::header::AUTHORIZATION,
        prefix: "Basic ".to_owned(),
    };
    Some(Credential { place, source })
}

fn oauth2(
    section: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<Credential> {
    let mut oauth2 = section.section("oauth2", violations)?;
    let endpoint = endpoint(&mut oauth2, context, violations);
    let client_id = oauth2.required("client_id", violations);
    let rule = "must be 1 to 256 visible characters of ASCII";
    let client_id =
        client_id.and_then(|id| checked(oauth2.path("client_id"), id, is_text, rule, violations));
    let mut scopes = Vec::new();
    for (path, scope) in oauth2.texts("scopes", violations) {
        scopes.extend(checked(path, scope, is_text, rule, violations));
    }
    if scopes.len() > SCOPES_MAX {
        let rule = format!("must have at most {SCOPES_MAX} scopes");
        violations.push(Malformed::new(oauth2.path("scopes"), rule));
    }
    let secret = secret(&mut oauth2, context, violations);
    oauth2.close(&["auth", "audience", "client_certificate"], violations);
    let source = CredentialSource::ClientCredentials(ClientCredentials {
        endpoint: endpoint?,
        client_id: client_id?,
        secret: secret?.1,
        scopes,
    });
    let place = CredentialPlace::Header {
        name: http::header::AUTHORIZATION,
        prefix: "Bearer ".to_owned(),
    };
    Some(Credential { place, source })
}

/// Where access tokens are given: over TLS, as whatever else a secret goes to.
fn endpoint(
    oauth2: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<UpstreamSpec> {
    let field = oauth2.path("token_url");
    let url = oauth2.required("token_url", violations);
    let endpoint = url.and_then(|url| violations.check(UpstreamSpec::parse(&field, &url)));
    let mut networks = Vec::new();
    for (path, text) in oauth2.texts("networks", violations) {
        let network = text.parse::<Network>();
        networks
            .extend(violations.check(network.map_err(|error| Malformed::new(path, error.rule()))));
    }
    let mut endpoint = endpoint?;
    endpoint.networks = networks;
    match endpoint.scheme {
        Scheme::Http if !endpoint.is_literal_loopback() => {
            let rule = "must be https://, except on a literal loopback address";
            violations.push(Malformed::new(field, rule));
        }
        Scheme::Https if !context.has_roots => {
            let rule = "must not be https:// while the gate has no roots: set upstream_roots to a file of CA certificates";
            violations.push(Malformed::new(field, rule));
        }
        Scheme::Http | Scheme::Https => {}
    }
    Some(endpoint)
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn checked(
    field: String,
    text: String,
    fits: impl Fn(&str) -> bool,
    rule: &str,
    violations: &mut Violations,
) -> Option<String> {
    if fits(&text) {
        return Some(text);
    }
    violations.push(Malformed::new(field, rule));
    None
}
