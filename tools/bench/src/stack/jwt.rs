//! Tokens of every algorithm with a public key that a PoP takes, signed here with keys made here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Error, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_compact::alg::{Ed25519, Es256, ModulusBits, Rsa, SigningKey};
use jwt_compact::jwk::JsonWebKey;
use jwt_compact::{Algorithm, AlgorithmExt as _, Claims, Header};
use rand_core::{OsRng, RngCore as _};
use serde_json::json;
use toml::Table;

/// Long enough for any run.
const LIFE: Duration = Duration::from_hours(6);

/// Users' tokens of an algorithm.
pub(crate) struct Signed {
    /// `EdDSA`, `ES256` or `RS256`.
    pub(crate) algorithm: String,
    /// The public key as a PoP's configuration wants it.
    pub(crate) key: Table,
    pub(crate) tokens: Vec<String>,
}

/// So many tokens of each algorithm.
pub(crate) fn all(count: usize) -> Result<Vec<Signed>> {
    let (ed25519, p256) = (key::<Ed25519>()?, key::<Es256>()?);
    let rsa = Rsa::generate(&mut OsRng, ModulusBits::TwoKibibytes).map_err(Error::msg)?;
    let (rsa, public) = (rsa.0.into_inner(), rsa.1.into_inner());
    Ok(vec![
        signed(
            &Ed25519,
            &ed25519,
            &(&ed25519.to_verifying_key()).into(),
            count,
        )?,
        signed(&Es256, &p256, &(&p256.to_verifying_key()).into(), count)?,
        signed(&Rsa::rs256(), &rsa, &(&public).into(), count)?,
    ])
}

fn key<A: Algorithm<SigningKey: SigningKey<A>>>() -> Result<A::SigningKey> {
    let mut secret = [0; 32];
    OsRng.fill_bytes(&mut secret);
    A::SigningKey::from_slice(&secret)
}

fn signed<A: Algorithm>(
    algorithm: &A,
    secret: &A::SigningKey,
    public: &JsonWebKey<'_>,
    count: usize,
) -> Result<Signed> {
    let name = algorithm.name().into_owned();
    let kid = format!("bench-{name}");
    let fields = match public {
        JsonWebKey::KeyPair { x, .. } => vec![("public", x.to_vec())],
        JsonWebKey::EllipticCurve { x, y, .. } => vec![("public", [&[4], &x[..], y].concat())],
        JsonWebKey::Rsa {
            modulus,
            public_exponent,
            ..
        } => vec![("n", modulus.to_vec()), ("e", public_exponent.to_vec())],
        JsonWebKey::Symmetric { .. } | _ => bail!("{name} has no public key"),
    };
    let mut key = Table::new();
    key.insert("alg".to_owned(), name.clone().into());
    key.insert("kid".to_owned(), kid.clone().into());
    for (field, bytes) in fields {
        key.insert(field.to_owned(), URL_SAFE_NO_PAD.encode(bytes).into());
    }
    let header = Header::empty().with_token_type("JWT").with_key_id(kid);
    let expires = (SystemTime::now().duration_since(UNIX_EPOCH)? + LIFE).as_secs();
    let token = |user: usize| {
        let user = format!("user{user}");
        let claims = json!({"sub": user, "name": user, "role": "user", "exp": expires});
        let token = algorithm.token(&header, &Claims::new(claims), secret);
        token.map_err(Error::msg)
    };
    Ok(Signed {
        algorithm: name,
        key,
        tokens: (0..count).map(token).collect::<Result<_, _>>()?,
    })
}
