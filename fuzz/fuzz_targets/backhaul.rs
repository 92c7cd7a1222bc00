//! The backhaul's lanes: frames cut anywhere, and every message either side may read.
#![no_main]

use std::fmt::Debug;

use chorus_protocol::CommentRecord;
use chorus_protocol::backhaul::{
    Datagram, Lane, Publish, Published, Request, Response, ToGateway, ToPop, read_frame,
    split_frame, split_quiet, write_frame, write_quiet,
};
use chorus_protocol::session::{Control, Delivery, ReplayRange, Replayed};
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
    read::<ToGateway>(bytes);
    read::<ToPop>(bytes);
    read::<Publish>(bytes);
    read::<Published>(bytes);
    read::<Request>(bytes);
    read::<Response>(bytes);
    read::<Datagram>(bytes);
    read::<Delivery>(bytes);
    read::<Replayed>(bytes);
    read::<ReplayRange>(bytes);
    read::<Control>(bytes);
    read::<CommentRecord>(bytes);
});
