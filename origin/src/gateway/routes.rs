//! Which region's log an event goes to: the nearest that takes events, and the next one when it does not.
//!
//! [`Routes`] decides, without a clock or a log: it is told how publications came out, and time in milliseconds that never
//! goes back. `Router` asks it for all lanes of a gateway and publishes.
//!
//! Each region's log has a breaker. It opens when the log does not acknowledge an event, whatever the reason. While it is
//! open, events go to the next log at once, and each [`PROBE_MS`] a copy of one goes to this log, too: when that is
//! acknowledged the log is well, and events go there again. Nobody waits for a copy. An event that is in two logs has the
//! same id in both, by which every reader takes it once.

mod router;

use chorus_protocol::Region;
use chorus_protocol::timing::Breaker;

use crate::log::Ack;

pub(super) use self::router::{Post, Router, Turn};

/// Events in a row that a log did not take before the next ones go elsewhere: one, for another log takes them at once.
const FAILURES_MAX: u32 = 1;
/// From one look at a log that did not take events to the next.
pub const PROBE_MS: u64 = 1_000;
/// For how long repeats are looked for in all logs after an event went to another region's: PoPs send again for half of it.
const ELSEWHERE_MS: u64 = 60_000;

/// Where an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The log whose acknowledgement counts.
    pub to: Region,
    /// Nearer ones that get a copy, to see whether they take events again.
    pub probes: Vec<Region>,
}

/// How a log's breaker turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// The log takes no events.
    Opened,
    /// It takes them again.
    Closed,
}

#[derive(Debug)]
struct Place {
    region: Region,
    breaker: Breaker,
}

/// The logs of all regions and how they take events.
#[derive(Debug, Default)]
pub struct Routes {
    /// The nearest first.
    places: Vec<Place>,
    /// When an event went to another log than the nearest one.
    elsewhere_ms: Option<u64>,
}

impl Routes {
    /// Of the regions, the nearest first.
    #[must_use]
    pub fn new(regions: impl IntoIterator<Item = Region>) -> Self {
        let place = |region| Place {
            region,
            breaker: Breaker::new(FAILURES_MAX, PROBE_MS),
        };
        Self {
            places: regions.into_iter().map(place).collect(),
            elsewhere_ms: None,
        }
    }

    /// Where an event goes first. `home`: the one region whose log may have it. `usable` says of a region whether it is
    /// known to be there. `None`: nowhere now, so it is certainly not stored by this try.
    pub fn choose(
        &mut self,
        now_ms: u64,
        home: Option<&Region>,
        usable: impl Fn(&Region) -> bool,
    ) -> Option<Way> {
        let mut probes = Vec::new();
        let mut first = None;
        let mut chosen = None;
        for place in &mut self.places {
            let region = &place.region;
            if home.is_some_and(|home| home != region) || !usable(region) {
                continue;
            }
            if !place.breaker.is_open() {
                chosen = Some(region.clone());
                break;
            }
            first = first.or(Some(region));
            if place.breaker.lets(now_ms) {
                probes.push(region.clone());
            }
        }
        let to = match chosen {
            Some(chosen) => chosen,
            None if !probes.is_empty() => probes.remove(0),
            // A pinned stream's event waits for the next look at its log; others may as well be tried.
            None if home.is_some() => return None,
            None => first?.clone(),
        };
        if home.is_none() {
            self.note(now_ms, &to);
        }
        Some(Way { to, probes })
    }

    /// Where an event goes that a log did not take; `None` when there is no other.
    pub fn next(
        &mut self,
        now_ms: u64,
        after: &Region,
        usable: impl Fn(&Region) -> bool,
    ) -> Option<Region> {
        let from = self.places.iter().position(|it| it.region == *after)? + 1;
        let mut rest = self.places[from..].iter_mut();
        let next = rest.find_map(|it| {
            let lets = usable(&it.region) && it.breaker.lets(now_ms);
            lets.then(|| it.region.clone())
        })?;
        self.note(now_ms, &next);
        Some(next)
    }

    /// How an event that went to a region's log came out.
    pub fn came_out(&mut self, now_ms: u64, region: &Region, ack: &Ack) -> Option<Turned> {
        let mut places = self.places.iter_mut();
        let breaker = &mut places.find(|it| it.region == *region)?.breaker;
        match ack {
            Ack::Stored { .. } => breaker.succeeded().then_some(Turned::Closed),
            Ack::Refused | Ack::Unknown => breaker.failed(now_ms).then_some(Turned::Opened),
        }
    }

    /// Whether an event may lie in another log than the nearest one, by what happened here.
    #[must_use]
    pub fn went_elsewhere(&self, now_ms: u64) -> bool {
        self.elsewhere_ms
            .is_some_and(|at| now_ms < at.saturating_add(ELSEWHERE_MS))
    }

    /// The logs that take events, as far as is known.
    pub fn well(&self) -> impl Iterator<Item = &Region> {
        let well = self.places.iter().filter(|it| !it.breaker.is_open());
        well.map(|it| &it.region)
    }

    /// The nearest log, while it takes no events.
    #[must_use]
    pub fn nearest_away(&self) -> Option<&Region> {
        let nearest = self.places.first()?;
        nearest.breaker.is_open().then_some(&nearest.region)
    }

    fn note(&mut self, now_ms: u64, to: &Region) {
        if self.places.first().is_some_and(|it| it.region != *to) {
            self.elsewhere_ms = Some(now_ms);
        }
    }
}

#[cfg(test)]
mod tests;
