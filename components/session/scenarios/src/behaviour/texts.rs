//! What becomes of texts that are not as they seem.

use chorus_protocol::server::ReceiptStatus;
use chorus_protocol::{CommentId, Encoding};
use chorus_session_core::Input;
use serde_json::json;

use super::{studio, watch};
use crate::pop::Pop;
use crate::tokens::{SECRET, with_claims};

scenarios!("texts":
    what_is_not_seen_is_empty_and_what_is_too_much_goes,
    mentions_are_whole_names_composed_and_each_once,
    five_hundred_emoji_as_escapes_are_taken_in_a_message_of_the_longest_form,
    a_name_is_shown_clean_or_the_user_id_is,
);

fn what_is_not_seen_is_empty_and_what_is_too_much_goes(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let admin = Some(("ann", "admin"));
    let json = watch(pop, &origin, Encoding::Json, admin);
    let msgpack = watch(pop, &origin, Encoding::MsgPack, admin);
    for author in [json, msgpack] {
        for nothing in [
            "\u{200b}",
            "\u{2060}",
            "\u{202e}",
            "\u{3164}",
            "\u{2800}\n\u{ad}",
            "\u{301}",
        ] {
            pop.post(author, "demo", "c", nothing);
            let receipts = pop.take_receipts(author);
            assert_eq!(receipts[0].status, ReceiptStatus::Rejected);
            assert_eq!(receipts[0].reason.as_deref(), Some("empty"), "{nothing:?}");
        }
        for (i, (text, shown)) in [
            ("\u{202e}evil".to_owned(), "evil".to_owned()),
            (format!("a{}b", "\n".repeat(498)), "a\n\nb".to_owned()),
            (
                format!("a{}", "\u{301}".repeat(400)),
                format!("a{}", "\u{301}".repeat(4)),
            ),
            (
                "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}".to_owned(),
                "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}".to_owned(),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            pop.post(author, "demo", &format!("{author}-{i}"), &text);
            assert_eq!(pop.publication().comment().content, shown);
            pop.take(author);
        }
    }
}

fn mentions_are_whole_names_composed_and_each_once(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let author = watch(pop, &origin, Encoding::MsgPack, Some(("ann", "user")));
    let text = "@कृष्ण and @Zoe\u{308}, @zoë too, @می\u{200c}خواهم";
    pop.post(author, "demo", "c1", text);
    let comment = pop.publication().comment();
    assert_eq!(comment.content, text);
    assert_eq!(comment.mentions, ["कृष्ण", "Zoë", "می\u{200c}خواهم"]);
}

fn five_hundred_emoji_as_escapes_are_taken_in_a_message_of_the_longest_form(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let author = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let escaped = |text: &str| -> String {
        let units = text.encode_utf16();
        units.map(|unit| format!("\\u{unit:04x}")).collect()
    };
    // Every character of every text as an escape.
    let key = "k".repeat(64);
    let message = format!(
        r#"{{"{}":"{}","{}":{{"{}":"{}","{}":"{}","{}":"{}","{}":"{}","{}":18446744073709551615}}}}"#,
        escaped("type"),
        escaped("post_comment"),
        escaped("payload"),
        escaped("stream_id"),
        escaped("demo"),
        escaped("client_id"),
        escaped(&key),
        escaped("content"),
        escaped(&"😀".repeat(500)),
        escaped("parent_id"),
        escaped("9223372036854775807"),
        escaped("media_ms"),
    );
    let bytes_max = pop.config.limits.message_bytes_max as usize;
    // A stream's id may be longer by 60 characters.
    assert!(message.len() + 60 * 6 <= bytes_max, "{}", message.len());
    pop.feed(vec![Input::Frame {
        connection: author,
        data: message.into_bytes(),
    }]);
    assert_eq!(pop.take_receipts(author)[0].status, ReceiptStatus::Accepted);
    let comment = pop.publication().comment();
    assert_eq!(comment.content, "😀".repeat(500));
    assert_eq!(comment.parent_id, Some(CommentId((1 << 63) - 1)));
}

fn a_name_is_shown_clean_or_the_user_id_is(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let first = watch(pop, &origin, Encoding::Json, None);
    let exp = pop.now / 1_000 + 3_600;
    for (i, (name, shown)) in [
        ("\u{202e}evil", "evil"),
        ("\u{200b}\u{2800}", "u-1"),
        ("Zoe\u{308}\n L.", "Zoë L."),
    ]
    .into_iter()
    .enumerate()
    {
        let claims = json!({"sub": "u-1", "name": name, "exp": exp});
        let viewer = pop.open(Encoding::Json, Some(with_claims(&claims, SECRET)));
        pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
        pop.take_joined(viewer);
        pop.post(viewer, "demo", &format!("c{i}"), "hi");
        let comment = pop.publication().comment();
        assert_eq!(
            (comment.username.as_str(), comment.user_id.as_str()),
            (shown, "u-1")
        );
    }
    pop.take(first);
}
