//! Keys of a JWKS: which verify, which are passed over, and how a header's `kid` chooses.

mod common;

use chorus_protocol::tokens::{TokenKey, TokenRules};
use chorus_tokens::{Key, KeyError, TokenError, Verifier};
use common::{NOW, SECRET, b64, claims, sign};
use serde_json::{Value, json};

fn jwk(more: Value) -> Value {
    let mut jwk = json!({"kty": "oct", "k": b64(SECRET)});
    if let (Some(jwk), Value::Object(more)) = (jwk.as_object_mut(), more) {
        jwk.extend(more);
    }
    jwk
}

fn verifier(keys: &[Value]) -> Result<Verifier, KeyError> {
    Verifier::try_new(&[], Some(&json!({ "keys": keys })), &TokenRules::default())
}

fn token(kid: Option<&str>) -> String {
    let header = kid.map_or(
        json!({"alg": "HS256"}),
        |kid| json!({"alg": "HS256", "kid": kid}),
    );
    sign(&header.to_string(), &claims(json!({})))
}

#[test]
fn a_jwk_that_is_not_for_verifying_verifies_nothing() {
    for (more, ours) in [
        (json!({}), true),
        (json!({"use": "sig"}), true),
        (json!({"key_ops": ["verify"]}), true),
        (json!({"key_ops": ["sign", "verify"]}), true),
        (json!({"alg": "HS256"}), true),
        (
            json!({"use": "sig", "key_ops": ["verify"], "alg": "HS256"}),
            true,
        ),
        (json!({"use": "enc"}), false),
        (json!({"use": "SIG"}), false),
        (json!({"use": null}), false),
        (json!({"use": ["sig"]}), false),
        (json!({"key_ops": ["encrypt"]}), false),
        (json!({"key_ops": ["sign"]}), false),
        (json!({"key_ops": []}), false),
        (json!({"key_ops": "verify"}), false),
        (json!({"key_ops": null}), false),
        (json!({"use": "sig", "key_ops": ["encrypt"]}), false),
        (json!({"use": "enc", "key_ops": ["verify"]}), false),
        (json!({"alg": "HS512"}), false),
        (json!({"alg": "RS256"}), false),
        (json!({"alg": "none"}), false),
        (json!({"alg": ["HS256"]}), false),
        (json!({"alg": null}), false),
        (json!({"kid": 7}), false),
        (json!({"kty": "OCT"}), false),
        (json!({"k": b64([5; 31])}), false),
        (json!({"k": format!("{}=", b64(SECRET))}), false),
    ] {
        let one = verifier(&[jwk(more.clone())]).expect("a JWKS");
        assert_eq!(one.keys(), usize::from(ours), "{more}");
        assert_eq!(one.passed_over(), usize::from(!ours), "{more}");
        assert_eq!(one.verify(&token(None), NOW).is_ok(), ours, "{more}");
    }
}

#[test]
fn a_document_that_is_no_jwks_is_an_error() {
    for wrong in [
        json!({}),
        json!([]),
        json!({"keys": {}}),
        json!({"keys": "none"}),
        json!(null),
        jwk(json!({})),
    ] {
        let refused = Verifier::try_new(&[], Some(&wrong), &TokenRules::default());
        let refused = refused.expect_err("no JWKS").to_string();
        assert!(refused.contains("`keys`"), "{refused}");
    }
    assert_eq!(verifier(&[]).expect("an empty one").keys(), 0);
    let junk = [json!(1), json!("x"), json!(null), json!({})];
    assert_eq!(verifier(&junk).expect("passed over").passed_over(), 4);
}

#[test]
fn a_key_id_that_no_key_has_is_said() {
    let other = json!({"kty": "oct", "k": b64([9; 32]), "kid": "other"});
    let named = verifier(&[jwk(json!({"kid": "mine"})), other.clone()]).expect("keys");
    assert!(named.verify(&token(Some("mine")), NOW).is_ok());
    assert_eq!(
        named.verify(&token(Some("gone")), NOW),
        Err(TokenError::NoKey)
    );
    assert_eq!(named.verify(&token(Some("")), NOW), Err(TokenError::NoKey));
    assert_eq!(
        named.verify(&token(Some("other")), NOW),
        Err(TokenError::Signature)
    );
    assert!(named.verify(&token(None), NOW).is_ok(), "all are tried");
    // A key without a name may be meant by any.
    let nameless = verifier(&[other, jwk(json!({}))]).expect("keys");
    assert!(nameless.verify(&token(Some("gone")), NOW).is_ok());
}

#[test]
fn a_named_key_is_found_behind_any_number_of_others() {
    let mut keys: Vec<Value> = (0..40)
        .map(|n| json!({"kty": "oct", "k": b64([100 + n; 32]), "kid": format!("old-{n}")}))
        .collect();
    keys.extend((0..40).map(|n| json!({"kty": "oct", "k": b64([140 + n; 32])})));
    keys.push(jwk(json!({"kid": "mine"})));
    let many = verifier(&keys).expect("keys");
    assert!(many.verify(&token(Some("mine")), NOW).is_ok());
    // Without a name only so many are tried that a stranger's token costs little.
    assert_eq!(many.verify(&token(None), NOW), Err(TokenError::Signature));
}

#[test]
fn a_point_of_small_order_is_no_key() {
    // With one of these any message has a signature that fits.
    for point in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let public = b64(point);
        let key = TokenKey::EdDSA {
            kid: None,
            public: public.clone(),
        };
        assert!(Key::try_new(&key).is_err(), "{public}");
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": public});
        assert!(Key::of_jwk(&jwk).is_none(), "{public}");
    }
}

#[test]
fn a_keys_error_says_which_field_and_what_it_should_be() {
    let secret = |secret: &str| TokenKey::HS256 {
        kid: None,
        secret: secret.to_owned(),
    };
    for (key, says) in [
        (
            secret("plain words, no base64"),
            "`secret` is not base64url",
        ),
        (secret(&format!("{}=", b64(SECRET))), "without padding"),
        (secret("c2hvcnQ"), "32 bytes or more"),
        (
            TokenKey::EdDSA {
                kid: None,
                public: "+/+/".to_owned(),
            },
            "`public` is not base64url",
        ),
    ] {
        let refused = Key::try_new(&key).expect_err("unusable").to_string();
        assert!(refused.contains(says), "{refused}");
        assert!(!refused.contains("plain words"), "no secret is printed");
    }
}
