//! Which of several gateways is the nearest, with hysteresis.

use std::time::Duration;

/// Round trips that differ by no more than this are alike: then the one that is named first counts as nearer.
pub(super) const ALIKE: Duration = Duration::from_millis(10);
/// Looks in a row that must find the same gateway nearer before the PoP moves to it.
const LOOKS: u32 = 3;

/// A gateway by its place in the configuration, and its round trip.
pub(super) type Place = (usize, Duration);

/// Whether one gateway is nearer than another.
pub(super) fn is_nearer(one: Place, other: Place) -> bool {
    if one.1.abs_diff(other.1) <= ALIKE {
        one.0 < other.0
    } else {
        one.1 < other.1
    }
}

/// The nearest of these.
pub(super) fn nearest(places: impl IntoIterator<Item = Place>) -> Option<Place> {
    let mut places = places.into_iter();
    let first = places.next()?;
    Some(places.fold(
        first,
        |best, place| {
            if is_nearer(place, best) { place } else { best }
        },
    ))
}

/// Looks at the others while a gateway is connected.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// The gateway that was nearer, and in how many looks in a row.
    nearer: Option<(usize, u32)>,
}

impl Looks {
    /// Takes in a look; whether to move.
    pub(super) fn move_after(&mut self, connected: Place, others: &[Place]) -> bool {
        let found = nearest(others.iter().copied()).filter(|&other| is_nearer(other, connected));
        self.nearer = found.map(|(place, _)| match self.nearer {
            Some((before, looks)) if before == place => (place, looks + 1),
            Some(_) | None => (place, 1),
        });
        self.nearer.is_some_and(|(_, looks)| looks >= LOOKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: usize, ms: u64) -> Place {
        (place, Duration::from_millis(ms))
    }

    #[test]
    fn the_nearest_counts_and_of_alike_ones_the_first() {
        assert_eq!(nearest([at(0, 80), at(1, 20), at(2, 25)]), Some(at(1, 20)));
        assert_eq!(nearest([at(2, 1), at(0, 9), at(1, 3)]), Some(at(0, 9)));
        assert_eq!(nearest([]), None);
    }

    #[test]
    fn it_moves_when_the_same_one_was_nearer_often_enough() {
        let mut looks = Looks::default();
        let (here, near) = (at(1, 80), at(0, 20));
        assert!(!looks.move_after(here, &[near]));
        assert!(!looks.move_after(here, &[near, at(2, 90)]));
        // Away once, or another one nearer: from the beginning.
        assert!(!looks.move_after(here, &[]));
        assert!(!looks.move_after(here, &[near]));
        assert!(!looks.move_after(here, &[at(2, 5)]));
        assert!(!looks.move_after(here, &[near]));
        assert!(!looks.move_after(here, &[near]));
        assert!(looks.move_after(here, &[near]));
        // One that is alike and named later is no reason.
        let mut looks = Looks::default();
        for _ in 0..10 {
            assert!(!looks.move_after(at(0, 12), &[at(1, 5)]));
        }
    }
}
