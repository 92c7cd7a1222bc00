//! Partitions of a region's events, their shared epoch, and the blocks of worker numbers.

use std::collections::BTreeSet;

use chorus_origin::log::{Log, LogError};
use chorus_origin::persist::{ChangeError, change_partitions};
use chorus_origin::store::memory::Memory;
use chorus_origin::store::{Batch, Comments, position_key};
use chorus_protocol::Offset;

use super::{Place, WORKERS, config, one, provisioned, publish, stored, stream, with_peers};

fn partitions(partitions: u16) -> config::Nats {
    config::Nats {
        partitions,
        ..config::Nats::default()
    }
}

pub(super) async fn each_stream_lies_in_its_partition(place: &dyn Place) {
    let log = one(place, partitions(3)).await;
    let us = config::Nats {
        workers: [0, 1],
        ..with_peers(&["eu"])
    };
    let mut used = BTreeSet::new();
    for i in 0..20_u8 {
        let name = stream(&format!("s{i}"));
        let (tag, _) = publish(&*log, &name, i.into(), &[i]).await;
        used.insert(tag.partition);
        let known = log.regions().remove(log.region()).unwrap();
        assert_eq!(known.partition(&name), tag.partition);
        let tail = log.tail(log.region(), &name, 0, 9).await.unwrap();
        assert_eq!(tail.events[0].body, [i]);
        let seq = tail.events[0].seq;
        assert_eq!(
            log.event_at(log.region(), tag.partition, seq)
                .await
                .unwrap(),
            Some(vec![i])
        );
        let (epoch, part) = log.look_at_stream(log.region(), &name).await.unwrap();
        assert_eq!((epoch, part.last_seq), (known.epoch, seq));
        let asked = [name.clone()];
        let last = log.last_seqs(log.region(), &asked).await.unwrap();
        assert_eq!(last[&name], seq);
    }
    assert_eq!(used.len(), 3, "all partitions are used");
    assert_eq!(log.written(log.region()).await.unwrap(), 20);
    log.leaders().await.unwrap();
    let mut consumed = 0;
    for partition in 0..3 {
        let mut consumer = log.consume_events(log.region(), partition).await.unwrap();
        let gather = std::time::Duration::from_millis(200);
        consumed += consumer.next_group(99, gather).await.unwrap().len();
        consumer.acknowledge().await.unwrap();
    }
    assert_eq!(consumed, 20);
    // A peer reads the number from the region's record.
    let us = place.join("us", us).await;
    us.look_at(log.region()).await.unwrap();
    let tail = us.tail(log.region(), &stream("s7"), 0, 9).await.unwrap();
    assert_eq!(tail.events[0].body, [7]);
}

pub(super) async fn the_epoch_stays_until_a_log_is_made_anew(place: &dyn Place) {
    let log = one(place, partitions(2)).await;
    let epoch = log.epoch(log.region()).unwrap();
    stored(&*log, &stream("demo"), 1, b"1").await;
    let other = one(place, partitions(2)).await;
    assert_eq!(other.epoch(other.region()), Some(epoch), "of every process");
    // One partition was lost: all count as made anew.
    log.remove(1).await.unwrap();
    assert!(log.look_at(log.region()).await.is_err(), "not whole");
    provisioned(&*log).await;
    let anew = log.epoch(log.region()).unwrap();
    assert!(anew > epoch);
    other.look_at(other.region()).await.unwrap();
    assert_eq!(other.epoch(other.region()), Some(anew));
}

async fn write(store: &Memory, log: &dyn Log, partition: u16, seq: u64) {
    let key = position_key(log.region(), partition);
    let batch = Batch {
        from: store.positions().await.unwrap().get(&key).copied(),
        to: Offset {
            epoch: log.epoch(log.region()).unwrap(),
            seq,
        },
        log: key,
        rows: Vec::new(),
    };
    Comments::write(store, batch).await.unwrap();
}

pub(super) async fn another_number_is_refused_until_the_store_holds_all(place: &dyn Place) {
    let store = Memory::default();
    let old = one(place, partitions(2)).await;
    let epoch = old.epoch(old.region()).unwrap();
    for i in 0..20 {
        publish(&*old, &stream(&format!("s{i}")), i, b"it").await;
    }
    let log = place.join("eu", partitions(5)).await;
    let refused = log.provision(WORKERS).await;
    assert!(
        matches!(
            refused,
            Err(LogError::Partitions {
                found: 2,
                wanted: 5
            })
        ),
        "{refused:?}"
    );
    let parts = old.look_at(old.region()).await.unwrap().parts;
    write(&store, &*old, 0, parts[0].last_seq).await;
    write(&store, &*old, 1, parts[1].last_seq - 1).await;
    let behind = change_partitions(&*log, &store, 2).await;
    assert!(
        matches!(
            behind,
            Err(ChangeError::Behind {
                partition: 1,
                behind: 1,
                ..
            })
        ),
        "{behind:?}"
    );
    stored(&*old, &stream("s0"), 99, b"goes on").await;
    let parts = old.look_at(old.region()).await.unwrap().parts;
    for (partition, part) in (0..).zip(&parts) {
        write(&store, &*old, partition, part.last_seq).await;
    }
    change_partitions(&*log, &store, 2).await.unwrap();
    provisioned(&*log).await;
    let known = log.regions().remove(log.region()).unwrap();
    assert_eq!(known.partitions(), 5);
    assert!(known.epoch > epoch);
    assert_eq!(log.written(log.region()).await.unwrap(), 0);
    // The old process sees that it must not go on, and no event is taken where nobody would read it.
    let seen = old.look_at(old.region()).await.unwrap();
    assert_eq!((seen.partitions(), seen.epoch), (5, known.epoch));
    // Back to a number that was there before is another epoch again.
    let log = place.join("eu", partitions(2)).await;
    assert!(log.provision(WORKERS).await.is_err());
    change_partitions(&*log, &store, 5).await.unwrap();
    provisioned(&*log).await;
    assert!(log.epoch(log.region()).unwrap() > known.epoch);
}

pub(super) async fn blocks_of_workers_that_overlap_refuse_to_start(place: &dyn Place) {
    let block = |peers: &[&str], workers| config::Nats {
        workers,
        ..with_peers(peers)
    };
    let eu = place.join("eu", block(&["us"], [0, 511])).await;
    provisioned(&*eu).await;
    let us = place.join("us", block(&["eu"], [511, 1023])).await;
    let refused = us.provision(WORKERS).await.unwrap_err();
    assert!(matches!(refused, LogError::Conflict(_)));
    let words = refused.to_string();
    for part in ["us", "[511, 1023]", "eu", "[0, 511]"] {
        assert!(words.contains(part), "{words}");
    }
    // The refused one keeps the other from nothing.
    provisioned(&*eu).await;
    let us = place.join("us", block(&["eu"], [512, 1023])).await;
    provisioned(&*us).await;
    provisioned(&*eu).await;
    // A region may widen its block only where there is room.
    let wide = place.join("eu", block(&["us"], [0, 600])).await;
    assert!(matches!(
        wide.provision(WORKERS).await,
        Err(LogError::Conflict(_))
    ));
    provisioned(&*eu).await;
    assert_eq!(
        eu.record(us.region()).await.unwrap().unwrap().0.workers,
        [512, 1023]
    );
}
