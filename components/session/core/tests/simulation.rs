//! Evenings on fake time: every viewer sees every comment once, or is told of a gap.

use chorus_session_scenarios::Native;
use chorus_session_scenarios::sim::{Outcome, evening};

/// `CHORUS_SEED` plays one evening again; `CHORUS_EVENINGS` plays more of them.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_viewer_sees_every_comment_once_or_is_told() {
    let seeds = match setting("CHORUS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("CHORUS_EVENINGS").unwrap_or(60),
    };
    let mut total = Outcome::default();
    for seed in seeds.clone() {
        println!("evening {seed}: play it again with CHORUS_SEED={seed}");
        let outcome = evening(&|| Box::new(Native::default()), seed, 1_500);
        total.seen += outcome.seen;
        total.resumes += outcome.resumes;
        total.gaps += outcome.gaps;
        total.asked += outcome.asked;
        total.closed += outcome.closed;
        total.removed += outcome.removed;
        total.told += outcome.told;
        total.lost += outcome.lost;
    }
    println!("{total:?}");
    if seeds.end - seeds.start > 20 {
        // An evening on which nothing happens proves nothing.
        assert!(
            total.seen > 100_000
                && total.resumes > 1_000
                && total.asked > 500
                && total.told > 1_000,
            "{total:?}"
        );
        assert!(
            total.gaps > 10
                && total.closed > 10
                && total.lost > 10
                && total.gaps * 3 < total.resumes,
            "{total:?}"
        );
    }
}
