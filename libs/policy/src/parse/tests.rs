//! What a policy may say, and that everything else is refused by name, all at once.

mod body;

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::credential::CredentialSource;

const DOCUMENT: &str = include_str!("../../../../docs/policy.md");

/// The examples of the document, the complete one first.
fn examples() -> Vec<&'static str> {
    let begun = DOCUMENT.split("```yaml\n").skip(1);
    begun
        .map(|rest| rest.split_once("```").expect("its end").0)
        .collect()
}

fn folder_with_key(mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["llm.key", "tickets.key"] {
        let file = folder.path().join(name);
        std::fs::write(&file, "sk-secret\n").expect("write");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }
    folder
}

fn problems(text: &str) -> Vec<String> {
    let folder = folder_with_key(0o600);
    let violations = parse(text, folder.path(), false).expect_err("refused");
    violations.iter().map(ToString::to_string).collect()
}

#[test]
fn each_documented_example_is_a_policy() {
    let folder = folder_with_key(0o600);
    let parsed = |text| parse(text, folder.path(), true).unwrap_or_else(|error| panic!("{error}"));
    let examples: Vec<_> = examples().into_iter().map(parsed).collect();
    let routes = examples.first().expect("the complete one");
    assert_eq!(routes.len(), 3);
    let credential = routes
        .iter()
        .find_map(|route| route.credential.as_ref())
        .expect("a credential");
    let CredentialSource::Known(value) = &credential.source else {
        panic!("{credential:?}");
    };
    let (mut headers, mut target) = (http::HeaderMap::new(), String::new());
    value.write(&mut headers, &mut target);
    assert_eq!(headers["authorization"], "Bearer sk-secret");
    assert!(!format!("{routes:?}").contains("sk-secret"));
}

#[test]
fn an_empty_policy_allows_nothing_and_is_a_policy() {
    let folder = folder_with_key(0o600);
    assert_eq!(
        parse("version: 1\nroutes: []\n", folder.path(), false),
        Ok(Vec::new())
    );
}

#[test]
fn every_problem_is_told_at_once_and_by_its_path() {
    let problems = problems(
        "version: 2\n\
         colour: red\n\
         budgets: {}\n\
         routes:\n\
         - name: Bad_Name\n\
         \x20 http: { path_prefix: /../x, methods: [FETCH] }\n\
         \x20 operation: op\n\
         \x20 upstream: { url: 'ftp://x' }\n\
         - name: ok\n\
         \x20 grpc: { methods: [sandgate.token.v1.TokenService/RenewSession] }\n\
         \x20 upstream: { url: 'http://localhost:1' }\n\
         \x20 schema: {}\n\
         \x20 timout: 5s\n",
    );
    let all = problems.join("\n");
    for expected in [
        "version must be 1",
        "colour is no key of the policy",
        "budgets is not built in this version",
        "routes[0].name ",
        "routes[0].http.path_prefix ",
        "routes[0].http.methods[0] must be GET",
        "routes[0].upstream.url ",
        "routes[1].grpc.methods[0] must not be a method of Sandgate",
        "routes[1].upstream.url must name the loopback by its address",
        "routes[1].operation must be given",
        "routes[1].schema is not built in this version",
        "routes[1].timout is no key of the policy",
    ] {
        assert!(all.contains(expected), "{expected}\nin\n{all}");
    }
}

#[test]
fn a_typo_is_told_by_its_key_and_its_line() {
    let text = one(
        "upstream: { url: 'http://127.0.0.1:1' }\n  limits: { timeout: 5s,\n    request_byte: 1KiB }",
    );
    assert_eq!(
        problems(&text),
        ["routes[0].limits.request_byte is no key of the policy; see docs/policy.md (line 8)"]
    );
}

/// A policy with a key somewhere.
type WithKey<'a> = Box<dyn Fn(&str) -> String + 'a>;

#[test]
fn each_key_that_is_planned_is_refused_as_not_built() {
    let upstream = "upstream: { url: 'http://127.0.0.1:1' }";
    let inside = |section: &str| {
        let (section, upstream) = (section.to_owned(), upstream.to_owned());
        move |key: &str| one(&format!("{upstream}\n  {section}: {{ {key}: x }}"))
    };
    let of: [(&[&str], WithKey<'_>); 8] = [
        (
            UNBUILT_TOP,
            Box::new(|key| format!("version: 1\nroutes: []\n{key}: x\n")),
        ),
        (
            UNBUILT_ROUTE,
            Box::new(|key| one(&format!("{upstream}\n  {key}: x"))),
        ),
        (
            parts::UNBUILT_MATCHING,
            Box::new(|key| one(upstream).replace("[GET]", &format!("[GET], {key}: x"))),
        ),
        (
            parts::UNBUILT_UPSTREAM,
            Box::new(|key| one(&upstream.replace(" }", &format!(", {key}: x }}")))),
        ),
        (parts::UNBUILT_FORWARD, Box::new(inside("forward"))),
        (
            credential::UNBUILT_CREDENTIAL,
            Box::new(inside("credential")),
        ),
        (parts::UNBUILT_LIMITS, Box::new(inside("limits"))),
        (parts::UNBUILT_RATE, Box::new(inside("rate"))),
    ];
    for (keys, policy) in of {
        for key in keys {
            let all = problems(&policy(key)).join("\n");
            let expected = format!("{key} is not built in this version");
            assert!(all.contains(&expected), "{expected}\nin\n{all}");
        }
    }
}

fn one(extra: &str) -> String {
    format!(
        "version: 1\nroutes:\n- name: r\n  http: {{ methods: [GET] }}\n  operation: op\n  {extra}\n"
    )
}

#[test]
fn a_credential_needs_tenants_tls_and_a_closed_file() {
    let all = problems(&one(
        "upstream: { url: 'http://api.example.com' }\n  credential: { header: authorization, prefix: 'Bearer ', file: llm.key }",
    ))
    .join("\n");
    assert!(all.contains("routes[0].tenants must name"), "{all}");
    assert!(
        all.contains("routes[0].credential must not go to an http://"),
        "{all}"
    );
    let open = folder_with_key(0o644);
    let text = one(
        "tenants: [a]\n  upstream: { url: 'http://127.0.0.1:1' }\n  credential: { header: x-key, file: llm.key }",
    );
    let all = parse(&text, open.path(), false)
        .expect_err("open to others")
        .to_string();
    assert!(
        all.contains("routes[0].credential.file") && all.contains("chmod 600"),
        "{all}"
    );
    assert!(!all.contains("sk-secret"));
    assert!(parse(&text, folder_with_key(0o600).path(), false).is_ok());
}

#[test]
fn https_without_roots_is_refused_with_what_to_do() {
    let all = problems(&one("upstream: { url: 'https://api.example.com' }")).join("\n");
    assert!(all.contains("upstream_roots"), "{all}");
}

#[test]
fn headers_that_would_carry_an_identity_of_the_callers_cannot_be_listed() {
    for header in [
        "authorization",
        "cookie",
        "connection",
        "host",
        "forwarded",
        "x-forwarded-for",
        "x-real-ip",
        "traceparent",
        "sandgate-caller-bin",
        "x-sandbox-id",
        "x_user",
        "X-User",
        "te",
    ] {
        let all = problems(&one(&format!(
            "upstream: {{ url: 'http://127.0.0.1:1' }}\n  forward: {{ request_headers: ['{header}'] }}"
        )))
        .join("\n");
        assert!(
            all.contains("routes[0].forward.request_headers[0]"),
            "{header}: {all}"
        );
    }
    let all = problems(&one(
        "upstream: { url: 'http://127.0.0.1:1' }\n  identity: { headers: { x-user: user } }\n  forward: { request_headers: [x-user] }",
    ))
    .join("\n");
    assert!(all.contains("must not list x-user"), "{all}");
}

#[test]
fn two_routes_of_one_name_or_one_method_are_refused() {
    let route = |name: &str| {
        format!(
            "- name: {name}\n  grpc: {{ methods: [a.B/C] }}\n  operation: op\n  upstream: {{ url: 'http://127.0.0.1:1' }}\n"
        )
    };
    let all = problems(&format!(
        "version: 1\nroutes:\n{}{}",
        route("a"),
        route("a")
    ))
    .join("\n");
    assert!(
        all.contains("routes[1].name must be another than that of routes[0]"),
        "{all}"
    );
    assert!(
        all.contains("routes[1].grpc.methods must not have a method that routes[0] has"),
        "{all}"
    );
}

#[test]
fn text_that_is_no_yaml_or_repeats_a_key_is_refused_without_being_repeated() {
    for text in [
        "",
        "[",
        "version: 1\nversion: 1\nroutes: []",
        "- a",
        "routes: {a: b}",
    ] {
        assert!(!problems(text).is_empty(), "{text}");
    }
}

#[test]
fn websockets_and_connect_timeouts_are_checked_against_what_they_are_on() {
    let http = |http: &str, more: &str| {
        format!(
            "version: 1\nroutes:\n- name: r\n  http: {{ {http} }}\n  operation: op\n  upstream: {{ url: 'http://127.0.0.1:1' }}\n{more}"
        )
    };
    for (policy, expected) in [
        (
            http("methods: [POST], websocket: true", ""),
            "http.websocket must be on a route that serves GET",
        ),
        (
            http("methods: [GET], websocket: yes please", ""),
            "http.websocket must be true or false",
        ),
        (
            http(
                "methods: [GET], websocket: true",
                "  identity: { json: { /user: user } }\n",
            ),
            "http.websocket must not be on a route with identity.json",
        ),
        (
            http(
                "methods: [GET]",
                "  forward: { request_headers: [sec-websocket-protocol] }\n",
            ),
            "forward.request_headers must not list sec-websocket-protocol",
        ),
        (
            http(
                "methods: [GET], websocket: true",
                "  forward: { response_headers: [sec-websocket-protocol] }\n",
            ),
            "forward.response_headers must not list sec-websocket-protocol",
        ),
        (
            http(
                "methods: [GET], websocket: true",
                "  forward: { request_headers: [sec-websocket-key] }\n",
            ),
            "must not be a header that belongs to the connection",
        ),
        (
            http("methods: [GET]", "  limits: { connect_timeout: 61s }\n"),
            "limits.connect_timeout must be from 1ms to 60s",
        ),
        (
            http("methods: [GET]", "  limits: { connect_timeout: 0s }\n"),
            "limits.connect_timeout must be from 1ms to 60s",
        ),
    ] {
        let all = problems(&policy).join("\n");
        assert!(all.contains(expected), "{expected}\nin\n{all}");
    }
}

#[test]
fn a_parameter_of_identity_is_nobody_elses_and_not_of_grpc() {
    let upstream = "upstream: { url: 'http://127.0.0.1:1' }";
    let identity = "identity: { query: { user: user } }";
    for (extra, expected) in [
        (
            "forward: { query: [User] }",
            "routes[0].forward.query must not list User, which the gate writes itself",
        ),
        (
            "tenants: [a]\n  credential: { query: USER, file: llm.key }",
            "routes[0].credential.query must be another parameter than those of identity",
        ),
        (
            "identity: { query: { 'a b': user } }",
            "routes[0].identity.query must consist of letters, digits and -_~",
        ),
    ] {
        let identity = if extra.starts_with("identity") {
            ""
        } else {
            identity
        };
        let all = problems(&one(&format!("{upstream}\n  {identity}\n  {extra}"))).join("\n");
        assert!(all.contains(expected), "{expected}\nin\n{all}");
    }
    let grpc = one(&format!("{upstream}\n  {identity}"))
        .replace("http: { methods: [GET] }", "grpc: { methods: [a.B/C] }");
    let all = problems(&grpc).join("\n");
    assert!(
        all.contains("routes[0].identity.query must not be on a gRPC route"),
        "{all}"
    );
}
