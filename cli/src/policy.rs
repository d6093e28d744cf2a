//! `sandgate policy`: what a policy file says, without a mesh: whether a gate would take it, and what it makes of a
//! request.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_policy::{
    Asked, Body, Change, CredentialSource, Denial, Effect, Policy, RouteSpec, Verdict, decide,
    diff, parse, read, takes_credential, with_lines,
};
use sandgate_session::{Audience, Claims, Operations};
use sandgate_types::{
    ConversationId, Generation, InstanceId, Malformed, PolicyRevision, SandboxId, SessionId,
    TenantId, Timestamp, TokenId, UserId, Violations,
};

use crate::args::{DiffArgs, ExplainArgs, PolicyArgs, PolicyFileArgs};
use crate::report::{line, print};

/// Does what is asked. A file that is refused, and a request that is, end in failure.
pub(crate) fn policy(args: &PolicyArgs) -> anyhow::Result<ExitCode> {
    match args {
        PolicyArgs::Check(file) => match open(file) {
            Ok((_, routes)) => {
                let number = routes.len();
                print(&format!("a gate takes it; routes: {number}"))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(violations) => Ok(refused(&file.file, &violations)),
        },
        PolicyArgs::Diff(args) => compare(args),
        PolicyArgs::Explain(args) => match open(&args.file) {
            Ok((text, routes)) => explain(&text, routes, args),
            Err(violations) => Ok(refused(&args.file.file, &violations)),
        },
    }
}

/// Prints what changes; two policies that say the same print nothing.
fn compare(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let old = PolicyFileArgs {
        file: args.old.clone(),
        upstream_roots: args.new.upstream_roots.clone(),
    };
    let old = match open(&old) {
        Ok((_, routes)) => routes,
        Err(violations) => return Ok(refused(&args.old, &violations)),
    };
    let new = match open(&args.new) {
        Ok((_, routes)) => routes,
        Err(violations) => return Ok(refused(&args.new.file, &violations)),
    };
    for Change {
        route,
        part,
        effect,
    } in diff(&old, &new)
    {
        let route = route.as_str();
        let what = match (part, effect) {
            (Some(part), _) => part,
            (None, Effect::Narrows) => "is gone",
            (None, Effect::Widens | Effect::Changes) => "is new",
        };
        print(&format!("{route} {what}: {}", effect.as_str()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open(args: &PolicyFileArgs) -> Result<(String, Vec<RouteSpec>), Violations> {
    if let Some(roots) = &args.upstream_roots {
        sandgate_egress::Roots::read("upstream_roots", roots)?;
    }
    let text = read(&args.file)?;
    let folder = args.file.parent().unwrap_or(Path::new("."));
    let routes = parse(&text, folder, args.upstream_roots.is_some())?;
    Ok((text, routes))
}

fn refused(file: &Path, violations: &Violations) -> ExitCode {
    for violation in violations.iter() {
        line(&format!("sandgate: {}: {violation}", file.display()));
    }
    ExitCode::FAILURE
}

fn explain(text: &str, routes: Vec<RouteSpec>, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let claims = claims(args)?;
    let method: Method = args.method.parse().context("--method is no HTTP method")?;
    let uri: Uri = args.path.parse().context("the path is none")?;
    let mut headers = HeaderMap::new();
    for header in &args.header {
        let (name, value) = header
            .split_once(':')
            .context("--header must be NAME: VALUE")?;
        let name: HeaderName = name.trim().parse().context("--header has no name")?;
        let value: HeaderValue = value.trim().parse().context("--header has no value")?;
        headers.append(name, value);
    }
    if args.websocket {
        // As every client asks for one.
        let version = HeaderValue::from_static("13");
        headers.insert(http::header::SEC_WEBSOCKET_VERSION, version);
    }
    let names: Vec<String> = routes
        .iter()
        .map(|route| route.name.as_str().to_owned())
        .collect();
    let policy = Policy::new(routes.into_iter().map(Arc::new));
    let asked = Asked {
        method: &method,
        uri: &uri,
        headers: &headers,
        websocket: args.websocket,
    };
    match decide(&policy, asked, &claims) {
        Verdict::Allow(allowed) => {
            let route: &RouteSpec = &allowed.route;
            let scheme = match route.upstream.scheme {
                sandgate_egress::Scheme::Http => "http",
                sandgate_egress::Scheme::Https => "https",
            };
            let to = route.upstream.authority();
            let source = route
                .credential
                .as_ref()
                .map(|credential| &credential.source);
            let (target, fetched) = match source {
                Some(CredentialSource::Known(value)) => (value.hidden_in(&allowed.target), false),
                Some(CredentialSource::ClientCredentials(_)) => (allowed.target.clone(), true),
                None => (allowed.target.clone(), false),
            };
            print(&format!(
                "allowed by route {}: {method} {scheme}://{to}{target}",
                route.name.as_str(),
            ))?;
            for (name, value) in &allowed.headers {
                let value = if value.is_sensitive() {
                    "(the credential)".to_owned()
                } else {
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                print(&format!("  {name}: {value}"))?;
            }
            if fetched && takes_credential(&method) {
                print("  authorization: (an access token of the route's token_url)")?;
            }
            if route.body != Body::AsIs {
                print(
                    "  and its body anew, without what the route does not know and with the identity",
                )?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Verdict::Refuse(denial) => {
            print(&refusal(text, &names, &denial))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The reason, and the part of the route that refuses with its line.
fn refusal(text: &str, names: &[String], denial: &Denial) -> String {
    let reason = denial.clause.reason();
    let message = denial.clause.message();
    let route = denial.route.as_ref();
    let index = route.and_then(|route| names.iter().position(|name| name == route.as_str()));
    let (Some(route), Some(index)) = (route, index) else {
        return format!("refused, {reason}: {message}");
    };
    let clause = denial.clause.as_str();
    let place = format!("routes[{index}].{clause}");
    let placed = with_lines(&Malformed::new(place, message).into(), text);
    let said = placed.iter().next();
    let said = said.map_or_else(
        || clause.to_owned(),
        |said| format!("{clause}: {}", said.rule()),
    );
    format!("refused by route {}, {reason}: {said}", route.as_str())
}

/// What the token of such a session would say.
fn claims(args: &ExplainArgs) -> anyhow::Result<Claims> {
    let mut rng = StdRng::from_os_rng();
    let operations = match args.operation.as_slice() {
        [] => Operations::All,
        names => Operations::parse("--operation", names)?,
    };
    let end = Timestamp::EPOCH.plus(Duration::from_secs(3_600));
    Ok(Claims {
        token: TokenId::random(&mut rng),
        audience: Audience::Agent,
        tenant: TenantId::parse("--tenant", &args.tenant)?,
        user: UserId::parse("--user", &args.user)?,
        conversation: ConversationId::parse("--conversation", &args.conversation)?,
        session: SessionId::random(&mut rng),
        session_start: Timestamp::EPOCH,
        session_end: end,
        sandbox: SandboxId::random(&mut rng),
        instance: InstanceId::random(&mut rng),
        generation: Generation::FIRST,
        agent_operations: operations,
        policy_revision: PolicyRevision::CURRENT,
        issued_at: Timestamp::EPOCH,
        expires_at: end,
    })
}
