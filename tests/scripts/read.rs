//! The lines of a script: settings first, then what happens when.

use std::time::Duration;

/// What a script sets before it begins.
pub struct Settings {
    pub wan: bool,
    pub cubic: bool,
    pub rtt: Duration,
    pub peer_ack_delay: Duration,
    pub idle: Duration,
}

/// One event of a script.
pub struct Line<'a> {
    /// In the file, from 1.
    pub number: usize,
    /// How long after the event before: at the earliest and at the latest, in nanoseconds.
    pub after_ns: (u64, u64),
    pub event: Event<'a>,
}

/// What happens, or has to.
pub enum Event<'a> {
    /// The application sends so many messages of a size.
    Send { count: usize, size: usize },
    /// The peer says a packet with these frames.
    Peer(Vec<&'a str>),
    /// The engine says a packet with these frames, and has said nothing else since the event before.
    Engine(Vec<&'a str>),
    /// What the engine says until now is of no interest.
    Pass,
    /// A fact that has to hold now.
    Fact { name: &'a str, value: &'a str },
}

/// The settings and events of `text`.
pub fn read(text: &str) -> (Settings, Vec<Line<'_>>) {
    let mut settings = Settings {
        wan: false,
        cubic: false,
        rtt: Duration::from_micros(100),
        peer_ack_delay: Duration::from_micros(25),
        idle: Duration::from_secs(10),
    };
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        match line.strip_prefix('+') {
            Some(event) => lines.push(read_event(index + 1, event)),
            None => settings.set(line),
        }
    }
    (settings, lines)
}

impl Settings {
    fn set(&mut self, line: &str) {
        match line.rsplit_once(' ').expect("a setting has a value") {
            ("profile", profile) => self.wan = profile == "wan",
            ("congestion", controller) => self.cubic = controller == "cubic",
            ("rtt", time) => self.rtt = duration(time),
            ("peer ack delay", time) => self.peer_ack_delay = duration(time),
            ("idle timeout", time) => self.idle = duration(time),
            _ => panic!("not a setting: {line}"),
        }
    }
}

fn read_event(number: usize, text: &str) -> Line<'_> {
    let (after, event) = text.split_once(' ').expect("a time, then an event");
    let event = event.trim();
    let (from, to) = after.split_once("..").unwrap_or((after, after));
    let ns = |text| duration(text).as_nanos() as u64;
    let (verb, rest) = event.split_once(' ').unwrap_or((event, ""));
    let event = match verb {
        "send" => {
            let (count, size) = rest.split_once(" x ").expect("send COUNT x SIZE");
            Event::Send { count: integer(count) as usize, size: integer(size) as usize }
        }
        "<" => Event::Peer(rest.split(", ").map(str::trim).collect()),
        ">" => Event::Engine(rest.split(", ").map(str::trim).collect()),
        "pass" => Event::Pass,
        name => Event::Fact { name, value: rest },
    };
    Line { number, after_ns: (ns(from), ns(to)), event }
}

/// `5us`, `1.5ms`, `2s`, `0`.
pub fn duration(text: &str) -> Duration {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let value: f64 = text[..text.len() - unit.len()].parse().expect("a number before the unit");
    let ns = match unit {
        "" | "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => panic!("not a unit of time: {text}"),
    };
    Duration::from_nanos((value * ns).round() as u64)
}

/// A number, perhaps behind the letter that says of what.
pub fn integer(text: &str) -> u64 {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    digits.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}
