//! Certificates: one authority for the servers among themselves, one for the roles that connect to them.
//!
//! Two authorities, because who holds a role's key must not pass for a server at the ports of routes and gateways.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::file::Supercluster;
use super::roles::Role;

/// The directory of both authorities: no server and no origin needs what is in it.
pub(super) const AUTHORITY: &str = "authority";

/// Makes what is missing below `out`, replaces nothing; how many files it made.
pub(super) fn make(supercluster: &Supercluster, out: &Path) -> Result<usize> {
    let mut made = 0;
    let (servers, roles) = (authority(out, "servers"), authority(out, "roles"));
    for region in &supercluster.regions {
        for node in &region.nodes {
            let directory = out.join(&node.name);
            made += servers.copy(&directory.join("ca.pem"))?;
            made += roles.copy(&directory.join("roles.pem"))?;
            let end = End {
                name: &node.address,
                usages: &[
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ],
            };
            made += servers.sign(&end, &directory.join("node"))?;
        }
        let directory = out.join(region.name.as_str());
        made += servers.copy(&directory.join("ca.pem"))?;
        for role in Role::ALL {
            let end = End {
                name: &role.user(region),
                usages: &[ExtendedKeyUsagePurpose::ClientAuth],
            };
            made += roles.sign(&end, &directory.join(role.name()))?;
        }
    }
    Ok(made)
}

/// Who is signed for.
struct End<'a> {
    /// An address, or a name.
    name: &'a str,
    usages: &'a [ExtendedKeyUsagePurpose],
}

/// An authority whose certificate and key are files, made when they are first needed.
struct Authority<'a> {
    out: &'a Path,
    name: &'static str,
}

const fn authority<'a>(out: &'a Path, name: &'static str) -> Authority<'a> {
    Authority { out, name }
}

impl Authority<'_> {
    /// Puts the authority's certificate where it is missing.
    fn copy(&self, to: &Path) -> Result<usize> {
        if to.exists() {
            return Ok(0);
        }
        self.issuer()?;
        let certificate = std::fs::read(self.certificate())
            .with_context(|| format!("cannot read {}", self.certificate().display()))?;
        write(to, &certificate, 0o644)?;
        Ok(1)
    }

    /// Makes `path.pem` and `path.key` where one of them is missing.
    fn sign(&self, end: &End<'_>, path: &Path) -> Result<usize> {
        let (certificate, key) = (path.with_extension("pem"), path.with_extension("key"));
        if certificate.exists() && key.exists() {
            return Ok(0);
        }
        let new = KeyPair::generate().context("cannot make a key")?;
        let mut params = named(end.name, vec![end.name.to_owned()])?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = end.usages.to_vec();
        let signed = params
            .signed_by(&new, &self.issuer()?)
            .with_context(|| format!("cannot sign {}", certificate.display()))?;
        write(&key, new.serialize_pem().as_bytes(), 0o600)?;
        write(&certificate, signed.pem().as_bytes(), 0o644)?;
        Ok(2)
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>> {
        let key = self.out.join(AUTHORITY).join(format!("{}.key", self.name));
        let mut params = named(&format!("Chorus {}", self.name), Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        if self.certificate().exists() {
            let Ok(pem) = std::fs::read_to_string(&key) else {
                bail!(
                    "{} is needed to sign a new certificate, and is not there",
                    key.display()
                );
            };
            let pair = KeyPair::from_pem(&pem)
                .with_context(|| format!("{} is no private key", key.display()))?;
            return Ok(Issuer::new(params, pair));
        }
        let pair = KeyPair::generate().context("cannot make a key")?;
        let certificate = params
            .self_signed(&pair)
            .context("cannot sign an authority")?;
        write(&key, pair.serialize_pem().as_bytes(), 0o600)?;
        write(&self.certificate(), certificate.pem().as_bytes(), 0o644)?;
        Ok(Issuer::new(params, pair))
    }

    fn certificate(&self) -> std::path::PathBuf {
        self.out.join(AUTHORITY).join(format!("{}.pem", self.name))
    }
}

fn named(common_name: &str, names: Vec<String>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names)
        .with_context(|| format!("`{common_name}` cannot be named in a certificate"))?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

/// A key is nobody else's to read, from the first byte on.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(cannot)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .with_context(cannot)?;
    file.write_all(bytes).with_context(cannot)
}
