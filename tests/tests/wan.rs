//! `chorus wan`: real sockets in two namespaces, as far apart as its file says, and nothing left behind.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chorus_tests::wan::{Wan, missing};
use rustix::process::Signal;
use serde_json::Value;

const EU: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const US: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
const PORT: u16 = 7_000;
const ROUND_TRIP: Duration = Duration::from_millis(60);
/// How late a busy machine may make it.
const LATE_MAX: Duration = Duration::from_millis(700);
/// Without a datagram for so long, none comes any more.
const QUIET: Duration = Duration::from_secs(3);
const FILE: &str = r#"
seed = 3
[default]
delay_ms = 30
[hosts.eu]
address = "10.77.1.1"
[hosts.us]
address = "10.77.2.1"
"#;

/// Sends one datagram and waits for its echo.
fn round_trip(socket: &UdpSocket, mark: u32) -> Result<Option<Duration>> {
    let began = Instant::now();
    socket.send(&mark.to_be_bytes())?;
    let mut buffer = [0; 4];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) if buffer == mark.to_be_bytes() => return Ok(Some(began.elapsed())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn hosts_are_as_far_apart_and_as_cut_off_as_they_are_told() -> Result<()> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    let wan = Wan::start("far", FILE)?;
    let (udp, tcp) = wan.within("us", || {
        Ok((UdpSocket::bind((US, PORT))?, TcpListener::bind((US, PORT))?))
    })?;
    let client = wan.within("eu", || {
        let client = UdpSocket::bind((EU, 0))?;
        client.connect((US, PORT))?;
        client.set_read_timeout(Some(ROUND_TRIP + LATE_MAX))?;
        Ok(client)
    })?;
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _gone = udp.send_to(&buffer[..length], from);
        }
    });
    thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut buffer = [0; 64];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                let _gone = stream.write_all(&buffer[..length]);
            }
        }
    });

    // As far apart as the file says.
    let trips: Vec<Duration> = (0..10)
        .filter_map(|mark| round_trip(&client, mark).transpose())
        .collect::<Result<_>>()?;
    assert!(trips.len() >= 5, "{trips:?}");
    assert!(
        trips.iter().all(|trip| *trip >= ROUND_TRIP),
        "faster than light: {trips:?}"
    );
    let echoed = wan.within("eu", || {
        let began = Instant::now();
        let within = Duration::from_secs(3);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((US, PORT)), within)?;
        stream.set_read_timeout(Some(within))?;
        stream.write_all(b"hi")?;
        stream.read_exact(&mut [0; 2])?;
        Ok(began.elapsed())
    })?;
    assert!(echoed >= 2 * ROUND_TRIP, "{echoed:?}");

    // Cut, and healed.
    wan.does(&["partition", "eu", "us"])?;
    assert_eq!(round_trip(&client, 100)?, None);
    // The end of the TCP connection may be on its way, too.
    assert!(wan.count("dropped_partition")? >= 1);
    wan.does(&["heal"])?;
    assert!(round_trip(&client, 101)?.is_some());
    Ok(())
}

/// What arrives of datagrams numbered from 0, sent from eu to us one every half millisecond: the number and when it came.
fn one_way(wan: &Wan, datagrams: u32, bytes: usize) -> Result<Vec<(u32, Instant)>> {
    let receiver = wan.within("us", || Ok(UdpSocket::bind((US, 0))?))?;
    let to = receiver.local_addr()?;
    receiver.set_read_timeout(Some(QUIET))?;
    let sender = wan.within("eu", move || {
        let sender = UdpSocket::bind((EU, 0))?;
        sender.connect(to)?;
        Ok(sender)
    })?;
    thread::spawn(move || {
        let mut datagram = vec![0; bytes];
        for number in 0..datagrams {
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            let _full = sender.send(&datagram);
            thread::sleep(Duration::from_micros(500));
        }
    });
    let mut arrived = Vec::new();
    let mut datagram = vec![0; bytes];
    while arrived.len() < datagrams as usize {
        match receiver.recv(&mut datagram) {
            Ok(_) => {
                let number = datagram[..4].try_into().map(u32::from_be_bytes)?;
                arrived.push((number, Instant::now()));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    Ok(arrived)
}

fn numbers(arrived: &[(u32, Instant)]) -> Vec<u32> {
    arrived.iter().map(|(number, _)| *number).collect()
}

#[test]
fn a_seed_loses_the_same_datagrams_again() -> Result<()> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    let arrived = |test: &str| {
        let wan = Wan::start(test, FILE)?;
        wan.does(&["set", "eu", "us", "--loss", "0.3"])?;
        let arrived = numbers(&one_way(&wan, 300, 100)?);
        // Counted by the datagrams, not by the time.
        assert_eq!(wan.count("sent")?, 300);
        assert_eq!(wan.count("dropped_loss")?, 300 - arrived.len() as u64);
        Ok::<_, anyhow::Error>(arrived)
    };
    let (once, again) = (arrived("once")?, arrived("again")?);
    assert!((150..=260).contains(&once.len()), "{} of 300", once.len());
    assert_eq!(once, again);
    Ok(())
}

#[test]
fn jitter_keeps_the_order_reordering_does_not_and_a_rate_spaces() -> Result<()> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    let wan = Wan::start("order", FILE)?;
    let overtaken = |arrived: &[(u32, Instant)]| {
        assert_eq!(arrived.len(), 200);
        numbers(arrived)
            .windows(2)
            .filter(|pair| pair[1] < pair[0])
            .count()
    };
    wan.does(&["set", "eu", "us", "--jitter-ms", "30"])?;
    assert_eq!(overtaken(&one_way(&wan, 200, 100)?), 0);
    wan.does(&[
        "set",
        "eu",
        "us",
        "--jitter-ms",
        "0",
        "--reorder",
        "0.2",
        "--reorder-ms",
        "30",
    ])?;
    assert!(overtaken(&one_way(&wan, 200, 100)?) > 5);
    assert!(wan.count("reordered")? > 5);
    // 50 datagrams of 1,028 bytes are 411,200 bits: at 1 Mbit/s the last is 403 ms behind the first, or later.
    wan.does(&["set", "eu", "us", "--reorder", "0", "--rate-mbit", "1"])?;
    let arrived = one_way(&wan, 50, 1_000)?;
    let (first, last) = (
        arrived.first().context("the first")?,
        arrived.last().context("the last")?,
    );
    assert_eq!(arrived.len(), 50);
    // The first may have been noticed late.
    let apart = last.1.duration_since(first.1);
    assert!(apart > Duration::from_millis(250), "{apart:?}");
    let full = wan.count("dropped_queue")?;
    wan.does(&["set", "eu", "us", "--queue-bytes-max", "10000"])?;
    assert!(one_way(&wan, 50, 1_000)?.len() < 50);
    assert!(wan.count("dropped_queue")? > full);
    Ok(())
}

#[test]
fn a_probe_measures_each_direction_by_itself() -> Result<()> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    let wan = Wan::start("probe", FILE)?;
    wan.does(&[
        "set",
        "us",
        "eu",
        "--one-way",
        "--delay-ms",
        "90",
        "--loss",
        "1",
    ])?;
    let output = wan.command(&["probe", "--json", "--count", "5"])?;
    let links: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    let [forth, back] = links.as_array().context("links")?.as_slice() else {
        anyhow::bail!("two links: {links}");
    };
    assert_eq!((&forth["from"], &forth["lost"]), (&"eu".into(), &0.into()));
    assert!(forth["min_ms"].as_f64() >= Some(30.0), "{forth}");
    assert_eq!(
        (&back["asked_ms"], &back["lost"]),
        (&90.0.into(), &5.into())
    );
    let shown = String::from_utf8(wan.command(&["probe", "--count", "1"])?.stdout)?;
    assert!(
        shown.contains("us -> eu") && shown.contains("1 of 1 lost"),
        "{shown}"
    );
    Ok(())
}

#[test]
fn a_wrong_command_is_refused_by_name() -> Result<()> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    let wan = Wan::start("wrong", FILE)?;
    let cases: [(&[&str], &str); 5] = [
        (&["set", "eu", "mars", "--loss", "0"], "mars"),
        (&["set", "eu", "us", "--loss", "2"], "0 to 1"),
        (&["set", "eu", "us"], "nothing to set"),
        (&["partition", "mars"], "mars"),
        (&["exec", "mars", "--", "true"], "eu, us"),
    ];
    for (args, words) in cases {
        let output = wan.command(args)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(words),
            "{args:?}: {said}"
        );
    }
    let again = wan.command(&["run", "--name", &wan.name, &wan.file])?;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("running already"),
        "{said}"
    );
    // In the host there is its one device, and its exit code comes back.
    let output = wan.command(&["exec", "us", "--", "ip", "-o", "-4", "addr"])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("10.77.2.1") && !said.contains("10.77.1.1"),
        "{said}"
    );
    let output = wan.command(&["exec", "us", "--", "sh", "-c", "exit 7"])?;
    assert_eq!(output.status.code(), Some(7));
    Ok(())
}

#[test]
fn nothing_is_left_of_a_run_that_ended_nor_in_the_end_of_one_that_was_killed() -> Result<()> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    for signal in [Signal::INT, Signal::TERM] {
        let mut wan = Wan::start("ends", FILE)?;
        assert_eq!(wan.namespaces()?.len(), 2);
        wan.signal(signal)?;
        assert!(wan.process.wait()?.success());
        assert_eq!(wan.namespaces()?, Vec::<String>::new());
    }
    let mut killed = Wan::start("killed", FILE)?;
    killed.signal(Signal::KILL)?;
    killed.process.wait()?;
    // Any later run clears what it left, also one of a test beside this.
    let wan = Wan::start("later", FILE)?;
    assert_eq!(killed.namespaces()?, Vec::<String>::new());
    assert_eq!(wan.namespaces()?.len(), 2);
    Ok(())
}
