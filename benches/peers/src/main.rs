//! What a user would pick instead, each under the same loads, one JSON line a run.
//!
//! | scenario | load |
//! | --- | --- |
//! | `rtt`  | one request of `bytes` in flight, echoed; closed loop |
//! | `rate` | `window` requests of `bytes` in flight over one connection, echoed |
//! | `bulk` | one-way goodput of messages of `bytes` |
//! | `load` | so many requests a second on a fixed schedule, each timed from when it was due (tcp-spin, quinn, tonic) |
//!
//! `peers <name> <scenario> [bytes] [seconds] [window, or for load the rate] [address netns]`
//!
//! Client and server are two threads of one process, pinned to core 0 and core 1, over 127.0.0.1; or over a
//! link: the server then listens on `address` in the network namespace that the file `netns` is (tcp, tcp-spin, quinn).

mod kcp;
mod open_loop;
mod packed;
mod quic;
mod s2n;
mod tarpc_echo;
mod tcp;
mod tonic_echo;
mod udp;

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{IntoRawFd, RawFd};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// One run's load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub scenario: Scenario,
    pub bytes: usize,
    pub time: Duration,
    pub window: usize,
    /// Calls a second, of `Load`.
    pub rate: u64,
    /// Where the server listens.
    pub server: Ipv4Addr,
    /// The network namespace it does so in, where that is not the client's.
    pub netns: Option<RawFd>,
}

impl Load {
    /// Moves the calling thread to where the server stands: its core, and its network.
    pub fn enter_server(&self) -> std::io::Result<()> {
        pin(1);
        match self.netns {
            // SAFETY: one number in, one number out; the descriptor stays open as long as the process.
            Some(netns) if unsafe { libc::setns(netns, libc::CLONE_NEWNET) } != 0 => {
                Err(std::io::Error::last_os_error())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Rtt,
    Rate,
    Bulk,
    Load,
}

/// What a client counted between `start` and `stop`.
pub struct Tally {
    hist: Histogram<u64>,
    done: u64,
    bytes: u64,
    start: Instant,
    deadline: Instant,
    warm: Instant,
    /// Processor time of both ends when the window began.
    cpu_before: f64,
}

impl Tally {
    pub fn new(load: Load) -> Self {
        let now = Instant::now();
        let warm = now + Duration::from_millis(500);
        Self {
            hist: Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap(),
            done: 0,
            bytes: 0,
            start: warm,
            deadline: warm + load.time,
            warm,
            cpu_before: 0.0,
        }
    }

    /// Counts one finished request sent at `sent`; false when the run is over.
    pub fn done(&mut self, sent: Instant, bytes: usize) -> bool {
        self.done_at(Instant::now(), sent, bytes)
    }

    /// The same where one clock read serves a whole batch.
    pub fn done_at(&mut self, now: Instant, sent: Instant, bytes: usize) -> bool {
        if self.counts(now) {
            self.hist.saturating_record((now - sent).as_nanos() as u64);
            self.done += 1;
            self.bytes += bytes as u64;
        }
        now < self.deadline
    }

    fn counts(&mut self, now: Instant) -> bool {
        if now >= self.warm && self.done == 0 {
            self.cpu_before = cpu_seconds();
        }
        now >= self.warm
    }

    /// Counts bytes that arrived one way; false when the run is over.
    pub fn arrived(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        if self.counts(now) {
            self.done += 1;
            self.bytes += bytes as u64;
        }
        now < self.deadline
    }

    fn report(&self, peer: &str, load: Load) {
        let secs = self.start.elapsed().min(load.time + Duration::from_secs(1)).as_secs_f64();
        let q = |p: f64| self.hist.value_at_quantile(p) as f64 / 1e3;
        println!(
            "{{\"peer\":\"{peer}\",\"scenario\":\"{:?}\",\"bytes\":{},\"window\":{},\"per_s\":{:.0},\"gbit_s\":{:.3},\"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"cpu_s\":{:.2}}}",
            load.scenario, load.bytes, load.window,
            self.done as f64 / secs, self.bytes as f64 * 8.0 / secs / 1e9,
            q(0.5), q(0.99), q(0.999), cpu_seconds() - self.cpu_before,
        );
    }
}

fn cpu_seconds() -> f64 {
    let mut u: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut u) };
    let s = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    s(u.ru_utime) + s(u.ru_stime)
}

/// How long a sender of bulk waits for credit before it asks whether the other end is done.
pub const LOOK_UP: Duration = Duration::from_millis(2);

/// Pins the calling thread to core `n`.
pub fn pin(n: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: n });
}

/// A current-thread runtime on the calling thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(peer), Some(scenario)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: peers <udp|packed|packed-sealed|tcp|tcp-spin|tonic|tarpc|quinn|quinn-dgram|s2n|kcp> <rtt|rate|bulk|load> [bytes] [seconds] [window or, for load, calls a second] [address netns]");
    };
    let scenario = match scenario.as_str() {
        "rtt" => Scenario::Rtt,
        "rate" => Scenario::Rate,
        "bulk" => Scenario::Bulk,
        "load" => Scenario::Load,
        other => anyhow::bail!("no scenario '{other}'"),
    };
    let mut number = |default: u64| -> anyhow::Result<u64> {
        Ok(args.next().map(|s| s.parse()).transpose()?.unwrap_or(default))
    };
    let bytes = number(64)? as usize;
    let time = Duration::from_secs(number(4)?);
    let last = number(if scenario == Scenario::Load { 10_000 } else { 256 })?;
    let window = if scenario == Scenario::Rate { last as usize } else { 1 };
    let (server, netns) = match (args.next(), args.next()) {
        (Some(address), Some(netns)) => (address.parse()?, Some(File::open(netns)?.into_raw_fd())),
        (None, _) => (Ipv4Addr::LOCALHOST, None),
        (Some(_), None) => anyhow::bail!("an address wants the network namespace it is in"),
    };
    if netns.is_some() && !["tcp", "tcp-spin", "quinn", "quinn-dgram"].contains(&peer.as_str()) {
        anyhow::bail!("{peer} knows loopback alone: tcp, tcp-spin, quinn and quinn-dgram know links");
    }
    let load = Load { scenario, bytes, time, window, rate: last.max(1), server, netns };
    if scenario == Scenario::Load && !["tcp-spin", "quinn", "tonic"].contains(&peer.as_str()) {
        anyhow::bail!("{peer} has no open loop: tcp-spin, quinn and tonic have one");
    }
    let tally = match peer.as_str() {
        "tcp" => tcp::run(load, false)?,
        "tcp-spin" => tcp::run(load, true)?,
        "udp" => udp::run(load)?,
        "packed" => packed::run(load, false)?,
        "packed-sealed" => packed::run(load, true)?,
        "tonic" => tonic_echo::run(load)?,
        "tarpc" => tarpc_echo::run(load)?,
        "quinn" => quic::run(load, false)?,
        "quinn-dgram" => quic::run(load, true)?,
        "s2n" => s2n::run(load)?,
        "kcp" => kcp::run(load)?,
        other => anyhow::bail!("no peer '{other}'"),
    };
    tally.report(&peer, load);
    std::process::exit(0);
}
