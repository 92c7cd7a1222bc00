//! The backhaul's lanes: frames cut anywhere, and every message either side may read.
#![no_main]

use std::fmt::Debug;

use chorus_protocol::backhaul::{
    Datagram, Lane, Publish, Published, Request, Response, ToGateway, ToPop, read_frame,
    read_message, split_frame, split_quiet, write_frame, write_quiet,
};
use chorus_protocol::event::RemovalRecord;
use chorus_protocol::session::{Control, Delivery, DeliveryView, ReplayRange, Replayed};
use chorus_protocol::{CommentRecord, CommentView, Envelope, Event};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn read<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = read_frame::<T>(bytes) {
        let mut lane = Vec::new();
        write_frame(&message, &mut lane).expect("what was read can be written");
        let (frame, rest) = split_frame(&lane).expect("sane").expect("whole");
        assert!(rest.is_empty());
        assert_eq!(read_frame::<T>(frame).as_ref(), Ok(&message));
    }
}

/// One of several messages: one of a later version is passed over, one that is known is read as alone.
fn read_any<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    match read_message::<T>(bytes) {
        Ok(Some(message)) => assert_eq!(read_frame::<T>(bytes), Ok(message)),
        Ok(None) | Err(_) => assert!(read_frame::<T>(bytes).is_err()),
    }
    read::<T>(bytes);
}

/// The body of an event and the comment in it: what was read is written as the same.
fn read_event(body: &[u8]) {
    let Some(envelope) = Envelope::read(body) else {
        return;
    };
    // A record that is longer is no event's: see `EVENT_BYTES_MAX`.
    if envelope.record.len() <= usize::from(u16::MAX) {
        let again = envelope.write(0, |out| out.extend_from_slice(envelope.record));
        assert_eq!(Envelope::read(&again), Some(envelope));
    }
    let _ = envelope.record_as::<RemovalRecord>();
    if let Some(comment) = CommentView::read(&envelope) {
        let mut record = Vec::new();
        comment.write_record(&mut record);
        let envelope = Envelope {
            record: &record,
            ..envelope
        };
        assert_eq!(CommentView::read(&envelope), Some(comment));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((frame, more))) = split_frame(rest) {
        read::<Lane>(frame);
        if let Ok((stream, at)) = split_quiet(frame) {
            let mut lane = Vec::new();
            write_quiet(&stream, &frame[at..], &mut lane).expect("what was read can be written");
            assert_eq!(&lane[4..], frame);
        }
        rest = more;
    }
    read_any::<ToGateway>(bytes);
    read_any::<ToPop>(bytes);
    read_any::<Publish>(bytes);
    read::<Published>(bytes);
    read_any::<Request>(bytes);
    read_any::<Response>(bytes);
    read_any::<Datagram>(bytes);
    read::<Delivery>(bytes);
    let view = DeliveryView::read(bytes);
    assert_eq!(view.as_ref().ok(), read_frame(bytes).ok().as_ref());
    read::<Replayed>(bytes);
    read::<ReplayRange>(bytes);
    read_any::<Control>(bytes);
    read::<Event>(bytes);
    read::<CommentRecord>(bytes);
    read_event(bytes);
});
