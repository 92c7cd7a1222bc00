//! Regions that are away, come back, or are made anew.

use super::super::*;
use super::rig::{OWN, PEER, Rig, position};

/// Both regions; the peer is away.
fn alone() -> Rig {
    let mut rig = Rig::with(&[OWN]);
    rig.write(PEER, 4);
    rig.stand(PEER, None);
    rig.flush();
    assert_eq!(rig.totals_asked.len(), 1, "only of what is known");
    rig.answer_history();
    rig.answer_totals();
    rig.flush();
    rig
}

fn comes_back(rig: &mut Rig) {
    rig.stand(PEER, Some(1));
    rig.flush();
    assert!(rig.history_asked);
    rig.answer_history();
    rig.flush();
    rig.answer_reads();
    rig.flush();
}

#[test]
fn a_start_and_a_hold_do_not_wait_for_a_region_that_is_away_and_it_heals() {
    let mut rig = alone();
    rig.hold(1, None);
    assert_eq!(rig.fresh(1).at, position(&[(OWN, 1, 0)]));
    rig.hold(2, Some(position(&[(OWN, 1, 0), (PEER, 1, 2)])));
    assert_eq!(rig.told(2), [ToLane::Answer(Answer::Resumed)]);
    comes_back(&mut rig);
    assert_eq!(rig.at(1, PEER), 4, "from the beginning");
    assert_eq!(rig.delivered(2), [(0, 2, 4)], "from where it stood");
    assert!(rig.told(1).is_empty() && rig.told(2).is_empty());
    rig.write(PEER, 1);
    rig.hear(PEER, 5);
    rig.flush();
    assert_eq!((rig.at(1, PEER), rig.at(2, PEER)), (5, 5));
}

#[test]
fn what_cannot_be_read_of_a_region_that_is_back_is_told_as_a_gap() {
    let mut rig = alone();
    rig.hold(1, Some(position(&[(OWN, 1, 0), (PEER, 1, 1)])));
    rig.told(1);
    rig.first_seq = 4;
    comes_back(&mut rig);
    let told = rig.told(1);
    assert!(matches!(&told[..], [ToLane::Answer(Answer::Gap(_))]));
    assert_eq!(rig.at(1, PEER), 4);
}

#[test]
fn live_events_of_a_region_that_is_away_make_no_work() {
    let mut rig = alone();
    rig.hold(1, None);
    rig.hear(PEER, 4);
    rig.flush();
    assert!(!rig.history_asked);
    comes_back(&mut rig);
    assert_eq!(rig.at(1, PEER), 4);
}

#[test]
fn a_lane_that_catches_up_goes_on_without_a_region_that_goes_away() {
    let mut rig = Rig::started_with(&[OWN, PEER]);
    rig.write(OWN, 2);
    rig.write(PEER, 2);
    rig.hear_all(OWN);
    rig.hear_all(PEER);
    rig.flush();
    rig.hold(1, Some(position(&[(OWN, 1, 0), (PEER, 1, 1)])));
    rig.answer_reads();
    rig.flush();
    assert!(rig.told(1).is_empty(), "the peer's is still to be read");
    rig.reads.clear();
    rig.stand(PEER, None);
    rig.flush();
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.told(1), [ToLane::Answer(Answer::Resumed)]);
    assert_eq!((rig.at(1, OWN), rig.at(1, PEER)), (2, 1));
    rig.stand(PEER, Some(1));
    rig.flush();
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.at(1, PEER), 2);
}

#[test]
fn a_log_made_anew_is_a_gap_for_every_lane() {
    let mut rig = Rig::started();
    rig.write(OWN, 3);
    rig.hear_all(OWN);
    rig.hold(1, None);
    rig.told(1);
    rig.stand(OWN, Some(2));
    rig.write(OWN, 1);
    rig.flush();
    assert!(rig.history_asked);
    // Heard while the history is read, and what was before it is not heard at all.
    rig.answer_history();
    rig.write(OWN, 2);
    rig.hear(OWN, 3);
    rig.flush();
    let told = rig.told(1);
    let [ToLane::Answer(Answer::Gap(snapshot))] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(snapshot.at, position(&[(OWN, 2, 1)]));
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.at(1, OWN), 3);
}

#[test]
fn a_history_that_does_not_know_of_it_yet_is_read_again() {
    let mut rig = Rig::started();
    rig.hold(1, None);
    rig.stand(PEER, Some(1));
    rig.flush();
    rig.core.history(rig.now_ms, Some(Past::default()));
    rig.history_asked = false;
    rig.flush();
    assert!(!rig.history_asked);
    rig.pass(100);
    assert!(rig.history_asked);
    rig.answer_history();
    rig.flush();
    rig.write(PEER, 1);
    rig.hear_all(PEER);
    rig.flush();
    assert_eq!(rig.at(1, PEER), 1);
}

#[test]
fn lanes_are_brought_to_where_a_mirror_ends_and_no_further_until_its_region_is_back() {
    let mut rig = Rig::started_with(&[OWN, PEER]);
    rig.write(PEER, 4);
    rig.hear_all(PEER);
    rig.flush();
    // 3 and 4 were heard live, and the mirror does not have them.
    rig.stand_mirrored(PEER, 2);
    let holds = [(1, 1), (2, 2), (3, 4), (4, 9)];
    for (lane, seq) in holds {
        rig.hold(lane, Some(position(&[(OWN, 1, 0), (PEER, 1, seq)])));
    }
    rig.answer_reads();
    rig.flush();
    for (lane, at) in [(1, 2), (2, 2), (3, 4), (4, 9)] {
        assert_eq!(rig.told(lane), [ToLane::Answer(Answer::Resumed)], "{lane}");
        assert_eq!(rig.at(lane, PEER), at, "{lane}");
    }
    rig.answer_reads();
    rig.flush();
    assert!(rig.reads.is_empty(), "nothing more can be had");
    rig.hold(5, None);
    assert_eq!(rig.fresh(5).at, position(&[(OWN, 1, 0), (PEER, 1, 4)]));
    rig.stand(PEER, Some(1));
    rig.flush();
    rig.answer_reads();
    rig.flush();
    assert_eq!(
        (rig.at(1, PEER), rig.at(2, PEER), rig.at(3, PEER)),
        (4, 4, 4)
    );
    let told = rig.told(4);
    let gap = matches!(&told[..], [ToLane::Answer(Answer::Gap(_))]);
    assert!(gap, "a position from the future: {told:?}");
}

#[test]
fn a_hole_is_not_skipped_because_a_mirror_does_not_have_it() {
    let mut rig = Rig::started_with(&[OWN, PEER]);
    rig.hold(1, None);
    rig.write(PEER, 4);
    rig.hear(PEER, 1);
    rig.stand_mirrored(PEER, 2);
    rig.hear(PEER, 4);
    rig.flush();
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.at(1, PEER), 2, "as far as the mirror goes");
    rig.pass(2_000);
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.at(1, PEER), 2);
    rig.stand(PEER, Some(1));
    rig.flush();
    rig.answer_reads();
    rig.flush();
    assert_eq!(rig.at(1, PEER), 4);
}
