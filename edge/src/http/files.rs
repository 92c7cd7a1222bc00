//! The files of the page: read and compressed once at start, so that a request touches no disk and no path of a
//! request becomes one of the file system.

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
use super::negotiate::{Coding, coding, holds};

/// Bytes of all files together, each in all its codings; a directory with more is refused at start.
const BYTES_MAX: u64 = 64 << 20;
/// Folders within folders.
const DEPTH_MAX: usize = 8;
/// Files below that fit into one packet as they are.
const COMPRESSED_BYTES_MIN: usize = 1_024;
/// What pages may load: nothing but their own files and their WebSocket.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: https:; \
                      style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; frame-ancestors *";

/// Files by request path.
#[derive(Debug, Default)]
pub struct Files {
    by_path: HashMap<String, File>,
}

/// A file in each of its codings.
#[derive(Clone, Debug)]
struct File {
    content_type: &'static str,
    plain: Form,
    coded: Vec<(Coding, Form)>,
}

/// What was found in the directory.
struct Found {
    data: Bytes,
    modified: SystemTime,
}

/// A file's bytes in one coding.
#[derive(Clone, Debug)]
struct Form {
    data: Bytes,
    /// A strong tag, with its quotes; each coding has its own.
    etag: String,
}

impl Files {
    /// Reads a directory. Names that begin with a dot, and what is no regular file, are left out. `a.js.br` and `a.js.gz`
    /// beside `a.js` are the same file compressed by whoever built it, unless they are older; what has no `.gz` is compressed
    /// here.
    ///
    /// # Errors
    /// When it cannot be read or holds too much.
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
                // `/` for `/index.html`, `/a/` for `/a/index.html`.
                if let Some(folder) = path.strip_suffix("index.html") {
                    files.by_path.insert(folder.to_owned(), file.clone());
                }
                files.by_path.insert(path.clone(), file);
            }
        }
        Ok(files)
    }

    /// The file of a path, percent-encoded as it may be, in a coding that the asker takes; or 304 when the asker has it.
    pub(super) fn answer(&self, path: &str, asked: &HeaderMap) -> Option<Answer> {
        let file = self.by_path.get(&decode(path)?)?;
        let chosen = coding(asked, |coding| file.form(coding).is_some());
        let form = chosen
            .and_then(|coding| file.form(coding))
            .unwrap_or(&file.plain);
        let mut answer = if holds(asked, &form.etag) {
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
        // Scripts of the widget are loaded by pages of other origins.
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        );
        Some(answer)
    }
}

/// Reads what is in a directory, by request path.
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

/// A path without its percent-encoding; `None` where that would make another path of it, or no text.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
        let decoded = digit(rest.next())? * 16 + digit(rest.next())?;
        let decoded = u8::try_from(decoded).ok()?;
        // An encoded slash is part of a name, and no name of ours has one.
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

/// A tag that only these bytes have.
fn tag(data: &[u8]) -> String {
    let digest = Sha256::digest(data);
    let bytes = digest.iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Images and fonts are compressed already.
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
