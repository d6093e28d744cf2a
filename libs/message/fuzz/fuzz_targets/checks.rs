//! What holds for any bytes whatever: no reader of what goes on finds another identity than ours.
//!
//! `tests/any_bytes.rs` calls these with random bytes at each run of the tests, and the targets beside this file with
//! those that a fuzzer finds.

use std::sync::LazyLock;

use prost::Message as _;
use sandgate_message::frame::{Frames, framed};
use sandgate_message::json::{Json, Pointer};
use sandgate_message::protobuf::{Place, Rewriter, Schema, Unknown};

const PROTO: &str = r#"
syntax = "proto3";
package t;
service S { rpc Ask(Asked) returns (Asked); }
message Asked {
  string user = 1;
  Asked inner = 2;
  repeated Asked many = 3;
  map<string, Asked> named = 4;
  oneof how { string text = 5; Asked deep = 6; }
  repeated sint64 numbers = 7;
  bytes raw = 8;
}
"#;

/// A JSON text is refused, or goes on with one identity, whoever reads it.
pub(crate) fn json(bytes: &[u8]) {
    let Ok(mut json) = Json::parse(bytes) else {
        return;
    };
    let pointer = Pointer::parse("/caller/user").expect("a pointer");
    if json.set(&pointer, "ours").is_err() {
        return;
    }
    let written = json.write();
    assert_eq!(Json::parse(written.as_bytes()).as_ref(), Ok(&json));
    // Numbers that no float holds are refused there, and digits for digits here.
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(&written) {
        assert_eq!(value["caller"]["user"], "ours");
    }
}

/// A body of messages is refused, or each goes on with one identity.
pub(crate) fn messages(bytes: &[u8]) {
    static REWRITER: LazyLock<Rewriter> = LazyLock::new(rewriter);
    let mut frames = Frames::new(1 << 16);
    frames.push(bytes);
    while let Ok(Some(message)) = frames.take() {
        let Ok(written) = REWRITER.rewrite(&message, ["ours", "ours"]) else {
            continue;
        };
        let again = REWRITER.rewrite(&written, ["ours", "ours"]).expect("ours");
        assert_eq!(again.len(), written.len());
        assert!(written.starts_with(b"\x0a\x04ours"));
        assert!(framed(&written).is_ok());
    }
}

fn rewriter() -> Rewriter {
    let parsed = protox::file::File::from_source("t.proto", PROTO).expect("it parses");
    let set = prost_types::FileDescriptorSet {
        file: vec![parsed.file_descriptor_proto().clone()],
    };
    let schema = Schema::read(&set.encode_to_vec()).expect("a schema");
    let kind = schema.request_of("/t.S/Ask").expect("the method");
    let place = |text| Place::parse(&schema, &kind, text).expect("a place");
    let places = vec![place("user"), place("inner.user")];
    Rewriter::new(kind, Unknown::Drop, places)
}
