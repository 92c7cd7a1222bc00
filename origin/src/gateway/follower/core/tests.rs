//! Every rule of the core by itself; all faults at once are in `faults`.

mod faults;
mod regions;
mod rig;

use chorus_protocol::backhaul::{Datagram, VIEWING_MS, read_frame};

use super::lane::PENDING_MAX;
use super::*;
use rig::{BOUNDS, OWN, PEER, Rig, position};

#[test]
fn a_hold_waits_for_the_history_and_is_fresh() {
    let mut rig = Rig::new();
    rig.write(OWN, 3);
    rig.core.hold(1, None);
    rig.flush();
    assert!(rig.history_asked && !rig.core.is_started());
    rig.history_asked = false;
    rig.core.history(0, None);
    rig.flush();
    assert!(rig.to_lane.is_empty(), "nothing to tell yet");
    assert!(!rig.history_asked, "not again at once");
    rig.now_ms = rig.core.next().expect("another try");
    assert!((50..=100).contains(&rig.now_ms));
    rig.flush();
    assert!(rig.history_asked);
    rig.answer_history();
    rig.answer_totals();
    rig.flush();
    let snapshot = rig.fresh(1);
    assert_eq!(snapshot.at, position(&[(OWN, 1, 3)]));
    assert_eq!((snapshot.newest.len(), snapshot.comment_count), (3, 3));
    rig.write(OWN, 1);
    rig.hear_all(OWN);
    rig.flush();
    assert_eq!(rig.delivered(1), [(0, 3, 4)]);
}

#[test]
fn totals_that_cannot_be_read_hold_nobody_up() {
    let mut rig = Rig::new();
    rig.core.hold(1, None);
    rig.flush();
    assert_eq!(rig.totals_asked.len(), 1);
    rig.answer_history();
    rig.flush();
    assert!(rig.to_lane.is_empty(), "it waits for the first answer");
    rig.core.totals(0, OWN.parse().expect("a region"), None);
    rig.flush();
    rig.fresh(1);
    rig.totals_asked.clear();
    rig.pass(100);
    assert_eq!(rig.totals_asked.len(), 1, "asked again");
    let likes = Reactions::from([("like".to_owned(), 4)]);
    let region = OWN.parse().expect("a region");
    rig.core.totals(rig.now_ms, region, Some(likes.clone()));
    rig.flush();
    let told = rig.datagrams.pop().expect("told");
    let told = read_frame::<Datagram>(&told).expect("readable");
    assert!(matches!(told, Datagram::Totals { reactions, .. } if reactions == likes));
}

#[test]
fn one_encoding_serves_all_lanes() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.hold(2, None);
    rig.write(OWN, 2);
    rig.hear_all(OWN);
    rig.flush();
    assert_eq!(rig.frames, 1);
    assert_eq!(rig.delivered(1), [(0, 0, 2)]);
    assert_eq!(rig.delivered(2), [(0, 0, 2)]);
}

#[test]
fn a_hole_is_read_once_at_a_time_and_nothing_overtakes_it() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.write(OWN, 4);
    rig.hear(OWN, 2);
    rig.hear(OWN, 4);
    rig.flush();
    rig.flush();
    assert_eq!(rig.reads.len(), 1);
    assert!(rig.delivered(1).is_empty());
    let read = rig.reads.pop().expect("a read");
    assert_eq!((read.reader, read.after), (Reader::Follower, 0));
    rig.core.read(rig.now_ms, &read, None);
    rig.flush();
    assert!(rig.reads.is_empty(), "a moment later");
    rig.pass(100);
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.delivered(1), [(0, 0, 4)]);
    assert_eq!((rig.counts.holes, rig.counts.repaired), (2, 1));
}

#[test]
fn a_loss_at_the_very_end_is_found_by_the_last_sequence() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.write(OWN, 2);
    rig.tell_last(OWN, 1);
    rig.hear(OWN, 1);
    rig.pass(SUSPECT_MS);
    assert!(rig.reads.is_empty(), "it came in time");
    rig.tell_last(OWN, 2);
    rig.pass(SUSPECT_MS - 1);
    assert!(rig.reads.is_empty());
    rig.pass(1);
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.delivered(1), [(0, 0, 1), (0, 1, 2)]);
    assert_eq!(rig.counts.tail_repairs, 1);
}

#[test]
fn a_last_sequence_told_while_a_history_is_read_is_not_forgotten() {
    let mut rig = Rig::started();
    rig.write(OWN, 3);
    rig.hear_all(OWN);
    rig.hold(1, None);
    rig.stand(OWN, Some(2));
    rig.flush();
    assert!(rig.history_asked);
    // Of the log of before: it says nothing of this one.
    let region = OWN.parse().expect("a region");
    rig.core
        .last(rig.now_ms, region, Offset { epoch: 1, seq: 9 });
    // Written after the history was read and before its answer came; nobody hears it live.
    rig.write(OWN, 1);
    rig.tell_last(OWN, 1);
    rig.pass(SUSPECT_MS);
    let at = position(&[(OWN, 2, 0)]);
    let past = Past {
        at,
        ..Past::default()
    };
    rig.core.history(rig.now_ms, Some(past));
    rig.flush();
    rig.pass(SUSPECT_MS);
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.at(1, OWN), 1);
    assert!(rig.reads.is_empty());
}

#[test]
fn a_hole_in_what_the_log_no_longer_holds_is_a_gap() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.told(1);
    rig.write(OWN, 5);
    rig.first_seq = 4;
    rig.hear(OWN, 5);
    rig.flush();
    rig.history_asked = false;
    rig.answer_reads();
    rig.flush();
    assert!(rig.history_asked);
    // The store has none of it either.
    let past = Past {
        at: position(&[(OWN, 1, 0)]),
        ..Past::default()
    };
    rig.history_asked = false;
    rig.core.history(rig.now_ms, Some(past));
    rig.flush();
    for _ in 0..2 {
        rig.answer_reads();
        rig.flush();
    }
    let told = rig.told(1);
    let Some(ToLane::Answer(Answer::Gap(snapshot))) = told.first() else {
        panic!("{told:?}")
    };
    assert!(snapshot.at.0.values().all(|at| at.seq >= 3));
    assert_eq!(rig.at(1, OWN), 5);
    assert!(!rig.history_asked, "once");
}

#[test]
fn an_event_behind_one_that_the_log_no_longer_holds_does_not_follow() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.told(1);
    rig.write(OWN, 3);
    rig.hear(OWN, 1);
    rig.tell_last(OWN, 2);
    rig.first_seq = 3;
    // To the log nothing comes before it.
    let region = OWN.parse::<Region>().expect("a region");
    let event = rig.logs[&region][2].clone();
    rig.core.hear(Heard { event, previous: 0 });
    rig.flush();
    assert_eq!(rig.at(1, OWN), 1);
    rig.answer_reads();
    rig.flush();
    rig.answer_history();
    rig.flush();
    rig.answer_reads();
    rig.flush();
    let told = rig.told(1);
    assert!(matches!(&told[..], [ToLane::Answer(Answer::Gap(_))]));
}

#[test]
fn a_hold_is_resumed_and_what_comes_meanwhile_waits() {
    let mut rig = Rig::started();
    rig.write(OWN, 5);
    rig.hear_all(OWN);
    rig.hold(1, Some(position(&[(OWN, 1, 5)])));
    assert_eq!(rig.told(1), [ToLane::Answer(Answer::Resumed)]);
    assert!(rig.reads.is_empty());
    rig.hold(2, Some(position(&[(OWN, 1, 2)])));
    assert!(rig.told(2).is_empty(), "not before it is certain");
    rig.write(OWN, 1);
    rig.hear_all(OWN);
    rig.flush();
    assert_eq!(rig.delivered(1), [(0, 5, 6)]);
    assert!(rig.delivered(2).is_empty());
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.told(2), [ToLane::Answer(Answer::Resumed)]);
    assert_eq!(rig.delivered(2), [(0, 2, 5), (0, 5, 6)]);
    assert!(rig.reads.is_empty());
}

#[test]
fn a_lane_that_catches_up_too_long_reads_once_more() {
    let mut rig = Rig::started();
    rig.write(OWN, 5);
    rig.hear_all(OWN);
    rig.hold(1, Some(position(&[(OWN, 1, 2)])));
    for _ in 0..=PENDING_MAX {
        rig.write(OWN, 1);
        rig.hear_all(OWN);
        rig.flush();
    }
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.delivered(1), [(0, 2, 5)]);
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.at(1, OWN), 5 + PENDING_MAX as u64 + 1);
}

#[test]
fn a_position_that_cannot_be_caught_up_with_is_a_gap() {
    let too_many = BOUNDS.resume_max as u64 + 1;
    for (name, have, written, first) in [
        ("another epoch", position(&[(OWN, 2, 1)]), 5, 1),
        ("an unknown region", position(&[("mars", 1, 1)]), 5, 1),
        ("more than may be", position(&[(OWN, 1, 0)]), too_many, 1),
        ("what is no longer there", position(&[(OWN, 1, 1)]), 5, 3),
        ("what never was", position(&[(OWN, 1, 9)]), 5, 1),
    ] {
        let mut rig = Rig::started();
        rig.write(OWN, written);
        rig.hear_all(OWN);
        rig.first_seq = first;
        rig.hold(1, Some(have));
        rig.answer_reads();
        rig.flush();
        let told = rig.told(1);
        let Some(ToLane::Answer(Answer::Gap(snapshot))) = told.first() else {
            panic!("{name}: {}", told.len())
        };
        assert_eq!(snapshot.at, position(&[(OWN, 1, written)]), "{name}");
        rig.write(OWN, 1);
        rig.hear_all(OWN);
        rig.flush();
        assert_eq!(rig.at(1, OWN), written + 1, "{name}");
    }
}

#[test]
fn without_room_on_the_quiet_lane_it_goes_on_over_its_own_without_a_hole() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.refuse_after = Some(0);
    rig.write(OWN, 2);
    rig.hear_all(OWN);
    rig.flush();
    rig.refuse_after = None;
    rig.flush();
    assert_eq!(rig.told(1).last(), Some(&ToLane::Own));
    assert_eq!(rig.delivered(1), [(1, 0, 2)]);
    assert!(rig.reads.is_empty(), "nothing was lost");
    rig.pass(10_000);
    assert_eq!(rig.told(1), [ToLane::Quiet], "and back after a while");
}

#[test]
fn a_lane_that_lags_is_emptied_and_catches_up_from_the_log() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.make_busy();
    assert_eq!(rig.told(1).last(), Some(&ToLane::Own));
    let before = rig.at(1, OWN);
    rig.refuse_after = Some(0);
    rig.write(OWN, 2);
    rig.hear_all(OWN);
    rig.flush();
    rig.refuse_after = None;
    rig.write(OWN, 3);
    rig.hear_all(OWN);
    rig.flush();
    assert_eq!(rig.at(1, OWN), before, "nothing until it is empty");
    assert!(rig.reads.is_empty());
    rig.core.drained(1);
    rig.flush();
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.told(1), [ToLane::Own], "a new queue, no answer");
    assert_eq!(rig.at(1, OWN), before + 5);
    assert_eq!(rig.counts.lagged, 1);
}

#[test]
fn a_lane_that_lagged_too_far_is_told_a_gap_in_a_new_queue() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.make_busy();
    rig.refuse_after = Some(0);
    rig.write(OWN, BOUNDS.resume_max as u64 + 1);
    rig.hear_all(OWN);
    rig.flush();
    rig.refuse_after = None;
    rig.told(1);
    rig.core.drained(1);
    rig.flush();
    rig.answer_reads();
    rig.flush();
    let told = rig.told(1);
    assert!(
        matches!(told[..], [ToLane::Answer(Answer::Gap(_)), ToLane::Own]),
        "{told:?}"
    );
}

#[test]
fn a_busy_stream_has_lanes_of_its_own_until_it_is_calm() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.told(1);
    rig.make_busy();
    assert_eq!(rig.told(1), [ToLane::Own], "before what made it busy");
    assert!(rig.delivered(1).iter().all(|(own, ..)| *own == 1));
    rig.hold(2, None);
    assert_eq!(rig.told(2).last(), Some(&ToLane::Own));
    rig.pass(9_000);
    assert!(rig.told(1).is_empty());
    rig.pass(1_000);
    assert_eq!(rig.told(1), [ToLane::Quiet]);
    assert_eq!(rig.told(2), [ToLane::Quiet]);
    assert_eq!(rig.core.next(), None, "nothing to do until something comes");
}

#[test]
fn an_answer_to_a_read_of_before_changes_nothing() {
    let mut rig = Rig::started();
    rig.write(OWN, 5);
    rig.hear_all(OWN);
    rig.hold(1, Some(position(&[(OWN, 1, 2)])));
    let old = rig.reads.pop().expect("a read");
    rig.hold(1, Some(position(&[(OWN, 1, 4)])));
    rig.core.read(rig.now_ms, &old, Some(rig.found(&old)));
    rig.flush();
    assert!(rig.told(1).is_empty());
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.delivered(1), [(0, 4, 5)]);
}

#[test]
fn without_a_lane_it_ends_after_a_while() {
    let mut rig = Rig::started();
    rig.pass(LINGER_MS - 1);
    assert!(!rig.end);
    rig.hold(1, None);
    rig.pass(LINGER_MS);
    assert!(!rig.end);
    rig.core.release(rig.now_ms, 1);
    rig.pass(LINGER_MS - 1);
    assert!(!rig.end);
    rig.pass(1);
    assert!(rig.end);
}

#[test]
fn viewers_are_told_to_pops_and_gateways() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.datagrams.clear();
    let pop = ("pop1".parse().expect("a pop"), 7);
    rig.core.viewing(rig.now_ms, pop, 5);
    rig.core.elsewhere(rig.now_ms, "eu.2".to_owned(), 2);
    rig.pass(1_000);
    assert_eq!(rig.reports, [5]);
    let told = rig.datagrams.first().expect("told");
    let told = read_frame::<Datagram>(told).expect("readable");
    let seven = |told| {
        matches!(
            told,
            Datagram::Totals {
                viewers: Some(7),
                ..
            }
        )
    };
    assert!(seven(told));
    rig.pass(VIEWING_MS);
    assert_eq!(rig.reports, [5, 5], "said again");
}

#[test]
fn a_region_is_not_read_while_it_is_away() {
    let mut rig = Rig::started_with(&[OWN, PEER]);
    rig.hold(1, None);
    rig.write(PEER, 3);
    rig.hear(PEER, 3);
    rig.stand(PEER, None);
    rig.flush();
    assert!(rig.reads.is_empty());
    rig.write(OWN, 1);
    rig.hear_all(OWN);
    rig.flush();
    assert_eq!(rig.at(1, OWN), 1, "the other goes on");
    rig.stand(PEER, Some(1));
    rig.flush();
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.at(1, PEER), 3);
}
