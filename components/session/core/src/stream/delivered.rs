//! What the logs say, read without a copy.

use chorus_protocol::backhaul::ItemKind;
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
    pub(crate) items: Vec<ItemView<'a>>,
}

/// An `Item` without a copy of its texts.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ItemView<'a> {
    pub(crate) region: &'a str,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) kind: ItemKind,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) record: &'a [u8],
}

impl<'a> DeliveryView<'a> {
    /// Reads a [`chorus_protocol::session::Delivery`].
    pub(crate) fn read(data: &'a [u8]) -> Option<Self> {
        Self::read_ours(data).or_else(|| rmp_serde::from_slice(data).ok())
    }

    /// Reads one in the usual forms: fields in the order in which we write them, with their names or without.
    fn read_ours(data: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(data)?;
        fields.begin(b"\x85", b"\x95")?;
        let region = fields.next(b"\xa6region", Reader::text)?;
        let epoch = fields.next(b"\xa5epoch", Reader::number)?;
        let from = fields.next(b"\xa4from", Reader::number)?;
        let to = fields.next(b"\xa2to", Reader::number)?;
        let len = fields.next(b"\xa5items", Reader::array)?;
        // What is claimed is not believed: with its record an item has more bytes than this.
        let mut items = Vec::with_capacity(len.min(fields.reader.rest().len() / 32));
        for _ in 0..len {
            items.push(ItemView::read_ours(&mut fields)?);
        }
        fields.reader.rest().is_empty().then_some(Self {
            region,
            epoch,
            from,
            to,
            items,
        })
    }
}

impl<'a> ItemView<'a> {
    fn read_ours(fields: &mut Fields<'a>) -> Option<Self> {
        fields.begin(b"\x85", b"\x95")?;
        let region = fields.next(b"\xa6region", Reader::text)?;
        let epoch = fields.next(b"\xa5epoch", Reader::number)?;
        let seq = fields.next(b"\xa3seq", Reader::number)?;
        let kind = fields.next(b"\xa4kind", |reader| {
            reader.exactly(b"\xa7Comment").then_some(ItemKind::Comment)
        })?;
        let record = fields.next(b"\xa6record", Reader::binary)?;
        Some(Self {
            region,
            epoch,
            seq,
            kind,
            record,
        })
    }
}

/// Fields in a known order.
struct Fields<'a> {
    reader: Reader<'a>,
    /// Gateways write them without their names, a PoP that cuts a delivery with them.
    named: bool,
}

impl<'a> Fields<'a> {
    fn new(data: &'a [u8]) -> Option<Self> {
        Some(Self {
            reader: Reader::new(data),
            named: data.first()? & 0xf0 == 0x80,
        })
    }

    fn begin(&mut self, named: &[u8], plain: &[u8]) -> Option<()> {
        let begin = if self.named { named } else { plain };
        self.reader.exactly(begin).then_some(())
    }

    fn next<T>(
        &mut self,
        name: &[u8],
        value: impl FnOnce(&mut Reader<'a>) -> Option<T>,
    ) -> Option<T> {
        if self.named && !self.reader.exactly(name) {
            return None;
        }
        value(&mut self.reader)
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::backhaul::Item;
    use chorus_protocol::session::Delivery;

    use super::*;

    fn delivery(items: u64) -> Delivery {
        let item = |i: u64| Item {
            region: "eu".parse().expect("a region"),
            epoch: u64::MAX >> (i % 64),
            seq: i,
            kind: ItemKind::Comment,
            record: vec![7; i as usize * 10],
        };
        Delivery {
            region: "us".parse().expect("a region"),
            epoch: 1_800_000_000_000,
            from: 1,
            to: 300,
            items: (0..items).map(item).collect(),
        }
    }

    #[test]
    fn both_readers_say_the_same() {
        for items in [0, 1, 2, 15, 16, 60] {
            let data = rmp_serde::to_vec_named(&delivery(items)).expect("writes");
            let ours = DeliveryView::read_ours(&data).expect("ours");
            let general: DeliveryView<'_> = rmp_serde::from_slice(&data).expect("reads");
            assert_eq!(ours, general);
            assert_eq!(ours.items.len() as u64, items);
            let plain = rmp_serde::to_vec(&delivery(items)).expect("writes");
            assert_eq!(DeliveryView::read_ours(&plain).as_ref(), Some(&ours));
            assert_eq!(rmp_serde::from_slice(&plain).ok(), Some(ours));
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for data in [
            rmp_serde::to_vec_named(&delivery(2)).expect("writes"),
            rmp_serde::to_vec(&delivery(2)).expect("writes"),
        ] {
            for len in 0..data.len() {
                assert_eq!(DeliveryView::read(&data[..len]), None, "{len}");
            }
        }
        // An array that claims more than there is.
        let mut data = rmp_serde::to_vec_named(&delivery(0)).expect("writes");
        data.pop();
        data.extend_from_slice(&[0xdc, 0xff, 0xff]);
        assert_eq!(DeliveryView::read(&data), None);
    }
}
