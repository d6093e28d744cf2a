//! Texts that every reader reads alike, and those that none gets.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn parsed(text: &str) -> Result<Json, Refused> {
    Json::parse(text.as_bytes())
}

fn with(text: &str, pointer: &str) -> Result<String, Unwritable> {
    let mut json = parsed(text).expect("a text");
    json.set(&Pointer::parse(pointer).expect("a pointer"), "ann")?;
    Ok(json.write())
}

#[test]
fn a_text_is_written_anew_with_its_digits_and_its_order() {
    let text = r#" { "b" : [ 1.10, -0, 1e400, 12345678901234567890123 ] , "a" : "\u0041\ud83d\ude00\/" } "#;
    let json = parsed(text).expect("a text");
    assert_eq!(
        json.write(),
        r#"{"b":[1.10,-0,1e400,12345678901234567890123],"a":"A😀/"}"#
    );
}

#[test]
fn what_two_readers_read_differently_is_refused() {
    for (text, refused) in [
        (r#"{"user":1,"user":2}"#, Refused::Duplicate(10)),
        (r#"{"user":1,"\u0075ser":2}"#, Refused::Duplicate(10)),
        (r#"{"a":"\ud800"}"#, Refused::Surrogate(6)),
        (r#"{"a":"\udc00\ud800"}"#, Refused::Surrogate(6)),
        (r#"{"a":"\ud800\u0041"}"#, Refused::Surrogate(6)),
        ("{} {}", Refused::Trailing(3)),
        ("\u{feff}{}", Refused::Encoding),
        ("{'a':1}", Refused::Grammar(1)),
        ("{\"a\":1,}", Refused::Grammar(7)),
        ("[1,]", Refused::Grammar(3)),
        ("// no\n{}", Refused::Grammar(0)),
        ("[NaN]", Refused::Grammar(1)),
        ("[Infinity]", Refused::Grammar(1)),
        ("[01]", Refused::Grammar(2)),
        ("[+1]", Refused::Grammar(1)),
        ("[.5]", Refused::Grammar(1)),
        ("[1.]", Refused::Grammar(3)),
        ("[1e]", Refused::Grammar(3)),
        ("\"\n\"", Refused::Grammar(1)),
        (r#""\x41""#, Refused::Grammar(2)),
        (r#""\u+041""#, Refused::Grammar(3)),
        ("\"open", Refused::Grammar(5)),
        ("", Refused::Grammar(0)),
    ] {
        assert_eq!(parsed(text), Err(refused), "{text}");
    }
    assert_eq!(Json::parse(b"\"\xff\""), Err(Refused::Encoding));
}

#[test]
fn depth_values_and_names_are_bounded() {
    let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parsed(&deep(64)).is_ok());
    assert_eq!(parsed(&deep(65)), Err(Refused::Deep));
    assert_eq!(parsed(&deep(1_000_000)), Err(Refused::Deep));
    let many = format!("[{}1]", "1,".repeat(200_000));
    assert_eq!(parsed(&many), Err(Refused::Many));
    let long = format!("{{\"{}\":1}}", "n".repeat(4_097));
    assert_eq!(parsed(&long), Err(Refused::Name(1)));
}

#[test]
fn a_claim_takes_the_place_of_whatever_is_there() {
    for (text, pointer, written) in [
        (r#"{"user":"eve"}"#, "/user", r#"{"user":"ann"}"#),
        (r#"{"user":{"id":"eve"}}"#, "/user", r#"{"user":"ann"}"#),
        ("{}", "/user", r#"{"user":"ann"}"#),
        (
            r#"{"a":1}"#,
            "/meta/user",
            r#"{"a":1,"meta":{"user":"ann"}}"#,
        ),
        (
            r#"{"calls":[{"user":"eve"},{}]}"#,
            "/calls/*/user",
            r#"{"calls":[{"user":"ann"},{"user":"ann"}]}"#,
        ),
        (r#"{"a":1}"#, "/calls/*/user", r#"{"a":1}"#),
        (r#"{"a/b~":1}"#, "/a~1b~0", r#"{"a/b~":"ann"}"#),
    ] {
        assert_eq!(with(text, pointer).as_deref(), Ok(written), "{text}");
    }
}

#[test]
fn a_claim_that_could_be_read_otherwise_is_not_written() {
    for text in [
        r#"{"User":"eve"}"#,
        r#"{"USER":"eve"}"#,
        r#"{"user":"x","uSer":"eve"}"#,
        // Letters that fold to ASCII ones: a long s.
        r#"{"u\u017fer":"eve"}"#,
        r#"{"_user":"eve"}"#,
    ] {
        let refused = with(text, "/user").expect_err(text);
        assert!(matches!(refused, Unwritable::Alias(_)), "{text}");
    }
    let refused = with(r#"{"userId":"eve"}"#, "/user_id").expect_err("an alias");
    assert!(matches!(refused, Unwritable::Alias(_)));
    for (text, pointer) in [
        ("[]", "/user"),
        ("\"eve\"", "/user"),
        (r#"{"meta":"eve"}"#, "/meta/user"),
        (r#"{"meta":null}"#, "/meta/user"),
        (r#"{"calls":{"0":{}}}"#, "/calls/*/user"),
        (r#"{"calls":[1]}"#, "/calls/*/user"),
    ] {
        let refused = with(text, pointer).expect_err(text);
        assert!(matches!(refused, Unwritable::Shape(_)), "{text}");
    }
}

#[test]
fn a_pointer_has_one_form_and_ends_in_a_member() {
    for (text, error) in [
        ("", PointerError::Form),
        ("user", PointerError::Form),
        ("/", PointerError::Form),
        ("/a//b", PointerError::Form),
        ("/a~2", PointerError::Form),
        ("/a~", PointerError::Form),
        ("/a/*", PointerError::End),
    ] {
        assert_eq!(Pointer::parse(text), Err(error), "{text}");
    }
    assert_eq!(
        Pointer::parse(&"/a".repeat(64)),
        Err(PointerError::Deep),
        "deeper than any text"
    );
    let pointer = |text| Pointer::parse(text).expect("a pointer");
    assert_eq!(pointer("/a~1b/*/c~0").to_string(), "/a~1b/*/c~0");
    assert!(pointer("/a").is_above(&pointer("/a/b")));
    assert!(!pointer("/a/b").is_above(&pointer("/a")));
}

/// Members that say who asks, in whatever way and place, and others.
fn members() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("user".to_owned()),
        Just("\\u0075ser".to_owned()),
        Just("User".to_owned()),
        Just("us\\u0065r".to_owned()),
        "[a-z_]{1,6}",
    ];
    let value = prop_oneof![
        Just("\"eve\"".to_owned()),
        Just("{\"user\":\"eve\"}".to_owned()),
        Just("[{\"user\":\"eve\"}]".to_owned()),
        Just("-1.50e3".to_owned()),
        Just("null".to_owned()),
    ];
    let member = (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    proptest::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
}

/// The first member of this name, as readers find it that stop there: by the text alone.
fn first_text_of(written: &str, name: &str) -> Option<String> {
    let needle = format!("\"{name}\":\"");
    let from = written.find(&needle)? + needle.len();
    let rest = written.get(from..)?;
    rest.get(..rest.find('"')?).map(str::to_owned)
}

proptest! {
    #[test]
    fn no_reader_finds_another_identity(text in members()) {
        if let Ok(mut json) = parsed(&text) {
            let pointer = Pointer::parse("/user").expect("a pointer");
            if json.set(&pointer, "ann").is_ok() {
                let written = json.write();
                // Whoever takes the last of two members.
                let value: Value = serde_json::from_str(&written).expect("JSON");
                prop_assert_eq!(value.get("user"), Some(&Value::from("ann")));
                // Whoever does not mind case sees no other either.
                let object = value.as_object().expect("an object");
                let others = object.keys().filter(|name| name.to_lowercase() == "user");
                prop_assert_eq!(others.count(), 1);
                // A member at the top is never nested in another that came before it, so that its text is found.
                prop_assert!(first_text_of(&written, "user").is_some());
            }
        }
    }

    #[test]
    fn what_was_written_is_read_as_it_was(text in "\\PC{0,40}", number in -1e9..1e9f64) {
        let json = Json::Object(vec![
            (text.clone(), Json::Number(number.to_string())),
            ("list".to_owned(), Json::List(vec![Json::Text(text), Json::Null, Json::Bool(true)])),
        ]);
        if let Ok(again) = Json::parse(json.write().as_bytes()) {
            prop_assert_eq!(&again, &json);
            let value: Value = serde_json::from_str(&json.write()).expect("JSON");
            prop_assert!(value.is_object());
        }
    }

    #[test]
    fn whatever_we_take_is_json_to_others_and_means_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(json) = Json::parse(&bytes) {
            let theirs: Result<Value, _> = serde_json::from_slice(&bytes);
            // Theirs refuses numbers that no float holds.
            if let Ok(theirs) = theirs {
                let ours: Value = serde_json::from_str(&json.write()).expect("JSON");
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
