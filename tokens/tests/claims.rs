//! What a token says: until when, by whom, for whom, who and as what.

mod common;

use chorus_protocol::tokens::TokenRules;
use chorus_tokens::{Role, TokenError, Verifier};
use common::{HEADER, NOW, NOW_S, claims, key, sign, verifier, verify, verify_claims};
use serde_json::{Value, json};

fn malformed<T: std::fmt::Debug>(result: Result<T, TokenError>) -> bool {
    matches!(result, Err(TokenError::Malformed(_)))
}

#[test]
fn an_audience_is_checked_where_it_is_configured() {
    let rules = TokenRules {
        audiences: vec!["chorus".to_owned(), "chorus-staging".to_owned()],
        ..TokenRules::default()
    };
    let with = |aud: Value| sign(HEADER, &claims(json!({ "aud": aud })));
    for (aud, good) in [
        (json!("chorus"), true),
        (json!("chorus-staging"), true),
        (json!(["billing", "chorus"]), true),
        (json!("billing"), false),
        (json!("Chorus"), false),
        (json!(["billing", "search"]), false),
        (json!([]), false),
        (json!(["chorus "]), false),
        (json!([["chorus"]]), false),
        (json!({"chorus": true}), false),
        (json!(1), false),
        // Without one.
        (Value::Null, false),
    ] {
        let verified = verifier(&rules).verify(&with(aud.clone()), NOW);
        let expected = if good {
            None
        } else {
            Some(TokenError::Audience)
        };
        assert_eq!(verified.err(), expected, "{aud}");
    }
    // Where none is configured nobody looks at it.
    assert_eq!(verify(&with(json!("billing"))).err(), None);
}

#[test]
fn an_issuer_is_checked_where_it_is_configured() {
    let rules = TokenRules {
        issuers: vec!["https://id.example".to_owned()],
        ..TokenRules::default()
    };
    for (iss, good) in [
        (json!("https://id.example"), true),
        (json!("https://id.example/"), false),
        (json!("https://evil.example"), false),
        (json!(["https://id.example"]), false),
        (Value::Null, false),
    ] {
        let token = sign(HEADER, &claims(json!({ "iss": iss })));
        let expected = if good { None } else { Some(TokenError::Issuer) };
        assert_eq!(
            verifier(&rules).verify(&token, NOW).err(),
            expected,
            "{iss}"
        );
        assert_eq!(verify(&token).err(), None, "none configured: {iss}");
    }
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    for leeway_s in [0, 1, 60, 600] {
        let rules = TokenRules {
            leeway_s,
            ..TokenRules::default()
        };
        let verified = |changed: Value| {
            let token = sign(HEADER, &claims(changed));
            verifier(&rules).verify(&token, NOW)
        };
        // The last second in which an ended token is good, and the first in which it is not.
        let last = NOW_S - leeway_s;
        assert_eq!(
            verified(json!({"exp": last + 1})).map(|who| who.expires),
            Ok(NOW.plus(1_000)),
            "what ends with the leeway is what the session waits for"
        );
        assert_eq!(verified(json!({"exp": last})), Err(TokenError::Expired));
        assert!(verified(json!({"nbf": NOW_S + leeway_s})).is_ok());
        assert_eq!(
            verified(json!({"nbf": NOW_S + leeway_s + 1})),
            Err(TokenError::NotYet)
        );
    }
    assert_eq!(TokenRules::default().leeway_s, 60);
}

#[test]
fn times_are_numbers_of_seconds() {
    assert_eq!(
        verify_claims(json!({"exp": null})),
        Err(TokenError::NoExpiry)
    );
    for (exp, expires_ms) in [
        (json!(NOW_S + 1), NOW.0 + 1_000),
        (json!(1_800_000_000.5), NOW.0 + 500),
        (json!(1.9e9), 1_900_000_000_000),
        (json!(253_402_300_799_u64), 253_402_300_799_000),
    ] {
        let who = verify_claims(json!({ "exp": exp })).expect("good");
        assert_eq!(who.expires.0, expires_ms + 60_000, "{exp}");
    }
    for exp in [
        json!(0),
        json!(-1),
        json!(-1.5e300),
        json!(i64::MIN),
        json!(0.1),
    ] {
        assert_eq!(
            verify_claims(json!({ "exp": exp })),
            Err(TokenError::Expired),
            "{exp}"
        );
    }
    for wrong in [
        json!(NOW.0 + 600_000),
        json!(253_402_300_800_u64),
        json!(u64::MAX),
        json!(1e300),
        json!("1900000000"),
        json!(true),
        json!([1_900_000_000]),
        json!({"seconds": 1_900_000_000}),
    ] {
        for name in ["exp", "nbf", "iat"] {
            let changed = Value::Object([(name.to_owned(), wrong.clone())].into_iter().collect());
            assert!(malformed(verify_claims(changed)), "{name}: {wrong}");
        }
    }
    // A number that is none, and null, which `claims` cannot say.
    for exp in ["1e400", "null", "01", "NaN"] {
        let token = sign(HEADER, &format!(r#"{{"sub":"ann","exp":{exp}}}"#));
        assert!(malformed(verify(&token)), "{exp}");
    }
}

#[test]
fn a_role_is_one_of_three_and_nothing_else() {
    for (role, known) in [
        (json!("user"), Role::User),
        (json!("moderator"), Role::Moderator),
        (json!("admin"), Role::Admin),
    ] {
        let who = verify_claims(json!({ "role": role })).expect("good");
        assert_eq!(who.role, known);
        assert_eq!(Role::parse(known.as_str()), Some(known));
    }
    let absent = verify_claims(json!({"role": null})).expect("good");
    assert_eq!(absent.role, Role::User);
    for role in [
        json!("root"),
        json!("Admin"),
        json!(" admin"),
        json!("broadcaster"),
        json!(""),
        json!(["admin"]),
        json!({"admin": true}),
        json!(1),
        json!(false),
    ] {
        assert!(malformed(verify_claims(json!({ "role": role }))), "{role}");
    }
    let null = format!(r#"{{"sub":"ann","role":null,"exp":{}}}"#, NOW_S + 600);
    assert!(malformed(verify(&sign(HEADER, &null))), "null is no role");
}

#[test]
fn a_user_is_named_within_bounds() {
    for sub in [
        json!(null),
        json!(""),
        json!("x".repeat(129)),
        json!("a\u{0}b"),
        json!("a\nb"),
        json!(7),
        json!(["ann"]),
    ] {
        assert!(malformed(verify_claims(json!({ "sub": sub }))), "{sub}");
    }
    let longest = "x".repeat(128);
    let who = verify_claims(json!({ "sub": longest })).expect("good");
    assert_eq!(who.user.as_str(), longest);
}

#[test]
fn a_name_that_shows_nothing_is_the_user_id() {
    for (name, shown) in [
        (json!("Ann"), "Ann"),
        (json!("  Ann B.  "), "Ann B."),
        (json!("A\u{0}nn"), "Ann"),
        (json!("\u{202e}Ann\u{200b}"), "Ann"),
        (json!("\u{200b}\u{2060}\u{202e}"), "ann"),
        (json!(""), "ann"),
        (json!("   "), "ann"),
        (json!("\u{7}"), "ann"),
        (Value::Null, "ann"),
    ] {
        let who = verify_claims(json!({ "name": name })).expect("good");
        assert_eq!(&*who.name, shown, "{name}");
    }
    let long = verify_claims(json!({"name": "é".repeat(500)})).expect("good");
    assert_eq!(long.name.chars().count(), 64);
    for name in [
        json!(7),
        json!(true),
        json!(["Ann"]),
        json!({"first": "Ann"}),
    ] {
        assert!(malformed(verify_claims(json!({ "name": name }))), "{name}");
    }
    let null = format!(r#"{{"sub":"ann","name":null,"exp":{}}}"#, NOW_S + 600);
    assert_eq!(&*verify(&sign(HEADER, &null)).expect("good").name, "ann");
}

#[test]
fn claims_are_one_object_whose_members_come_once() {
    let exp = NOW_S + 600;
    for wrong in [
        format!(r#"{{"sub":"ann","sub":"bob","exp":{exp}}}"#),
        format!(r#"{{"sub":"ann","exp":{exp},"exp":{exp}}}"#),
        format!(r#"{{"sub":"ann","role":"user","\u0072ole":"admin","exp":{exp}}}"#),
        format!(r#"{{"sub":"ann","x":1,"x":2,"exp":{exp}}}"#),
        format!(r#"["ann","Ann","user",{exp}]"#),
        format!(r#"{{"sub":"ann","exp":{exp}}}{{}}"#),
        format!("\u{feff}{{\"sub\":\"ann\",\"exp\":{exp}}}"),
        format!(r#"{{"sub":"ann","exp":{exp}"#),
        format!(r#"{{"sub":"ann","exp":{exp},}}"#),
        r#""ann""#.to_owned(),
        "null".to_owned(),
        String::new(),
        // Deeper than any claim of ours, and as deep as a token can be.
        format!(
            r#"{{"sub":"ann","exp":{exp},"x":{}1{}}}"#,
            "[".repeat(1_000),
            "]".repeat(1_000)
        ),
    ] {
        assert!(malformed(verify(&sign(HEADER, &wrong))), "{wrong}");
    }
    // Members that are not ours are let be.
    let more = format!(r#" {{"sub":"ann","exp":{exp},"scope":["a"],"nested":{{"a":1}}}} "#);
    assert!(verify(&sign(HEADER, &more)).is_ok());
}

#[test]
fn a_verifier_without_keys_takes_nothing() {
    let none = Verifier::try_new(&[], None, &TokenRules::default()).expect("no keys");
    assert_eq!(none.keys(), 0);
    let token = sign(HEADER, &claims(json!({})));
    assert_eq!(none.verify(&token, NOW), Err(TokenError::NoKey));
    let one = Verifier::try_new(&[key()], None, &TokenRules::default()).expect("a key");
    assert!(one.verify(&token, NOW).is_ok());
    assert!(
        !format!("{one:?} {:?}", key()).contains("BQUF"),
        "no secret is printed"
    );
}
