//! Who may call, and who is told how to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

const NOW: Millis = Millis(1_800_000_000_000);

fn secret(byte: u8) -> String {
    URL_SAFE_NO_PAD.encode([byte; 32])
}

fn dev(byte: u8) -> Tokens {
    Tokens::try_new(&TokensConfig::default(), Some(&secret(byte))).expect("a key")
}

fn call(authorization: Option<&str>, body: &str) -> RestRequest {
    RestRequest {
        method: "POST".to_owned(),
        target: "/api/dev/token".to_owned(),
        authorization: authorization.map(str::to_owned),
        body: body.as_bytes().to_vec(),
        content_type: None,
    }
}

fn caller(tokens: &Tokens, authorization: &str, now: Millis) -> Result<Identity, Problem> {
    tokens.caller(&call(Some(authorization), ""), now)
}

/// A token with any claims, signed as those of the development mode.
fn signed(byte: u8, claims: &Value) -> String {
    let key = Hs256Key::new([byte; 32]);
    let claims = jwt_compact::Claims::new(claims);
    let token = Hs256.token(&Header::empty(), &claims, &key);
    format!("Bearer {}", token.expect("signs"))
}

#[test]
fn an_issued_token_is_good_for_a_day_and_only_here() {
    let asked = |name: &str| {
        let body = json!({ "username": name }).to_string();
        DevTokenRequest::read(&call(None, &body)).expect("sane")
    };
    let issued = dev(1).issue(&asked(" Ada L. "), NOW).expect("issued");
    assert!(issued.user_id.as_str().starts_with("ada-l--"));
    let again = dev(1).issue(&asked("Ada L."), NOW.plus(5)).expect("issued");
    assert_eq!(again.user_id, issued.user_id);
    let other = dev(1).issue(&asked("Ada L!"), NOW).expect("issued");
    assert_ne!(other.user_id, issued.user_id);

    let bearer = format!("Bearer {}", issued.token);
    let who = caller(&dev(1), &bearer, NOW).expect("good");
    assert_eq!((who.user, who.role), (issued.user_id, Role::User));
    let end = NOW.plus((DEV_TOKEN_S + TokenRules::default().leeway_s) * 1_000);
    let refused = caller(&dev(1), &bearer, end).expect_err("it has ended");
    assert_eq!(refused.code(), ErrorCode::TokenExpired);
    let refused = caller(&dev(2), &bearer, NOW).expect_err("of another");
    assert_eq!(refused.code(), ErrorCode::InvalidToken);
}

#[test]
fn an_issued_token_meets_the_rules_of_the_configuration() {
    let config = TokensConfig {
        audiences: vec!["chorus".to_owned()],
        issuers: vec!["https://id.example".to_owned()],
        ..TokensConfig::default()
    };
    let tokens = Tokens::try_new(&config, Some(&secret(1))).expect("a key");
    let asked = DevTokenRequest::read(&call(None, r#"{"username":"ada"}"#)).expect("sane");
    let issued = tokens.issue(&asked, NOW).expect("issued");
    let bearer = format!("Bearer {}", issued.token);
    assert!(caller(&tokens, &bearer, NOW).is_ok());
}

#[test]
fn rest_takes_what_the_socket_takes_and_refuses_what_it_refuses() {
    let exp = NOW.0 / 1_000 + 600;
    let tokens = dev(1);
    assert!(caller(&tokens, &signed(1, &json!({"sub": "ann", "exp": exp})), NOW).is_ok());
    for claims in [
        json!({"sub": "ann", "exp": exp, "role": "root"}),
        json!({"sub": "ann", "exp": exp, "role": null}),
        json!({"sub": "ann", "exp": NOW.0 / 1_000 - 60}),
        json!({"sub": "ann"}),
        json!({"exp": exp}),
    ] {
        let refused = caller(&tokens, &signed(1, &claims), NOW).expect_err("not ours");
        assert_eq!(refused.status(), 401, "{claims}");
    }
}

#[test]
fn a_refusal_says_how_to_authenticate() {
    let field = |problem: &Problem| {
        let response = problem.response();
        let found = response
            .headers
            .iter()
            .find(|(name, _)| name == "www-authenticate");
        found.expect("WWW-Authenticate").1.clone()
    };
    let tokens = dev(1);
    // RFC 6750, 3.1: who did not try is told no error.
    for none in [None, Some("Basic YTpi"), Some("Bearer"), Some("")] {
        let refused = tokens.caller(&call(none, ""), NOW).expect_err("no token");
        assert_eq!(refused.code(), ErrorCode::Unauthenticated, "{none:?}");
        assert_eq!(field(&refused), r#"Bearer realm="chorus""#);
    }
    for bad in ["Bearer x.y.z", "bearer x", "Bearer a b", "Bearer  "] {
        let refused = caller(&tokens, bad, NOW).expect_err("a bad one");
        assert_eq!(refused.code(), ErrorCode::InvalidToken, "{bad}");
        let field = field(&refused);
        assert!(
            field.starts_with(
                r#"Bearer realm="chorus", error="invalid_token", error_description=""#
            ),
            "{field}"
        );
        // RFC 6750, 3: printable ASCII without quotes inside.
        assert_eq!(field.matches('"').count(), 6, "{field}");
        assert!(field.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
    let ended = signed(1, &json!({"sub": "ann", "exp": 1}));
    let refused = caller(&tokens, &ended, NOW).expect_err("it has ended");
    assert!(field(&refused).contains(r#"error="invalid_token""#));
}

#[test]
fn a_jwks_file_is_read_for_rest_as_for_a_pop() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jwks.json");
    let config = TokensConfig {
        jwks_file: Some(path.clone()),
        ..TokensConfig::default()
    };
    let refused = Tokens::try_new(&config, None).err().expect("no file");
    assert!(refused.to_string().starts_with("tokens.jwks_file"));
    let jwks = json!({"keys": [
        {"kty": "oct", "k": secret(3), "use": "sig", "alg": "HS256"},
        {"kty": "oct", "k": secret(4), "key_ops": ["encrypt"]},
    ]});
    std::fs::write(&path, jwks.to_string()).expect("writes");
    let tokens = Tokens::try_new(&config, None).expect("a JWKS");
    let claims = json!({"sub": "ann", "exp": NOW.0 / 1_000 + 600});
    assert!(caller(&tokens, &signed(3, &claims), NOW).is_ok());
    assert!(caller(&tokens, &signed(4, &claims), NOW).is_err());
    std::fs::write(&path, "[]").expect("writes");
    assert!(Tokens::try_new(&config, None).is_err(), "no `keys`");
    std::fs::write(&path, "{").expect("writes");
    assert!(Tokens::try_new(&config, None).is_err(), "no JSON");
}

#[test]
fn a_name_of_a_development_token_can_be_seen() {
    for body in [
        r#"{"username":""}"#,
        r#"{"username":"   "}"#,
        "{\"username\":\"\u{200b}\u{202e}\"}",
        r#"{"username":7}"#,
        r#"{"username":null}"#,
        r#"{"role":"user"}"#,
        r#"{"username":"a","role":"root"}"#,
        r#"{"username":"a","role":1}"#,
        r#"{"username":"a","username":"b"}"#,
        r#"["a"]"#,
    ] {
        assert!(DevTokenRequest::read(&call(None, body)).is_err(), "{body}");
    }
    let long = json!({"username": "x".repeat(65)}).to_string();
    assert!(DevTokenRequest::read(&call(None, &long)).is_err());
    let evil = "{\"username\":\"\u{202e}evil\"}";
    let evil = DevTokenRequest::read(&call(None, evil)).expect("a name");
    assert_eq!(evil.username, "evil");
    let null = r#"{"username":"a","role":null}"#;
    assert!(DevTokenRequest::read(&call(None, null)).is_ok());
}
