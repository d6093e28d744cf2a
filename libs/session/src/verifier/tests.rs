//! What our issuer emits passes; everything else is refused, each by its own constant.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::token::v1::JsonWebKey;
use sandgate_types::{
    ConversationId, Generation, InstanceId, PolicyRevision, SandboxId, SessionId, TenantId,
    TokenId, UserId,
};

use super::*;
use crate::jwt::{Algorithm, Headers, assemble, signing_input};
use crate::{KeySetRefusal, Operations};

mod hostile;

const NOW: i64 = 1_800_000_000;

struct Issuer {
    ed: Ed25519KeyPair,
    es: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        Self {
            ed: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed"),
            es: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
        }
    }

    fn jwks(&self) -> Vec<JsonWebKey> {
        let point = self.es.public_key().as_ref();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = |kid: &str, kty: &str, crv: &str, x: String, y: String, alg: &str| JsonWebKey {
            kid: kid.to_owned(),
            kty: kty.to_owned(),
            crv: crv.to_owned(),
            x,
            y,
            alg: alg.to_owned(),
        };
        vec![
            key(
                "ed",
                "OKP",
                "Ed25519",
                encode(self.ed.public_key().as_ref()),
                String::new(),
                "EdDSA",
            ),
            key(
                "es",
                "EC",
                "P-256",
                encode(&point[1..33]),
                encode(&point[33..]),
                "ES256",
            ),
        ]
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(KeySet::from_wire(&self.jwks()).expect("our keys"))
    }

    fn sign<C: Content>(&self, content: &C) -> String {
        let input = signing_input(&Headers::new(Algorithm::EdDsa, "ed"), content);
        let signature = self.ed.sign(input.as_bytes());
        assemble(input, signature.as_ref())
    }

    /// A token of any header and content, signed with the Ed25519 key.
    fn raw(&self, header: &str, content: &str) -> String {
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(content)
        );
        let signature = self.ed.sign(input.as_bytes());
        assemble(input, signature.as_ref())
    }
}

const HEADER: &str = r#"{"alg":"EdDSA","kid":"ed","typ":"sandgate-session+jwt"}"#;

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

fn claims() -> Claims {
    let rng = &mut StdRng::seed_from_u64(1);
    Claims {
        token: TokenId::random(rng),
        audience: Audience::Agent,
        tenant: TenantId::parse("tenant", "acme").expect("valid"),
        user: UserId::parse("user", "ann@example.com").expect("valid"),
        conversation: ConversationId::parse("conversation", "c:1").expect("valid"),
        session: SessionId::random(rng),
        session_start: now(),
        session_end: now().plus(Duration::from_secs(7_200)),
        sandbox: SandboxId::random(rng),
        instance: InstanceId::random(rng),
        generation: Generation::FIRST,
        agent_operations: Operations::parse("o", &["read", "write"]).expect("valid"),
        policy_revision: PolicyRevision::new(3),
        issued_at: now(),
        expires_at: now().plus(Duration::from_secs(900)),
    }
}

fn ticket() -> Ticket {
    let claims = claims();
    Ticket {
        ticket: claims.token,
        sandbox: claims.sandbox,
        session: claims.session,
        instance: claims.instance,
        generation: claims.generation,
        issued_at: now(),
        expires_at: now().plus(crate::TICKET_MAX),
    }
}

fn refusal(token: &str) -> TokenRefusal {
    Issuer::new()
        .verifier()
        .verify(token, Audience::Agent, now())
        .expect_err("refused")
}

/// The refusal of content that `edit` made from our own, signed with our key.
fn edited(edit: impl Fn(&str) -> String) -> TokenRefusal {
    refusal(&Issuer::new().raw(HEADER, &edit(&claims().to_json())))
}

#[test]
fn what_the_issuer_emits_passes_with_either_algorithm() {
    let issuer = Issuer::new();
    let verified = issuer
        .verifier()
        .verify(&issuer.sign(&claims()), Audience::Agent, now())
        .expect("ours");
    assert_eq!(
        verified,
        Verified {
            kid: "ed".to_owned(),
            claims: claims().into()
        }
    );
    let input = signing_input(&Headers::new(Algorithm::Es256, "es"), &claims());
    let signature = issuer
        .es
        .sign(&SystemRandom::new(), input.as_bytes())
        .expect("signs");
    let token = assemble(input, signature.as_ref());
    let verified = issuer.verifier().verify(&token, Audience::Agent, now());
    assert_eq!(*verified.expect("ours").claims, claims());
}

#[test]
fn the_text_of_a_token_is_this_to_the_byte() {
    let rng = &mut StdRng::seed_from_u64(1);
    let (token, session) = (TokenId::random(rng), SessionId::random(rng));
    let (sandbox, instance) = (SandboxId::random(rng), InstanceId::random(rng));
    let expected = format!(
        r#"{{"iss":"sandgate","aud":"sandgate-agent","sub":"{sandbox}","exp":1800000900,"nbf":1800000000,"iat":1800000000,"jti":"{token}","tenant":"acme","user":"ann@example.com","conversation":"c:1","session":"{session}","session_start_us":1800000000000000,"session_end_us":1800007200000000,"instance":"{instance}","generation":1,"agent_operations":["read","write"],"policy_revision":3}}"#
    );
    assert_eq!(claims().to_json(), expected);
}

#[test]
fn the_daemons_token_allows_the_agents_operations_to_nobody() {
    let daemon = Claims {
        audience: Audience::Daemon,
        ..claims()
    };
    assert!(claims().may("read") && !claims().may("other") && !daemon.may("read"));
}

#[test]
fn a_token_for_the_other_audience_is_refused() {
    let issuer = Issuer::new();
    let refused = issuer
        .verifier()
        .verify(&issuer.sign(&claims()), Audience::Daemon, now());
    assert_eq!(refused, Err(TokenRefusal::AudienceMismatch));
}

#[test]
fn time_is_kept_with_the_leeway_and_no_more() {
    let issuer = Issuer::new();
    let at = |seconds: i64| {
        let now = Timestamp::from_seconds(NOW + seconds);
        issuer
            .verifier()
            .verify(&issuer.sign(&claims()), Audience::Agent, now)
            .map(drop)
    };
    assert_eq!(at(-31), Err(TokenRefusal::NotYetValid));
    assert_eq!(at(-30), Ok(()));
    assert_eq!(at(929), Ok(()));
    assert_eq!(at(930), Err(TokenRefusal::Expired));
}

#[test]
fn a_life_or_a_session_longer_than_the_maximum_is_refused_whoever_signed_it() {
    let issuer = Issuer::new();
    let hour = Claims {
        expires_at: now().plus(crate::TOKEN_MAX),
        ..claims()
    };
    assert!(
        issuer
            .verifier()
            .verify(&issuer.sign(&hour), Audience::Agent, now())
            .is_ok()
    );
    for claims in [
        Claims {
            expires_at: now().plus(Duration::from_secs(3_601)),
            ..claims()
        },
        Claims {
            session_end: now().plus(Duration::from_secs(86_401)),
            ..claims()
        },
        Claims {
            session_end: now().plus(Duration::from_secs(899)),
            ..claims()
        },
    ] {
        assert_eq!(
            refusal(&issuer.sign(&claims)),
            TokenRefusal::LifetimeTooLong
        );
    }
}

#[test]
fn a_verified_token_is_checked_again_on_each_hit() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let verified = verifier
        .verify(&issuer.sign(&claims()), Audience::Agent, now())
        .expect("ours");
    let later = now().plus(Duration::from_secs(931));
    assert_eq!(
        verified.check(verifier.keys(), Audience::Agent, now()),
        Ok(())
    );
    assert_eq!(
        verified.check(verifier.keys(), Audience::Agent, later),
        Err(TokenRefusal::Expired)
    );
    assert_eq!(
        verified.check(verifier.keys(), Audience::Daemon, now()),
        Err(TokenRefusal::AudienceMismatch)
    );
    let rotated = KeySet::from_wire(&issuer.jwks()[1..]).expect("one key");
    assert_eq!(
        verified.check(&rotated, Audience::Agent, now()),
        Err(TokenRefusal::KeyUnknown)
    );
}

#[test]
fn a_ticket_is_for_one_instance_for_a_minute_and_no_token() {
    let issuer = Issuer::new();
    let text = issuer.sign(&ticket());
    let read = issuer.verifier().verify_ticket(&text, now()).expect("ours");
    assert_eq!(read, ticket());
    assert_eq!(
        read.check_instance(&ticket().instance, Generation::FIRST),
        Ok(())
    );
    let stale = read.check_instance(&ticket().instance, Generation::FIRST.next());
    assert_eq!(stale, Err(TokenRefusal::GenerationStale));
    let other = InstanceId::random(&mut StdRng::seed_from_u64(9));
    assert_eq!(
        read.check_instance(&other, Generation::FIRST),
        Err(TokenRefusal::InstanceMismatch)
    );
    assert_eq!(refusal(&text), TokenRefusal::HeaderNotOurs);
    let as_ticket = issuer
        .verifier()
        .verify_ticket(&issuer.sign(&claims()), now());
    assert_eq!(as_ticket, Err(TokenRefusal::HeaderNotOurs));
    let late = now().plus(Duration::from_secs(90));
    assert_eq!(
        issuer.verifier().verify_ticket(&text, late),
        Err(TokenRefusal::Expired)
    );
    let keeper = Ticket::read_without_verifying_the_signature(&text, late);
    assert_eq!(keeper, Err(TokenRefusal::Expired));
    let long = Ticket {
        expires_at: now().plus(Duration::from_secs(61)),
        ..ticket()
    };
    let refused = issuer.verifier().verify_ticket(&issuer.sign(&long), now());
    assert_eq!(refused, Err(TokenRefusal::LifetimeTooLong));
}

#[test]
fn a_key_set_is_taken_whole_or_not_at_all() {
    let keys = Issuer::new().jwks();
    let refused = |keys: &[JsonWebKey]| KeySet::from_wire(keys).expect_err("refused");
    assert_eq!(refused(&[]), KeySetRefusal::Empty);
    assert_eq!(
        refused(&[keys[0].clone(), keys[0].clone()]),
        KeySetRefusal::IdTaken(1)
    );
    assert_eq!(
        refused(&vec![keys[0].clone(); crate::KEYS_MAX + 1]),
        KeySetRefusal::TooMany
    );
    let cross = JsonWebKey {
        alg: "ES256".to_owned(),
        ..keys[0].clone()
    };
    let symmetric = JsonWebKey {
        kty: "oct".to_owned(),
        alg: "HS256".to_owned(),
        ..keys[0].clone()
    };
    let short = JsonWebKey {
        x: "AAAA".to_owned(),
        ..keys[0].clone()
    };
    for wrong in [cross, symmetric, short] {
        assert_eq!(
            refused(&[keys[1].clone(), wrong]),
            KeySetRefusal::Unusable(1)
        );
    }
}

#[test]
fn a_newer_key_set_never_changes_what_an_id_means() {
    let keys = Issuer::new().jwks();
    let set = KeySet::from_wire(&keys).expect("ours");
    assert!(
        set.succeeded_by(&keys[1..])
            .expect("one retired")
            .lists("es")
    );
    let changed = JsonWebKey {
        kid: "ed".to_owned(),
        ..keys[1].clone()
    };
    assert_eq!(
        set.succeeded_by(&[changed]).expect_err("refused"),
        KeySetRefusal::IdTaken(0)
    );
}

proptest! {
    #[test]
    fn any_change_of_any_byte_of_a_token_is_refused(index in 0usize..1000, flip in 1u8..128) {
        let issuer = Issuer::new();
        let mut token = issuer.sign(&claims()).into_bytes();
        let index = index % token.len();
        token[index] ^= flip;
        if let Ok(text) = String::from_utf8(token) {
            prop_assert!(issuer.verifier().verify(&text, Audience::Agent, now()).is_err());
        }
    }

    #[test]
    fn no_text_makes_the_verifier_panic(text in "\\PC{0,200}") {
        prop_assert!(Issuer::new().verifier().verify(&text, Audience::Agent, now()).is_err());
    }
}
