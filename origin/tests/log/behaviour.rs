//! What a region's log does.

use std::collections::BTreeMap;
use std::time::Duration;

use chorus_origin::log::{Ack, Tag, Waiter};
use chorus_protocol::Millis;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use tokio::sync::mpsc;

use super::{Place, WORKERS, config, one, publish, stored, stream, two};

const SOON: Duration = Duration::from_secs(5);

async fn soon<T>(waited: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, waited).await.expect("in time")
}

pub(super) async fn an_event_is_stored_once_under_its_key(place: &dyn Place) {
    let log = one(place, config::Nats::default()).await;
    let demo = stream("demo");
    assert_eq!(stored(&*log, &demo, 7, b"one").await, 1);
    let repeat = Ack::Stored {
        seq: 1,
        duplicate: true,
    };
    let (tag, ack) = publish(&*log, &demo, 7, b"another").await;
    assert_eq!((tag.key, ack), (7, repeat.clone()));
    assert_eq!(stored(&*log, &demo, 8, b"two").await, 2);
    let body = log.event_at(log.region(), tag.partition, 1).await.unwrap();
    assert_eq!(body.as_deref(), Some(&b"one"[..]));
    assert_eq!(log.event_at(log.region(), 0, 3).await.unwrap(), None);

    let (to, mut told) = mpsc::unbounded_channel();
    for key in [7, 9] {
        let (to, tag) = (to.clone(), Tag::default());
        log.find_repeat(log.region(), &demo, key, Waiter { to, tag })
            .await;
    }
    let mut found = Vec::new();
    for _ in 0..2 {
        found.push(soon(told.recv()).await.unwrap().1);
    }
    assert!(
        found.contains(&repeat) && found.contains(&Ack::Refused),
        "{found:?}"
    );
    let tail = log.tail(log.region(), &demo, 0, 10).await.unwrap();
    assert_eq!(tail.events.len(), 2, "asking stores nothing");
}

pub(super) async fn what_is_stored_is_repeated_with_what_came_before_it(place: &dyn Place) {
    let [eu, us] = two(place).await;
    let demo = stream("demo");
    let mut live = us.follow_events(&demo).await.unwrap();
    let mut near = eu.follow_events(&demo).await.unwrap();
    us.settle().await.unwrap();
    eu.settle().await.unwrap();
    for (key, name) in [
        (1, "demo"),
        (2, "other"),
        (3, "demo"),
        (3, "demo"),
        (4, "demo"),
    ] {
        publish(&*eu, &stream(name), key, &[u8::try_from(key).unwrap()]).await;
    }
    stored(&*us, &demo, 5, b"5").await;
    let mut heard = Vec::new();
    while heard.len() < 4 {
        let mut group = Vec::new();
        soon(live.next_group(10, &mut group)).await;
        heard.extend(group);
    }
    let of_eu: Vec<_> = heard
        .iter()
        .filter(|it| it.event.region == *eu.region())
        .collect();
    let places: Vec<_> = of_eu.iter().map(|it| (it.previous, it.event.seq)).collect();
    assert_eq!(places, [(0, 1), (1, 3), (3, 4)]);
    assert!(
        of_eu
            .iter()
            .all(|it| Some(it.event.epoch) == us.epoch(eu.region()))
    );
    assert_eq!(of_eu[0].event.body, [1]);
    // Whoever follows what it publishes is told in time, too.
    for _ in 0..4 {
        soon(near.next()).await.unwrap();
    }
    drop(near);
    soon(publish(&*eu, &demo, 6, b"6")).await;
}

pub(super) async fn a_tail_is_read_whole_in_pages_of_count_and_bytes(place: &dyn Place) {
    let [eu, us] = two(place).await;
    let (small, large) = (stream("small"), stream("large"));
    let (to, mut told) = mpsc::unbounded_channel();
    for key in 0..2_300_u32 {
        let (to, tag) = (to.clone(), Tag::default());
        let body = key.to_be_bytes().to_vec().into();
        eu.publish_event(eu.region(), &small, key.into(), body, Waiter { to, tag })
            .await;
    }
    for _ in 0..2_300 {
        soon(told.recv()).await.unwrap();
    }
    for log in [&eu, &us] {
        let tail = log.tail(eu.region(), &small, 0, 5_000).await.unwrap();
        let in_order = (0_u32..)
            .zip(&tail.events)
            .all(|(key, it)| it.body == key.to_be_bytes());
        assert!(tail.complete && tail.events.len() == 2_300 && in_order);
    }
    let some = eu.tail(eu.region(), &small, 100, 50).await.unwrap();
    assert!(!some.complete);
    assert_eq!((some.events.len(), some.last_seq()), (50, Some(150)));
    let log = (eu.region(), 0, eu.epoch(eu.region()).unwrap());
    let page = eu.all_after(log, 0, 2_300, 5_000).await.unwrap();
    assert_eq!(page.len(), 1_000);
    for key in 0..10 {
        stored(&*eu, &large, 10_000 + key, &vec![7; 700_000]).await;
    }
    let page = eu.all_after(log, 2_300, 2_310, 5_000).await.unwrap();
    assert!((1..10).contains(&page.len()), "{}", page.len());
    let tail = eu.tail(eu.region(), &large, 0, 50).await.unwrap();
    assert!(tail.complete);
    assert_eq!(tail.events.len(), 10);
    let all = eu.all_after(log, 2_290, 2_302, 1_000).await.unwrap();
    assert_eq!(all.len(), 12, "whatever the stream");
    let last = [(small.clone(), 2_300), (large.clone(), 2_310)];
    let asked = [small, large, stream("none")];
    let found = us.last_seqs(eu.region(), &asked).await.unwrap();
    assert_eq!(found, BTreeMap::from(last));
    assert_eq!(us.written(eu.region()).await.unwrap(), 2_310);
}

pub(super) async fn reactions_are_added_once_under_their_key(place: &dyn Place) {
    let [eu, us] = two(place).await;
    let demo = stream("demo");
    let mut live = us.follow_reactions(&demo).await.unwrap();
    us.settle().await.unwrap();
    let (to, mut told) = mpsc::unbounded_channel();
    for (log, kind, key, by) in [
        (&eu, "like", 1, 3),
        (&eu, "like", 1, 3),
        (&eu, "like", 2, 4),
        (&eu, "wow", 2, 5),
        (&us, "like", 1, 10),
    ] {
        let (to, tag) = (to.clone(), Tag::default());
        log.publish_reaction(&demo, kind, key, by, Waiter { to, tag })
            .await;
        let (_, ack) = soon(told.recv()).await.unwrap();
        assert!(matches!(ack, Ack::Stored { .. }), "{ack:?}");
    }
    let totals = us.reaction_totals(eu.region(), &demo).await.unwrap();
    let expected = [("like".to_owned(), 7), ("wow".to_owned(), 5)];
    assert_eq!(totals, BTreeMap::from(expected));
    let all = eu.all_reaction_totals(&demo).await.unwrap();
    assert_eq!(all[us.region()]["like"], 10);
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(soon(live.next()).await.unwrap());
    }
    assert!(heard.contains(&(eu.region().clone(), "like".to_owned(), 7)));
    assert!(heard.contains(&(us.region().clone(), "like".to_owned(), 10)));
}

pub(super) async fn a_stream_has_one_last_word_at_home(place: &dyn Place) {
    let [eu, us] = two(place).await;
    let info = |name: &str, status| StreamInfo {
        stream_id: stream(name),
        title: "Talk".to_owned(),
        description: String::new(),
        broadcaster_id: "ada".parse().unwrap(),
        status,
        created_at_ms: Millis(7),
        settings: Settings::default(),
        home_region: None,
    };
    let mut lives = us.follow_lives().await.unwrap();
    us.settle().await.unwrap();
    let talk = stream("talk");
    let made = eu
        .create_life(&info("talk", StreamStatus::Live))
        .await
        .unwrap();
    let made = made.expect("the first word");
    assert_eq!(soon(lives.next()).await.unwrap().seq, made);
    for log in [&eu, &us] {
        let again = log.create_life(&info("talk", StreamStatus::Live)).await;
        assert_eq!(again.unwrap(), None, "wherever it is tried");
    }
    let (home, life) = us.life_at_home(&talk).await.unwrap().expect("is there");
    assert_eq!((&home, life.seq), (eu.region(), made));
    // From the other region, and only after the last word.
    let ended = info("talk", StreamStatus::Ended);
    let changed = us.change_life(&home, &ended, made).await.unwrap();
    let changed = changed.expect("after the last word");
    let late = us
        .change_life(&home, &info("talk", StreamStatus::Live), made)
        .await;
    assert_eq!(late.unwrap(), None);
    assert_eq!(eu.life(&talk).await.unwrap().unwrap().info, ended);
    let more = eu
        .create_life(&info("more", StreamStatus::Live))
        .await
        .unwrap();
    let more = more.expect("another one");
    assert_eq!(us.last_life(eu.region()).await.unwrap(), more);
    let (after, to) = us.lives_after(eu.region(), 0).await.unwrap();
    let seqs: Vec<u64> = after.iter().map(|life| life.seq).collect();
    assert_eq!(
        (seqs, to),
        (vec![changed, more], more),
        "the last words alone"
    );
    let asked = [talk, stream("none")];
    assert_eq!(us.lives(eu.region(), &asked).await.unwrap().len(), 1);
    assert_eq!(
        us.lives_after(eu.region(), more).await.unwrap(),
        (vec![], more)
    );
}

pub(super) async fn a_worker_number_is_one_holders_until_it_ends(place: &dyn Place) {
    let log = one(place, config::Nats::default()).await;
    let workers = log.workers(WORKERS).await.unwrap();
    let first = workers.worker("a", [3, 4]).await.unwrap().expect("is free");
    let second = workers.worker("b", [3, 4]).await.unwrap().expect("is free");
    assert_eq!((first.worker, second.worker), (3, 4));
    assert_eq!(workers.worker("c", [3, 4]).await.unwrap(), None);
    let again = workers.worker("a", [3, 4]).await.unwrap().expect("its own");
    assert_eq!(again.worker, 3);
    assert_eq!(
        workers.renew(&first).await.unwrap(),
        None,
        "renewed meanwhile"
    );
    let again = workers
        .renew(&again)
        .await
        .unwrap()
        .expect("at the last revision");
    workers.release(&second).await;
    let third = workers
        .worker("c", [3, 4])
        .await
        .unwrap()
        .expect("given back");
    assert_eq!(third.worker, 4);
    // Without renewal it ends, one and a half terms later at the most.
    tokio::time::sleep(WORKERS * 2).await;
    let other = workers.worker("d", [3, 3]).await.unwrap().expect("ended");
    assert_eq!(other.worker, 3);
    assert_eq!(workers.renew(&again).await.unwrap(), None);

    let rights = log.rights().await.unwrap();
    let held = rights
        .right("persist", "a")
        .await
        .unwrap()
        .expect("is free");
    assert_eq!(rights.right("persist", "b").await.unwrap(), None);
    assert!(
        rights.right("persist", "a").await.unwrap().is_some(),
        "its own"
    );
    assert_eq!(held.worker, 0);
}

pub(super) async fn what_is_not_acknowledged_is_not_past(place: &dyn Place) {
    let log = one(place, config::Nats::default()).await;
    let demo = stream("demo");
    for key in 0..5_u8 {
        stored(&*log, &demo, key.into(), &[key]).await;
    }
    let mut consumer = log.consume_events(log.region(), 0).await.unwrap();
    assert_eq!((consumer.past, consumer.handed_out), (0, 0));
    let mut entries = Vec::new();
    while entries.len() < 3 {
        let max = 3 - entries.len();
        let group = soon(consumer.next_group(max, Duration::from_millis(50))).await;
        entries.extend(group.unwrap());
    }
    let seen: Vec<_> = entries.iter().map(|it| (it.seq, it.handed_out)).collect();
    assert_eq!(seen, [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(entries[2].payload, [2][..]);
    consumer.acknowledge().await.unwrap();
    let more = soon(consumer.next_group(9, Duration::from_millis(50)))
        .await
        .unwrap();
    assert_eq!(more.last().map(|it| (it.seq, it.pending)), Some((5, 0)));
    // It waits for what comes.
    let next = consumer.next_group(9, Duration::ZERO);
    let (next, seq) = tokio::join!(next, stored(&*log, &demo, 9, b"9"));
    assert_eq!(next.unwrap()[0].seq, seq);
    drop(consumer);
    let consumer = log.consume_events(log.region(), 0).await.unwrap();
    assert_eq!(
        (consumer.past, consumer.handed_out),
        (6, 6),
        "handed out, not acknowledged"
    );
}

pub(super) async fn a_call_is_answered_by_one(place: &dyn Place) {
    let [eu, us] = two(place).await;
    let mut calls = eu.answer_api().await.unwrap();
    eu.settle().await.unwrap();
    let answer = async {
        let call = calls.next().await.unwrap();
        assert_eq!(call.body, &b"ask"[..]);
        call.answer(b"answer".to_vec()).await;
    };
    let (answered, ()) = soon(async { tokio::join!(eu.call_api(b"ask".to_vec()), answer) }).await;
    assert_eq!(answered.unwrap(), &b"answer"[..]);
    assert!(
        us.call_api(b"ask".to_vec()).await.is_err(),
        "nobody answers there"
    );
    assert!(eu.answer_bytes_max() > 100_000);
}

pub(super) async fn viewers_are_reported_to_all(place: &dyn Place) {
    let [eu, us] = two(place).await;
    let demo = stream("demo");
    let mut reports = us.follow_presence(Some(&demo)).await.unwrap();
    let mut all = us.follow_presence(None).await.unwrap();
    us.settle().await.unwrap();
    eu.report_presence("g1", &stream("other"), 3).await;
    eu.report_presence("g1", &demo, 7).await;
    let report = soon(reports.next()).await.unwrap();
    assert_eq!((report.gateway.as_str(), report.viewers), ("eu.g1", 7));
    assert_eq!(soon(all.next()).await.unwrap().stream, stream("other"));
    assert_eq!(soon(all.next()).await.unwrap().stream, demo);
}
