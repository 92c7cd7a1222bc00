//! Which files are served, and in which coding.

use std::io::Read as _;

use super::*;

fn site() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let inner = dir.path().join("site");
    std::fs::create_dir_all(inner.join("a")).expect("made");
    std::fs::write(dir.path().join("secret"), "s").expect("written");
    for (name, text) in [
        ("index.html", "<p>".to_owned()),
        ("a/app.js", "let x;\n".repeat(1_000)),
        ("a/å b%.txt", "named".to_owned()),
        ("a/photo.png", "p".repeat(5_000)),
        (".hidden", "h".to_owned()),
    ] {
        std::fs::write(inner.join(name), text).expect("written");
    }
    std::os::unix::fs::symlink(dir.path().join("secret"), inner.join("link")).expect("linked");
    dir
}

fn asked(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut asked = HeaderMap::new();
    for (name, value) in fields {
        asked.append(name, HeaderValue::from_static(value));
    }
    asked
}

fn read(dir: &tempfile::TempDir) -> Files {
    Files::read(&dir.path().join("site")).expect("read")
}

#[test]
fn only_what_was_read_can_be_had() {
    let files = read(&site());
    let none = HeaderMap::new();
    for path in [
        "/../secret",
        "/link",
        "/.hidden",
        "/a",
        "/a/",
        "//index.html",
        "/%2e%2e/secret",
        "/a%2fapp.js",
        "/a/%",
        "/a/%6",
        "/a/%zz",
        "/a/%ff",
        "/%00",
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
    assert!(
        !page.headers().contains_key(header::VARY),
        "it has one form"
    );
}

#[test]
fn percent_encoded_names_are_those_files() {
    let files = read(&site());
    for path in [
        "/a/app.js",
        "/a/%61pp.js",
        "/%61/%61%70p%2Ejs",
        "/a/%C3%A5%20b%25.txt",
    ] {
        let answer = files.answer(path, &HeaderMap::new()).expect(path);
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}

#[test]
fn a_file_goes_out_compressed_to_whoever_takes_that() {
    let files = read(&site());
    let zipped = asked(&[(header::ACCEPT_ENCODING, "br, gzip")]);
    let plain = files
        .answer("/a/app.js", &HeaderMap::new())
        .expect("a script");
    let gzip = files.answer("/a/app.js", &zipped).expect("a script");
    assert_eq!(gzip.headers()[header::CONTENT_ENCODING], "gzip");
    assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    for answer in [&plain, &gzip] {
        assert_eq!(answer.headers()[header::VARY], "Accept-Encoding");
    }
    assert!(gzip.body().len() * 10 < plain.body().len());
    let mut again = Vec::new();
    flate2::read::GzDecoder::new(&gzip.body()[..])
        .read_to_end(&mut again)
        .expect("gzip");
    assert_eq!(&again[..], &plain.body()[..]);
    let tags = [&plain, &gzip].map(|answer| answer.headers()[header::ETAG].clone());
    assert_ne!(tags[0], tags[1], "two forms, two strong tags");
    assert!(tags.iter().all(|tag| tag.as_bytes().starts_with(b"\"")));
    let photo = files.answer("/a/photo.png", &zipped).expect("a photo");
    assert!(!photo.headers().contains_key(header::CONTENT_ENCODING));
}

#[test]
fn what_was_compressed_beforehand_is_taken() {
    let dir = site();
    std::fs::write(dir.path().join("site/a/app.js.br"), "brotli").expect("written");
    std::fs::write(dir.path().join("site/a/alone.br"), "alone").expect("written");
    let files = read(&dir);
    let both = asked(&[(header::ACCEPT_ENCODING, "gzip, br")]);
    let brotli = files.answer("/a/app.js", &both).expect("a script");
    assert_eq!(brotli.headers()[header::CONTENT_ENCODING], "br");
    assert_eq!(brotli.body(), "brotli");
    assert!(
        files.answer("/a/app.js.br", &both).is_none(),
        "no file of its own"
    );
    assert!(files.answer("/a/alone.br", &both).is_some());
    // A compressed form that is older than the file is not used.
    let stale = std::fs::File::options()
        .write(true)
        .open(dir.path().join("site/a/app.js.br"))
        .expect("there");
    stale.set_modified(std::time::UNIX_EPOCH).expect("set");
    let again = read(&dir).answer("/a/app.js", &both).expect("a script");
    assert_eq!(again.headers()[header::CONTENT_ENCODING], "gzip");
}

#[test]
fn whoever_has_a_file_is_told_so() {
    let files = read(&site());
    let gzip = [(header::ACCEPT_ENCODING, "gzip")];
    let first = files.answer("/a/app.js", &asked(&gzip)).expect("a script");
    let tag = first.headers()[header::ETAG].clone();
    let weak = HeaderValue::from_str(&format!("W/{}", tag.to_str().expect("ASCII")));
    for held in [
        tag.clone(),
        weak.expect("ASCII"),
        HeaderValue::from_static("*"),
    ] {
        let mut headers = asked(&gzip);
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        headers.append(header::IF_NONE_MATCH, held);
        let answer = files.answer("/a/app.js", &headers).expect("a script");
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer.headers()[header::ETAG], tag);
        assert_eq!(answer.headers()[header::VARY], "Accept-Encoding");
    }
    // The tag of the compressed form does not match the plain one.
    let mut plain = HeaderMap::new();
    plain.append(header::IF_NONE_MATCH, tag);
    let answer = files.answer("/a/app.js", &plain).expect("a script");
    assert_eq!(answer.status(), StatusCode::OK);
}
