//! `chorus wan`: real sockets in two namespaces, as far apart as its file says, and nothing left behind.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chorus_tests::house;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

const EU: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const US: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
const PORT: u16 = 7_000;
const ROUND_TRIP: Duration = Duration::from_millis(60);
/// How late a busy machine may make it.
const LATE_MAX: Duration = Duration::from_millis(150);
const FILE: &str = r#"
seed = 3
[default]
delay_ms = 30
[hosts.eu]
address = "10.77.1.1"
[hosts.us]
address = "10.77.2.1"
"#;

/// Why these tests cannot run here.
fn missing() -> Option<&'static str> {
    if !geteuid().is_root() {
        return Some("not root");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("no /dev/net/tun");
    }
    let ip = Command::new("ip").args(["netns", "list"]).output();
    if !ip.is_ok_and(|output| output.status.success()) {
        return Some("no `ip netns`");
    }
    None
}

/// A network that runs.
struct Wan {
    name: String,
    file: String,
    process: Child,
}

impl Wan {
    fn start(test: &str) -> Result<Self> {
        let name = format!("t-{test}-{}", std::process::id());
        let directory = house::target()?.join("e2e");
        fs::create_dir_all(&directory)?;
        let file = directory.join(format!("{name}.toml"));
        fs::write(&file, FILE)?;
        let mut process = Command::new(house::binary("chorus")?)
            .args(["wan", "run", "--name", &name])
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().context("its output")?;
        let file = file.display().to_string();
        let wan = Self {
            name,
            file,
            process,
        };
        for line in BufReader::new(stdout).lines() {
            if line?.contains("a network of 2 hosts") {
                return Ok(wan);
            }
        }
        anyhow::bail!("it ended before it was ready")
    }

    fn command(&self, args: &[&str]) -> Result<Output> {
        Ok(Command::new(house::binary("chorus")?)
            .arg("wan")
            .args(args)
            .env("CHORUS_WAN", &self.name)
            .output()?)
    }

    fn does(&self, args: &[&str]) -> Result<()> {
        let output = self.command(args)?;
        ensure!(output.status.success(), "{args:?}: {output:?}");
        Ok(())
    }

    /// A number of the link from eu to us.
    fn count(&self, key: &str) -> Result<u64> {
        let output = self.command(&["stats", "--json"])?;
        let stats: Value = serde_json::from_slice(&output.stdout)?;
        let links = stats["links"].as_array().context("links")?;
        let link = links.iter().find(|link| link["from"] == "eu");
        link.and_then(|link| link[key].as_u64())
            .context(key.to_owned())
    }

    /// Runs `inside` on a thread in a host's namespace: the sockets it makes are the host's.
    fn within<T: Send + 'static>(
        &self,
        host: &str,
        inside: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = format!("/run/netns/chorus-wan.{}.{host}", self.name);
        let run = move || {
            let namespace = fs::File::open(&path).context(path)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            inside()
        };
        thread::spawn(run)
            .join()
            .map_err(|_| anyhow::anyhow!("the thread in {host} panicked"))?
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("a pid")?;
        Ok(kill_process(pid, signal)?)
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir("/run/netns")? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| name.starts_with(&format!("chorus-wan.{}.", self.name)));
        Ok(names)
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        // Once waited for, its id may be another's.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ended = self.signal(Signal::TERM);
            let _ended = self.process.wait();
        }
    }
}

/// Sends one datagram and waits for its echo.
fn round_trip(socket: &UdpSocket, mark: u32) -> Result<Option<Duration>> {
    let began = Instant::now();
    socket.send(&mark.to_be_bytes())?;
    let mut buffer = [0; 4];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) if buffer == mark.to_be_bytes() => return Ok(Some(began.elapsed())),
            Ok(_) => {}
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
    let wan = Wan::start("far")?;
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
    assert!(trips.len() >= 8, "{trips:?}");
    assert!(
        trips.iter().all(|trip| *trip >= ROUND_TRIP),
        "faster than light: {trips:?}"
    );
    let quickest = trips.iter().min().context("a trip")?;
    assert!(
        *quickest < ROUND_TRIP + Duration::from_millis(20),
        "{trips:?}"
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
    assert!(
        echoed >= 2 * ROUND_TRIP && echoed < 2 * (ROUND_TRIP + LATE_MAX),
        "{echoed:?}"
    );

    // Cut, and healed.
    wan.does(&["partition", "eu", "us"])?;
    assert_eq!(round_trip(&client, 100)?, None);
    assert_eq!(wan.count("dropped_partition")?, 1);
    wan.does(&["heal"])?;
    assert!(round_trip(&client, 101)?.is_some());

    // Lossy: all at once, then what comes back.
    wan.does(&["set", "--from", "eu", "--to", "us", "--loss", "0.5"])?;
    for mark in 1_000_u32..1_200 {
        client.send(&mark.to_be_bytes())?;
    }
    let mut echoes = 0;
    while client.recv(&mut [0; 4]).is_ok() {
        echoes += 1;
    }
    assert!((50..=150).contains(&echoes), "{echoes} of 200");
    assert_eq!(wan.count("dropped_loss")?, 200 - echoes);
    Ok(())
}

#[test]
fn a_wrong_command_is_refused_by_name() -> Result<()> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    let wan = Wan::start("wrong")?;
    let cases: [(&[&str], &str); 5] = [
        (&["set", "--between", "eu", "mars", "--loss", "0"], "mars"),
        (&["set", "--between", "eu", "us", "--loss", "2"], "0 to 1"),
        (&["set", "--between", "eu", "us"], "nothing to set"),
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
        let mut wan = Wan::start("ends")?;
        assert_eq!(wan.namespaces()?.len(), 2);
        wan.signal(signal)?;
        assert!(wan.process.wait()?.success());
        assert_eq!(wan.namespaces()?, Vec::<String>::new());
    }
    let mut killed = Wan::start("killed")?;
    killed.signal(Signal::KILL)?;
    killed.process.wait()?;
    // Any later run clears what it left, also one of a test beside this.
    let wan = Wan::start("later")?;
    assert_eq!(killed.namespaces()?, Vec::<String>::new());
    assert_eq!(wan.namespaces()?.len(), 2);
    Ok(())
}
