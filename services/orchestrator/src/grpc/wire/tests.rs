//! What is parsed, and what is refused.

use super::*;

fn one(name: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(name.to_owned(), value.to_owned())])
}

#[test]
fn environments_are_bounded_and_names_are_names() {
    assert!(environment_from(one("PATH_2", "a=b")).is_ok());
    for wire in [
        one("", "x"),
        one("A=B", "x"),
        one("1A", "x"),
        one("SANDGATE_URL_X", "x"),
        one("A", "nul\0"),
        one("A", &"x".repeat(ENVIRONMENT_MAX_BYTES)),
    ] {
        assert_eq!(
            environment_from(wire).expect_err("refused").field(),
            "environment"
        );
    }
}

#[test]
fn a_refused_environment_is_never_repeated() {
    let refused = environment_from(one("A B", "hunter2")).expect_err("a space");
    assert!(!refused.to_string().contains("hunter2"));
}

#[test]
fn lifetimes_below_a_second_are_refused() {
    for wire in [(0, 0), (-1, 0), (0, 999_999_999), (i64::MAX, 0)] {
        let (seconds, nanos) = wire;
        let refused = ttl_from(Some(prost_types::Duration { seconds, nanos }));
        assert_eq!(refused.expect_err("out of range").field(), "ttl");
    }
    assert_eq!(ttl_from(None), Ok(None));
}

#[test]
fn absent_operations_are_not_empty_ones() {
    assert_eq!(operations_from(None), Ok(None));
    assert_eq!(
        operations_from(Some(pb::Operations { names: Vec::new() })),
        Ok(Some(Vec::new()))
    );
    assert!(
        operations_from(Some(pb::Operations {
            names: vec!["*".into()]
        }))
        .is_err()
    );
}
