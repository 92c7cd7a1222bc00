//! Deliveries as they go out, encoded once for all lanes: the bytes that `write_frame` makes of a
//! [`chorus_protocol::session::Delivery`].

use bytes::Bytes;
use chorus_protocol::backhaul::MESSAGE_BYTES_MAX;
use chorus_protocol::codec::msgpack::{write_array, write_binary, write_number, write_text};
use chorus_protocol::{Event, Offset, Region};

/// Events of one delivery.
pub(super) const DELIVERY_EVENTS_MAX: usize = 500;
/// The length before every message of a lane.
const LENGTH_BYTES: usize = 4;
/// What a delivery has besides its events and its region's name, and an event besides its body and that, at most.
const AROUND_BYTES: usize = 64;

/// An encoded delivery, the same bytes for every lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whose log.
    pub region: Region,
    /// Which incarnation of it.
    pub epoch: u64,
    /// The sequence after which it begins.
    pub from: u64,
    /// The sequence up to which nothing is missing after it.
    pub to: u64,
    /// The length, then the [`chorus_protocol::session::Delivery`].
    pub bytes: Bytes,
}

impl Frame {
    /// The delivery without the length before it.
    #[must_use]
    pub fn delivery(bytes: &[u8]) -> &[u8] {
        bytes.get(LENGTH_BYTES..).unwrap_or_default()
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset {
            epoch: self.epoch,
            seq: self.to,
        }
    }
}

/// Encodes all there is in `(from, to]`, in deliveries of at most [`DELIVERY_EVENTS_MAX`] events.
pub(super) fn encode(
    region: &Region,
    epoch: u64,
    (mut from, to): (u64, u64),
    events: &[Event],
    frames: &mut Vec<Frame>,
) {
    let mut rest = events;
    loop {
        let (now, later) = rest.split_at(rest.len().min(DELIVERY_EVENTS_MAX));
        let end = match now.last() {
            Some(last) if !later.is_empty() => last.seq,
            Some(_) | None => to,
        };
        let bytes = write(region, epoch, (from, end), now);
        // 500 events of at most 32 KiB are far below the bound.
        debug_assert!(bytes.len() - LENGTH_BYTES <= MESSAGE_BYTES_MAX as usize);
        frames.push(Frame {
            region: region.clone(),
            epoch,
            from,
            to: end,
            bytes: bytes.into(),
        });
        if later.is_empty() {
            return;
        }
        from = end;
        rest = later;
    }
}

fn write(region: &Region, epoch: u64, (from, to): (u64, u64), events: &[Event]) -> Vec<u8> {
    let around = AROUND_BYTES + region.as_str().len();
    let bodies: usize = events.iter().map(|event| event.body.len()).sum();
    let mut out = Vec::with_capacity(LENGTH_BYTES + bodies + around * (1 + events.len()));
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.extend_from_slice(b"\x85\xa6region");
    write_text(&mut out, region.as_str());
    out.extend_from_slice(b"\xa5epoch");
    write_number(&mut out, epoch);
    out.extend_from_slice(b"\xa4from");
    write_number(&mut out, from);
    out.extend_from_slice(b"\xa2to");
    write_number(&mut out, to);
    out.extend_from_slice(b"\xa6events");
    write_array(&mut out, events.len());
    for event in events {
        out.extend_from_slice(b"\x84\xa6region");
        write_text(&mut out, event.region.as_str());
        out.extend_from_slice(b"\xa5epoch");
        write_number(&mut out, event.epoch);
        out.extend_from_slice(b"\xa3seq");
        write_number(&mut out, event.seq);
        out.extend_from_slice(b"\xa4body");
        write_binary(&mut out, &event.body);
    }
    let length = u32::try_from(out.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
    out[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use chorus_protocol::backhaul::write_frame;
    use chorus_protocol::session::Delivery;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_general_way() {
        let regions = ["a", "eu-1"].map(|name| name.parse::<Region>().expect("a region"));
        for region in regions {
            for epoch in [0, 127, 128, 255, 256, 65_535, 65_536, 1_764_000_000_000] {
                for (count, body) in [(0, 0), (1, 0), (3, 255), (15, 256), (16, 70), (500, 3)] {
                    let event = |seq| Event {
                        region: region.clone(),
                        epoch,
                        seq,
                        body: vec![7; body],
                    };
                    let delivery = Delivery {
                        region: region.clone(),
                        epoch,
                        from: 200,
                        to: 200 + count,
                        events: (201..=200 + count).map(event).collect(),
                    };
                    let mut expected = Vec::new();
                    write_frame(&delivery, &mut expected).expect("fits");
                    let mut frames = Vec::new();
                    let range = (delivery.from, delivery.to);
                    encode(&region, epoch, range, &delivery.events, &mut frames);
                    assert_eq!(frames.len(), 1);
                    assert_eq!(frames[0].bytes, expected);
                }
            }
        }
        let long = [vec![1; 65_535], vec![1; 65_536]].map(|body| Event {
            region: "a".parse().expect("a region"),
            epoch: 1,
            seq: 1,
            body,
        });
        for event in long {
            let mut expected = Vec::new();
            let delivery = Delivery {
                region: event.region.clone(),
                epoch: 1,
                from: 0,
                to: 1,
                events: vec![event.clone()],
            };
            write_frame(&delivery, &mut expected).expect("fits");
            let bytes = write(&event.region, 1, (0, 1), std::slice::from_ref(&event));
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn a_long_run_is_cut_into_deliveries_that_follow() {
        let region: Region = "a".parse().expect("a region");
        let events: Vec<Event> = (1..=1_001)
            .map(|seq| Event {
                region: region.clone(),
                epoch: 1,
                seq,
                body: vec![],
            })
            .collect();
        let mut frames = Vec::new();
        encode(&region, 1, (0, 1_005), &events, &mut frames);
        let ranges: Vec<_> = frames.iter().map(|frame| (frame.from, frame.to)).collect();
        assert_eq!(ranges, [(0, 500), (500, 1_000), (1_000, 1_005)]);
    }
}
