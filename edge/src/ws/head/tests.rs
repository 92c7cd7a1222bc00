//! Valid and invalid heads.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<(String, Option<String>, Framing), Flaw> {
    let mut room = NO_FIELDS;
    let head = parse(text.as_bytes(), &mut room)?.expect("a whole head");
    Ok((
        head.path.to_owned(),
        head.query.map(str::to_owned),
        head.framing,
    ))
}

fn flaw(text: &str) -> Flaw {
    match read(text) {
        Err(flaw) => flaw,
        Ok(head) => panic!("{text:?} is taken: {head:?}"),
    }
}

#[test]
fn a_target_in_absolute_form_is_that_path() {
    for (target, path, query) in [
        ("/v1/ws?a=1?", "/v1/ws", Some("a=1?")),
        ("http://pop.example/v1/ws", "/v1/ws", None),
        (
            "HTTPS://pop.example:443/v1/ws?token=a.b",
            "/v1/ws",
            Some("token=a.b"),
        ),
        ("ws://[::1]:8080?x", "/", Some("x")),
        ("http://pop.example", "/", None),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let (found, rest, _) = read(&text).expect(target);
        assert_eq!((found.as_str(), rest.as_deref()), (path, query), "{target}");
    }
    assert!(read("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").is_ok());
    for target in [
        "*",
        "pop.example:443",
        "v1/ws",
        "1http://x/",
        "http:///v1/ws",
        "http://a@b/",
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(flaw(&text), Flaw::Malformed, "{target}");
    }
}

#[test]
fn a_host_is_there_once_and_is_one() {
    for host in [
        "x",
        "pop.example:8080",
        "127.0.0.1",
        "[::1]",
        "[2001:db8::1]:80",
        "a_b",
        "x:",
    ] {
        assert!(
            read(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_ok(),
            "{host}"
        );
    }
    for host in [
        "",
        "a b",
        "a/b",
        "a@b",
        "x:80a",
        "x:1234567",
        "[::1",
        "[]",
        "a,\u{e9}",
        "x:80:80",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(flaw(&text), Flaw::Host, "{host}");
    }
    assert_eq!(flaw("GET / HTTP/1.1\r\n\r\n"), Flaw::Host);
    assert_eq!(
        flaw("GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n"),
        Flaw::Host
    );
    assert!(read("GET / HTTP/1.0\r\n\r\n").is_ok());
    assert_eq!(flaw("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), Flaw::Host);
}

#[test]
fn a_body_has_one_length() {
    let framing = |fields: &str| read(&format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    let taken = |fields: &str| framing(fields).expect(fields).2;
    assert_eq!(taken(""), Framing::Length(0));
    assert_eq!(taken("Content-Length: 5\r\n"), Framing::Length(5));
    assert_eq!(taken("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    ] {
        assert_eq!(
            framing(fields).expect_err(fields),
            Flaw::Malformed,
            "{fields}"
        );
    }
    let gzip = framing("Transfer-Encoding: gzip, chunked\r\n");
    assert_eq!(gzip.expect_err("not served"), Flaw::Coding);
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(flaw(old), Flaw::Malformed);
}

#[test]
fn what_is_no_http_is_malformed() {
    for text in [
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nno field\r\n\r\n",
    ] {
        assert_eq!(flaw(text), Flaw::Malformed, "{text:?}");
    }
}

#[test]
fn a_head_has_room_for_a_large_cookie_and_many_fields() {
    let fields = |count: usize| "X: y\r\n".repeat(count);
    let most = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        fields(HEADERS_MAX - 1)
    );
    assert!(read(&most).is_ok());
    let more = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", fields(HEADERS_MAX));
    assert_eq!(flaw(&more), Flaw::TooLarge);
    let cookie = |length: usize| {
        let start = "GET / HTTP/1.1\r\nHost: x\r\nCookie: ";
        format!("{start}{}\r\n\r\n", "c".repeat(length - start.len() - 4))
    };
    assert!(read(&cookie(HEAD_BYTES_MAX)).is_ok());
    assert_eq!(flaw(&cookie(HEAD_BYTES_MAX + 1)), Flaw::TooLarge);
    let mut room = NO_FIELDS;
    let cut = &cookie(HEAD_BYTES_MAX + 1)[..HEAD_BYTES_MAX];
    assert_eq!(parse(cut.as_bytes(), &mut room).err(), Some(Flaw::TooLarge));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let mut room = NO_FIELDS;
        let _ = parse(&bytes, &mut room);
        let mut room = NO_FIELDS;
        let mut request = b"GET / HTTP/1.1\r\nHost: ".to_vec();
        request.extend_from_slice(&bytes);
        request.extend_from_slice(b"\r\n\r\n");
        let _ = parse(&request, &mut room);
    }

    #[test]
    fn a_head_that_is_cut_is_awaited(cut in 0_usize..60) {
        let whole = b"POST /api?x=%20 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
        let mut room = NO_FIELDS;
        prop_assert!(matches!(parse(&whole[..cut.min(whole.len() - 1)], &mut room), Ok(None)));
    }
}
