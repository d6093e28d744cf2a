//! Messages as they go on, and as naive readers of the bytes would understand them.

use std::sync::LazyLock;

use proptest::prelude::*;
use prost::Message as _;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, WireType};
use prost_reflect::{DynamicMessage, Value};

use super::*;

const PROTO: &str = r#"
syntax = "proto3";
package t;
import "google/protobuf/any.proto";
service S { rpc Ask(Asked) returns (Asked); }
message Asked {
  string user = 1;
  Caller caller = 2;
  repeated Caller callers = 3;
  map<string, Caller> by_name = 4;
  oneof how { Caller by_caller = 5; string by_text = 6; }
  google.protobuf.Any payload = 7;
  repeated int32 numbers = 8;
  Asked inner = 9;
  optional string optional_user = 10;
  bytes raw = 11;
}
message Caller { string user = 1; string name = 2; }
"#;

fn schema() -> Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(compiled);
    SCHEMA.clone()
}

fn compiled() -> Schema {
    let mut resolver = protox::file::ChainFileResolver::new();
    resolver.add(Source);
    resolver.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file("t.proto").expect("it compiles");
    Schema::read(&compiler.encode_file_descriptor_set()).expect("a schema")
}

struct Source;

impl protox::file::FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        if name == "t.proto" {
            protox::file::File::from_source(name, PROTO)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

fn rewriter(unknown: Unknown, places: &[&str]) -> Rewriter {
    let schema = schema();
    let kind = schema.request_of("/t.S/Ask").expect("the method");
    let places = places
        .iter()
        .map(|place| Place::parse(&schema, &kind, place).expect("a place"));
    let places = places.collect();
    Rewriter::new(kind, unknown, places)
}

fn asked(text: &str) -> DynamicMessage {
    let kind = schema().request_of("/t.S/Ask").expect("the method").0;
    let mut message = DynamicMessage::new(kind);
    if !text.is_empty() {
        message.set_field_by_name("user", Value::String(text.to_owned()));
    }
    message
}

fn caller(user: &str) -> DynamicMessage {
    let kind = schema().0.get_message_by_name("t.Caller").expect("a kind");
    let mut message = DynamicMessage::new(kind);
    message.set_field_by_name("user", Value::String(user.to_owned()));
    message.set_field_by_name("name", Value::String("n".to_owned()));
    message
}

/// A text field as it is on the wire.
fn text(number: u32, value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoding::string::encode(number, &value.to_owned(), &mut bytes);
    bytes
}

/// A field of bytes as it is on the wire.
fn bytes(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoding::bytes::encode(number, &value.to_vec(), &mut bytes);
    bytes
}

fn user_of(message: &DynamicMessage) -> String {
    let user = message.get_field_by_name("user").expect("a field");
    user.as_str().expect("text").to_owned()
}

fn read(message: &[u8]) -> DynamicMessage {
    let kind = schema().request_of("/t.S/Ask").expect("the method").0;
    DynamicMessage::decode(kind, message).expect("a message")
}

#[test]
fn a_claim_takes_the_place_of_whatever_is_there() {
    let ours = rewriter(Unknown::Drop, &["user", "caller.user", "optional_user"]);
    let mut came = asked("eve");
    came.set_field_by_name("caller", Value::Message(caller("eve")));
    let written = ours
        .rewrite(&came.encode_to_vec(), ["ann"; 3])
        .expect("good");
    let written = read(&written);
    assert_eq!(user_of(&written), "ann");
    let inner = written.get_field_by_name("caller").expect("a field");
    let inner = inner.as_message().expect("a message");
    assert_eq!(user_of(inner), "ann");
    let name = inner.get_field_by_name("name").expect("a field");
    assert_eq!(name.as_str(), Some("n"), "what is no identity stays");
    // Where nothing is, too.
    let written = ours.rewrite(&[], ["ann"; 3]).expect("good");
    let optional = read(&written);
    let optional = optional.get_field_by_name("optional_user").expect("it");
    assert_eq!(optional.as_str(), Some("ann"));
}

#[test]
fn a_claim_is_written_into_each_item_of_lists_and_maps() {
    let ours = rewriter(Unknown::Drop, &["callers.user", "by_name.user"]);
    let mut came = asked("");
    let two = vec![
        Value::Message(caller("eve")),
        Value::Message(caller("mallory")),
    ];
    came.set_field_by_name("callers", Value::List(two));
    let entry = (
        prost_reflect::MapKey::String("k".to_owned()),
        Value::Message(caller("eve")),
    );
    came.set_field_by_name("by_name", Value::Map([entry].into()));
    let written = ours
        .rewrite(&came.encode_to_vec(), ["ann"; 2])
        .expect("good");
    let text = String::from_utf8_lossy(&written);
    assert!(!text.contains("eve") && !text.contains("mallory"), "{text}");
    assert_eq!(text.matches("ann").count(), 3, "{text}");
}

#[test]
fn duplicates_and_halves_mean_one_thing_only() {
    let ours = rewriter(Unknown::Drop, &["user", "caller.user"]);
    let half = [text(2, "n")].concat();
    let other = [text(1, "eve")].concat();
    let came = [
        text(1, "eve"),
        text(1, "ann"),
        bytes(2, &half),
        bytes(2, &other),
        text(1, "mallory"),
    ]
    .concat();
    let written = ours.rewrite(&came, ["ann"; 2]).expect("good");
    let expected = [
        text(1, "ann"),
        bytes(2, &[text(1, "ann"), text(2, "n")].concat()),
    ]
    .concat();
    assert_eq!(written, expected);
}

#[test]
fn a_member_of_a_oneof_is_written_where_it_was_chosen() {
    let ours = rewriter(Unknown::Drop, &["by_caller.user"]);
    let came = [bytes(5, &text(1, "eve"))].concat();
    let written = ours.rewrite(&came, ["ann"]).expect("good");
    assert_eq!(written, bytes(5, &text(1, "ann")));
    let came = [bytes(5, &text(1, "eve")), text(6, "chosen")].concat();
    let written = ours.rewrite(&came, ["ann"]).expect("good");
    assert_eq!(
        written,
        text(6, "chosen"),
        "the last of two is what is asked"
    );
}

#[test]
fn an_any_is_opened_when_its_kind_is_declared_and_refused_when_not() {
    let ours = rewriter(Unknown::Drop, &["payload.[t.Caller].user"]);
    let any = |url: &str, held: &[u8]| bytes(7, &[text(1, url), bytes(2, held)].concat());
    let held = [text(1, "eve"), text(99, "hidden")].concat();
    let written = ours
        .rewrite(&any("evil.example/t.Caller", &held), ["ann"])
        .expect("good");
    assert_eq!(
        written,
        any("type.googleapis.com/t.Caller", &text(1, "ann"))
    );
    // Of another kind that is declared: cleaned, and nothing is written.
    let other = any("type.googleapis.com/t.Asked", &text(1, "x"));
    assert_eq!(ours.rewrite(&other, ["ann"]).expect("good"), other);
    for url in ["type.googleapis.com/t.Hidden", "t.Caller", ""] {
        let refused = ours.rewrite(&any(url, &held), ["ann"]).expect_err(url);
        assert_eq!(refused, Refused::Opaque, "{url}");
    }
}

#[test]
fn fields_that_the_schema_does_not_know_are_dropped_or_refused_at_every_depth() {
    let hidden = [text(1, "x"), text(77, "eve")].concat();
    for came in [
        hidden.clone(),
        bytes(2, &hidden),
        bytes(3, &hidden),
        // Several of several numbers.
        [hidden.clone(), text(78, "eve"), text(77, "eve")].concat(),
        bytes(9, &bytes(9, &hidden)),
        bytes(7, &[text(1, "a/t.Caller"), bytes(2, &hidden)].concat()),
        // A group, which is no field of ours.
        [&[0x63][..], &hidden, &[0x64]].concat(),
    ] {
        let written = rewriter(Unknown::Drop, &["user"]).rewrite(&came, ["ann"]);
        let written = written.expect("good");
        let text = String::from_utf8_lossy(&written).into_owned();
        assert!(!text.contains("eve"), "{written:?}");
        let refused = rewriter(Unknown::Refuse, &["user"]).rewrite(&came, ["ann"]);
        assert!(matches!(refused, Err(Refused::Unknown(_))), "{came:?}");
    }
}

#[test]
fn what_is_no_message_of_the_kind_is_refused() {
    let ours = rewriter(Unknown::Drop, &["user"]);
    for came in [
        &[0x0a, 5, b'x'][..],
        // A string that is no UTF-8, a field of number zero, another wire type, a varint without an end.
        &[0x0a, 1, 0xff],
        &[0x00, 1],
        &[0x08, 1],
        &[
            0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ],
    ] {
        let refused = ours.rewrite(came, ["ann"]);
        assert!(matches!(refused, Err(Refused::Form(_))), "{came:?}");
    }
    let deep = (0..80).fold(Vec::new(), |inner, _| bytes(9, &inner));
    assert_eq!(ours.rewrite(&deep, ["ann"]), Err(Refused::Deep));
}

#[test]
fn packed_numbers_and_single_ones_are_one_list() {
    let ours = rewriter(Unknown::Drop, &[]);
    let came = [&[0x40, 1][..], &[0x42, 2, 2, 3], &[0x40, 0x84, 0x00]].concat();
    let written = ours.rewrite(&came, []).expect("good");
    assert_eq!(written, [0x42, 4, 1, 2, 3, 4]);
}

#[test]
fn a_place_leads_to_one_text_of_the_message() {
    let schema = schema();
    let kind = schema.request_of("/t.S/Ask").expect("the method");
    let refused = |text| Place::parse(&schema, &kind, text).expect_err(text);
    assert!(matches!(refused("nobody"), PlaceError::Field(..)));
    assert!(matches!(refused("user.name"), PlaceError::NoMessage(_)));
    assert!(matches!(refused("numbers"), PlaceError::NoText(_)));
    assert!(matches!(refused("caller"), PlaceError::NoText(_)));
    assert!(matches!(refused("raw"), PlaceError::NoText(_)));
    assert!(matches!(refused("payload.user"), PlaceError::Any));
    assert!(matches!(refused("payload.[t.None].user"), PlaceError::Any));
    let place = |text| Place::parse(&schema, &kind, text).expect(text);
    assert!(place("caller.user").is_above(&place("caller.user")));
    assert!(!place("caller.user").is_above(&place("caller.name")));
    let error = schema.request_of("/t.S/Other").expect_err("no such method");
    assert_eq!(error, SchemaError::Method);
    assert_eq!(
        Schema::read(b"no").expect_err("no schema"),
        SchemaError::Form
    );
}

/// Every text that a reader could find in the field `number` of a message, whichever of several it takes and
/// whatever it takes for messages: a walk over the wire that knows no schema.
fn found(mut message: &[u8], number: u32, texts: &mut Vec<Vec<u8>>) {
    while message.has_remaining() {
        let Ok((field, kind)) = encoding::decode_key(&mut message) else {
            return;
        };
        if kind != WireType::LengthDelimited {
            let context = encoding::DecodeContext::default();
            if encoding::skip_field(kind, field, &mut message, context).is_err() {
                return;
            }
            continue;
        }
        let Ok(length) = encoding::decode_varint(&mut message) else {
            return;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > message.remaining() {
            return;
        }
        let (inner, rest) = message.split_at(length);
        if field == number {
            texts.push(inner.to_vec());
        }
        message = rest;
    }
}

/// Pieces of messages: fields of ours and of others, whole and broken.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(text(1, "eve")),
        Just(bytes(2, &text(1, "eve"))),
        Just(bytes(3, &text(1, "eve"))),
        Just(bytes(5, &text(1, "eve"))),
        Just(text(6, "eve")),
        Just(bytes(
            7,
            &[text(1, "x/t.Caller"), bytes(2, &text(1, "eve"))].concat()
        )),
        Just(bytes(9, &text(1, "eve"))),
        Just(text(50, "eve")),
        Just(vec![0x63, 0x64]),
        Just({
            // A length in more bytes than it needs.
            let mut long = vec![0x0a];
            long.put_slice(&[0x83, 0x80, 0x00]);
            long.put_slice(b"eve");
            long
        }),
        proptest::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #[test]
    fn no_reader_finds_another_identity(pieces in proptest::collection::vec(piece(), 0..8)) {
        let ours = rewriter(Unknown::Drop, &["user", "caller.user", "payload.[t.Caller].user"]);
        if let Ok(written) = ours.rewrite(&pieces.concat(), ["ann"; 3]) {
            let mut users = Vec::new();
            found(&written, 1, &mut users);
            prop_assert_eq!(users, vec![b"ann".to_vec()]);
            let mut callers = Vec::new();
            found(&written, 2, &mut callers);
            prop_assert_eq!(callers.len(), 1);
            for inner in &callers {
                let mut users = Vec::new();
                found(inner, 1, &mut users);
                prop_assert_eq!(users, vec![b"ann".to_vec()]);
            }
            let mut payloads = Vec::new();
            found(&written, 7, &mut payloads);
            prop_assert!(payloads.len() <= 1);
            // What was written means the same when it is written again.
            let again = ours.rewrite(&written, ["ann"; 3]).expect("good");
            prop_assert!(read(&again) == read(&written));
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(came in proptest::collection::vec(any::<u8>(), 0..200)) {
        let ours = rewriter(Unknown::Drop, &["user"]);
        drop(ours.rewrite(&came, ["ann"]));
    }
}
