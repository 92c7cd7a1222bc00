//! Mirrors of other regions' events.

use std::sync::Arc;
use std::time::Duration;

use chorus_origin::log::Log;
use chorus_origin::store::{Positions, position_key};
use chorus_protocol::{Offset, Region};

use super::common::until;
use super::{Place, provisioned, stored, stream, two};

const SOON: Duration = Duration::from_secs(15);

/// Waits until a region's mirror of another one goes so far.
async fn reaches(log: &Arc<dyn Log>, region: &Region, seq: u64) {
    until("the mirror has it", SOON, async || {
        let part = log.mirror_part(region, 0).await.unwrap();
        part.is_some_and(|it| it.part.last_seq >= seq)
    })
    .await;
}

pub(super) async fn a_mirror_holds_what_its_origin_does_and_is_read_for_it(place: &dyn Place) {
    let [eu, us] = two(place).await;
    let demo = stream("demo");
    stored(&*eu, &demo, 1, b"before").await;
    assert_eq!(us.registry().unmirrored(), [eu.region().clone()]);
    assert_eq!(us.mirror_part(eu.region(), 0).await.unwrap(), None);
    us.mirror(eu.region(), &Positions::new()).await.unwrap();
    // Once more changes nothing.
    us.mirror(eu.region(), &Positions::new()).await.unwrap();
    assert!(us.registry().unmirrored().is_empty());
    stored(&*eu, &stream("other"), 2, b"other").await;
    stored(&*eu, &demo, 3, b"after").await;
    reaches(&us, eu.region(), 3).await;

    let epoch = eu.epoch(eu.region()).unwrap();
    let tail = us.tail(eu.region(), &demo, 0, 10).await.unwrap();
    let read: Vec<_> = tail.events.iter().map(|it| (it.epoch, it.seq)).collect();
    assert_eq!(read, [(epoch, 1), (epoch, 3)]);
    let stretch = us.stretch(eu.region(), &demo, 1, 3, 10).await.unwrap();
    assert_eq!((stretch.epoch, stretch.part.last_seq), (epoch, 3));
    assert_eq!(stretch.tail.last_seq(), Some(3));
    let mirrored = us.mirror_part(eu.region(), 0).await.unwrap().unwrap();
    assert_eq!(stretch.part, mirrored.part, "from the mirror");
    // What nobody has is not waited for.
    let beyond = us.stretch(eu.region(), &demo, 3, 99, 10).await.unwrap();
    assert_eq!((beyond.part.last_seq, beyond.tail.complete), (3, true));
    assert_ne!(
        beyond.part.created_ms, mirrored.part.created_ms,
        "from the origin"
    );
    assert_eq!(us.written(eu.region()).await.unwrap(), 3);
    let last = us.last_seqs(eu.region(), &[demo]).await.unwrap();
    assert_eq!(last.into_values().collect::<Vec<_>>(), [3]);

    let mut consumer = us.consume_events(eu.region(), 0).await.unwrap();
    let mut seqs = Vec::new();
    while seqs.len() < 3 {
        let group = consumer.next_group(9, Duration::from_millis(50)).await;
        seqs.extend(group.unwrap().into_iter().map(|entry| entry.seq));
    }
    assert_eq!(seqs, [1, 2, 3]);
    consumer.acknowledge().await.unwrap();
    let all = us.all_after((eu.region(), 0, epoch), 1, 3, 10).await;
    assert_eq!(all.unwrap().len(), 2, "whatever the stream");
}

pub(super) async fn the_mirror_of_a_log_made_anew_is_made_anew_once_the_store_has_the_old_one(
    place: &dyn Place,
) {
    let [eu, us] = two(place).await;
    let demo = stream("demo");
    us.mirror(eu.region(), &Positions::new()).await.unwrap();
    for key in 0..3 {
        stored(&*eu, &demo, key, b"old").await;
    }
    reaches(&us, eu.region(), 3).await;
    let old = us.epoch(eu.region()).unwrap();
    eu.remove(0).await.unwrap();
    provisioned(&*eu).await;
    stored(&*eu, &demo, 9, b"new").await;
    let epoch = us.look_at(eu.region()).await.unwrap().epoch;
    assert!(epoch > old);
    us.look_at_mirror(eu.region()).await.unwrap();

    // What is new is not read from the old mirror, which nats-server takes for the origin.
    let tail = us.tail(eu.region(), &demo, 0, 10).await.unwrap();
    assert_eq!(tail.events.len(), 1);
    assert_eq!(
        (tail.events[0].epoch, &tail.events[0].body[..]),
        (epoch, &b"new"[..])
    );
    assert_eq!(us.registry().unmirrored(), [eu.region().clone()]);
    let key = position_key(eu.region(), 0);
    let at = |seq| Positions::from([(key.clone(), Offset { epoch: old, seq })]);
    let refused = us
        .mirror(eu.region(), &at(2))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("lacks 1 of it"), "{refused}");
    let kept = us.mirror_part(eu.region(), 0).await.unwrap().unwrap();
    assert_eq!((kept.epoch, kept.part.last_seq), (old, 3));
    us.mirror(eu.region(), &at(3)).await.unwrap();
    reaches(&us, eu.region(), 1).await;
    let tail = us.tail(eu.region(), &demo, 0, 10).await.unwrap();
    assert_eq!(tail.events.len(), 1);
    let anew = us.mirror_part(eu.region(), 0).await.unwrap().unwrap();
    assert_eq!((anew.epoch, anew.part.last_seq), (epoch, 1));
}
