//! A stream's life: it ends, is renamed, or has other settings, while it is watched.

use chorus_protocol::Encoding;
use chorus_protocol::server::{Refusal, ServerMessage};
use chorus_protocol::stream::{Settings, StreamStatus};
use serde_json::json;

use super::{shown, studio, watch};
use crate::pop::Pop;

scenarios!("life":
    joined_says_title_and_status,
    the_end_is_told_in_both_encodings_after_what_came_before_it,
    only_what_changed_is_told,
    an_older_word_changes_nothing,
    a_state_after_a_gap_does_not_bring_an_ended_stream_back,
    who_still_catches_up_is_told,
    a_late_joiner_sees_the_end_and_reads_what_was_said,
    nothing_is_written_to_an_ended_stream,
    a_status_of_a_later_version_takes_nothing,
    errors_name_their_stream,
    a_stream_created_later_is_no_longer_missing,
);

type Update = (Option<StreamStatus>, Option<String>, Option<Settings>);

/// The one thing that came, which is a change of the stream.
fn update(pop: &mut Pop<'_>, viewer: u64) -> Update {
    match pop.take_one(viewer) {
        ServerMessage::StreamUpdated {
            stream_id,
            settings,
            status,
            title,
        } => {
            assert_eq!(stream_id.as_str(), "demo");
            (status, title, settings)
        }
        other => panic!("not an update: {other:?}"),
    }
}

fn refusal(pop: &mut Pop<'_>, viewer: u64) -> (String, Option<String>) {
    match pop.take_one(viewer) {
        ServerMessage::Error(Refusal {
            code, stream_id, ..
        }) => (code, stream_id.map(|id| id.as_str().to_owned())),
        other => panic!("not an error: {other:?}"),
    }
}

fn reason(pop: &mut Pop<'_>, viewer: u64) -> Option<String> {
    pop.take_receipts(viewer).remove(0).reason
}

fn joined_says_title_and_status(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    origin.info.title = "\"Über\" 🎈\u{2028}".to_owned();
    for encoding in Encoding::ALL {
        let viewer = pop.open(encoding, None);
        pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
        if encoding == Encoding::ALL[0] {
            pop.state("demo", Some(origin.state()));
        }
        let joined = pop.take_joined(viewer);
        assert_eq!(joined.title, origin.info.title);
        assert_eq!(joined.status, StreamStatus::Live);
    }
}

fn the_end_is_told_in_both_encodings_after_what_came_before_it(pop: &mut Pop<'_>) {
    pop.config.batching.window_ms_max = 10_000;
    let mut origin = studio(pop);
    let viewers = Encoding::ALL.map(|encoding| watch(pop, &origin, encoding, None));
    for id in 1..=40 {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
    }
    let end = origin.change(|info| info.status = StreamStatus::Ended);
    pop.life("demo", &end);
    for viewer in viewers {
        let mut all = pop.take(viewer);
        let last = all.pop();
        let Some(ServerMessage::StreamUpdated {
            status,
            title,
            settings,
            ..
        }) = last
        else {
            panic!("not an update: {last:?}");
        };
        assert_eq!(
            (status, title, settings),
            (Some(StreamStatus::Ended), None, None)
        );
        let before: Vec<u64> = all
            .into_iter()
            .flat_map(|message| match message {
                ServerMessage::CommentsBatch { comments, .. } => comments,
                other => panic!("not comments: {other:?}"),
            })
            .map(|comment| comment.id.0)
            .collect();
        assert_eq!(before, (1..=40).collect::<Vec<u64>>());
    }
    // What the log had before the end and is on its way is shown.
    let delivery = origin.write("us", 41, "late");
    pop.deliver("demo", &delivery);
    pop.pass(10_000);
    assert_eq!(shown(pop, viewers[0]), [41]);
}

fn only_what_changed_is_told(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let renamed = origin.change(|info| info.title = "Other".to_owned());
    pop.life("demo", &renamed);
    assert_eq!(update(pop, viewer), (None, Some("Other".to_owned()), None));
    let slow = origin.change(|info| info.settings.slow_mode_s = 7);
    pop.life("demo", &slow);
    let (status, title, settings) = update(pop, viewer);
    assert_eq!((status, title), (None, None));
    assert_eq!(settings.map(|settings| settings.slow_mode_s), Some(7));
    // The same again, and what no viewer is told of.
    pop.life("demo", &slow);
    let described = origin.change(|info| info.description = "Long".to_owned());
    pop.life("demo", &described);
    assert!(pop.take(viewer).is_empty());
    // As a state: the backhaul was away meanwhile, and nothing else was missed.
    origin.change(|info| info.status = StreamStatus::Ended);
    pop.state("demo", Some(origin.state()));
    assert_eq!(update(pop, viewer), (Some(StreamStatus::Ended), None, None));
    assert_eq!(pop.closed(viewer), None);
    let joined = {
        let late = pop.open(Encoding::MsgPack, None);
        pop.say(late, "join_stream", &json!({"stream_id": "demo"}));
        pop.take_joined(late)
    };
    assert_eq!(
        (joined.title.as_str(), joined.settings.slow_mode_s),
        ("Other", 7)
    );
}

fn an_older_word_changes_nothing(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let renamed = origin.change(|info| info.title = "Other".to_owned());
    let before = origin.state();
    let end = origin.change(|info| info.status = StreamStatus::Ended);
    pop.life("demo", &end);
    let (status, title, _) = update(pop, viewer);
    assert_eq!(
        (status, title),
        (Some(StreamStatus::Ended), Some("Other".to_owned()))
    );
    pop.life("demo", &renamed);
    pop.state("demo", Some(before));
    assert!(pop.take(viewer).is_empty());
    // Created anew, in a log that was made anew and counts from 1.
    let mut anew = renamed;
    anew.seq = 1;
    anew.info.created_at_ms.0 += 1;
    pop.life("demo", &anew);
    assert_eq!(update(pop, viewer).0, Some(StreamStatus::Live));
}

fn a_state_after_a_gap_does_not_bring_an_ended_stream_back(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let before = origin.info.clone();
    let end = origin.change(|info| info.status = StreamStatus::Ended);
    pop.life("demo", &end);
    pop.take(viewer);
    // A gateway that has not heard of the end yet tells a gap.
    origin.write("eu", 1, "missed");
    let mut state = origin.state();
    (state.info, state.life_seq) = (before, end.seq - 1);
    pop.state("demo", Some(state));
    assert_eq!(pop.closed(viewer), Some(1001));
    let back = pop.open(Encoding::Json, None);
    pop.say(back, "join_stream", &json!({"stream_id": "demo"}));
    assert_eq!(pop.take_joined(back).status, StreamStatus::Ended);
}

fn who_still_catches_up_is_told(pop: &mut Pop<'_>) {
    pop.config.limits.recent_max = 60;
    let mut origin = studio(pop);
    let token = origin.at().to_token();
    for id in 1..=100 {
        origin.write("eu", id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let mut back = Vec::new();
    for encoding in Encoding::ALL {
        let viewer = pop.open(encoding, None);
        let join = json!({"stream_id": "demo", "resume": token});
        pop.say(viewer, "join_stream", &join);
        back.push(viewer);
    }
    for id in 101..=300 {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
        pop.pass(1);
    }
    pop.pass(1_000);
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(asked.request, &origin.replay(&asked.range));
    for &viewer in &back {
        assert_eq!(pop.take_joined(viewer).status, StreamStatus::Live);
    }
    // `joined` said that it is live; they are no members yet.
    let gone = back[0];
    pop.say(gone, "leave_stream", &json!({"stream_id": "demo"}));
    let end = origin.change(|info| info.status = StreamStatus::Ended);
    pop.life("demo", &end);
    assert!(pop.take(gone).is_empty());
    assert_eq!(update(pop, back[1]).0, Some(StreamStatus::Ended));
}

fn a_late_joiner_sees_the_end_and_reads_what_was_said(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    let first = origin.at().to_token();
    for id in 1..=3 {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
    }
    pop.pass(1_000);
    let end = origin.change(|info| info.status = StreamStatus::Ended);
    pop.life("demo", &end);
    for resume in [None, Some(first)] {
        for encoding in Encoding::ALL {
            let late = pop.open(encoding, None);
            let join = json!({"stream_id": "demo", "resume": resume});
            pop.say(late, "join_stream", &join);
            let joined = pop.take_joined(late);
            assert_eq!(joined.status, StreamStatus::Ended);
            let ids: Vec<u64> = joined.comments.iter().map(|c| c.id.0).collect();
            assert_eq!(ids, [1, 2, 3]);
        }
    }
}

fn nothing_is_written_to_an_ended_stream(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(user, "demo", "c1", "in time");
    let publication = pop.publication();
    let end = origin.change(|info| info.status = StreamStatus::Ended);
    pop.life("demo", &end);
    pop.take(user);
    for (who, role) in [
        ("ann", "user"),
        ("mod", "moderator"),
        ("caster", "user"),
        ("root", "admin"),
    ] {
        let viewer = watch(pop, &origin, Encoding::MsgPack, Some((who, role)));
        pop.post(viewer, "demo", "c2", "too late");
        assert_eq!(reason(pop, viewer).as_deref(), Some("stream_ended"));
        let react = json!({"stream_id": "demo", "reaction_type": "like"});
        pop.say(viewer, "react", &react);
        let (code, stream) = refusal(pop, viewer);
        assert_eq!(
            (code.as_str(), stream.as_deref()),
            ("stream_ended", Some("demo"))
        );
    }
    // What was taken before the end keeps its answer, and its repeat gets the same.
    let stored = chorus_protocol::Outcome::Stored {
        id: chorus_protocol::CommentId(publication.id),
        duplicate: false,
    };
    pop.answer(publication.request, stored);
    let durable = pop.take_receipts(user).remove(0);
    assert_eq!(durable.comment_id.map(|id| id.0), Some(publication.id));
    pop.post(user, "demo", "c1", "in time");
    assert_eq!(pop.take_receipts(user)[1].comment_id, durable.comment_id);
}

fn a_status_of_a_later_version_takes_nothing(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let scheduled = origin.change(|info| info.status = StreamStatus::Unknown);
    pop.life("demo", &scheduled);
    pop.take(user);
    pop.post(user, "demo", "c1", "hi");
    assert_eq!(reason(pop, user).as_deref(), Some("comments_off"));
    let react = json!({"stream_id": "demo", "reaction_type": "like"});
    pop.say(user, "react", &react);
    assert_eq!(refusal(pop, user).0, "not_available");
}

fn errors_name_their_stream(pop: &mut Pop<'_>) {
    pop.config.limits.streams_per_connection_max = 1;
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::MsgPack, Some(("ann", "user")));
    let react = |stream: &str, kind: &str| json!({"stream_id": stream, "reaction_type": kind});
    for (kind, payload, code, stream) in [
        (
            "join_stream",
            json!({"stream_id": "demo"}),
            "already_joined",
            "demo",
        ),
        (
            "join_stream",
            json!({"stream_id": "more"}),
            "too_many_streams",
            "more",
        ),
        (
            "leave_stream",
            json!({"stream_id": "more"}),
            "not_joined",
            "more",
        ),
        ("react", react("more", "like"), "not_joined", "more"),
        ("react", react("demo", "boo"), "unknown_reaction", "demo"),
        (
            "report",
            json!({"stream_id": "demo", "comment_id": "7", "reason": "x"}),
            "not_available",
            "demo",
        ),
        (
            "moderate",
            json!({"stream_id": "demo", "client_id": "m", "action": "ban"}),
            "not_available",
            "demo",
        ),
    ] {
        pop.say(user, kind, &payload);
        let expected = (code.to_owned(), Some(stream.to_owned()));
        assert_eq!(refusal(pop, user), expected, "{kind}");
    }
    let other = pop.open(Encoding::Json, None);
    pop.say(other, "join_stream", &json!({"stream_id": "nowhere"}));
    pop.state("nowhere", None);
    let expected = ("stream_not_found".to_owned(), Some("nowhere".to_owned()));
    assert_eq!(refusal(pop, other), expected);
    pop.say(other, "ping", &json!(1));
    assert!(matches!(pop.take_one(other), ServerMessage::Pong(_)));
}

fn a_stream_created_later_is_no_longer_missing(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = pop.open(Encoding::Json, Some(pop.token("ann", "user")));
    let join = json!({"stream_id": "demo"});
    let react = json!({"stream_id": "demo", "reaction_type": "like"});
    pop.say(user, "join_stream", &join);
    pop.state("demo", None);
    pop.take(user);
    pop.post(user, "demo", "c1", "hi");
    assert_eq!(reason(pop, user).as_deref(), Some("stream_not_found"));
    pop.say(user, "react", &react);
    assert_eq!(refusal(pop, user).0, "stream_not_found");
    // Somebody else finds it.
    let other = watch(pop, &origin, Encoding::Json, None);
    pop.gone(other);
    pop.post(user, "demo", "c1", "hi");
    assert_eq!(reason(pop, user).as_deref(), Some("not_joined"));
    pop.say(user, "join_stream", &join);
    pop.take_joined(user);
    // What was looked for in vain is forgotten soon by itself.
    pop.say(user, "join_stream", &json!({"stream_id": "nowhere"}));
    pop.state("nowhere", None);
    pop.take(user);
    pop.pass(5_000);
    pop.post(user, "nowhere", "c2", "hi");
    assert_eq!(reason(pop, user).as_deref(), Some("not_joined"));
}
