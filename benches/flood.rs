//! A flood of first messages from random addresses, and what it does to those who are served:
//! `cargo bench --bench flood` (two minutes; `-- --seconds 5` for a glance).
//!
//! ```text
//!  host "client"                             host "server"
//!  open-loop client, core 0  --- veth ---->  ringwire serve, core 1
//!  flooder, core 0           --- veth ---->  a foreign socket, then the server
//! ```
//!
//! Two namespaces of its own (as in tests/namespaces.rs), no root. The same flood goes to a socket beside
//! the server first: what the host itself loses by so many packets is not the server's doing. Ends with
//! status 1 when a bound is broken.

#[path = "../tests/netns_support/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod netns_support;

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use netns_support::{Host, Net, Running, SERVER_V4};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn, sendmmsg, socket,
};
use ringwire::bounds::{HEADER_SIZE, TAG_SIZE};
use ringwire::crypto::Protector;
use ringwire::rng::Rng;
use ringwire::wire::{Bounds, Header, INIT_PACKET_SIZE, Init, PacketKind, PacketNumber, SessionId, VERSION};
use serde_json::Value;

/// What must hold (the README says so).
const MEMORY_MORE_MAX_KIB: u64 = 16 * 1024;
const RATE_KEPT_MIN: f64 = 0.8;
const CONNECT_MS_MAX: u128 = 1_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = match words[..] {
        ["send", to, seconds] => send(to, seconds),
        ["sink", at] => sink(at),
        ["--seconds", seconds] => measure(seconds, "auto"),
        ["--seconds", seconds, "--backend", backend] => measure(seconds, backend),
        [] => measure("60", "auto"),
        _ => Err("what to write: cargo bench --bench flood -- [--seconds 60 [--backend uring]]".into()),
    };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("flood: {error}");
            ExitCode::FAILURE
        }
    }
}

type Ran = Result<bool, Box<dyn std::error::Error>>;

/// What one flood did.
struct Flooded {
    sent: String,
    kept: f64,
    failed: u64,
    memory_kib: u64,
    connect_ms: Option<u128>,
}

fn measure(seconds: &str, backend: &str) -> Ran {
    let net = Net::new(1_500)?;
    net.accept_any_source(Host::Server)?;
    let serve = format!("serve --listen {SERVER_V4}:7405 --cores 1 --poll spin --backend {backend}");
    let mut server = net.start(Host::Server, &serve);
    let line = server.next_line();
    let key = line.split(" key ").nth(1).ok_or("the server said no key")?.to_owned();
    let target = format!("{SERVER_V4}:7405 --server-key {key} --cores 0 --json");
    let saturation = report(net.start(Host::Client, &format!("bench rate {target} --duration 2s")))?;
    let rate = (number(&saturation, "per_s") / 10.0).round();
    let before = memory_kib(&server)?;
    println!("saturation {:.0}/s, offered {rate:.0}/s for {seconds} s", rate * 10.0);
    println!("server's memory before: {before} KiB");

    let load = format!(
        "bench load {target} --poll adaptive --rate {rate} --duration {seconds}s --deadline 5s --warmup 500ms"
    );
    let scene = Scene { net: &net, server: &server, target: &target, load: &load, seconds };
    let foreign_at = format!("{SERVER_V4}:9999");
    let foreign = {
        let _sink = net.run(Host::Server, &[&me()?, "sink", &foreign_at]);
        scene.flood(&foreign_at, false)?
    };
    show("a foreign socket", &foreign);
    let own = scene.flood(&format!("{SERVER_V4}:7405"), true)?;
    show("the server", &own);

    server.terminate();
    let (_, _, err) = server.end();
    let counters = err.lines().last().unwrap_or_default();
    for name in ["handshakes_received", "handshakes_sent", "bytes_received", "bytes_sent", "sessions_opened"]
    {
        println!("{name} {}", counter(counters, name));
    }
    let connect_ms = own.connect_ms.ok_or("nobody tried to connect")?;
    let more_kib = own.memory_kib.saturating_sub(foreign.memory_kib);
    let checks = [
        (format!("memory +{more_kib} KiB, at most +{MEMORY_MORE_MAX_KIB}"), more_kib <= MEMORY_MORE_MAX_KIB),
        (
            format!("the session kept {:.3} of its rate, at least {RATE_KEPT_MIN}", own.kept),
            own.kept >= RATE_KEPT_MIN,
        ),
        (format!("calls failed or unknown: {}", own.failed), own.failed == 0),
        (
            format!("a new client connected in {connect_ms} ms, at most {CONNECT_MS_MAX}"),
            connect_ms <= CONNECT_MS_MAX,
        ),
        (
            "bytes out below bytes in".to_owned(),
            counter(counters, "bytes_sent") < counter(counters, "bytes_received"),
        ),
    ];
    for (what, held) in &checks {
        println!("{} {what}", if *held { "held   " } else { "BROKEN " });
    }
    Ok(checks.iter().all(|(_, held)| *held))
}

struct Scene<'a> {
    net: &'a Net,
    server: &'a Running,
    target: &'a str,
    load: &'a str,
    seconds: &'a str,
}

impl Scene<'_> {
    fn flood(&self, at: &str, connects: bool) -> Result<Flooded, Box<dyn std::error::Error>> {
        let flooder = self.net.run(Host::Client, &[&me()?, "send", at, self.seconds]);
        let load = self.net.start(Host::Client, self.load);
        let connect_ms = if connects { Some(self.connect()?) } else { None };
        let report = report(load)?;
        let (_, sent, err) = flooder.end();
        if sent.is_empty() {
            return Err(format!("the flooder: {err}").into());
        }
        Ok(Flooded {
            sent: sent.trim().to_owned(),
            kept: number(&report, "per_s") / number(&report, "offered_per_s"),
            failed: (number(&report, "failed") + number(&report, "unknown")) as u64,
            memory_kib: memory_kib(self.server)?,
            connect_ms,
        })
    }

    /// How long a new client takes from its start to its first replies, half-way through.
    fn connect(&self) -> Result<u128, Box<dyn std::error::Error>> {
        rest(Duration::from_secs_f64(self.seconds.parse::<f64>()? / 2.0));
        let began = now();
        let line =
            format!("bench ping {} --poll adaptive --duration 50ms --warmup 10ms --deadline 5s", self.target);
        report(self.net.start(Host::Client, &line))?;
        Ok(began.elapsed().as_millis())
    }
}

fn show(what: &str, flooded: &Flooded) {
    println!("flood at {what}: {}", flooded.sent);
    println!("  the session kept {:.3} of its rate, {} failed", flooded.kept, flooded.failed);
    println!("  server's memory: {} KiB", flooded.memory_kib);
}

fn me() -> Result<String, Box<dyn std::error::Error>> {
    Ok(std::env::current_exe()?.to_str().ok_or("a path that is text")?.to_owned())
}

fn report(running: Running) -> Result<Value, Box<dyn std::error::Error>> {
    let (status, out, err) = running.end();
    // What went wrong on the way, if anything did.
    eprint!("{err}");
    let report = serde_json::from_str(out.trim());
    report.map_err(|error| format!("status {status:?}: {error}: {out} {err}").into())
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or(f64::NAN)
}

fn counter(line: &str, name: &str) -> u64 {
    let mut counts = line.split(' ').filter_map(|word| word.split_once('='));
    counts.find(|(counter, _)| *counter == name).and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

fn memory_kib(server: &Running) -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id()))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// Holds a socket that nobody reads.
fn sink(at: &str) -> Ran {
    let _socket = UdpSocket::bind(at)?;
    loop {
        rest(Duration::from_secs(60));
    }
}

/// First messages for one `sendmmsg`.
const BATCH: usize = 64;
const IP_SIZE: usize = 20;
const UDP_SIZE: usize = 8;

/// Sends well-formed first messages with random contents from random addresses, as fast as one core can.
fn send(to: &str, seconds: &str) -> Ran {
    let to: SocketAddrV4 = to.parse()?;
    let seconds: f64 = seconds.parse()?;
    ringwire::sys::cores::pin_current(0);
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw)?;
    let address = [Some(SockaddrIn::from(to)); BATCH];
    let mut rng = Rng::new(7);
    let mut packets: Vec<Vec<u8>> =
        (0..BATCH).map(|_| vec![0; IP_SIZE + UDP_SIZE + INIT_PACKET_SIZE]).collect();
    let (began, mut sent) = (now(), 0u64);
    while began.elapsed().as_secs_f64() < seconds {
        packets.iter_mut().for_each(|packet| write(&mut rng, to, packet));
        let slices: Vec<[IoSlice<'_>; 1]> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        // A full queue is what a flood is for.
        let taken = sendmmsg(raw.as_raw_fd(), &mut headers, &slices, address, [], MsgFlags::empty());
        sent += taken.map_or(0, Iterator::count) as u64;
    }
    println!("{sent} packets, {:.0}/s", sent as f64 / began.elapsed().as_secs_f64());
    Ok(true)
}

fn write(rng: &mut Rng, to: SocketAddrV4, packet: &mut [u8]) {
    let source = Ipv4Addr::from_bits(0x0b00_0000 | rng.below(1 << 24) as u32);
    let total = (packet.len() as u16).to_be_bytes();
    // The kernel fills in the id and the checksum (raw(7)).
    packet[..IP_SIZE]
        .copy_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    let udp = &mut packet[IP_SIZE..];
    udp[..2].copy_from_slice(&(1_024 + rng.below(60_000) as u16).to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&((UDP_SIZE + INIT_PACKET_SIZE) as u16).to_be_bytes());
    udp[6..8].copy_from_slice(&[0, 0]);
    let init = &mut udp[UDP_SIZE..];
    let (kind, length) = (PacketKind::Init, INIT_PACKET_SIZE as u16);
    Header { kind, epoch: 0, length, session: SessionId(0), number: PacketNumber(0) }.encode(init);
    let mut blob = [0; 136];
    rng.fill(&mut blob);
    let body = Init {
        version: VERSION,
        session: SessionId(rng.u64()),
        boot: rng.u64(),
        bounds: Bounds {
            packet_size_max: 16_368,
            unit_window: 4_096,
            call_slots: 1_024,
            message_size_max: 1 << 20,
            credit: 1 << 20,
            max_ack_delay_ns: 25_000,
            idle_timeout_ms: 10_000,
            lanes: 1,
        },
        suite: 1,
        cookie: &[],
        blob: &blob,
    };
    body.encode(&mut init[HEADER_SIZE..INIT_PACKET_SIZE - TAG_SIZE]);
    Protector::handshake().seal(init);
}

#[expect(clippy::disallowed_methods, reason = "a flood has a length")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a flood has a length")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}
