//! Plain TCP with TCP_NODELAY: what a careful programmer writes by hand. Blocking, or spinning on
//! non-blocking sockets. Requests are fixed-size records, written in batches as the window allows.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use crate::open_loop::{FLIGHT_MAX, Schedule};
use crate::{Load, Scenario, Tally, pin};

fn read_some(s: &mut TcpStream, buf: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match s.read(buf) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            other => return other,
        }
    }
}

fn write_all(s: &mut TcpStream, mut buf: &[u8]) -> std::io::Result<()> {
    while !buf.is_empty() {
        match s.write(buf) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(e) => return Err(e),
            Ok(n) => buf = &buf[n..],
        }
    }
    Ok(())
}

pub fn run(load: Load, spin: bool) -> anyhow::Result<Tally> {
    let (tx, rx) = std::sync::mpsc::channel();
    let bulk = load.scenario == Scenario::Bulk;
    let server = std::thread::spawn(move || -> anyhow::Result<Tally> {
        load.enter_server()?;
        let listener = TcpListener::bind((load.server, 0))?;
        tx.send(listener.local_addr()?)?;
        let (mut s, _) = listener.accept()?;
        s.set_nodelay(true)?;
        s.set_nonblocking(spin)?;
        let mut buf = vec![0u8; 1 << 20];
        let mut tally = Tally::new(load);
        loop {
            let n = read_some(&mut s, &mut buf)?;
            if n == 0 {
                return Ok(tally);
            }
            if bulk {
                if !tally.arrived(n) {
                    return Ok(tally);
                }
            } else {
                write_all(&mut s, &buf[..n])?;
            }
        }
    });
    pin(0);
    let Ok(addr) = rx.recv() else { return server.join().unwrap() };
    let mut s = TcpStream::connect(addr)?;
    s.set_nodelay(true)?;
    s.set_nonblocking(spin)?;
    let body = vec![7u8; load.bytes.max(1) * load.window.max(1)];
    if bulk {
        while write_all(&mut s, &body).is_ok() {}
        return server.join().unwrap();
    }
    if load.scenario == Scenario::Load {
        return open(load, &mut s, &body);
    }
    let mut tally = Tally::new(load);
    let mut sent: VecDeque<Instant> = VecDeque::new();
    let mut buf = vec![0u8; 1 << 20];
    let mut partial = 0;
    let mut free = load.window;
    loop {
        let now = Instant::now();
        write_all(&mut s, &body[..free * load.bytes])?;
        sent.extend(std::iter::repeat_n(now, free));
        partial += read_some(&mut s, &mut buf)?;
        free = partial / load.bytes;
        partial %= load.bytes;
        for _ in 0..free {
            if !tally.done(sent.pop_front().unwrap(), load.bytes) {
                return Ok(tally);
            }
        }
    }
}

/// Writes what is due, reads what has come, and never waits for either.
fn open(load: Load, s: &mut TcpStream, body: &[u8]) -> anyhow::Result<Tally> {
    let mut schedule = Schedule::new(load);
    let mut tally = Tally::new(load);
    let (mut sent, mut partial) = (VecDeque::new(), 0);
    let mut batch = Vec::new();
    let mut buf = vec![0u8; 1 << 20];
    loop {
        let now = Instant::now();
        batch.clear();
        while sent.len() < FLIGHT_MAX
            && batch.len() < BATCH_MAX
            && let Some(due) = schedule.due(now)
        {
            batch.extend_from_slice(body);
            sent.push_back(due);
        }
        write_all(s, &batch)?;
        match s.read(&mut buf) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            other => partial += other?,
        }
        for _ in 0..partial / load.bytes {
            if !tally.done(sent.pop_front().unwrap(), load.bytes) {
                return Ok(tally);
            }
        }
        partial %= load.bytes;
    }
}

/// Bytes written at once: what is written and not read must fit into the sockets' buffers.
const BATCH_MAX: usize = 64 << 10;
