//! What the logs say, read without a copy.

use chorus_protocol::codec::msgpack::Reader;
use serde::Deserialize;

/// A `Delivery` without a copy of its texts.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct DeliveryView<'a> {
    pub(crate) region: &'a str,
    pub(crate) epoch: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    #[serde(borrow)]
    pub(crate) events: Vec<EventView<'a>>,
}

/// An `Event` without a copy of its body.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct EventView<'a> {
    pub(crate) region: &'a str,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) body: &'a [u8],
}

impl<'a> DeliveryView<'a> {
    /// Reads a [`chorus_protocol::session::Delivery`].
    pub(crate) fn read(data: &'a [u8]) -> Option<Self> {
        Self::read_ours(data).or_else(|| rmp_serde::from_slice(data).ok())
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
    use chorus_protocol::Event;
    use chorus_protocol::session::Delivery;

    use super::*;

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
        }
    }

    #[test]
    fn a_field_of_tomorrow_is_passed_over() {
        let data = rmp_serde::to_vec_named(&delivery(2)).expect("writes");
        let value = rmpv::decode::read_value(&mut data.as_slice()).expect("reads");
        let rmpv::Value::Map(mut fields) = value else {
            panic!("no map");
        };
        fields.reverse();
        fields.push(("tomorrow".into(), rmpv::Value::Nil));
        let mut other = Vec::new();
        rmpv::encode::write_value(&mut other, &rmpv::Value::Map(fields)).expect("writes");
        assert_eq!(DeliveryView::read_ours(&other), None);
        assert_eq!(DeliveryView::read(&other), DeliveryView::read(&data));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let data = rmp_serde::to_vec_named(&delivery(2)).expect("writes");
        for len in 0..data.len() {
            assert_eq!(DeliveryView::read(&data[..len]), None, "{len}");
        }
        // An array that claims more than there is.
        let mut data = rmp_serde::to_vec_named(&delivery(0)).expect("writes");
        data.pop();
        data.extend_from_slice(&[0xdc, 0xff, 0xff]);
        assert_eq!(DeliveryView::read(&data), None);
    }
}
