//! Tokens: what was not signed with a key never names a user, and what was is read within its rules.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::Millis;
use chorus_protocol::tokens::{TokenKey, TokenRules};
use chorus_tokens::Verifier;
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{Algorithm as _, AlgorithmSignature as _};
use libfuzzer_sys::fuzz_target;

const NOW: Millis = Millis(1_800_000_000_000);
/// The secret of a key that signs here.
const SECRET: [u8; 32] = [7; 32];

fn verifier(keys: &[TokenKey]) -> Verifier {
    Verifier::try_new(keys, None, &TokenRules::default()).expect("keys that can be used")
}

/// Keys of every algorithm that nobody has the private half of at hand: public points and numbers of the RFCs.
static FOREIGN: LazyLock<Verifier> = LazyLock::new(|| {
    verifier(&[
        TokenKey::HS256 {
            kid: None,
            secret: "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow".to_owned(),
        },
        TokenKey::EdDSA {
            kid: Some("ed".to_owned()),
            public: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
        },
    ])
});

/// The key that signs here.
static OURS: LazyLock<Verifier> = LazyLock::new(|| {
    verifier(&[TokenKey::HS256 {
        kid: None,
        secret: URL_SAFE_NO_PAD.encode(SECRET),
    }])
});

fn signed(header: &str, claims: &str) -> String {
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let parts = format!("{}.{}", encode(header), encode(claims));
    let signature = Hs256.sign(&Hs256Key::new(SECRET), parts.as_bytes());
    format!("{parts}.{}", URL_SAFE_NO_PAD.encode(signature.as_bytes()))
}

fuzz_target!(|text: &str| {
    assert!(FOREIGN.verify(text, NOW).is_err());
    // Behind a header that is right, so that more than the first step is seen.
    for header in [
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJFZERTQSJ9",
        "eyJhbGciOiJub25lIn0",
    ] {
        let token = format!("{header}.{text}");
        assert!(FOREIGN.verify(&token, NOW).is_err());
    }
    // Signed, so that headers and claims of any form are read.
    let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
    let token = signed(header, claims);
    if let Ok(who) = OURS.verify(&token, NOW) {
        assert!(who.expires > NOW);
        assert!(!who.user.as_str().is_empty() && !who.name.is_empty());
        let header: serde_json::Value = serde_json::from_str(header).expect("it was read");
        assert!(header.get("crit").is_none(), "{header}");
    }
    assert!(FOREIGN.verify(&token, NOW).is_err());
});
