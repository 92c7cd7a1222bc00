//! All faults at once, from a seed: loss, repeats, reorder, reads that fail or are late, full queues, regions that go away,
//! logs made anew. In the end every lane has everything. [`Rig`] checks that no lane ever gets a hole.

use super::super::*;
use super::rig::{OWN, PEER, Rig};

/// A number that goes on from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn last(rig: &Rig, region: &str) -> u64 {
    let region: Region = region.parse().expect("a region");
    rig.logs.get(&region).map_or(0, |log| log.len() as u64)
}

fn step(rig: &mut Rig, draw: &mut Draw, epoch: &mut u64) {
    let region = [OWN, PEER][draw.below(2) as usize];
    match draw.below(20) {
        0..=7 => {
            rig.write(region, 1 + draw.below(3));
            // Nearly always heard, in order or not, once or twice.
            for seq in last(rig, region).saturating_sub(3) + 1..=last(rig, region) {
                if draw.below(4) > 0 {
                    rig.hear(region, seq);
                }
            }
        }
        8..=10 if !rig.reads.is_empty() => {
            let index = draw.below(rig.reads.len() as u64) as usize;
            let read = rig.reads.swap_remove(index);
            let found = rig.found(&read);
            let found = Some(found).filter(|_| draw.below(4) > 0);
            rig.core.read(rig.now_ms, &read, found);
        }
        11 if rig.history_asked => {
            if draw.below(4) > 0 {
                rig.answer_history();
            } else {
                rig.history_asked = false;
                rig.core.history(rig.now_ms, None);
            }
        }
        12 if !rig.totals_asked.is_empty() => {
            let totals = Some(Reactions::new()).filter(|_| draw.below(2) > 0);
            let region = rig.totals_asked.remove(0);
            rig.core.totals(rig.now_ms, region, totals);
        }
        13 => rig.refuse_after = Some(draw.below(2) as usize),
        14 => rig.core.drained(draw.below(4)),
        15 => {
            let lane = draw.below(4);
            let have = rig.at.get(&lane).cloned();
            rig.hold(lane, have);
        }
        16 if draw.below(3) == 0 => rig.stand(PEER, None),
        17 => rig.stand(PEER, Some(*epoch)),
        18 if draw.below(10) == 0 => {
            *epoch += 1;
            rig.stand(PEER, Some(*epoch));
        }
        19 => {
            rig.tell_last(region, last(rig, region));
        }
        _ => rig.now_ms += draw.below(200),
    }
    rig.flush();
}

/// Everything works again: what is asked is answered, until nothing is.
fn settle(rig: &mut Rig, epoch: u64) {
    rig.refuse_after = None;
    rig.stand(PEER, Some(epoch));
    for _ in 0..100 {
        for region in [OWN, PEER] {
            rig.tell_last(region, last(rig, region));
        }
        for lane in 0..4 {
            rig.core.drained(lane);
        }
        rig.now_ms += 300;
        rig.flush();
        if rig.history_asked {
            rig.answer_history();
        }
        rig.answer_totals();
        rig.answer_reads();
        rig.flush();
    }
}

#[test]
fn whatever_happens_every_lane_has_everything_in_the_end() {
    let seeds = std::env::var("SEED").map_or(0..500, |seed| {
        let seed: u64 = seed.parse().expect("a number");
        seed..seed + 1
    });
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut draw = Draw(seed);
            let mut epoch = 1;
            let mut rig = Rig::with(&[OWN, PEER]);
            for lane in 0..4 {
                rig.hold(lane, None);
            }
            for _ in 0..400 {
                step(&mut rig, &mut draw, &mut epoch);
            }
            settle(&mut rig, epoch);
            for lane in 0..4 {
                for region in [OWN, PEER] {
                    let last = last(&rig, region);
                    assert_eq!(rig.at(lane, region), last, "lane {lane} in {region}");
                }
            }
        });
        assert!(outcome.is_ok(), "SEED={seed}");
    }
}
