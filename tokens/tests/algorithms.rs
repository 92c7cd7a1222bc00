//! Tokens of every algorithm, with keys from the configuration and from a JWKS document.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::Millis;
use chorus_protocol::tokens::{TokenKey, TokenRules};
use chorus_tokens::{KeyError, Role, TokenError, Verifier};
use jwt_compact::alg::{
    Ed25519, Es256, Hs256, Hs256Key, Rsa, RsaPrivateKey, RsaPublicKey, SigningKey as _,
};
use jwt_compact::jwk::JsonWebKey;
use jwt_compact::{Algorithm, AlgorithmExt, Claims, Header};
use serde_json::{Value, json};

type EdKey = <Ed25519 as Algorithm>::SigningKey;
type EsKey = <Es256 as Algorithm>::SigningKey;

const NOW: Millis = Millis(1_800_000_000_000);

/// A verifier with no leeway and nothing else demanded.
fn verifier(keys: &[TokenKey], jwks: Option<&Value>) -> Result<Verifier, KeyError> {
    let rules = TokenRules {
        leeway_s: 0,
        ..TokenRules::default()
    };
    Verifier::try_new(keys, jwks, &rules)
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Claims<Value> {
    Claims::new(
        json!({"sub": "ann", "name": "Ann", "role": "moderator", "exp": NOW.0 / 1_000 + 60}),
    )
}

fn header(kid: Option<&str>) -> Header {
    kid.map_or(Header::empty(), |kid| Header::empty().with_key_id(kid))
}

fn eddsa() -> EdKey {
    EdKey::from_slice(&[7; 32]).expect("a key")
}

fn es256() -> EsKey {
    EsKey::from_slice(&[9; 32]).expect("a key")
}

fn hs256() -> Hs256Key {
    Hs256Key::new([5; 32])
}

/// A key made for these tests alone.
fn rs256() -> RsaPrivateKey {
    let jwk: JsonWebKey<'_> = serde_json::from_str(include_str!("data/rsa.json")).expect("a key");
    RsaPrivateKey::try_from(&jwk).expect("a key")
}

/// A token of each algorithm with its configured key and its JWK.
fn each(kid: Option<&str>) -> Vec<(&'static str, String, TokenKey, Value)> {
    let public = |jwk: JsonWebKey<'_>| serde_json::to_value(jwk.to_verifying_key()).expect("a key");
    let (ed, es, hs, rs) = (eddsa(), es256(), hs256(), rs256());
    let kid_of = || kid.map(str::to_owned);
    let rs_jwk = public(JsonWebKey::from(&RsaPublicKey::from(&rs)));
    let text = |name: &str| rs_jwk[name].as_str().expect("text").to_owned();
    vec![
        (
            "HS256",
            Hs256.token(&header(kid), &claims(), &hs).expect("signs"),
            TokenKey::HS256 {
                kid: kid_of(),
                secret: b64(&[5; 32]),
            },
            json!({"kty": "oct", "k": b64(&[5; 32])}),
        ),
        (
            "EdDSA",
            Ed25519.token(&header(kid), &claims(), &ed).expect("signs"),
            TokenKey::EdDSA {
                kid: kid_of(),
                public: b64(ed.to_verifying_key().as_ref()),
            },
            public(JsonWebKey::from(&ed)),
        ),
        (
            "ES256",
            Es256.token(&header(kid), &claims(), &es).expect("signs"),
            TokenKey::ES256 {
                kid: kid_of(),
                public: b64(es.verifying_key().to_encoded_point(false).as_bytes()),
            },
            public(JsonWebKey::from(&es)),
        ),
        (
            "RS256",
            Rsa::rs256()
                .token(&header(kid), &claims(), &rs)
                .expect("signs"),
            TokenKey::RS256 {
                kid: kid_of(),
                n: text("n"),
                e: text("e"),
            },
            rs_jwk.clone(),
        ),
    ]
}

#[test]
fn every_algorithm_is_read_with_a_configured_key_and_with_a_jwks() {
    for (alg, token, key, mut jwk) in each(Some("k1")) {
        jwk["kid"] = json!("k1");
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(alg);
        let jwks = json!({"keys": [{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}, {"kty": "new"}, jwk]});
        for one in [verifier(&[key], None), verifier(&[], Some(&jwks))] {
            let identity = one
                .expect("keys")
                .verify(&token, NOW)
                .unwrap_or_else(|e| panic!("{alg}: {e}"));
            assert_eq!((identity.user.as_str(), &*identity.name), ("ann", "Ann"));
            assert_eq!(identity.role, Role::Moderator);
            assert_eq!(identity.expires, NOW.plus(60_000));
        }
    }
}

#[test]
fn a_key_of_another_algorithm_or_name_reads_nothing() {
    let all = each(Some("k1"));
    for (alg, token, _, _) in &all {
        for (other, _, key, _) in &all {
            let verified = verifier(std::slice::from_ref(key), None)
                .expect("a key")
                .verify(token, NOW);
            assert_eq!(verified.is_ok(), alg == other, "{alg} with {other}");
        }
    }
    for ((_, _, key, _), (_, token, _, _)) in each(Some("k2")).into_iter().zip(all) {
        let verified = verifier(&[key], None).expect("a key").verify(&token, NOW);
        assert_eq!(verified, Err(TokenError::NoKey));
    }
}

#[test]
fn a_key_id_chooses_among_keys_and_its_absence_tries_them_all() {
    let keys = [
        TokenKey::HS256 {
            kid: Some("old".to_owned()),
            secret: b64(&[1; 32]),
        },
        TokenKey::HS256 {
            kid: Some("new".to_owned()),
            secret: b64(&[5; 32]),
        },
    ];
    let all = verifier(&keys, None).expect("keys");
    for (kid, good) in [
        (Some("new"), true),
        (Some("old"), false),
        (Some("none"), false),
        (None, true),
    ] {
        let token = Hs256
            .token(&header(kid), &claims(), &hs256())
            .expect("signs");
        assert_eq!(all.verify(&token, NOW).is_ok(), good, "{kid:?}");
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    // The old trick: an HS256 token signed with the bytes of the RSA or EC public key.
    for (_, _, key, _) in each(None).into_iter().skip(1) {
        let public = match &key {
            TokenKey::EdDSA { public, .. } | TokenKey::ES256 { public, .. } => public.clone(),
            TokenKey::RS256 { n, .. } => n.clone(),
            TokenKey::HS256 { .. } => unreachable!("skipped"),
        };
        for bytes in [
            URL_SAFE_NO_PAD.decode(&public).expect("base64"),
            public.into_bytes(),
        ] {
            let token = Hs256
                .token(&header(None), &claims(), &Hs256Key::new(bytes))
                .expect("signs");
            let verified = verifier(std::slice::from_ref(&key), None)
                .expect("a key")
                .verify(&token, NOW);
            assert_eq!(verified, Err(TokenError::NoKey));
        }
    }
}

#[test]
fn a_changed_token_is_refused() {
    for (alg, token, key, _) in each(None) {
        let one = verifier(&[key], None).expect("a key");
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let claims =
            String::from_utf8(URL_SAFE_NO_PAD.decode(&parts[1]).expect("base64")).expect("text");
        parts[1] = b64(claims.replace("moderator", "admin").as_bytes());
        assert_eq!(
            one.verify(&parts.join("."), NOW),
            Err(TokenError::Signature),
            "{alg}"
        );
        parts[2] = String::new();
        assert!(one.verify(&parts.join("."), NOW).is_err(), "{alg}");
    }
}

#[test]
fn weak_and_broken_keys_are_refused_by_name() {
    let keys = [
        TokenKey::HS256 {
            kid: None,
            secret: b64(&[1; 31]),
        },
        TokenKey::HS256 {
            kid: None,
            secret: "not base64!".to_owned(),
        },
        TokenKey::EdDSA {
            kid: None,
            public: b64(&[1; 31]),
        },
        TokenKey::ES256 {
            kid: None,
            public: b64(&[4; 65]),
        },
        TokenKey::RS256 {
            kid: None,
            n: b64(&[255; 128]),
            e: "AQAB".to_owned(),
        },
    ];
    for key in keys {
        let refused = verifier(std::slice::from_ref(&key), None).expect_err("unusable");
        assert!(refused.to_string().contains(" key: "), "{refused}");
    }
    assert!(verifier(&[], Some(&json!({"not": "keys"}))).is_err());
}
