//! What the checker finds, and what it does not take for a fault.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(number: u64) -> CommentId {
    CommentId(1_000 + number)
}

fn shown(number: u64) -> Shown {
    Shown {
        id: id(number),
        number,
    }
}

/// Ten posts, one each 100 ms, durable after 5 ms and shown after 8; two regions, one viewer in each.
fn fine() -> Records {
    let posts = (0..10).map(|number| {
        let post = Post {
            author: "ada".to_owned(),
            at: ms(100 * number + 50),
            answers: vec![(ms(100 * number + 55), Said::Durable(id(number)))],
        };
        (number, post)
    });
    let viewers = ["eu", "us"].map(|region| {
        let joined = Heard::Joined {
            resumed: false,
            gap: false,
            comments: Vec::new(),
        };
        let batches = (0..10).map(|it| (ms(100 * it + 58), Heard::Batch(vec![shown(it)])));
        Viewer {
            name: format!("viewer of {region}"),
            heard: [(ms(0), joined)].into_iter().chain(batches).collect(),
        }
    });
    let stores = ["eu", "us"].map(|region| Store {
        region: region.to_owned(),
        comments: (0..10).rev().map(shown).collect(),
    });
    Records {
        posts: posts.collect(),
        viewers: viewers.into(),
        stores: stores.into(),
        logs: vec![
            Log {
                region: "eu".to_owned(),
                comments: (0..10).map(|number| (number + 1, number)).collect(),
            },
            Log {
                region: "us".to_owned(),
                comments: Vec::new(),
            },
        ],
        end: ms(2_000),
    }
}

/// The one failure there is.
fn only_failure(records: &Records) -> String {
    let failures = check(records).failures(Some((ms(1_000), ms(1_000))));
    assert_eq!(failures.len(), 1, "{failures:?}");
    failures.into_iter().next().unwrap_or_default()
}

#[test]
fn nothing_wrong_is_found_where_nothing_is() {
    let verdict = check(&fine());
    assert!(verdict.is_clean());
    assert_eq!(verdict.failures(Some((ms(5), ms(3)))), [""; 0]);
    assert_eq!((verdict.posts, verdict.acknowledged), (10, 10));
    assert_eq!((verdict.write.time, verdict.read.time), (ms(5), ms(3)));
}

#[test]
fn an_acknowledged_comment_that_a_log_or_a_store_lacks_is_lost() {
    let mut records = fine();
    records.logs[0].comments.remove(3);
    assert!(only_failure(&records).contains("#3 (id 1003, by ada) was durable and is in no log"));
    let mut records = fine();
    records.stores[1].comments.remove(0);
    assert!(only_failure(&records).contains("is not in the history of us"));
    assert!(!check(&records).is_clean());
}

#[test]
fn a_comment_that_is_shown_delivered_or_stored_twice_is_doubled() {
    let other = Shown {
        id: CommentId(7),
        number: 4,
    };
    let mut records = fine();
    records.viewers[0]
        .heard
        .push((ms(1_200), Heard::Batch(vec![other])));
    assert!(only_failure(&records).contains("#4 is shown twice to viewer of eu"));
    // The other one was taken away: one is shown.
    records.viewers[0]
        .heard
        .push((ms(1_300), Heard::Removed(vec![other.id])));
    assert!(check(&records).is_clean());

    let mut records = fine();
    records.viewers[1]
        .heard
        .push((ms(1_200), Heard::Batch(vec![shown(4)])));
    assert!(only_failure(&records).contains("was delivered again to viewer of us"));

    let mut records = fine();
    records.stores[0].comments.push(other);
    assert!(only_failure(&records).contains("twice in the history of eu"));

    let mut records = fine();
    records.logs[0].comments.push((11, 4));
    assert!(only_failure(&records).contains("twice in the log of eu: at 5 and 11"));
}

#[test]
fn what_a_viewer_did_not_see_is_a_hole_unless_it_was_told() {
    let mut records = fine();
    records.viewers[1].heard.remove(6);
    assert!(
        only_failure(&records).contains("#5 (id 1005, by ada) was never shown to viewer of us")
    );
    let told = |at| {
        let joined = Heard::Joined {
            resumed: true,
            gap: true,
            comments: Vec::new(),
        };
        (ms(at), joined)
    };
    // A gap that was told before the post excuses nothing.
    let mut early = records.clone();
    early.viewers[1].heard.insert(3, told(300));
    assert!(only_failure(&early).contains("#5"));
    records.viewers[1].heard.push(told(1_100));
    let verdict = check(&records);
    assert!(verdict.is_clean());
    assert_eq!(verdict.gaps, 1);
    // Also what nobody acknowledged must be seen once it is stored.
    let mut records = fine();
    if let Some(post) = records.posts.get_mut(&2) {
        post.answers = vec![(ms(900), Said::Unconfirmed)];
    }
    records.viewers[0].heard.remove(3);
    assert_eq!(check(&records).unconfirmed, 1);
    assert!(only_failure(&records).contains("#2"));
}

#[test]
fn a_refusal_of_what_is_stored_is_found() {
    let mut records = fine();
    if let Some(post) = records.posts.get_mut(&2) {
        post.answers = vec![(ms(900), Said::Rejected("unavailable".to_owned()))];
    }
    assert!(only_failure(&records).contains("#2 by ada was refused (unavailable) and is stored"));
}

#[test]
fn a_time_without_service_is_from_a_post_to_the_next_durable() {
    let mut records = fine();
    for number in 3..6 {
        if let Some(post) = records.posts.get_mut(&number) {
            post.answers = vec![(post.at + ms(1), Said::Rejected("unavailable".to_owned()))];
        }
        records.logs[0].comments.retain(|(_, it)| *it != number);
        for store in &mut records.stores {
            store.comments.retain(|it| it.number != number);
        }
        for viewer in &mut records.viewers {
            viewer.heard.retain(
                |(_, it)| !matches!(it, Heard::Batch(comments) if comments[0].number == number),
            );
        }
    }
    let verdict = check(&records);
    assert!(verdict.is_clean());
    assert_eq!(verdict.refused, 3);
    assert_eq!(
        (verdict.write.time, verdict.write.whose.as_str()),
        (ms(305), "#3 by ada")
    );
    assert_eq!(verdict.failures(Some((ms(300), ms(3)))).len(), 1);
    assert_eq!(verdict.failures(None), [""; 0]);
}
