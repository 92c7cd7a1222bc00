//! A token's form and its header: what a signature alone does not make good.

mod common;

use chorus_tokens::{TOKEN_BYTES_MAX, TokenError};
use common::{HEADER, b64, claims, sign, sign_parts, verify, verify_header};
use proptest::prelude::*;
use serde_json::json;

fn malformed<T: std::fmt::Debug>(result: Result<T, TokenError>) -> bool {
    matches!(result, Err(TokenError::Malformed(_)))
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    for header in [
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":["http://example.invalid/UNDEFINED"],"http://example.invalid/UNDEFINED":true}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","crit":"b64"}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","b64":null}"#,
    ] {
        assert_eq!(verify_header(header), Err(TokenError::Critical), "{header}");
    }
    assert!(verify_header(r#"{"alg":"HS256","b64":true}"#).is_ok());
}

#[test]
fn a_payload_that_is_not_encoded_is_refused() {
    // RFC 7797 with its own signing input: what stands between the dots is the payload itself.
    let header = b64(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#);
    assert!(verify(&sign_parts(&header, &claims(json!({})))).is_err());
}

#[test]
fn a_token_of_another_type_is_refused() {
    for typ in [
        "JWT",
        "jwt",
        "application/jwt",
        "at+jwt",
        "application/at+JWT",
    ] {
        let header = format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#);
        assert!(verify_header(&header).is_ok(), "{typ}");
    }
    assert!(verify_header(r#"{"alg":"HS256"}"#).is_ok());
    for typ in [
        r#""logout+jwt""#,
        r#""dpop+jwt""#,
        r#""secevent+jwt""#,
        r#""JOSE+JSON""#,
        r#""""#,
        "null",
        "1",
        r#"["JWT"]"#,
    ] {
        let header = format!(r#"{{"alg":"HS256","typ":{typ}}}"#);
        assert!(malformed(verify_header(&header)), "{typ}");
    }
}

#[test]
fn a_token_within_a_token_is_refused() {
    let inner = sign(HEADER, &claims(json!({})));
    assert!(malformed(verify(&sign(
        r#"{"alg":"HS256","cty":"JWT"}"#,
        &inner
    ))));
    assert!(malformed(verify(&sign(r#"{"alg":"HS256"}"#, &inner))));
    assert!(verify_header(r#"{"alg":"HS256","cty":"json"}"#).is_ok());
}

#[test]
fn a_header_is_one_object_whose_members_come_once() {
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","x":1,"\u0078":2}"#,
        r#"["HS256"]"#,
        r#"{"alg":"HS256"} {}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"alg":"HS256","kid":null}"#,
        "{}",
        "",
        "HS256",
        "\u{feff}{\"alg\":\"HS256\"}",
    ] {
        assert!(malformed(verify_header(header)), "{header}");
    }
    let bytes = sign_parts(
        &b64(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}"),
        &b64(claims(json!({}))),
    );
    assert!(malformed(verify(&bytes)), "not UTF-8");
    for alg in ["hs256", "HS384", "HS256 ", "none", "None", "ES256", ""] {
        let verified = verify_header(&format!(r#"{{"alg":"{alg}"}}"#));
        assert_eq!(verified, Err(TokenError::NoKey), "{alg}");
    }
}

#[test]
fn a_key_that_a_token_brings_along_is_not_used() {
    let other = b64([7; 32]);
    let header = format!(
        r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{other}"}},"jku":"https://evil.example/jwks","x5c":["AA"]}}"#
    );
    let signed = sign(&header, &claims(json!({})));
    assert!(
        verify(&signed).is_ok(),
        "our key signed it, theirs is let be"
    );
    let (parts, _) = signed.rsplit_once('.').expect("three parts");
    let theirs = jwt_compact::alg::Hs256Key::new([7; 32]);
    let signature =
        jwt_compact::Algorithm::sign(&jwt_compact::alg::Hs256, &theirs, parts.as_bytes());
    let signature = b64(jwt_compact::AlgorithmSignature::as_bytes(&signature));
    assert_eq!(
        verify(&format!("{parts}.{signature}")),
        Err(TokenError::Signature)
    );
}

#[test]
fn a_token_has_three_parts_of_canonical_base64url() {
    let good = sign(HEADER, &claims(json!({"x": "~~~???>>>"})));
    assert!(verify(&good).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    for wrong in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}."),
        format!(".{header}.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}.{signature}\n"),
        format!(" {good}"),
        format!("{good} "),
        format!("Bearer {good}"),
        format!(
            "{header}.{payload}.{}",
            signature.replace('_', "/").replace('-', "+") + "+"
        ),
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
    ] {
        assert!(malformed(verify(&wrong)), "{wrong}");
    }
    assert!(verify(&format!("{header}..{signature}")).is_err());
    // 32 bytes leave two bits in the last letter; with one of them set it is another text of the same bytes.
    let last = signature.chars().next_back().expect("a letter");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).expect("a letter of the alphabet");
    for bits in 1..4 {
        let mut other = signature.to_owned();
        other.pop();
        other.push(char::from(alphabet.as_bytes()[place + bits]));
        assert!(malformed(verify(&format!("{header}.{payload}.{other}"))));
    }
    // A part that is padded is signed as it stands, and still no token.
    let padded = sign_parts(&format!("{}=", b64(r#"{"alg":"HS256" }"#)), payload);
    assert!(malformed(verify(&padded)));
    for short in ["", "AA", &b64([0; 31]), &b64([0; 33]), &b64([0; 64])] {
        assert_eq!(
            verify(&format!("{header}.{payload}.{short}")),
            Err(TokenError::Signature),
            "{short}"
        );
    }
}

#[test]
fn a_token_has_a_bound_and_is_not_read_beyond_it() {
    let base = sign(HEADER, &claims(json!({"pad": ""})));
    // Three bytes of claims are four of the token.
    let room = (TOKEN_BYTES_MAX - base.len()) / 4 * 3;
    let fits = sign(HEADER, &claims(json!({"pad": "x".repeat(room)})));
    assert!(fits.len() > TOKEN_BYTES_MAX - 8 && fits.len() <= TOKEN_BYTES_MAX);
    assert!(verify(&fits).is_ok());
    let large = sign(HEADER, &claims(json!({"pad": "x".repeat(room + 9)})));
    assert!(malformed(verify(&large)));
    assert!(malformed(verify(&"a.".repeat(1 << 20))));
    // As many members as fit, each read once.
    let many: String = (0..300).map(|n| format!(r#""{n:03}":1,"#)).collect();
    assert!(
        verify(&sign(
            HEADER,
            &format!(r#"{{{many}"sub":"ann","exp":1900000000}}"#)
        ))
        .is_ok()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_header_and_no_claims_make_a_panic(header in ".{0,80}", claims in ".{0,200}", junk in "[-A-Za-z0-9_.=]{0,120}") {
        let _ = verify(&sign(&header, &claims));
        let _ = verify(&sign(HEADER, &claims));
        prop_assert!(verify(&junk).is_err());
    }

    #[test]
    fn one_changed_letter_is_another_token(at in 0_usize..200, letter in "[A-Za-z0-9_-]") {
        let good = sign(HEADER, &claims(json!({})));
        let at = at % good.len();
        let mut changed = good.clone();
        changed.replace_range(at..=at, &letter);
        prop_assert_eq!(verify(&changed).is_ok(), changed == good);
    }
}
