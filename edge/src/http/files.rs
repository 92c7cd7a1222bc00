//! The page's files, read and compressed once at start: a request reads no disk, and its path is never used as a path of
//! the file system.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use super::answer::{Answer, body};
use super::negotiate::{Coding, coding, names_tag};

/// Bytes of all files in all codings; a directory with more is refused at start.
const BYTES_MAX: u64 = 64 << 20;
/// Depth of nested directories; deeper ones are left out.
const DEPTH_MAX: usize = 8;
/// Bytes from which a file is compressed; a smaller one fits into one packet.
const COMPRESSED_BYTES_MIN: usize = 1_024;
/// The `Content-Security-Policy`: pages may load only their own files and images over HTTPS, and connect to other PoPs.
const POLICY: &str = "default-src 'self'; connect-src 'self' http: https: ws: wss:; img-src 'self' data: https:; \
                      style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; frame-ancestors *";

/// The files by request path.
#[derive(Debug, Default)]
pub struct Files {
    by_path: HashMap<String, File>,
}

/// A file in its codings.
#[derive(Clone, Debug)]
struct File {
    content_type: &'static str,
    plain: Form,
    coded: Vec<(Coding, Form)>,
}

/// A file as found in the directory.
struct Found {
    data: Bytes,
    modified: SystemTime,
}

/// A file in one coding.
#[derive(Clone, Debug)]
struct Form {
    data: Bytes,
    /// The strong entity tag with its quotes; each coding has its own.
    etag: String,
}

impl Files {
    /// Reads a directory; names that begin with a dot, and all but regular files, are left out. `a.js.br` and `a.js.gz`
    /// beside `a.js` are used as its compressed forms, unless they are older. A file without a `.gz` is compressed here.
    ///
    /// # Errors
    /// When the directory cannot be read or its files are larger than 64 MiB.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut found = HashMap::new();
        let mut left = BYTES_MAX;
        walk(dir, "", DEPTH_MAX, &mut left, &mut found)?;
        let mut files = Self::default();
        for (path, plain) in &found {
            let is_another = Coding::ALL.iter().any(|coding| {
                path.strip_suffix(coding.suffix())
                    .is_some_and(|path| found.contains_key(path))
            });
            if !is_another {
                let built = |coding: Coding| {
                    let coded = found.get(&format!("{path}{}", coding.suffix()))?;
                    (coded.modified >= plain.modified).then_some(&coded.data)
                };
                let file = File::new(path, &plain.data, built)?;
                for (_, form) in &file.coded {
                    left = left
                        .checked_sub(form.data.len() as u64)
                        .ok_or_else(too_much)?;
                }
                // `/` is `/index.html`, `/a/` is `/a/index.html`.
                if let Some(folder) = path.strip_suffix("index.html") {
                    files.by_path.insert(folder.to_owned(), file.clone());
                }
                files.by_path.insert(path.clone(), file);
            }
        }
        Ok(files)
    }

    /// Answers a request for a path, which may be percent-encoded, in the best coding that the client accepts; 304 when the
    /// client has the file already. `None` when there is no such file.
    pub(super) fn answer(&self, path: &str, asked: &HeaderMap) -> Option<Answer> {
        let file = self.by_path.get(&decode(path)?)?;
        let chosen = coding(asked, |coding| file.form(coding).is_some());
        let form = chosen
            .and_then(|coding| file.form(coding))
            .unwrap_or(&file.plain);
        let mut answer = if names_tag(asked, &form.etag) {
            body(StatusCode::NOT_MODIFIED, file.content_type, Bytes::new())
        } else {
            body(StatusCode::OK, file.content_type, form.data.clone())
        };
        let headers = answer.headers_mut();
        if let Ok(etag) = HeaderValue::from_str(&form.etag) {
            headers.insert(header::ETAG, etag);
        }
        if let Some(coding) = chosen {
            let name = HeaderValue::from_static(coding.name());
            headers.insert(header::CONTENT_ENCODING, name);
        }
        if !file.coded.is_empty() {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        );
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        // Pages of other origins load the widget's scripts.
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        );
        Some(answer)
    }
}

/// Reads the files of a directory into `found`, by request path.
fn walk(
    dir: &Path,
    prefix: &str,
    depth: usize,
    left: &mut u64,
    found: &mut HashMap<String, Found>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type()?;
        let path = format!("{prefix}/{name}");
        if kind.is_dir() && depth > 0 {
            walk(&entry.path(), &path, depth - 1, left, found)?;
        } else if kind.is_file() {
            let metadata = entry.metadata()?;
            *left = left.checked_sub(metadata.len()).ok_or_else(too_much)?;
            let file = Found {
                data: std::fs::read(entry.path())?.into(),
                modified: metadata.modified()?,
            };
            found.insert(path, file);
        }
    }
    Ok(())
}

fn too_much() -> io::Error {
    io::Error::other(format!("holds more than {BYTES_MAX} bytes"))
}

/// Decodes a percent-encoded path; `None` when the encoding is invalid, no UTF-8, or contains `/` or a zero byte.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut remaining = path.bytes();
    while let Some(byte) = remaining.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
        let decoded = digit(remaining.next())? * 16 + digit(remaining.next())?;
        let decoded = u8::try_from(decoded).ok()?;
        // An encoded slash would be part of a file's name, and no file has one in its name.
        if matches!(decoded, b'/' | b'\0') {
            return None;
        }
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

impl File {
    fn new<'a>(
        path: &str,
        data: &Bytes,
        built: impl Fn(Coding) -> Option<&'a Bytes>,
    ) -> io::Result<Self> {
        let content_type = content_type(path);
        let tag = tag(data);
        let mut file = Self {
            content_type,
            plain: Form {
                data: data.clone(),
                etag: format!("\"{tag}\""),
            },
            coded: Vec::new(),
        };
        for coding in Coding::ALL {
            let coded = match (built(coding), coding) {
                (Some(built), _) => Some(built.clone()),
                (None, Coding::Gzip)
                    if data.len() >= COMPRESSED_BYTES_MIN && is_compressible(content_type) =>
                {
                    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
                    encoder.write_all(data)?;
                    Some(Bytes::from(encoder.finish()?))
                }
                (None, _) => None,
            };
            if let Some(coded) = coded.filter(|coded| coded.len() < data.len()) {
                let etag = format!("\"{tag}-{}\"", coding.name());
                file.coded.push((coding, Form { data: coded, etag }));
            }
        }
        Ok(file)
    }

    fn form(&self, coding: Coding) -> Option<&Form> {
        let found = self.coded.iter().find(|(one, _)| *one == coding);
        found.map(|(_, form)| form)
    }
}

/// An entity tag: half of the SHA-256 digest, in hexadecimal.
fn tag(data: &[u8]) -> String {
    let digest = Sha256::digest(data);
    let bytes = digest.iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Whether compression makes a file of this type smaller; images and fonts are compressed already.
fn is_compressible(content_type: &str) -> bool {
    content_type.starts_with("text/")
        || matches!(
            content_type,
            "application/json" | "application/wasm" | "application/manifest+json" | "image/svg+xml"
        )
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("webmanifest") => "application/manifest+json",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
