//! Which log a post goes to.

use proptest::prelude::*;

use super::*;

fn region(name: &str) -> Region {
    name.parse().expect("a region")
}

fn three() -> Routes {
    Routes::new(["eu", "us", "ap"].map(region))
}

const STORED: Ack = Ack::Stored {
    seq: 1,
    duplicate: false,
};

fn way(routes: &mut Routes, now_ms: u64) -> (String, Vec<String>) {
    let way = routes.choose(now_ms, None, |_| true).expect("a way");
    let name = |region: &Region| region.as_str().to_owned();
    (name(&way.to), way.probes.iter().map(name).collect())
}

fn is(to: &str, probes: &[&str]) -> (String, Vec<String>) {
    let probes = probes.iter().map(|it| (*it).to_owned());
    (to.to_owned(), probes.collect())
}

#[test]
fn events_go_to_the_nearest_log_that_takes_them_and_home_again() {
    let mut routes = three();
    assert_eq!(way(&mut routes, 0), is("eu", &[]));
    assert!(!routes.went_elsewhere(0));
    let [eu, us] = ["eu", "us"].map(region);
    assert_eq!(routes.came_out(0, &eu, &Ack::Unknown), Some(Turned::Opened));
    assert_eq!(routes.came_out(0, &eu, &Ack::Unknown), None);
    assert_eq!(routes.nearest_away(), Some(&eu));
    // What the nearest did not take goes on, and what comes next goes there at once.
    assert_eq!(routes.next(0, &eu, |_| true), Some(us.clone()));
    assert_eq!(way(&mut routes, 999), is("us", &[]));
    // Each second one goes to both; nobody waits for the nearest.
    assert_eq!(way(&mut routes, 1_000), is("us", &["eu"]));
    assert_eq!(way(&mut routes, 1_001), is("us", &[]));
    assert_eq!(routes.came_out(1_002, &eu, &Ack::Refused), None);
    assert_eq!(way(&mut routes, 2_002), is("us", &["eu"]));
    assert_eq!(routes.came_out(2_003, &eu, &STORED), Some(Turned::Closed));
    assert_eq!(way(&mut routes, 2_003), is("eu", &[]));
    assert!(routes.went_elsewhere(61_000));
    assert!(!routes.went_elsewhere(63_000));
}

#[test]
fn a_pinned_streams_events_go_home_or_nowhere() {
    let mut routes = three();
    let us = region("us");
    let home = |routes: &mut Routes, now_ms, there: bool| {
        let way = routes.choose(now_ms, Some(&us), |region| *region != us || there);
        way.map(|way| (way.to.as_str().to_owned(), way.probes.len()))
    };
    assert_eq!(home(&mut routes, 0, true), Some(("us".to_owned(), 0)));
    assert_eq!(home(&mut routes, 0, false), None, "known to be away");
    routes.came_out(0, &us, &Ack::Unknown);
    assert_eq!(home(&mut routes, 1, true), None);
    assert_eq!(home(&mut routes, 1_000, true), Some(("us".to_owned(), 0)));
    assert_eq!(home(&mut routes, 1_001, true), None, "one looks");
    let mars = region("mars");
    assert_eq!(
        routes.choose(0, Some(&mars), |_| true),
        None,
        "of no region"
    );
    assert!(!routes.went_elsewhere(0), "it is where it belongs");
}

#[test]
fn with_all_logs_away_the_nearest_that_may_be_there_is_tried() {
    let mut routes = three();
    for name in ["eu", "us", "ap"] {
        routes.came_out(0, &region(name), &Ack::Unknown);
    }
    assert_eq!(way(&mut routes, 1), is("eu", &[]));
    assert_eq!(way(&mut routes, 1_000), is("eu", &["us", "ap"]));
    let usable = |region: &Region| region.as_str() != "eu";
    let way = routes.choose(1_001, None, usable).expect("a way");
    assert_eq!(way.to, region("us"));
    assert_eq!(routes.choose(1_001, None, |_| false), None);
    assert_eq!(routes.next(1_001, &region("ap"), |_| true), None);
}

proptest! {
    /// Whatever becomes of events: one that has a choice goes to no log whose breaker is open while another one's is not,
    /// and every log that is open gets a look in time, once in it.
    #[test]
    fn an_event_goes_to_the_nearest_log_that_is_not_away(steps in prop::collection::vec((0_u64..700, 0_usize..3, 0_u8..8, 0_u8..8), 1..200)) {
        let names = ["eu", "us", "ap"].map(region);
        let mut routes = three();
        // When each was found away, or looked at last since.
        let mut open: [Option<u64>; 3] = [None; 3];
        let mut now = 0;
        for (passes, index, what, hidden) in steps {
            now += passes;
            let usable = |region: &Region| {
                let index = names.iter().position(|it| it == region).expect("one of them");
                hidden & (1 << index) == 0
            };
            match what {
                0..5 => {
                    let there = |index: &usize| usable(&names[*index]);
                    let due = |index: &usize| open[*index].is_some_and(|at| now >= at + PROBE_MS);
                    let all: Vec<usize> = (0..3).filter(there).collect();
                    let closed = all.iter().copied().find(|index| open[*index].is_none());
                    let passed: Vec<usize> = all.iter().copied().take_while(|index| Some(*index) != closed).filter(due).collect();
                    let to = closed.or(passed.first().copied()).or(all.first().copied());
                    let found = routes.choose(now, None, usable);
                    prop_assert_eq!(found.as_ref().map(|way| &way.to), to.map(|to| &names[to]));
                    let probes: Vec<&Region> = passed.iter().filter(|it| Some(**it) != to).map(|it| &names[*it]).collect();
                    if let Some(way) = &found {
                        prop_assert_eq!(way.probes.iter().collect::<Vec<_>>(), probes);
                    }
                    for looked in passed {
                        open[looked] = Some(now);
                    }
                }
                5 => {
                    let turned = routes.came_out(now, &names[index], &STORED);
                    prop_assert_eq!(turned == Some(Turned::Closed), open[index].is_some());
                    open[index] = None;
                }
                _ => {
                    let turned = routes.came_out(now, &names[index], &Ack::Unknown);
                    prop_assert_eq!(turned == Some(Turned::Opened), open[index].is_none());
                    open[index] = Some(now);
                }
            }
        }
    }
}
