//! Headers and claims that our issuer would not emit, signed all the same.

use super::*;

#[test]
fn alg_none_and_an_hmac_by_the_public_key_are_refused() {
    let issuer = Issuer::new();
    for header in [
        r#"{"alg":"none","typ":"sandgate-session+jwt"}"#,
        r#"{"alg":"none","kid":"ed","typ":"sandgate-session+jwt"}"#,
        r#"{"alg":"HS256","kid":"ed","typ":"sandgate-session+jwt"}"#,
    ] {
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims().to_json())
        );
        let key = aws_lc_rs::hmac::Key::new(
            aws_lc_rs::hmac::HMAC_SHA256,
            issuer.ed.public_key().as_ref(),
        );
        let tag = aws_lc_rs::hmac::sign(&key, input.as_bytes());
        for signature in [tag.as_ref(), &[]] {
            assert_eq!(
                refusal(&assemble(input.clone(), signature)),
                TokenRefusal::AlgorithmRefused
            );
        }
    }
}

#[test]
fn the_algorithm_is_the_keys_and_not_the_headers() {
    let issuer = Issuer::new();
    let header = HEADER.replace("EdDSA", "ES256");
    assert_eq!(
        refusal(&issuer.raw(&header, &claims().to_json())),
        TokenRefusal::AlgorithmRefused
    );
}

#[test]
fn an_unknown_key_is_refused() {
    let header = HEADER.replace(r#""ed""#, r#""other""#);
    assert_eq!(
        refusal(&Issuer::new().raw(&header, &claims().to_json())),
        TokenRefusal::KeyUnknown
    );
}

#[test]
fn a_header_with_more_less_twice_or_otherwise_is_not_ours() {
    for header in [
        HEADER.replace('}', r#","jwk":"x"}"#),
        HEADER.replace('}', r#","crit":["exp"]}"#),
        HEADER.replace('}', r#","kid":"ed"}"#),
        HEADER.replace(r#","typ":"sandgate-session+jwt""#, ""),
        HEADER.replace("sandgate-session+jwt", "JWT"),
        HEADER.replace("sandgate-session+jwt", "sandgate-attach+jwt"),
        HEADER.replace(r#""ed""#, "1"),
        HEADER.replace(r#""ed""#, r#""../ed""#),
    ] {
        let refused = refusal(&Issuer::new().raw(&header, &claims().to_json()));
        assert_eq!(refused, TokenRefusal::HeaderNotOurs, "{header}");
    }
    let spaced = HEADER.replace(':', ": ");
    assert_eq!(
        refusal(&Issuer::new().raw(&spaced, &claims().to_json())),
        TokenRefusal::NotCanonical
    );
}

#[test]
fn claims_that_are_doubled_added_missing_or_of_another_type_are_refused() {
    let replace = |from: &'static str, to: &'static str| edited(|json| json.replace(from, to));
    assert_eq!(
        replace(r#""tenant":"acme""#, r#""tenant":"acme","tenant":"evil""#),
        TokenRefusal::ClaimDuplicate
    );
    assert_eq!(
        replace(r#""tenant":"acme""#, r#""tenant":"acme","admin":1"#),
        TokenRefusal::ClaimUnknown
    );
    assert_eq!(
        replace(r#""tenant":"acme","#, ""),
        TokenRefusal::ClaimMissing
    );
    assert_eq!(
        replace(r#""exp":1800000900"#, r#""exp":"1800000900""#),
        TokenRefusal::ClaimMalformed
    );
    assert_eq!(
        replace(r#""exp":1800000900"#, r#""exp":1800000900.5"#),
        TokenRefusal::ClaimMalformed
    );
    assert_eq!(
        replace(r#""exp":1800000900"#, r#""exp":9223372036854775807"#),
        TokenRefusal::ClaimMalformed
    );
    assert_eq!(
        replace(r#""tenant":"acme""#, r#""tenant":{"a":"b"}"#),
        TokenRefusal::ClaimMalformed
    );
    assert_eq!(
        replace(r#""tenant":"acme""#, r#""tenant":"../acme""#),
        TokenRefusal::ClaimMalformed
    );
    assert_eq!(
        replace(r#""nbf":1800000000"#, r#""nbf":1"#),
        TokenRefusal::ClaimMalformed
    );
    assert_eq!(
        replace(r#""iss":"sandgate""#, r#""iss":"other""#),
        TokenRefusal::IssuerUnknown
    );
    assert_eq!(
        replace(r#""aud":"sandgate-agent""#, r#""aud":"other""#),
        TokenRefusal::AudienceMismatch
    );
    let many = (0..100)
        .map(|n| format!(r#""a{n}":1,"#))
        .collect::<String>();
    assert_eq!(
        edited(|json| json.replacen('{', &format!("{{{many}"), 1)),
        TokenRefusal::ClaimMalformed
    );
}

#[test]
fn the_same_claims_in_another_spelling_are_refused() {
    assert_eq!(
        edited(|json| json.replace(r#""acme""#, r#""\u0061cme""#)),
        TokenRefusal::NotCanonical
    );
    assert_eq!(
        edited(|json| json.replace(',', ", ")),
        TokenRefusal::NotCanonical
    );
    let swapped = |json: &str| json.replace(r#"["read","write"]"#, r#"["write","read"]"#);
    assert_eq!(edited(swapped), TokenRefusal::NotCanonical);
    assert_eq!(edited(|json| format!("{json} x")), TokenRefusal::Malformed);
}

#[test]
fn another_signature_and_another_content_under_the_signature_are_refused() {
    let issuer = Issuer::new();
    let other = Issuer {
        ed: Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a seed"),
        ..Issuer::new()
    };
    assert_eq!(
        refusal(&other.sign(&claims())),
        TokenRefusal::SignatureInvalid
    );
    let token = issuer.sign(&claims());
    let (_, signature) = token.rsplit_once('.').expect("three parts");
    let evil = Claims {
        tenant: TenantId::parse("tenant", "evil").expect("valid"),
        ..claims()
    };
    let forged = format!(
        "{}.{signature}",
        signing_input(&Headers::new(Algorithm::EdDsa, "ed"), &evil)
    );
    assert_eq!(refusal(&forged), TokenRefusal::SignatureInvalid);
}

#[test]
fn what_is_no_token_at_all_is_malformed() {
    let issuer = Issuer::new();
    let padded = format!("{}=", issuer.sign(&claims()));
    let four = format!("{}.e30", issuer.sign(&claims()));
    let long = "a".repeat(crate::jwt::TOKEN_MAX_BYTES + 1);
    for text in ["", ".", "..", "a.b.c", "e30.e30.", &padded, &four, &long] {
        let refused = refusal(text);
        assert!(
            matches!(
                refused,
                TokenRefusal::Malformed | TokenRefusal::HeaderNotOurs
            ),
            "{text}: {refused}"
        );
    }
}
