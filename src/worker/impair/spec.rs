//! The text form of an impairment: `loss=1%,delay=1ms,jitter=100us,dup=1%,reorder=1%,corrupt=0.1%,
//! rate=25Mbit,queue=64KiB,seed=7`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What to do to packets, in one direction or both. The default does nothing.
///
/// Each key may appear once; a key that is absent impairs nothing, so `loss=0%` runs the machinery
/// alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImpairSpec {
    /// Packets that vanish.
    pub loss: Probability,
    /// Packets that arrive twice.
    pub duplicate: Probability,
    /// Packets held back so that later ones overtake them.
    pub reorder: Probability,
    /// Packets whose bytes arrive changed.
    pub corrupt: Probability,
    /// Time each packet travels.
    pub delay_ns: u64,
    /// Up to this much more, drawn per packet. Jitter alone never reorders.
    pub jitter_ns: u64,
    /// Bits per second of the bottleneck; `None` has no bottleneck.
    pub rate_bit_s: Option<u64>,
    /// Bytes that may wait at the bottleneck; more are dropped there. Means nothing without a rate.
    pub queue_size: Option<u64>,
    /// The seed of every choice.
    pub seed: u64,
}

impl ImpairSpec {
    /// True when no packet can be touched, only counted.
    #[must_use]
    pub fn is_transparent(&self) -> bool {
        let still = ImpairSpec { seed: self.seed, queue_size: self.queue_size, ..ImpairSpec::default() };
        *self == still
    }
}

impl FromStr for ImpairSpec {
    type Err = ImpairError;

    fn from_str(text: &str) -> Result<Self, ImpairError> {
        let mut spec = ImpairSpec::default();
        let mut seen: Vec<&str> = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (key, value) =
                item.split_once('=').ok_or_else(|| ImpairError::NoValue { item: item.to_owned() })?;
            let (key, value) = (key.trim(), value.trim());
            if seen.contains(&key) {
                return Err(ImpairError::Twice { key: key.to_owned() });
            }
            seen.push(key);
            spec.set(key, value)?;
        }
        if seen.is_empty() {
            return Err(ImpairError::Empty);
        }
        Ok(spec)
    }
}

impl ImpairSpec {
    fn set(&mut self, key: &str, value: &str) -> Result<(), ImpairError> {
        let bad = |expected| ImpairError::BadValue { key: key.to_owned(), value: value.to_owned(), expected };
        match key {
            "loss" => self.loss = value.parse().map_err(bad)?,
            "dup" => self.duplicate = value.parse().map_err(bad)?,
            "reorder" => self.reorder = value.parse().map_err(bad)?,
            "corrupt" => self.corrupt = value.parse().map_err(bad)?,
            "delay" => self.delay_ns = scaled(value, &TIME_UNITS).ok_or_else(|| bad(A_TIME))?,
            "jitter" => self.jitter_ns = scaled(value, &TIME_UNITS).ok_or_else(|| bad(A_TIME))?,
            "rate" => {
                let rate = scaled(value, &RATE_UNITS).filter(|&rate| rate > 0);
                self.rate_bit_s = Some(rate.ok_or_else(|| bad(A_RATE))?);
            }
            "queue" => self.queue_size = Some(scaled(value, &SIZE_UNITS).ok_or_else(|| bad(A_SIZE))?),
            "seed" => self.seed = value.parse().map_err(|_| bad("a whole number such as 7"))?,
            _ => return Err(ImpairError::UnknownKey { key: key.to_owned() }),
        }
        Ok(())
    }
}

impl fmt::Display for ImpairSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss={}", self.loss)?;
        for (key, share) in [("dup", self.duplicate), ("reorder", self.reorder), ("corrupt", self.corrupt)] {
            if share != Probability::NEVER {
                write!(f, ",{key}={share}")?;
            }
        }
        for (key, time_ns) in [("delay", self.delay_ns), ("jitter", self.jitter_ns)] {
            if time_ns != 0 {
                write!(f, ",{key}={}", unscaled(time_ns, &TIME_UNITS))?;
            }
        }
        if let Some(rate) = self.rate_bit_s {
            write!(f, ",rate={}", unscaled(rate, &RATE_UNITS))?;
        }
        if let Some(size) = self.queue_size {
            write!(f, ",queue={}", unscaled(size, &SIZE_UNITS))?;
        }
        if self.seed != 0 {
            write!(f, ",seed={}", self.seed)?;
        }
        Ok(())
    }
}

/// How often something happens, in millionths: exact in text and in arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probability {
    ppm: u32,
}

impl Probability {
    /// It never happens.
    pub const NEVER: Probability = Probability { ppm: 0 };
    /// It happens to every packet.
    pub const ALWAYS: Probability = Probability { ppm: PPM };

    /// `ppm` millionths, at most all of them.
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Self {
        Self { ppm: if ppm > PPM { PPM } else { ppm } }
    }

    /// Millionths, 0 to 1,000,000.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.ppm
    }
}

impl FromStr for Probability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let ppm = match text.strip_suffix('%') {
            Some(percent) => decimal(percent.trim_end(), u64::from(PPM) / 100),
            None => decimal(text, u64::from(PPM)),
        };
        match ppm.and_then(|ppm| u32::try_from(ppm).ok()) {
            Some(ppm) if ppm <= PPM => Ok(Probability { ppm }),
            _ => Err("a share from 0% to 100%, such as 1% or 0.01"),
        }
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.ppm / 10_000, self.ppm % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let digits = format!("{rest:04}");
        write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

/// Why an impairment was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImpairError {
    /// Nothing was given.
    #[error("an impairment needs at least one key; loss=0% changes nothing")]
    Empty,
    /// A part without `=`.
    #[error("`{item}` has no value; write it as {item}=…")]
    NoValue {
        /// The part.
        item: String,
    },
    /// A key that does not exist.
    #[error("`{key}` is no impairment; use loss, dup, reorder, corrupt, delay, jitter, rate, queue or seed")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// One key twice.
    #[error("`{key}` is given twice; keep one")]
    Twice {
        /// The key.
        key: String,
    },
    /// A value of the wrong kind or out of range.
    #[error("`{key}={value}`: {key} takes {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// The value as given.
        value: String,
        /// What it takes instead.
        expected: &'static str,
    },
}

/// `text` as a decimal number and a unit, in the unit's smallest parts. Exact: no floating point.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim();
    let scale = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|&(_, scale)| scale);
    // A bare zero needs no unit: zero of anything is zero.
    let scale = scale.or((unit.is_empty() && number == "0").then_some(1))?;
    decimal(number, scale)
}

/// `text` times `scale`, cut to a whole number; `None` when it is no number or too large.
fn decimal(text: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let parts = parts * u128::from(scale) / 10u128.pow(fraction.len() as u32);
    whole.checked_mul(scale)?.checked_add(u64::try_from(parts).ok()?)
}

/// `value` in the largest unit that shows it whole.
fn unscaled(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |&&(_, scale): &&(&str, u64)| value != 0 && value.is_multiple_of(scale);
    let (name, scale) = units.iter().filter(fits).max_by_key(|&&(_, scale)| scale).unwrap_or(&units[0]);
    format!("{}{name}", value / scale)
}

const PPM: u32 = 1_000_000;
const FRACTION_DIGITS_MAX: usize = 12;
const A_TIME: &str = "a time such as 1ms, 250us or 0";
const A_RATE: &str = "a rate above zero such as 25Mbit or 1Gbit";
const A_SIZE: &str = "a size such as 64KiB";
// The first unit of each is the smallest, and has scale 1.
const TIME_UNITS: [(&str, u64); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
const RATE_UNITS: [(&str, u64); 4] =
    [("bit", 1), ("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)];
const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_in_its_unit() {
        let text = "loss=1%,delay=1ms,jitter=250us,dup=0.5%,reorder=0.25,corrupt=0.0001%,rate=2.5Gbit,\
                    queue=64KiB,seed=7";
        let spec: ImpairSpec = text.parse().expect("a good spec");
        assert_eq!(spec.loss, Probability::from_ppm(10_000));
        assert_eq!(spec.duplicate, Probability::from_ppm(5_000));
        assert_eq!(spec.reorder, Probability::from_ppm(250_000));
        assert_eq!(spec.corrupt, Probability::from_ppm(1));
        assert_eq!((spec.delay_ns, spec.jitter_ns), (1_000_000, 250_000));
        assert_eq!(spec.rate_bit_s, Some(2_500_000_000));
        assert_eq!(spec.queue_size, Some(65_536));
        assert_eq!(spec.seed, 7);
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        for text in [
            "loss=0%",
            "loss=12.5%,delay=1500us,seed=9",
            "loss=0.0001%,rate=1Gbit,queue=100B",
            "dup=100%,queue=0,jitter=3s",
            "reorder=3%,corrupt=1%,delay=1ns",
        ] {
            let spec: ImpairSpec = text.parse().expect("a good spec");
            assert_eq!(spec.to_string().parse(), Ok(spec), "{text}");
        }
    }

    #[test]
    fn no_loss_is_transparent_and_any_delay_is_not() {
        assert!("loss=0%".parse::<ImpairSpec>().expect("a good spec").is_transparent());
        assert!(!"delay=1ns".parse::<ImpairSpec>().expect("a good spec").is_transparent());
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<ImpairSpec>().expect_err(text).to_string();
        assert!(refused("").contains("at least one key"));
        assert!(refused("loss").contains("loss=…"));
        assert!(refused("los=1%").contains("use loss, dup"));
        assert!(refused("loss=1%,loss=2%").contains("twice"));
        for bad in ["101%", "-1%", "x", "%", "", ".", "1.0.0%", "nan", "1e9"] {
            assert!(refused(&format!("loss={bad}")).contains("0% to 100%"), "{bad}");
        }
        for bad in ["1", "1parsec", "ms", "99999999999999999999s", "18446744073709551615s"] {
            assert!(refused(&format!("delay={bad}")).contains("a time such as"), "{bad}");
        }
        assert!(refused("rate=0bit").contains("above zero"));
        assert!(refused("queue=1Mbit").contains("a size"));
        assert!(refused("seed=-1").contains("whole number"));
    }
}
