//! Quantities as people write them: `64KiB`, `1.5M`, `100us`.
#![forbid(unsafe_code)]

use std::time::Duration;

use thiserror::Error;

/// Why a quantity could not be read. The text ends with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// No digits at the front.
    #[error("'{text}' does not start with a number: write for example {example}")]
    NotANumber {
        /// What was given.
        text: String,
        /// A value that reads.
        example: &'static str,
    },
    /// A unit that this quantity does not have.
    #[error("'{text}' has no unit known here: write one of {known}, for example {example}")]
    UnknownUnit {
        /// What was given.
        text: String,
        /// The units that read.
        known: &'static str,
        /// A value that reads.
        example: &'static str,
    },
    /// Beyond what can be represented, or zero where that means nothing.
    #[error("'{text}' is out of range: write for example {example}")]
    OutOfRange {
        /// What was given.
        text: String,
        /// A value that reads.
        example: &'static str,
    },
}

/// One kind of quantity: its units with their factors, and how it is explained.
struct Scale {
    units: &'static [(&'static str, f64)],
    known: &'static str,
    example: &'static str,
}

const SIZES: Scale = Scale {
    units: &[
        ("", 1.0),
        ("B", 1.0),
        ("k", 1e3),
        ("kB", 1e3),
        ("KB", 1e3),
        ("M", 1e6),
        ("MB", 1e6),
        ("G", 1e9),
        ("GB", 1e9),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ],
    known: "B, kB, KiB, MB, MiB, GB, GiB",
    example: "64KiB",
};

const RATES: Scale = Scale {
    units: &[("", 1.0), ("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9)],
    known: "k, M, G (per second)",
    example: "1.5M",
};

const TIMES: Scale = Scale {
    units: &[
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("min", 60e9),
        ("h", 3_600e9),
    ],
    known: "ns, us, ms, s, min, h",
    example: "4s",
};

/// A size in bytes: a plain number, or one with `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    SIZES.parse(text).map(|bytes| bytes as u64)
}

/// A rate per second, above zero: a plain number, or one with `k`, `M`, `G`, and `/s` if liked.
pub fn parse_rate(text: &str) -> Result<f64, UnitError> {
    let per_s = RATES.parse(text.strip_suffix("/s").unwrap_or(text))?;
    if per_s > 0.0 { Ok(per_s) } else { Err(RATES.out_of_range(text)) }
}

/// A time: a number with `ns`, `us`, `ms`, `s`, `min`, `h`. A bare number is refused: seconds or
/// milliseconds would be a guess.
pub fn parse_time(text: &str) -> Result<Duration, UnitError> {
    TIMES.parse(text).map(|ns| Duration::from_nanos(ns as u64))
}

impl Scale {
    fn parse(&self, text: &str) -> Result<f64, UnitError> {
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
        let (number, unit) = trimmed.split_at(digits.unwrap_or(trimmed.len()));
        let number: f64 = number
            .replace('_', "")
            .parse()
            .map_err(|_| UnitError::NotANumber { text: text.into(), example: self.example })?;
        let factor = self.units.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| factor);
        let factor = factor.ok_or_else(|| UnitError::UnknownUnit {
            text: text.into(),
            known: self.known,
            example: self.example,
        })?;
        let value = number * factor;
        // 2^53: beyond it a double no longer holds every whole number.
        if value > 9_007_199_254_740_992.0 { Err(self.out_of_range(text)) } else { Ok(value) }
    }

    fn out_of_range(&self, text: &str) -> UnitError {
        UnitError::OutOfRange { text: text.into(), example: self.example }
    }
}

/// Microseconds for a table: three digits that matter, the unit chosen to fit.
#[must_use]
pub fn show_us(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", three_digits(us / 1e6)),
        us if us >= 1e4 => format!("{} ms", three_digits(us / 1e3)),
        us => format!("{} us", three_digits(us)),
    }
}

/// A count or rate for a table: `11.6 M`, `173 k`, `42.0`.
#[must_use]
pub fn show_count(count: f64) -> String {
    match count {
        count if count >= 1e9 => format!("{} G", three_digits(count / 1e9)),
        count if count >= 1e6 => format!("{} M", three_digits(count / 1e6)),
        count if count >= 1e4 => format!("{} k", three_digits(count / 1e3)),
        count => three_digits(count),
    }
}

/// Bits a second for a table: `22.4 Gbit/s`.
#[must_use]
pub fn show_bits(bit_s: f64) -> String {
    match bit_s {
        bits if bits >= 1e9 => format!("{} Gbit/s", three_digits(bits / 1e9)),
        bits if bits >= 1e6 => format!("{} Mbit/s", three_digits(bits / 1e6)),
        bits => format!("{} kbit/s", three_digits(bits / 1e3)),
    }
}

/// Bytes a second for a table: `9.31 GB/s`.
#[must_use]
pub fn show_bytes(byte_s: f64) -> String {
    match byte_s {
        bytes if bytes >= 1e9 => format!("{} GB/s", three_digits(bytes / 1e9)),
        bytes => format!("{} MB/s", three_digits(bytes / 1e6)),
    }
}

/// A size in the largest binary unit that divides it: `64 KiB`, `1400 B`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    UNITS
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{} {name}", bytes / unit))
}

fn three_digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rates_and_times_read_as_people_write_them() {
        assert_eq!(parse_size("64"), Ok(64));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1.5 MB"), Ok(1_500_000));
        assert_eq!(parse_rate("1.5M"), Ok(1_500_000.0));
        assert_eq!(parse_rate("50k/s"), Ok(50_000.0));
        assert_eq!(parse_time("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(parse_time("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("2min"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn what_does_not_read_says_what_to_write() {
        for text in ["4", "4 parsecs", "4Gbit"] {
            let error = parse_time(text).expect_err(text).to_string();
            assert!(error.contains("for example 4s"), "{error}");
        }
        for text in ["", "-1", "fast", "1.2.3", "."] {
            assert!(matches!(parse_size(text), Err(UnitError::NotANumber { .. })), "{text}");
        }
        assert!(matches!(parse_rate("0"), Err(UnitError::OutOfRange { .. })));
        assert!(matches!(parse_size("9999999999GiB"), Err(UnitError::OutOfRange { .. })));
    }

    #[test]
    fn shown_quantities_keep_three_digits() {
        assert_eq!(show_us(6.514), "6.51 us");
        assert_eq!(show_us(23_456.0), "23.5 ms");
        assert_eq!(show_count(11_634_000.0), "11.6 M");
        assert_eq!(show_count(173_400.0), "173 k");
        assert_eq!(show_bits(22.4e9), "22.4 Gbit/s");
        assert_eq!(show_size(65_536), "64 KiB");
        assert_eq!(show_size(1_400), "1400 B");
    }
}
