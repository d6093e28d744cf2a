//! Any bytes whatever, for what must hold of each: a few hundred at every run, as many as one likes with a fuzzer.

#[path = "../fuzz/fuzz_targets/checks.rs"]
mod checks;

use proptest::prelude::*;

/// Bytes that are often JSON, and often nearly.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just("\"caller\""),
        Just("\"user\""),
        Just("\"\\u0075ser\""),
        Just("\"User\""),
        Just("\"x\""),
        Just("1e9"),
        Just("-0.5"),
        Just("null"),
        Just("\"\\ud83d\\ude00\""),
        Just(" "),
        Just("\"caller\":{\"user\":\"eve\"}"),
    ];
    let tokens = proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat());
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        tokens.clone().prop_map(String::into_bytes),
        tokens.prop_map(|text| format!("{{{text}}}").into_bytes()),
    ]
}

/// Frames of bytes that are often messages, and often nearly.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let field = (
        1u8..10,
        prop_oneof![Just(0u8), Just(2), Just(3), Just(5)],
        proptest::collection::vec(any::<u8>(), 0..5),
    );
    let field = field.prop_map(|(number, kind, bytes)| {
        let mut field = vec![number << 3 | kind];
        if kind == 2 {
            field.push(u8::try_from(bytes.len()).expect("short"));
        }
        field.extend(bytes);
        field
    });
    let message = proptest::collection::vec(field, 0..5).prop_map(|fields| fields.concat());
    let frame = message.prop_map(|message| {
        let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).expect("short")];
        frame.extend(message);
        frame
    });
    proptest::collection::vec(frame, 0..4).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_text_is_refused_or_has_one_identity(bytes in texts()) {
        checks::json(&bytes);
    }

    #[test]
    fn any_body_is_refused_or_each_message_has_one_identity(bytes in frames()) {
        checks::messages(&bytes);
    }
}
