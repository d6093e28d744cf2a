//! The verdict on requests, without a socket.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use sandgate_session::Operations;
use sandgate_testkit::claims;

use super::*;

const POLICY: &str = "
version: 1
routes:
- name: dict
  http: { path_prefix: /define, methods: [GET, POST, OPTIONS] }
  operation: lookup
  tenants: [acme]
  upstream: { url: 'http://127.0.0.1:9/base' }
  identity: { headers: { x-tenant: tenant, x-user: user } }
  forward: { request_headers: [x-model], query: [word] }
  credential: { header: authorization, prefix: 'Bearer ', file: key }
  limits: { request_bytes: 10B }
- name: scores
  grpc: { methods: [scores.v1.ScoreService/Score] }
  operation: score
  upstream: { url: 'http://127.0.0.1:9' }
  identity: { headers: { x-tenant: tenant } }
";

/// The policy of this text; the file `key` beside it holds `upstream-secret`.
fn policy(text: &str) -> Policy {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "upstream-secret").expect("write");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let routes = crate::parse(text, folder.path(), true).unwrap_or_else(|error| panic!("{error}"));
    Policy::new(routes.into_iter().map(Arc::new))
}

fn verdict(
    method: Method,
    uri: &str,
    pairs: &[(&'static str, &str)],
    claims: &Claims,
) -> Verdict<RouteSpec> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().expect("a header"));
    }
    let uri: Uri = uri.parse().expect("a uri");
    let asked = Asked {
        method: &method,
        uri: &uri,
        headers: &headers,
        websocket: false,
    };
    decide(&policy(POLICY), asked, claims)
}

fn allowed(verdict: Verdict<RouteSpec>) -> Allowed<RouteSpec> {
    match verdict {
        Verdict::Allow(allowed) => *allowed,
        Verdict::Refuse(denial) => panic!("{denial:?}"),
    }
}

fn clause(verdict: Verdict<RouteSpec>) -> (Option<String>, Clause) {
    match verdict {
        Verdict::Allow(allowed) => panic!("allowed: {allowed:?}"),
        Verdict::Refuse(denial) => (
            denial.route.map(|route| route.as_str().to_owned()),
            denial.clause,
        ),
    }
}

#[test]
fn a_request_becomes_what_the_policy_says() {
    let pairs = [
        ("authorization", "Bearer agent-token"),
        ("x-user", "root"),
        ("x-tenant", "other"),
        ("x-model", "m"),
        ("cookie", "a=b"),
        ("x-other", "o"),
    ];
    let allowed = allowed(verdict(
        Method::GET,
        "/r/dict/define/x?word=gate",
        &pairs,
        &claims("acme", "ann", Operations::All),
    ));
    assert_eq!(allowed.target, "/base/define/x?word=gate");
    assert_eq!(allowed.headers["authorization"], "Bearer upstream-secret");
    assert_eq!(allowed.headers["x-user"], "ann");
    assert_eq!(allowed.headers["x-tenant"], "acme");
    assert_eq!(allowed.headers["x-model"], "m");
    assert_eq!(allowed.headers.len(), 4);
}

#[test]
fn a_route_of_another_tenant_or_operation_does_not_exist() {
    let none = claims("acme", "ann", Operations::none());
    let other = claims("other", "ann", Operations::All);
    let all = claims("acme", "ann", Operations::All);
    for (uri, claims) in [
        ("/r/dict/define", &none),
        ("/r/dict/define", &other),
        ("/r/nothing/define", &all),
        ("/r/scores/", &all),
        ("/r/", &all),
        ("/", &all),
        ("/define", &all),
        ("/sandgate.token.v1.TokenService/RenewSession", &all),
    ] {
        assert_eq!(
            clause(verdict(Method::GET, uri, &[], claims)),
            (None, Clause::Route),
            "{uri}"
        );
    }
}

#[test]
fn each_clause_that_refuses_is_named() {
    let all = claims("acme", "ann", Operations::All);
    let dict = || Some("dict".to_owned());
    let ask =
        |method, uri, pairs: &[(&'static str, &str)]| clause(verdict(method, uri, pairs, &all));
    assert_eq!(
        ask(Method::DELETE, "/r/dict/define", &[]),
        (dict(), Clause::Methods)
    );
    assert_eq!(
        ask(Method::GET, "/r/dict/defined", &[]),
        (dict(), Clause::PathPrefix)
    );
    assert_eq!(
        ask(Method::GET, "/r/dict", &[]),
        (dict(), Clause::PathPrefix)
    );
    assert_eq!(
        ask(Method::GET, "/r/dict/define?user=root", &[]),
        (dict(), Clause::QueryUnlisted)
    );
    assert_eq!(
        ask(Method::POST, "/r/dict/define", &[("content-length", "11")]),
        (dict(), Clause::RequestBytes)
    );
    assert_eq!(
        ask(
            Method::POST,
            "/r/dict/define",
            &[("content-type", "application/grpc")]
        ),
        (dict(), Clause::GrpcOnHttp)
    );
    assert_eq!(
        ask(Method::TRACE, "/r/dict/define", &[]).1,
        Clause::Protocol
    );
    assert_eq!(
        ask(Method::GET, "/r/dict/define", &[("upgrade", "websocket")]).1,
        Clause::Upgrade
    );
    assert_eq!(
        ask(
            Method::POST,
            "/r/dict/define",
            &[("content-length", "1"), ("content-length", "2")]
        )
        .1,
        Clause::HeaderTwice
    );
    assert_eq!(
        ask(Method::GET, "/scores.v1.ScoreService/Score", &[]),
        (Some("scores".to_owned()), Clause::HttpOnGrpc)
    );
    for uri in [
        "/r/dict/define/%2e%2e/x",
        "/r/dict//define",
        "/r%2fdict/define",
        "/r/dict/define/../x",
    ] {
        assert!(
            matches!(ask(Method::GET, uri, &[]).1, Clause::Path(_)),
            "{uri}"
        );
    }
}

#[test]
fn no_credential_goes_with_options() {
    let allowed = allowed(verdict(
        Method::OPTIONS,
        "/r/dict/define",
        &[("authorization", "Bearer agent-token")],
        &claims("acme", "ann", Operations::All),
    ));
    assert!(!allowed.headers.contains_key("authorization"));
}

#[test]
fn a_grpc_call_keeps_its_method_and_gets_its_identity() {
    let allowed = allowed(verdict(
        Method::POST,
        "/scores.v1.ScoreService/Score",
        &[
            ("content-type", "application/grpc"),
            ("x-tenant", "other"),
            ("grpc-timeout", "5S"),
        ],
        &claims("acme", "ann", Operations::All),
    ));
    assert_eq!(allowed.target, "/scores.v1.ScoreService/Score");
    assert_eq!(allowed.headers["x-tenant"], "acme");
    assert_eq!(allowed.headers["te"], "trailers");
    assert_eq!(allowed.headers["grpc-timeout"], "5S");
}

#[test]
fn identity_in_the_query_is_the_gates_alone() {
    let text = POLICY.replace(
        "identity: { headers: { x-tenant: tenant, x-user: user } }",
        "identity: { query: { user: user, tenant: tenant } }",
    );
    let policy = policy(&text);
    let claims = claims("acme", "ann", Operations::All);
    let headers = HeaderMap::new();
    let decided = |uri: &str| {
        let uri: Uri = uri.parse().expect("a uri");
        let asked = Asked {
            method: &Method::GET,
            uri: &uri,
            headers: &headers,
            websocket: false,
        };
        decide(&policy, asked, &claims)
    };
    let target = |uri: &str| allowed(decided(uri)).target;
    assert_eq!(
        target("/r/dict/define"),
        "/base/define?tenant=acme&user=ann"
    );
    assert_eq!(
        target("/r/dict/define?word=a%26user=root"),
        "/base/define?word=a%26user=root&tenant=acme&user=ann"
    );
    for own in ["user=root", "User=root", "word=a&us%65r=root", "tenant"] {
        let (route, clause) = clause(decided(&format!("/r/dict/define?{own}")));
        assert_eq!(route.as_deref(), Some("dict"), "{own}");
        assert_eq!(clause, Clause::QueryUnlisted, "{own}");
    }
}

#[test]
fn grpc_web_is_refused_by_name_wherever_it_is_called() {
    let claims = claims("acme", "ann", Operations::All);
    for kind in [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "Application/gRPC-Web",
    ] {
        for path in ["/scores.v1.ScoreService/Score", "/r/dict/define/x"] {
            let refused = verdict(Method::POST, path, &[("content-type", kind)], &claims);
            assert_eq!(clause(refused), (None, Clause::GrpcWeb), "{kind} {path}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_headers_a_caller_sends_identity_and_credential_are_the_gates(
        pairs in proptest::collection::vec(("x-user|x-tenant|authorization|x-[a-z]{1,6}", "[a-z]{1,8}"), 0..12)
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &pairs {
            headers.append(
                http::HeaderName::try_from(name.as_str()).expect("a name"),
                value.parse().expect("a value"),
            );
        }
        let uri = Uri::from_static("/r/dict/define");
        let asked = Asked { method: &Method::GET, uri: &uri, headers: &headers, websocket: false };
        let claims = claims("acme", "ann", Operations::All);
        let allowed = allowed(decide(&policy(POLICY), asked, &claims));
        for (name, value) in [("x-user", "ann"), ("x-tenant", "acme"), ("authorization", "Bearer upstream-secret")] {
            let values: Vec<_> = allowed.headers.get_all(name).iter().collect();
            prop_assert_eq!(values, vec![value]);
        }
        for name in allowed.headers.keys() {
            let known = ["x-user", "x-tenant", "authorization", "x-model"].contains(&name.as_str());
            prop_assert!(known, "{}", name);
        }
    }

    #[test]
    fn no_path_leaves_the_base_and_the_prefix_of_its_route(rest in "[a-z./%2eEfF\\\\;]{0,20}") {
        let uri = format!("/r/dict/define{rest}");
        if let Ok(uri) = uri.parse::<Uri>() {
            let headers = HeaderMap::new();
            let asked = Asked { method: &Method::GET, uri: &uri, headers: &headers, websocket: false };
            let claims = claims("acme", "ann", Operations::All);
            if let Verdict::Allow(allowed) = decide(&policy(POLICY), asked, &claims) {
                prop_assert!(allowed.target.starts_with("/base/define"), "{}", allowed.target);
                prop_assert!(!allowed.target.contains("/.."), "{}", allowed.target);
            }
        }
    }
}
