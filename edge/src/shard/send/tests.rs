//! Both senders pass the same checks.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

fn check(sender: &mut dyn BatchSend) {
    // More than one submit of the ring.
    let (left, mut right): (Vec<_>, Vec<_>) = (0..2_500)
        .map(|_| UnixStream::pair().expect("a pair"))
        .inspect(|(left, _)| left.set_nonblocking(true).expect("non-blocking"))
        .unzip();
    let frames: Vec<Vec<u8>> = (0..left.len())
        .map(|n| n.to_string().into_bytes())
        .collect();
    drop(right.remove(7));
    let mut short = Vec::new();
    sender.send(
        &mut left
            .iter()
            .map(AsFd::as_fd)
            .zip(frames.iter().map(Vec::as_slice)),
        &mut short,
    );
    assert_eq!(short.len(), 1, "{short:?}");
    assert_eq!(short[0].index, 7);
    assert!(short[0].sent.is_err());
    for (index, (frame, socket)) in frames
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != 7)
        .map(|(_, f)| f)
        .zip(&mut right)
        .enumerate()
    {
        let mut got = vec![0; frame.len()];
        socket.read_exact(&mut got).expect("its frame");
        assert_eq!(&got, frame, "socket {index}");
    }

    // A socket that accepts only a part, then nothing, beside one that accepts all.
    let huge = vec![1u8; 64 << 20];
    short.clear();
    let both = [
        (left[0].as_fd(), &huge[..]),
        (left[1].as_fd(), b"x".as_slice()),
    ];
    sender.send(&mut both.into_iter(), &mut short);
    assert_eq!(short.len(), 1, "{short:?}");
    let taken = *short[0].sent.as_ref().expect("no error");
    assert!(
        short[0].index == 0 && taken > 0 && taken < huge.len(),
        "{short:?}"
    );
    short.clear();
    sender.send(&mut both.into_iter().take(1), &mut short);
    assert!(
        matches!(
            short[..],
            [Short {
                index: 0,
                sent: Ok(0)
            }]
        ),
        "{short:?}"
    );
}

#[test]
fn plain_sends_all_and_says_what_was_not_taken() {
    check(&mut Plain);
}

#[cfg(target_os = "linux")]
#[test]
fn io_uring_sends_all_and_says_what_was_not_taken() {
    match Uring::new() {
        Ok(mut uring) => check(&mut uring),
        Err(error) => assert_eq!(choose(IoUring::Auto).name(), "plain", "denied: {error}"),
    }
}
