//! Corpora of edge cases that were not written here, through a session: what must be taken is, what must be refused gets
//! an `error`, and the socket stays.

use chorus_protocol::client::{ClientMessage, PostComment};
use chorus_protocol::codec::{Incoming, ReadError, decode_hot, decode_server};
use chorus_protocol::server::ServerMessage;
use chorus_protocol::{CommentId, Encoding};
use chorus_session_core::{Input, Opened, Output, Transport};
use chorus_session_scenarios::machine::Native;
use chorus_session_scenarios::{Machine, pop};
use serde_json::Value;

const CONNECTION: u64 = 1;

/// What the reader of any form says of a post.
fn read_post(encoding: Encoding, bytes: &[u8]) -> Result<PostComment, ReadError> {
    let message = Incoming::read(encoding, bytes)?;
    PostComment::read(&message.fields()?)
}

/// One connection; a second passes before each message, so that no rate is in the way.
struct Socket {
    machine: Native,
    encoding: Encoding,
    now: u64,
}

impl Socket {
    fn open(encoding: Encoding) -> Self {
        let mut machine = Native::default();
        machine.init(b"{}", 7).expect("the defaults are good");
        let now = pop::START_MS;
        let opened = Opened {
            connection: CONNECTION,
            transport: Transport::WebSocket,
            encoding,
            token: None,
        };
        machine.handle(now, vec![Input::Opened(opened)]);
        // A stream that does not exist yet: the time for the first message is over then.
        let mut socket = Self {
            machine,
            encoding,
            now,
        };
        let mut join = Vec::new();
        let message = serde_json::json!({"type": "join_stream", "payload": {"stream_id": "demo"}});
        chorus_protocol::codec::encode(encoding, &message, &mut join).expect("encodes");
        socket.send(join);
        socket
    }

    /// The bytes that come back.
    fn send(&mut self, data: Vec<u8>) -> Vec<Vec<u8>> {
        self.now += 1_000;
        let frame = Input::Frame {
            connection: CONNECTION,
            data,
        };
        let outputs = self.machine.handle(self.now, vec![frame]);
        let sent = |output| {
            if let Output::Close { code, reason, .. } = &output {
                panic!("closed: {code} {reason}");
            }
            let Output::Send { head, tail, .. } = output else {
                return None;
            };
            Some([head, tail].concat())
        };
        outputs.into_iter().filter_map(sent).collect()
    }

    /// Both readers agree, and what comes back is an `error`; its code.
    fn refused(&mut self, data: &[u8], what: &str) -> String {
        assert_eq!(decode_hot(self.encoding, data), None, "{what}");
        let answers = self.send(data.to_vec());
        assert_eq!(answers.len(), 1, "{what}");
        match decode_server(self.encoding, &answers[0]) {
            Ok(ServerMessage::Error(refusal)) => refusal.code,
            other => panic!("{what}: {other:?}"),
        }
    }

    /// The bytes of the `payload` of the `pong` that comes back.
    fn pong(&mut self, data: Vec<u8>, head: &[u8], tail: &[u8], what: &str) -> Vec<u8> {
        let answers = self.send(data);
        assert_eq!(answers.len(), 1, "{what}");
        let payload = answers[0]
            .strip_prefix(head)
            .and_then(|rest| rest.strip_suffix(tail));
        let text = String::from_utf8_lossy(&answers[0]);
        payload.unwrap_or_else(|| panic!("{what}: {text}")).to_vec()
    }

    fn json_ping(&mut self, payload: &[u8], what: &str) -> Vec<u8> {
        let (head, tail) = (br#"{"type":"pong","payload":"#.as_slice(), b"}");
        self.pong(json_ping(payload), head, tail, what)
    }

    fn msgpack_ping(&mut self, payload: &[u8], what: &str) -> Vec<u8> {
        let head = b"\x82\xa4type\xa4pong\xa7payload";
        self.pong(msgpack_ping(payload), head, b"", what)
    }
}

fn json_ping(payload: &[u8]) -> Vec<u8> {
    [br#"{"type":"ping","payload":"#.as_slice(), payload, b"}"].concat()
}

fn msgpack_ping(payload: &[u8]) -> Vec<u8> {
    [b"\x82\xa4type\xa4ping\xa7payload", payload].concat()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("a byte")
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// Name and input.
fn json_cases() -> Vec<(String, Vec<u8>)> {
    let cases: Vec<[String; 3]> =
        serde_json::from_str(include_str!("data/json_test_suite.json")).expect("the suite");
    assert_eq!(cases.len(), 316);
    let read = |[name, form, input]: [String; 3]| match form.as_str() {
        "hex" => (name, hex(&input)),
        _ => (name, input.into_bytes()),
    };
    let mut cases: Vec<_> = cases.into_iter().map(read).collect();
    let deep = |name: &str, piece: &str, times| (name.to_owned(), piece.repeat(times).into_bytes());
    cases.push(deep("n_structure_100000_opening_arrays", "[", 100_000));
    cases.push(deep("n_structure_open_array_object", "[{\"\":", 50_000));
    cases
}

#[test]
fn json_test_suite_as_what_a_ping_carries() {
    let mut socket = Socket::open(Encoding::Json);
    for (name, input) in json_cases() {
        let trimmed = input.trim_ascii();
        match name.as_bytes()[0] {
            b'y' => assert_eq!(socket.json_ping(&input, &name), trimmed, "{name}"),
            b'n' => {
                let code = socket.refused(&json_ping(&input), &name);
                assert_eq!(code, "invalid_message", "{name}");
            }
            // Either is right; what is taken comes back as it was.
            _ => {
                let answers = socket.send(json_ping(&input));
                let taken = br#"{"type":"pong","payload":"#;
                match answers[0].strip_prefix(taken) {
                    Some(payload) => assert_eq!(&payload[..payload.len() - 1], trimmed, "{name}"),
                    None => assert!(answers[0].starts_with(br#"{"type":"error""#), "{name}"),
                }
            }
        }
    }
}

#[test]
fn json_test_suite_as_whole_messages() {
    let mut socket = Socket::open(Encoding::Json);
    for (name, input) in json_cases() {
        // None of them is a message of ours.
        assert_eq!(socket.refused(&input, &name), "invalid_message", "{name}");
        let post = [
            br#"{"type":"post_comment","payload":{"stream_id":"demo","client_id":"c","x":"#
                .as_slice(),
            &input,
            br#","content":"hi"}}"#,
        ]
        .concat();
        let read = read_post(Encoding::Json, &post);
        match name.as_bytes()[0] {
            // Anything may be in an unknown field.
            b'y' => assert!(read.is_ok(), "{name}: {read:?}"),
            b'n' => assert!(read.is_err(), "{name}"),
            _ => {}
        }
    }
}

fn msgpack_cases() -> Vec<(Value, Vec<Vec<u8>>)> {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("data/msgpack_test_suite.json")).expect("the suite");
    let read = |case: Value| {
        let forms = case["msgpack"].as_array().expect("forms").iter();
        let forms = forms
            .map(|form| hex(form.as_str().expect("digits")))
            .collect();
        (case, forms)
    };
    cases.into_iter().map(read).collect()
}

#[test]
fn msgpack_test_suite_as_what_a_ping_carries_and_as_whole_messages() {
    let mut socket = Socket::open(Encoding::MsgPack);
    for (case, forms) in msgpack_cases() {
        for form in forms {
            let what = case.to_string();
            // Byte for byte: large integers, floats, bytes, extensions and times among them.
            assert_eq!(socket.msgpack_ping(&form, &what), form, "{what}");
            assert_eq!(socket.refused(&form, &what), "invalid_message", "{what}");
            // Cut off anywhere, or with another behind it, it is no message.
            let ping = msgpack_ping(&form);
            for len in 0..ping.len() {
                assert_eq!(socket.refused(&ping[..len], &what), "invalid_message");
            }
            let twice = [ping.clone(), ping].concat();
            assert_eq!(socket.refused(&twice, &what), "invalid_message", "{what}");
        }
    }
}

/// A post in MessagePack whose fields are given as bytes.
fn post(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x82\xa4type\xacpost_comment\xa7payload".to_vec();
    bytes.push(0x80 | fields.len() as u8);
    for (name, value) in fields {
        bytes.push(0xa0 | name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value);
    }
    bytes
}

const STREAM: (&str, &[u8]) = ("stream_id", b"\xa4demo");
const KEY: (&str, &[u8]) = ("client_id", b"\xa1c");
const CONTENT: (&str, &[u8]) = ("content", b"\xa2hi");

#[test]
fn msgpack_test_suite_as_fields_of_a_post() {
    for (case, forms) in msgpack_cases() {
        for form in forms {
            let media = post(&[STREAM, KEY, CONTENT, ("media_ms", &form)]);
            let content = post(&[STREAM, KEY, ("content", &form)]);
            for (field, bytes) in [("media_ms", media), ("content", content)] {
                let read = read_post(Encoding::MsgPack, &bytes);
                let float = matches!(form[0], 0xca | 0xcb);
                let (whole, text) = (&case["number"], &case["string"]);
                let big = case["bignum"]
                    .as_str()
                    .and_then(|number| number.parse().ok());
                let expected = match field {
                    "media_ms" if !float => whole.as_u64().or(big).map(|ms| (Some(ms), "hi")),
                    "content" => text.as_str().map(|text| (None, text)),
                    _ => None,
                };
                let expected =
                    expected.or((field == "media_ms" && form == [0xc0]).then_some((None, "hi")));
                match (&read, expected) {
                    (Ok(post), Some(expected)) => {
                        assert_eq!((post.media_ms, post.content.as_str()), expected, "{case}");
                    }
                    (Err(_), None) => {}
                    _ => panic!("{field} {case}: {read:?}"),
                }
                if let Some(hot) = decode_hot(Encoding::MsgPack, &bytes) {
                    assert_eq!(
                        hot.message().map_err(|_| ()),
                        read.map(ClientMessage::PostComment).map_err(|_| ()),
                        "{case}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_only_msgpack_can_say_is_refused_as_jsons_would_be() {
    let mut socket = Socket::open(Encoding::MsgPack);
    let ping = b"\x82\xa4type\xa4ping\xa7payload\x01".as_slice();
    let deep = [vec![0x91; 200], vec![0xc0]].concat();
    let join = b"\xabjoin_stream".as_slice();
    let whole: Vec<(&str, Vec<u8>)> = vec![
        ("two messages in one frame", [ping, ping].concat()),
        (
            "an array with the type's name",
            b"\x92\xa4ping\x01".to_vec(),
        ),
        ("an array with the type's number", b"\x92\x09\x01".to_vec()),
        (
            "the type's number",
            b"\x82\xa4type\x09\xa7payload\x01".to_vec(),
        ),
        (
            "the type as bytes",
            b"\x82\xa4type\xc4\x04ping\xa7payload\x01".to_vec(),
        ),
        (
            "names as bytes",
            b"\x82\xc4\x04type\xa4ping\xa7payload\x01".to_vec(),
        ),
        ("names as numbers", b"\x82\x00\xa4ping\x01\x01".to_vec()),
        (
            "an array as payload",
            [b"\x82\xa4type".as_slice(), join, b"\xa7payload\x91\xa4demo"].concat(),
        ),
        (
            "a text as payload",
            [b"\x82\xa4type".as_slice(), join, b"\xa7payload\xa4demo"].concat(),
        ),
        ("no payload", [b"\x81\xa4type".as_slice(), join].concat()),
        (
            "the type twice",
            b"\x83\xa4type\xa4ping\xa4type\xa4ping\xa7payload\x01".to_vec(),
        ),
        ("an extension", b"\xd4\x01\x00".to_vec()),
        ("a text that is not UTF-8", msgpack_ping(b"\xa2\xc3\x28")),
        (
            "a name that is not UTF-8",
            msgpack_ping(b"\x81\xa2\xc3\x28\x01"),
        ),
        ("the byte that stands for nothing", msgpack_ping(b"\xc1")),
        ("nested too deep", msgpack_ping(&deep)),
        ("an array of 2^32-1", msgpack_ping(b"\xdd\xff\xff\xff\xff")),
        ("a map of 2^32-1", msgpack_ping(b"\xdf\xff\xff\xff\xff")),
        ("a text of 2^32-1", msgpack_ping(b"\xdb\xff\xff\xff\xffx")),
        ("bytes of 2^32-1", msgpack_ping(b"\xc6\xff\xff\xff\xffx")),
        (
            "an extension of 2^32-1",
            msgpack_ping(b"\xc9\xff\xff\xff\xff\x01x"),
        ),
        ("an array longer than it is", msgpack_ping(b"\x92\x01")),
        ("a number cut off", msgpack_ping(b"\xcf\x00")),
        (
            "content as bytes",
            post(&[STREAM, KEY, ("content", b"\xc4\x02hi")]),
        ),
        (
            "content as a number",
            post(&[STREAM, KEY, ("content", b"\x07")]),
        ),
        (
            "a key as bytes",
            post(&[STREAM, ("client_id", b"\xc4\x01c"), CONTENT]),
        ),
        (
            "a parent as a number",
            post(&[STREAM, KEY, CONTENT, ("parent_id", b"\x4d")]),
        ),
        (
            "a parent as bytes",
            post(&[STREAM, KEY, CONTENT, ("parent_id", b"\xc4\x0277")]),
        ),
        (
            "a parent of 2^63",
            post(&[
                STREAM,
                KEY,
                CONTENT,
                ("parent_id", b"\xb39223372036854775808"),
            ]),
        ),
        (
            "a time that is NaN",
            post(&[
                STREAM,
                KEY,
                CONTENT,
                ("media_ms", b"\xcb\x7f\xf8\0\0\0\0\0\0"),
            ]),
        ),
        (
            "a time with a fraction",
            post(&[
                STREAM,
                KEY,
                CONTENT,
                ("media_ms", b"\xcb\x3f\xf0\0\0\0\0\0\0"),
            ]),
        ),
        (
            "a time before 0",
            post(&[STREAM, KEY, CONTENT, ("media_ms", b"\xff")]),
        ),
        ("content twice", post(&[STREAM, KEY, CONTENT, CONTENT])),
        ("content null", post(&[STREAM, KEY, ("content", b"\xc0")])),
    ];
    for (what, bytes) in whole {
        assert_eq!(socket.refused(&bytes, what), "invalid_message", "{what}");
    }
    // It goes on, and what is well-formed comes back as it was.
    for payload in [
        b"\xcb\x7f\xf8\0\0\0\0\0\x01".as_slice(),
        b"\xcf\xff\xff\xff\xff\xff\xff\xff\xfe",
        b"\x81\x01\xc4\x01x",
    ] {
        assert_eq!(socket.msgpack_ping(payload, "a ping"), payload);
    }
    let deep = [vec![0x91; 126], vec![0xc0]].concat();
    assert_eq!(socket.msgpack_ping(&deep, "126 levels"), deep);
}

#[test]
fn a_json_ping_comes_back_as_it_was_and_arrays_are_no_messages() {
    let mut socket = Socket::open(Encoding::Json);
    for payload in [
        "18446744073709551615",
        "-9223372036854775808",
        "123456789012345678901234567890",
        "1e400",
        "0.1000",
        "-0",
        r#"{"b":1,"a":[1.0,"\ud83d\ude00"]}"#,
        r#""\ud800""#,
    ] {
        assert_eq!(
            socket.json_ping(payload.as_bytes(), payload),
            payload.as_bytes()
        );
    }
    for message in [
        r#"["ping",1]"#,
        "[9,1]",
        r#"{"type":"join_stream","payload":["demo"]}"#,
        r#"{"type":"post_comment","payload":["demo","c","hi"]}"#,
        r#"{"type":"leave_stream","payload":{"stream_id":["demo"]}}"#,
        r#"{"type":"ping","payload":1}{"type":"ping","payload":2}"#,
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"ping","payload":1,"payload":2}"#,
        r#"{"type":"post_comment","payload":{"stream_id":"demo","client_id":"c","content":"x","parent_id":77}}"#,
        r#"{"type":"post_comment","payload":{"stream_id":"demo","client_id":"c","content":"x","parent_id":"9223372036854775808"}}"#,
        r#"{"type":"post_comment","payload":{"stream_id":"demo","client_id":"c","content":"x","parent_id":"18446744073709551615"}}"#,
        r#"{"type":"post_comment","payload":{"stream_id":"demo","client_id":"c","content":"\ud800"}}"#,
    ] {
        assert_eq!(
            socket.refused(message.as_bytes(), message),
            "invalid_message"
        );
    }
    // The greatest parent is one.
    let last = r#"{"type":"post_comment","payload":{"stream_id":"demo","client_id":"c","content":"x","parent_id":"9223372036854775807"}}"#;
    let read = read_post(Encoding::Json, last.as_bytes()).expect("a post");
    assert_eq!(read.parent_id, Some(CommentId((1 << 63) - 1)));
}

#[test]
fn an_error_says_whose_post_it_was_and_which_type_is_unknown() {
    let mut socket = Socket::open(Encoding::Json);
    let mut error = |message: &str| {
        let answers = socket.send(message.as_bytes().to_vec());
        match decode_server(Encoding::Json, &answers[0]) {
            Ok(ServerMessage::Error(refusal)) => (refusal.code, refusal.client_id, refusal.message),
            other => panic!("{message}: {other:?}"),
        }
    };
    let (code, client_id, message) = error(
        r#"{"type":"post_comment","payload":{"client_id":"c9","stream_id":"no dots.","content":""}}"#,
    );
    assert_eq!(
        (code.as_str(), client_id.as_deref()),
        ("invalid_message", Some("c9"))
    );
    assert!(message.contains("`stream_id`"), "{message}");
    let (code, _, message) = error(r#"{"payload":{},"type":"dance"}"#);
    assert_eq!(code, "unknown_type");
    assert!(message.contains("dance"), "{message}");
    assert_eq!(error(r#"{"type":17}"#).0, "invalid_message");
}
