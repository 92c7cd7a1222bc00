//! Tokens: what was not signed with a key never names a user.
#![no_main]

use std::sync::LazyLock;

use chorus_protocol::Millis;
use chorus_protocol::tokens::TokenKey;
use chorus_session_core::Verifier;
use libfuzzer_sys::fuzz_target;

/// Keys of every algorithm that nobody has the private half of at hand: public points and numbers of the RFCs.
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let keys = [
        TokenKey::HS256 {
            kid: None,
            secret: "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow".to_owned(),
        },
        TokenKey::EdDSA {
            kid: Some("ed".to_owned()),
            public: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
        },
    ];
    Verifier::new(&keys, None).expect("keys of RFC 7515 and RFC 8037")
});

fuzz_target!(|text: &str| {
    assert!(VERIFIER.verify(text, Millis(1_800_000_000_000)).is_err());
    // Behind a header that is right, so that more than the first step is seen.
    for header in [
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJFZERTQSJ9",
        "eyJhbGciOiJub25lIn0",
    ] {
        let token = format!("{header}.{text}");
        assert!(VERIFIER.verify(&token, Millis(1_800_000_000_000)).is_err());
    }
});
