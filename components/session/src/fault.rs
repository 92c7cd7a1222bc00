//! Faults on command, for the tests of whoever hosts a component: a client's message that holds `!!panic`,
//! `!!loop` or `!!oom` gets just that, and state that holds `!!restore` is not restored. Only in a build with the feature `fault`.

use crate::bindings::exports::chorus::edge::session::{Frame, Input};

pub(crate) fn obey(input: &Input) {
    let Input::Frame(Frame { data, .. }) = input else {
        return;
    };
    let says = |command: &str| {
        data.windows(command.len())
            .any(|part| part == command.as_bytes())
    };
    if says("!!panic") {
        panic!("as told");
    }
    if says("!!loop") {
        loop {
            std::hint::black_box(data);
        }
    }
    if says("!!oom") {
        let mut hoard: Vec<Vec<u8>> = Vec::new();
        loop {
            hoard.push(vec![1; 1 << 20]);
            std::hint::black_box(&hoard);
        }
    }
}

/// Looks through state that is to be restored.
pub(crate) fn mind(state: &[u8]) {
    if state.windows(9).any(|part| part == b"!!restore") {
        panic!("as told");
    }
}
