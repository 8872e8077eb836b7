//! Sets of CPUs, as the kernel writes them: lists (`0,2-5`) and masks (`ff,00000003`).

use std::collections::BTreeSet;

/// Some CPUs.
pub type Cpus = BTreeSet<usize>;

/// Reads a list; `None` for what is none. The empty text is the empty set.
#[must_use]
pub fn parse_list(text: &str) -> Option<Cpus> {
    let mut cpus = Cpus::new();
    for item in text.trim().split(',').filter(|item| !item.is_empty()) {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let (low, high): (usize, usize) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        if low > high || high >= CPU_MAX {
            return None;
        }
        cpus.extend(low..=high);
    }
    Some(cpus)
}

/// Writes a list, runs joined.
#[must_use]
pub fn show_list(cpus: &Cpus) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let show = |(low, high): &(usize, usize)| match low == high {
        true => low.to_string(),
        false => format!("{low}-{high}"),
    };
    runs.iter().map(show).collect::<Vec<_>>().join(",")
}

/// Reads a mask: groups of 32 bits in hexadecimal, the highest first.
#[must_use]
pub fn parse_mask(text: &str) -> Option<Cpus> {
    let mut cpus = Cpus::new();
    for (group, digits) in text.trim().rsplit(',').enumerate() {
        let bits = u32::from_str_radix(digits, 16).ok()?;
        let base = group.checked_mul(32).filter(|base| *base < CPU_MAX)?;
        cpus.extend((0..32).filter(|bit| bits & (1 << bit) != 0).map(|bit| base + bit));
    }
    Some(cpus)
}

/// Writes a mask, without leading zeros.
#[must_use]
pub fn show_mask(cpus: &Cpus) -> String {
    let top = cpus.last().map_or(0, |cpu| cpu / 32);
    let group = |index: usize| {
        cpus.iter().filter(|cpu| *cpu / 32 == index).fold(0u32, |bits, cpu| bits | 1 << (cpu % 32))
    };
    let low = (0..top).rev().map(|index| format!(",{:08x}", group(index)));
    std::iter::once(format!("{:x}", group(top))).chain(low).collect()
}

/// More than any Linux runs on (NR_CPUS).
const CPU_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_are_two_ways_to_write_one_set() {
        for (list, mask) in
            [("", "0"), ("0", "1"), ("0-1", "3"), ("2,4-5", "34"), ("0,31-32,64", "1,00000001,80000001")]
        {
            let cpus = parse_list(list).expect(list);
            assert_eq!(show_list(&cpus), list);
            assert_eq!(show_mask(&cpus), mask);
            assert_eq!(parse_mask(mask), Some(cpus), "{mask}");
        }
        assert_eq!(parse_mask("00000000,00000003"), parse_list("0-1"));
    }

    #[test]
    fn what_is_no_set_is_none() {
        for text in ["a", "3-1", "1-", "99999", "-1"] {
            assert_eq!(parse_list(text), None, "{text}");
        }
        for text in ["g", "", "1,,2", "123456789"] {
            assert_eq!(parse_mask(text), None, "{text:?}");
        }
    }
}
