//! TCP, spinning: what a careful programmer would write instead.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::Options;
use super::duel::{Stop, Times, Watch, duel, histogram};
use super::path::Path;

/// 64 bytes in flight, echoed, with TCP_NODELAY.
pub(super) fn round_trip(options: &Options, path: &Path) -> Times {
    let Some((here, there)) = pair(path) else { return Times::default() };
    duel(options, |stop| echo(there, stop), |watch| ping(here, watch)).unwrap_or_default()
}

fn pair(path: &Path) -> Option<(TcpStream, TcpStream)> {
    let (here, there) = path.tcp_pair().ok()?;
    for stream in [&here, &there] {
        stream.set_nodelay(true).ok()?;
        stream.set_nonblocking(true).ok()?;
    }
    Some((here, there))
}

fn echo(mut stream: TcpStream, stop: &Stop) {
    let mut bytes = [0; 4_096];
    while !stop.is_set() {
        match stream.read(&mut bytes) {
            Ok(length) => {
                if stream.write_all(&bytes[..length]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(_) => return,
        }
    }
}

fn ping(mut stream: TcpStream, watch: &mut Watch) -> Option<Times> {
    let (mut bytes, message) = ([0; 4_096], [7; 64]);
    let mut histogram = histogram();
    loop {
        let sent = watch.now();
        stream.write_all(&message).ok()?;
        let mut missing = message.len();
        while missing > 0 {
            match stream.read(&mut bytes[..missing]) {
                Ok(0) => return None,
                Ok(length) => missing -= length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(_) => return None,
            }
        }
        let now = watch.now();
        if watch.counts(now) {
            histogram.saturating_record(now.since_ns(sent));
        }
        if !watch.done_at(now, 1) {
            return Some(Times::of(&histogram));
        }
    }
}
