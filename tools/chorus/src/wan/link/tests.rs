//! A link under a clock of the test's own.

use super::*;

const MS: Duration = Duration::from_millis(1);
const PACKETS: u32 = 100_000;

fn link(settings: Settings) -> Link {
    Link::new(settings, 7, "eu -> us")
}

/// What becomes of packets of 1,000 bytes, one every `every`.
fn sends(
    link: &mut Link,
    packets: u32,
    every: Duration,
) -> Vec<(Duration, Result<Arrival, Dropped>)> {
    (0..packets)
        .map(|number| {
            let now = every * number;
            (now, link.send(now, 1_000))
        })
        .collect()
}

#[test]
fn loss_is_as_frequent_as_asked() {
    let mut link = link(Settings {
        loss: 0.01,
        ..Settings::default()
    });
    let sent = sends(&mut link, PACKETS, MS);
    let lost = sent.iter().filter(|(_, fate)| fate.is_err()).count();
    // Four standard deviations.
    assert!((874..=1_126).contains(&lost), "{lost}");
}

#[test]
fn delay_is_the_least_and_jitter_spreads_above_it() {
    let mut link = link(Settings {
        delay: 40 * MS,
        jitter: 20 * MS,
        ..Settings::default()
    });
    let mut delays: Vec<Duration> = sends(&mut link, PACKETS, MS)
        .into_iter()
        .map(|(now, fate)| fate.expect("nothing is lost").due - now)
        .collect();
    delays.sort();
    let at = |share: f64| delays[(f64::from(PACKETS - 1) * share) as usize];
    assert!(at(0.0) >= 40 * MS && at(0.0) < 42 * MS, "{:?}", at(0.0));
    assert!(at(1.0) <= 61 * MS && at(1.0) > 58 * MS, "{:?}", at(1.0));
    assert!(at(0.5) > 48 * MS && at(0.5) < 52 * MS, "{:?}", at(0.5));
    assert!(at(0.1) < 45 * MS && at(0.9) > 55 * MS);
}

#[test]
fn order_is_kept_unless_reordering_is_asked_for() {
    let jittery = Settings {
        delay: 10 * MS,
        jitter: 30 * MS,
        loss: 0.01,
        ..Settings::default()
    };
    let overtakes = |settings: Settings| {
        let mut link = link(settings);
        let dues: Vec<Duration> = sends(&mut link, PACKETS, MS / 10)
            .into_iter()
            .filter_map(|(_, fate)| Some(fate.ok()?.due))
            .collect();
        dues.windows(2).filter(|pair| pair[1] < pair[0]).count()
    };
    assert_eq!(overtakes(jittery.clone()), 0);
    let overtaken = overtakes(Settings {
        reorder: 0.02,
        ..jittery
    });
    assert!((1_700..=2_200).contains(&overtaken), "{overtaken}");
}

#[test]
fn a_dense_flow_sees_the_same_jitter_as_a_sparse_one() {
    let settings = Settings {
        jitter: 20 * MS,
        ..Settings::default()
    };
    let mean = |every: Duration| {
        let sent = sends(&mut link(settings.clone()), PACKETS, every);
        let sum: Duration = sent
            .iter()
            .map(|(now, fate)| fate.expect("nothing is lost").due - *now)
            .sum();
        sum / PACKETS
    };
    for every in [MS / 10, 10 * MS, 3_000 * MS] {
        let mean = mean(every);
        assert!(mean > 8 * MS && mean < 12 * MS, "{every:?}: {mean:?}");
    }
}

#[test]
fn the_rate_spaces_packets_and_a_full_queue_drops() {
    // 8 Mbit/s: a packet a millisecond.
    let mut link = link(Settings {
        bytes_per_second: 1_000_000.0,
        queue_bytes_max: 50_000.0,
        ..Settings::default()
    });
    let burst: Vec<_> = (0..100).map(|_| link.send(MS, 1_000)).collect();
    assert!(burst[..50].iter().all(Result::is_ok));
    assert!(burst[50..].iter().all(|fate| *fate == Err(Dropped::Queue)));
    for (number, fate) in (1_u32..).zip(&burst[..50]) {
        assert_eq!(fate.map(|arrival| arrival.due), Ok(MS + number * MS));
    }
    // Offered twice what it carries, it carries its rate.
    let mut full = link.clone();
    let passed = (0..20_000_u32)
        .filter(|number| full.send(100 * MS + *number * MS / 2, 1_000).is_ok())
        .count();
    assert!((9_990..=10_060).contains(&passed), "{passed}");
    // Idle, it takes at once what comes.
    assert_eq!(
        link.send(1_000 * MS, 1_000).map(|arrival| arrival.due),
        Ok(1_001 * MS)
    );
}

#[test]
fn the_same_seed_decides_the_same_and_another_does_not() {
    let settings = Settings {
        delay: 5 * MS,
        jitter: 3 * MS,
        loss: 0.1,
        reorder: 0.1,
        ..Settings::default()
    };
    let run = |seed, name| {
        let mut link = Link::new(settings.clone(), seed, name);
        sends(&mut link, 1_000, MS)
    };
    assert_eq!(run(1, "a -> b"), run(1, "a -> b"));
    assert_ne!(run(1, "a -> b"), run(2, "a -> b"));
    assert_ne!(run(1, "a -> b"), run(1, "b -> a"));
}

#[test]
fn a_setting_changed_leaves_the_other_decisions_as_they_were() {
    let lost = |reorder| {
        let mut link = link(Settings {
            loss: 0.1,
            reorder,
            ..Settings::default()
        });
        sends(&mut link, 1_000, MS)
            .iter()
            .map(|(_, fate)| fate.is_err())
            .collect::<Vec<_>>()
    };
    assert_eq!(lost(0.0), lost(0.5));
}

#[test]
fn a_cut_link_passes_nothing_until_it_is_healed() {
    let mut link = link(Settings::default());
    assert!(link.send(MS, 100).is_ok());
    link.cut = true;
    assert_eq!(link.send(2 * MS, 100), Err(Dropped::Partition));
    link.cut = false;
    assert!(link.send(3 * MS, 100).is_ok());
}
