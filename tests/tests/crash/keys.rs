//! The making of keys dies at each of its named places: by the next `init` or the next start there is one signing
//! key and one first API key, and an API key is there or is not.

use sandgate_api::token::v1::ApiKey;
use sandgate_e2e::client::Client;
use sandgate_e2e::config;
use sandgate_e2e::mesh::Home;
use sandgate_e2e::processes::Service;
use tonic::Code;

use crate::life::Mesh;
use crate::one_process::crashing;

/// The places of `sandgate init`.
const OF_INIT: [&str; 2] = ["signing-key-recorded", "signing-key-committed"];
/// The place before an API key is in the database, and the one behind.
const BEFORE: &str = "api-key-recorded";
const BEHIND: &str = "api-key-committed";

/// Whether a place is one of those: no conversation passes them.
pub(crate) fn are_made_at(point: &str) -> bool {
    OF_INIT.contains(&point) || [BEFORE, BEHIND].contains(&point)
}

/// What keys are called that are good.
fn names(keys: &[ApiKey]) -> Vec<&str> {
    let good = keys.iter().filter(|key| key.revoked_at.is_none());
    good.map(|key| key.description.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_dies_anywhere_is_completed_by_the_next_with_the_keys_that_it_began_with() {
    for point in OF_INIT {
        let home = Home::new();
        let died = crashing(&home, point, &["init"]);
        assert_eq!(died.status.code(), None, "{point} was passed");
        let first = std::fs::read(home.api_key()).expect("an API key");
        for _ in 0..2 {
            let again = home.sandgate(["init"]).output().expect("start sandgate");
            let said = String::from_utf8_lossy(&again.stderr);
            assert!(again.status.success(), "after {point}: {said}");
        }
        let kept = std::fs::read(home.api_key()).expect("an API key");
        assert_eq!(first, kept, "after {point}");

        let up = home.up(&[]);
        let client = Client::new(&up.address, &up.key(), "story");
        let keys = client.api_keys().await.expect("it has the first key");
        assert_eq!(names(&keys), ["made by sandgate init"], "after {point}");
        let jwks = client.jwks().await.expect("public keys");
        assert_eq!(jwks.len(), 1, "after {point}: {jwks:?}");
        // Gate and sandbox take what the one key signed.
        let ran = home.run("story", &["/bin/echo", "done"]);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.stdout, b"done\n", "after {point}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_whose_making_dies_is_listed_or_was_never_made() {
    let home = Home::new();
    let mesh = Mesh::start(&home, config::crashing_binaries());
    let client = mesh.client("story");
    let first = client
        .insist("list", async |client| client.api_keys().await)
        .await;
    assert_eq!(names(&first), ["made by sandgate init"]);
    let tenant = &first[0].tenant;
    let signing = client
        .insist("jwks", async |client| client.jwks().await)
        .await;

    let mut there = vec!["made by sandgate init"];
    for (point, is_made) in [(BEFORE, false), (BEHIND, true)] {
        mesh.kept(Service::Token).kill(Some(point));
        // Its gate has heard of the new process before it asks it for a key.
        client
            .insist("list", async |client| client.api_keys().await)
            .await;
        let lost = client.create_api_key(tenant, point).await;
        let lost = lost.expect_err("nobody was left to answer");
        assert_eq!(lost.code(), Code::Unavailable, "{point}: {lost:?}");
        let listed = client
            .insist("list", async |client| client.api_keys().await)
            .await;
        assert_eq!(mesh.deaths(), [(Service::Token, 1)], "{point} was passed");
        if is_made {
            there.insert(0, point);
        }
        assert_eq!(names(&listed), there, "after {point}");
    }

    let secret = client
        .insist("create", async |client| {
            client.create_api_key(tenant, "another").await
        })
        .await;
    let other = Client::new(mesh.clients(), &secret, "story");
    let listed = other.api_keys().await.expect("the new key is good");
    there.insert(0, "another");
    assert_eq!(names(&listed), there);
    let still = client.jwks().await.expect("public keys");
    assert_eq!(still, signing, "the starts made no other signing key");
}
