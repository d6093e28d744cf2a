//! Files of templates, whole or refused.

use super::*;

fn refused(text: &str) -> Vec<String> {
    let violations = Templates::parse(text).expect_err(text);
    violations
        .iter()
        .map(|one| one.field().to_owned())
        .collect()
}

#[test]
fn the_built_in_default_keeps_its_own_rules() {
    let templates = Templates::built_in();
    let name = TemplateName::parse("template", DEFAULT).expect("valid");
    let template = templates.get(&name).expect("it is built in");
    assert_eq!((template.pool_size, template.max_ttl), (2, SESSION_MAX));
}

#[test]
fn default_is_there_whatever_the_file_names() {
    let templates = Templates::parse("version: 1\ntemplates: [{ name: big }]").expect("valid");
    assert_eq!(templates.iter().count(), 2);
}

#[test]
fn a_file_may_change_default() {
    let text = "version: 1\ntemplates: [{ name: default, pool_size: 0 }]";
    let templates = Templates::parse(text).expect("valid");
    assert_eq!(
        templates
            .iter()
            .map(|one| one.pool_size)
            .collect::<Vec<_>>(),
        [0]
    );
}

#[test]
fn a_typo_an_unknown_key_and_another_version_are_refused() {
    for text in [
        "version: 1\ntemplates: [{ name: a, pool_sise: 1 }]",
        "version: 1\ntemplates: [{ name: a, limits: { memroy: 1GiB } }]",
        "version: 1\npools: []",
        "version: 2\ntemplates: []",
        "templates: []",
    ] {
        assert!(Templates::parse(text).is_err(), "{text}");
    }
}

#[test]
fn every_value_that_is_wrong_is_named() {
    let text = "version: 1\ntemplates: [{ name: a, default_ttl: 2h, max_ttl: 1h, stop_grace: 2m, \
                operations: ['Not A Label'], ports: [0], limits: { memory: 1KiB } }]";
    assert_eq!(
        refused(text),
        [
            "templates[0].default_ttl",
            "templates[0].stop_grace",
            "templates[0].ports",
            "templates[0].limits.memory",
            "templates[0].operations[0]",
        ]
    );
    let text = "version: 1\ntemplates: [{ name: a }, { name: a }, { name: 'A B' }]";
    assert_eq!(refused(text), ["templates[2].name", "templates[1].name"]);
}
