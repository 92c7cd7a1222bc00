//! Tokens of every algorithm a PoP takes, signed here with keys made here.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use toml::Table;

use crate::sys::child::run_within;

/// Long enough for any run, in seconds.
const LIFE_S: i64 = 6 * 3_600;

/// Signs a message.
type Sign = Box<dyn Fn(&[u8]) -> Result<Vec<u8>>>;

/// A key and how it signs.
pub(crate) struct Signer {
    /// `EdDSA`, `ES256` or `RS256`.
    pub(crate) algorithm: &'static str,
    /// The public key as a PoP's configuration wants it.
    pub(crate) key: Table,
    sign: Sign,
}

impl Signer {
    /// One of each algorithm with a public key; RS256 only where `openssl` makes a key.
    pub(crate) fn all() -> Vec<Result<Self>> {
        vec![Self::ed25519(), Self::p256(), Self::rsa()]
    }

    fn ed25519() -> Result<Self> {
        let unspecified = |_| anyhow!("Ed25519");
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(unspecified)?;
        let pair =
            Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|error| anyhow!("{error}"))?;
        Ok(Self {
            algorithm: "EdDSA",
            key: key("EdDSA", &[("public", pair.public_key().as_ref())]),
            sign: Box::new(move |message| Ok(pair.sign(message).as_ref().to_vec())),
        })
    }

    fn p256() -> Result<Self> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| anyhow!("P-256"))?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
                .map_err(|error| anyhow!("{error}"))?;
        Ok(Self {
            algorithm: "ES256",
            key: key("ES256", &[("public", pair.public_key().as_ref())]),
            sign: Box::new(move |message| {
                let signature = pair.sign(&random, message).map_err(|_| anyhow!("P-256"))?;
                Ok(signature.as_ref().to_vec())
            }),
        })
    }

    fn rsa() -> Result<Self> {
        let pem = openssl(
            &[
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ],
            &[],
        )?;
        let der = openssl(&["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"], &pem)?;
        let pair = RsaKeyPair::from_pkcs8(&der).map_err(|error| anyhow!("{error}"))?;
        let public = ring::signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
        Ok(Self {
            algorithm: "RS256",
            key: key("RS256", &[("n", &public.n), ("e", &public.e)]),
            sign: Box::new(move |message| {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(|_| anyhow!("RSA"))?;
                Ok(signature)
            }),
        })
    }

    /// A user's token.
    pub(crate) fn token(&self, user: &str) -> Result<String> {
        let expires = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec + LIFE_S;
        let header =
            serde_json::json!({"alg": self.algorithm, "typ": "JWT", "kid": kid(self.algorithm)});
        let claims = serde_json::json!({"sub": user, "name": user, "role": "user", "exp": expires});
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = (self.sign)(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn kid(algorithm: &str) -> String {
    format!("bench-{algorithm}")
}

fn part(value: &serde_json::Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn key(algorithm: &str, fields: &[(&str, &[u8])]) -> Table {
    let mut table = Table::new();
    table.insert("alg".to_owned(), algorithm.into());
    table.insert("kid".to_owned(), kid(algorithm).into());
    for (name, bytes) in fields {
        table.insert((*name).to_owned(), URL_SAFE_NO_PAD.encode(bytes).into());
    }
    table
}

fn openssl(args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new("openssl");
    let output = run_within(command.args(args), input, Duration::from_secs(20))
        .context("openssl makes the RSA key")?;
    if !output.status.success() {
        bail!("openssl made no RSA key");
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    };

    use super::*;

    #[test]
    fn each_token_verifies_with_the_key_a_pop_is_given() {
        for signer in Signer::all() {
            let Ok(signer) = signer else { continue };
            let token = signer.token("ada").expect("signs");
            let (signed, signature) = token.rsplit_once('.').expect("three parts");
            let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
            let field = |name: &str| {
                let text = signer
                    .key
                    .get(name)
                    .and_then(toml::Value::as_str)
                    .expect("a field");
                URL_SAFE_NO_PAD.decode(text).expect("base64url")
            };
            let verified = match signer.algorithm {
                "EdDSA" => UnparsedPublicKey::new(&ED25519, field("public"))
                    .verify(signed.as_bytes(), &signature),
                "ES256" => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, field("public"))
                    .verify(signed.as_bytes(), &signature),
                _ => RsaPublicKeyComponents {
                    n: field("n"),
                    e: field("e"),
                }
                .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature),
            };
            assert!(verified.is_ok(), "{}", signer.algorithm);
        }
    }
}
