//! Deliveries read without a copy: by hubs and sessions, for every comment.

use serde::{Deserialize, Serialize};

use crate::backhaul::{FrameError, read_frame};
use crate::codec::msgpack::Reader;

/// A [`super::Delivery`] that borrows from its bytes. The region is not checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView<'a> {
    /// Whose log.
    pub region: &'a str,
    /// Which incarnation of it.
    pub epoch: u64,
    /// The sequence after which this begins.
    pub from: u64,
    /// The sequence up to which nothing is missing after this.
    pub to: u64,
    /// What there is in `(from, to]`.
    #[serde(borrow)]
    pub events: Vec<EventView<'a>>,
}

/// A [`crate::Event`] that borrows from its bytes. The region is not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView<'a> {
    /// Whose log.
    pub region: &'a str,
    /// Which incarnation of it.
    pub epoch: u64,
    /// Its sequence there.
    pub seq: u64,
    /// The envelope and the record, as published.
    #[serde(borrow, with = "serde_bytes")]
    pub body: &'a [u8],
}

impl<'a> DeliveryView<'a> {
    /// Reads the bytes of a [`super::Delivery`], in the form that gateways write or in any other.
    ///
    /// # Errors
    /// When they are none.
    pub fn read(data: &'a [u8]) -> Result<Self, FrameError> {
        match Self::read_ours(data) {
            Some(ours) => Ok(ours),
            None => read_frame(data),
        }
    }

    /// Reads one whose fields are in the order in which we write them.
    fn read_ours(data: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(data);
        let reader = &mut reader;
        named(reader, b"\x85\xa6region")?;
        let region = reader.text()?;
        named(reader, b"\xa5epoch")?;
        let epoch = reader.number()?;
        named(reader, b"\xa4from")?;
        let from = reader.number()?;
        named(reader, b"\xa2to")?;
        let to = reader.number()?;
        named(reader, b"\xa6events")?;
        let len = reader.array()?;
        // What is claimed is not believed: with its body an event has more bytes than this.
        let mut events = Vec::with_capacity(len.min(reader.rest().len() / 32));
        for _ in 0..len {
            events.push(EventView::read_ours(reader)?);
        }
        reader.rest().is_empty().then_some(Self {
            region,
            epoch,
            from,
            to,
            events,
        })
    }
}

impl<'a> EventView<'a> {
    fn read_ours(reader: &mut Reader<'a>) -> Option<Self> {
        named(reader, b"\x84\xa6region")?;
        let region = reader.text()?;
        named(reader, b"\xa5epoch")?;
        let epoch = reader.number()?;
        named(reader, b"\xa3seq")?;
        let seq = reader.number()?;
        named(reader, b"\xa4body")?;
        let body = reader.binary()?;
        Some(Self {
            region,
            epoch,
            seq,
            body,
        })
    }
}

/// A field's name, the first one's with the map's head.
fn named(reader: &mut Reader<'_>, name: &[u8]) -> Option<()> {
    reader.exactly(name).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use crate::codec::msgpack;
    use crate::session::Delivery;

    fn delivery(events: u64) -> Delivery {
        let event = |i: u64| Event {
            region: "eu".parse().expect("a region"),
            epoch: u64::MAX >> (i % 64),
            seq: i,
            body: vec![7; i as usize * 10],
        };
        Delivery {
            region: "us".parse().expect("a region"),
            epoch: 1_800_000_000_000,
            from: 1,
            to: 300,
            events: (0..events).map(event).collect(),
        }
    }

    #[test]
    fn both_readers_say_the_same() {
        for events in [0, 1, 2, 15, 16, 60] {
            let data = rmp_serde::to_vec_named(&delivery(events)).expect("writes");
            let ours = DeliveryView::read_ours(&data).expect("ours");
            let general: DeliveryView<'_> = rmp_serde::from_slice(&data).expect("reads");
            assert_eq!(ours, general);
            assert_eq!(ours.events.len() as u64, events);
            assert_eq!(rmp_serde::to_vec_named(&ours).expect("writes"), data);
        }
    }

    #[test]
    fn a_field_of_tomorrow_is_passed_over() {
        let data = rmp_serde::to_vec_named(&delivery(2)).expect("writes");
        let other = msgpack::of_tomorrow(&data);
        assert_eq!(DeliveryView::read_ours(&other), None);
        assert_eq!(DeliveryView::read(&other), DeliveryView::read(&data));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let data = rmp_serde::to_vec_named(&delivery(2)).expect("writes");
        for len in 0..data.len() {
            assert!(DeliveryView::read(&data[..len]).is_err(), "{len}");
        }
        // An array that claims more than there is.
        let mut data = rmp_serde::to_vec_named(&delivery(0)).expect("writes");
        data.pop();
        data.extend_from_slice(&[0xdc, 0xff, 0xff]);
        assert!(DeliveryView::read(&data).is_err());
    }
}
