//! Keys and certificates, created once and kept: the secret for tokens, the password of NATS, and the certificates of PoP
//! and gateway.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::dir::DataDir;

/// The name in the gateway's certificate, which the PoP expects.
pub(crate) const GATEWAY_NAME: &str = "gateway.chorus.internal";
/// The name of the one PoP, also in its certificate.
pub(crate) const POP_NAME: &str = "dev-1";

const FILES: [&str; 5] = [
    "tls/ca.pem",
    "tls/gateway.pem",
    "tls/gateway.key",
    "tls/pop.pem",
    "tls/pop.key",
];

/// The secrets.
pub(crate) struct Identity {
    /// The HS256 secret, base64url without padding.
    pub(crate) token_secret: String,
    /// The password of NATS.
    pub(crate) nats_password: String,
}

impl Identity {
    /// Reads the stored secrets and certificates, and creates missing ones.
    pub(crate) fn open(dir: &DataDir) -> Result<Self> {
        if !FILES.iter().all(|name| dir.file(name).is_file()) {
            make_certificates(dir)?;
        }
        let kept = std::fs::read_to_string(dir.file("secret")).unwrap_or_default();
        if let Some((token_secret, nats_password)) = kept.trim().split_once('\n') {
            return Ok(Self {
                token_secret: token_secret.to_owned(),
                nats_password: nats_password.to_owned(),
            });
        }
        let identity = Self {
            token_secret: random()?,
            nats_password: random()?,
        };
        let text = format!("{}\n{}\n", identity.token_secret, identity.nats_password);
        dir.write("secret", text.as_bytes())?;
        Ok(identity)
    }
}

/// 32 bytes of the operating system's randomness, base64url.
fn random() -> Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Creates the certificates of PoP and gateway with a new certificate authority, whose key is not stored.
fn make_certificates(dir: &DataDir) -> Result<()> {
    let ca_key = KeyPair::generate().context("cannot make a key")?;
    let mut ca = named("Chorus dev CA", &[])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_certificate = ca.self_signed(&ca_key).context("cannot sign the CA")?;
    let issuer = Issuer::new(ca, ca_key);
    dir.write("tls/ca.pem", ca_certificate.pem().as_bytes())?;

    let ends = [
        ("gateway", GATEWAY_NAME, ExtendedKeyUsagePurpose::ServerAuth),
        ("pop", POP_NAME, ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for (file, name, usage) in ends {
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut end = named(name, &[name])?;
        end.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        end.extended_key_usages = vec![usage];
        let certificate = end
            .signed_by(&key, &issuer)
            .context("cannot sign a certificate")?;
        dir.write(&format!("tls/{file}.pem"), certificate.pem().as_bytes())?;
        dir.write(&format!("tls/{file}.key"), key.serialize_pem().as_bytes())?;
    }
    Ok(())
}

fn named(common_name: &str, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).context("cannot name a certificate")?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_again_after_a_loss() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = DataDir::open(&root.path().join("data"), false).expect("opens");
        let first = Identity::open(&dir).expect("makes");
        let ca = std::fs::read(dir.file("tls/ca.pem")).expect("a CA");
        let second = Identity::open(&dir).expect("reads");
        assert_eq!(first.token_secret, second.token_secret);
        assert_eq!(first.nats_password, second.nats_password);
        assert_eq!(ca, std::fs::read(dir.file("tls/ca.pem")).expect("a CA"));

        std::fs::remove_file(dir.file("tls/pop.key")).expect("removes");
        Identity::open(&dir).expect("makes again");
        assert_ne!(
            ca,
            std::fs::read(dir.file("tls/ca.pem")).expect("a CA"),
            "both ends change together"
        );
    }
}
