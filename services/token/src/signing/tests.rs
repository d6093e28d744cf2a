//! Keys that sign, verify and were tampered with.

use sandgate_rpc::config::SecretFile;
use sandgate_session::Ticket;
use sandgate_types::{Generation, InstanceId, SandboxId, SessionId, TokenId};

use super::*;

fn master() -> MasterKey {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    MasterKey::generate(&path).expect("a key");
    MasterKey::read(&SecretFile::from(path)).expect("a key")
}

fn ticket(now: Timestamp) -> Ticket {
    let rng = &mut rand::rng();
    Ticket {
        ticket: TokenId::random(rng),
        sandbox: SandboxId::random(rng),
        session: SessionId::random(rng),
        instance: InstanceId::random(rng),
        generation: Generation::FIRST,
        issued_at: now,
        expires_at: now.plus(sandgate_session::TICKET_MAX),
    }
}

#[test]
fn the_newest_key_whose_time_has_come_signs_and_others_still_verify_whatever_their_algorithms() {
    let (master, now) = (master(), Timestamp::from_seconds(1_800_000_000));
    let old = generate(&master, Algorithm::Es256, now).expect("a key");
    let turn = now.plus(std::time::Duration::from_secs(60));
    let new = generate(&master, Algorithm::EdDsa, now).expect("a key");
    let new = new.following(&old, turn);
    let before = Keyring::open(&master, std::slice::from_ref(&old)).expect("opens");
    let after = Keyring::open(&master, &[old, new]).expect("opens");
    let ticket = ticket(now);
    for keyring in [&before, &after] {
        let text = keyring.sign(&ticket, now).expect("signs");
        assert_eq!(
            after.verifier().verify_ticket(&text, now).expect("ours"),
            ticket
        );
    }
    let early = after.sign(&ticket, now).expect("signs");
    assert!(before.verifier().verify_ticket(&early, now).is_ok());
    let text = after.sign(&ticket, turn).expect("signs");
    assert!(before.verifier().verify_ticket(&text, now).is_err());
    assert!(after.verifier().verify_ticket(&text, now).is_ok());
}

#[test]
fn a_row_that_was_changed_stops_the_start() {
    let (master, now) = (master(), Timestamp::EPOCH);
    let key = generate(&master, Algorithm::EdDsa, now).expect("a key");
    let other = generate(&master, Algorithm::EdDsa, now).expect("a key");
    let renamed = StoredSigningKey {
        key_id: other.key_id.clone(),
        ..key.clone()
    };
    let swapped = StoredSigningKey {
        algorithm: "ES256".to_owned(),
        ..key.clone()
    };
    for changed in [renamed, swapped] {
        let refused = Keyring::open(&master, &[changed]).expect_err("changed");
        assert!(
            matches!(refused, KeyringError::Seal(SealError::Changed(_))),
            "{refused}"
        );
    }
    let mismatch = StoredSigningKey {
        public_key: other.public_key,
        ..key
    };
    assert!(matches!(
        Keyring::open(&master, &[mismatch]),
        Err(KeyringError::Mismatch(_))
    ));
    assert!(matches!(
        Keyring::open(&master, &[]),
        Err(KeyringError::Empty)
    ));
}

#[test]
fn another_master_key_opens_nothing() {
    let key = generate(&master(), Algorithm::EdDsa, Timestamp::EPOCH).expect("a key");
    let refused = Keyring::open(&master(), &[key]).expect_err("another key");
    assert!(matches!(
        refused,
        KeyringError::Seal(SealError::OtherKey { .. })
    ));
}
