//! Conversations that are not there.

use sandgate_e2e::mesh::Home;

use super::{is_refused, said};

#[test]
fn a_conversation_that_has_no_sandbox_is_told_apart_from_one_that_was_deleted() {
    let home = Home::new();
    let _up = home.up(&[]);
    is_refused(&home, &["rm", "nowhere"], &["nowhere", "sandgate ls"]);
    is_refused(
        &home,
        &["files", "nowhere"],
        &["nowhere", "no stored files"],
    );
    is_refused(
        &home,
        &["files", "nowhere", "f"],
        &["f of conversation nowhere"],
    );
    let ran = home.run("gone", &["/bin/sh", "-c", "echo kept > f"]);
    assert!(ran.status.success(), "{}", said(&ran));
    let removed = home
        .sandgate(["rm", "gone"])
        .output()
        .expect("start sandgate");
    assert!(removed.status.success(), "{}", said(&removed));
    // What can still be done with it.
    assert!(said(&removed).contains("files gone`"), "{}", said(&removed));
    is_refused(&home, &["suspend", "gone"], &["gone", "sandgate ls"]);
    let read = home
        .sandgate(["files", "gone", "f"])
        .output()
        .expect("start sandgate");
    assert_eq!(read.stdout, b"kept\n", "{}", said(&read));
}
