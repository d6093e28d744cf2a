//! What a policy may say of bodies.

use sandgate_message::json::Pointer;

use super::*;
use crate::body::{Body, JsonBody};
use crate::route::Claim;

const PROTO: &str = "
syntax = \"proto3\";
package t;
service S { rpc One(Asked) returns (Asked); rpc Two(Other) returns (Asked); }
message Asked { string user = 1; int32 number = 2; }
message Other { string name = 1; }
";

fn http(identity: &str) -> String {
    one(&format!(
        "upstream: {{ url: 'http://127.0.0.1:1' }}\n  identity: {identity}\n"
    ))
}

fn grpc(methods: &str, extra: &str) -> (tempfile::TempDir, String) {
    let folder = folder_with_key(0o600);
    let parsed = protox::file::File::from_source("t.proto", PROTO).expect("it parses");
    let set = prost_types::FileDescriptorSet {
        file: vec![parsed.file_descriptor_proto().clone()],
    };
    let encoded = prost::Message::encode_to_vec(&set);
    std::fs::write(folder.path().join("t.binpb"), encoded).expect("write");
    std::fs::write(folder.path().join("no.binpb"), "no").expect("write");
    let text = format!(
        "version: 1\nroutes:\n- name: a\n  grpc: {{ methods: [{methods}], {extra} }}\n  operation: o\n  upstream: {{ url: 'http://127.0.0.1:1' }}\n"
    );
    (folder, text)
}

fn grpc_problems(methods: &str, extra: &str, identity: &str) -> Vec<String> {
    let (folder, text) = grpc(methods, extra);
    let text = format!("{text}  identity: {identity}\n");
    let violations = parse(&text, folder.path(), false).expect_err("refused");
    violations.iter().map(ToString::to_string).collect()
}

#[test]
fn claims_are_written_at_pointers_of_json() {
    let folder = folder_with_key(0o600);
    let text = http("{ json: { /user: user, /calls/*/tenant: tenant } }");
    let routes = parse(&text, folder.path(), false).unwrap_or_else(|error| panic!("{error}"));
    let pointer = |text| Pointer::parse(text).expect("a pointer");
    let identity = vec![
        (pointer("/calls/*/tenant"), Claim::Tenant),
        (pointer("/user"), Claim::User),
    ];
    let spec = routes.first().expect("a route");
    assert_eq!(spec.body, Body::Json(JsonBody { identity }));
}

#[test]
fn pointers_that_lead_nowhere_or_into_one_another_are_refused() {
    for (identity, path) in [
        ("{ json: { user: user } }", "identity.json.user"),
        ("{ json: { /a: user, /a/b: tenant } }", "identity.json./a/b"),
        ("{ json: { /a: everybody } }", "identity.json./a"),
        ("{ protobuf: { user: user } }", "identity.protobuf.user"),
    ] {
        let problems = problems(&http(identity));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(path), "{problems:?}");
    }
}

#[test]
fn a_route_whose_descriptors_were_written_anew_without_a_change_is_the_same() {
    let read = || {
        let (folder, text) = grpc("t.S/One", "descriptor_set: t.binpb");
        let text = format!("{text}  identity: {{ protobuf: {{ user: user }} }}\n");
        parse(&text, folder.path(), false).unwrap_or_else(|error| panic!("{error}"))
    };
    assert_eq!(read(), read());
    let (folder, text) = grpc("t.S/One", "descriptor_set: t.binpb, unknown_fields: refuse");
    let text = format!("{text}  identity: {{ protobuf: {{ user: user }} }}\n");
    let other = parse(&text, folder.path(), false).unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(read(), other);
}

#[test]
fn places_and_descriptors_that_do_not_fit_are_refused_by_name() {
    let user = "{ protobuf: { user: user } }";
    for (methods, extra, identity, words) in [
        ("t.S/One", "", user, "must be beside grpc.descriptor_set"),
        (
            "t.S/One",
            "descriptor_set: none.binpb",
            user,
            "must name a file that can be read",
        ),
        (
            "t.S/One",
            "descriptor_set: no.binpb",
            "{}",
            "must be a set of descriptors",
        ),
        (
            "t.S/Three",
            "descriptor_set: t.binpb",
            "{}",
            "must describe the method t.S/Three",
        ),
        (
            "t.S/One, t.S/Two",
            "descriptor_set: t.binpb",
            user,
            "t.Other has no field user (in t.S/Two)",
        ),
        (
            "t.S/One",
            "descriptor_set: t.binpb",
            "{ protobuf: { number: user } }",
            "must end in a string field",
        ),
        (
            "t.S/One",
            "descriptor_set: t.binpb, unknown_fields: keep",
            "{}",
            "must be drop or refuse",
        ),
        (
            "t.S/One",
            "unknown_fields: drop",
            "{}",
            "must be given beside a descriptor_set only",
        ),
        (
            "t.S/One",
            "descriptor_set: t.binpb",
            "{ json: { /user: user } }",
            "must be on an HTTP route",
        ),
    ] {
        let problems = grpc_problems(methods, extra, identity).join("\n");
        assert!(problems.contains(words), "{words}: {problems}");
    }
}
