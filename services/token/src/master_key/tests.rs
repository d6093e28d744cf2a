//! The master key and what it seals.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn key_file(text: &str) -> (tempfile::TempDir, SecretFile) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("master-key");
    write_new(&path, text).expect("write");
    (folder, SecretFile::from(path))
}

fn key() -> MasterKey {
    let (_folder, file) = key_file(&gen_secret().expect("randomness"));
    MasterKey::read(&file).expect("a key")
}

#[test]
fn a_generated_key_is_read_back_is_private_and_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("master-key");
    MasterKey::generate(&path).expect("a new file");
    assert_eq!(
        path.metadata().expect("there").permissions().mode() & 0o777,
        0o600
    );
    let before = MasterKey::read(&SecretFile::from(path.clone())).expect("a key");
    let sealed = before.seal("t", "r", b"secret").expect("sealed");
    let again = MasterKey::generate(&path).expect_err("it is there");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    let after = MasterKey::read(&SecretFile::from(path)).expect("a key");
    assert!(after.open("t", "r", &sealed).is_ok());
}

#[test]
fn short_default_patterned_and_typed_keys_are_refused_without_repeating_them() {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let count: Vec<u8> = (0..32).collect();
    for text in [
        encode(&[7; 31]),
        encode(&[0; 32]),
        encode(&count),
        encode(&b"changeme".repeat(4)),
        encode(b"The quick brown fox jumps over the lazy dog"),
        "changeme".to_owned(),
        "not base64url: ###".to_owned(),
    ] {
        let (_folder, file) = key_file(&text);
        let refused = MasterKey::read(&file).expect_err(&text);
        assert_eq!(refused.field(), "master_key_file");
        assert!(!refused.rule().contains(&text), "{refused}");
    }
}

#[test]
fn a_key_that_is_missing_or_that_others_can_read_is_refused() {
    assert!(MasterKey::read(&SecretFile::from(PathBuf::from("/no/such/key"))).is_err());
    let (_folder, file) = key_file(&gen_secret().expect("randomness"));
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    assert!(MasterKey::read(&file).is_err());
}

#[test]
fn what_is_sealed_opens_in_its_own_row_only() {
    let key = key();
    let sealed = key.seal("signing_keys", "k1", b"secret").expect("sealed");
    assert_eq!(
        &**key.open("signing_keys", "k1", &sealed).expect("opens"),
        b"secret"
    );
    for (table, row) in [
        ("signing_keys", "k2"),
        ("roots", "k1"),
        ("signing_keysk", "1"),
    ] {
        assert!(matches!(
            key.open(table, row, &sealed),
            Err(SealError::Changed(_))
        ));
    }
    for index in 0..sealed.bytes.len() {
        let mut changed = sealed.clone();
        changed.bytes[index] ^= 1;
        assert!(matches!(
            key.open("signing_keys", "k1", &changed),
            Err(SealError::Changed(_))
        ));
    }
}

#[test]
fn another_master_key_is_named_as_such() {
    let sealed = key().seal("signing_keys", "k1", b"secret").expect("sealed");
    assert!(matches!(
        key().open("signing_keys", "k1", &sealed),
        Err(SealError::OtherKey { .. })
    ));
}

#[test]
fn hashes_differ_by_id_secret_and_master_key() {
    let (key, other) = (key(), self::key());
    let hash = key.hash_api_key("k1", "s");
    assert_eq!(hash, key.hash_api_key("k1", "s"));
    assert_ne!(hash, key.hash_api_key("k2", "s"));
    assert_ne!(hash, key.hash_api_key("k1", "t"));
    assert_ne!(hash, other.hash_api_key("k1", "s"));
}
