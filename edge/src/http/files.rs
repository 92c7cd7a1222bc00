//! The files of the page: read once at start, so that a request touches no disk and no path of a request becomes
//! one of the file system.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use super::answer::{Answer, body};

/// Bytes of all files together; a directory with more is refused at start.
const BYTES_MAX: u64 = 64 << 20;
/// Folders within folders.
const DEPTH_MAX: usize = 8;
/// What pages may load: nothing but their own files and their WebSocket.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: https:; \
                      style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; frame-ancestors *";

/// Files by request path.
#[derive(Debug, Default)]
pub struct Files {
    by_path: HashMap<String, File>,
}

#[derive(Debug)]
struct File {
    data: Bytes,
    content_type: &'static str,
    etag: HeaderValue,
}

impl Files {
    /// Reads a directory. Names that begin with a dot, and what is no regular file, are left out.
    ///
    /// # Errors
    /// When it cannot be read or holds too much.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut files = Self::default();
        let mut left = BYTES_MAX;
        files.add(dir, "", DEPTH_MAX, &mut left)?;
        for (path, index) in files.indexes() {
            files.by_path.insert(path, index);
        }
        Ok(files)
    }

    fn add(&mut self, dir: &Path, prefix: &str, depth: usize, left: &mut u64) -> io::Result<()> {
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
                self.add(&entry.path(), &path, depth - 1, left)?;
            } else if kind.is_file() {
                let length = entry.metadata()?.len();
                *left = left.checked_sub(length).ok_or_else(|| {
                    io::Error::other(format!("holds more than {BYTES_MAX} bytes"))
                })?;
                let data = std::fs::read(entry.path())?;
                self.by_path.insert(path, File::new(&name, data));
            }
        }
        Ok(())
    }

    /// `/` for `/index.html`, `/a/` for `/a/index.html`.
    fn indexes(&self) -> Vec<(String, File)> {
        let entries = self.by_path.iter();
        entries
            .filter_map(|(path, file)| {
                Some((path.strip_suffix("index.html")?.to_owned(), file.again()))
            })
            .collect()
    }

    /// The file of a path, or 304 when the asker has it.
    pub(super) fn answer(&self, path: &str, asked: &HeaderMap) -> Option<Answer> {
        let file = self.by_path.get(path)?;
        let held = asked
            .get(header::IF_NONE_MATCH)
            .and_then(|value| value.to_str().ok());
        let same = held.is_some_and(|held| {
            held.split(',')
                .any(|one| one.trim().as_bytes() == file.etag.as_bytes())
        });
        let mut answer = if same {
            body(StatusCode::NOT_MODIFIED, file.content_type, Bytes::new())
        } else {
            body(StatusCode::OK, file.content_type, file.data.clone())
        };
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, file.etag.clone());
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

impl File {
    fn new(name: &str, data: Vec<u8>) -> Self {
        let digest = Sha256::digest(&data);
        let mut etag = String::from("\"");
        for byte in digest.iter().take(16) {
            etag.push_str(&format!("{byte:02x}"));
        }
        etag.push('"');
        Self {
            data: data.into(),
            content_type: content_type(name),
            etag: HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    fn again(&self) -> Self {
        Self {
            data: self.data.clone(),
            content_type: self.content_type,
            etag: self.etag.clone(),
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_can_be_had() {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = dir.path().join("site");
        std::fs::create_dir_all(inner.join("a")).expect("made");
        std::fs::write(dir.path().join("secret"), "s").expect("written");
        std::fs::write(inner.join("index.html"), "<p>").expect("written");
        std::fs::write(inner.join("a/b.js"), "1").expect("written");
        std::fs::write(inner.join(".hidden"), "h").expect("written");
        std::os::unix::fs::symlink(dir.path().join("secret"), inner.join("link")).expect("linked");
        let files = Files::read(&inner).expect("read");
        let none = HeaderMap::new();
        for path in [
            "/../secret",
            "/link",
            "/.hidden",
            "/a",
            "/a/",
            "//index.html",
            "/%2e%2e/secret",
            "",
        ] {
            assert!(files.answer(path, &none).is_none(), "{path}");
        }
        let page = files.answer("/", &none).expect("the page");
        assert_eq!(
            page.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        assert!(page.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        let mut held = HeaderMap::new();
        held.insert(header::IF_NONE_MATCH, page.headers()[header::ETAG].clone());
        assert_eq!(
            files.answer("/", &held).expect("the page").status(),
            StatusCode::NOT_MODIFIED
        );
        assert_eq!(
            files.answer("/a/b.js", &held).expect("a script").status(),
            StatusCode::OK
        );
    }
}
