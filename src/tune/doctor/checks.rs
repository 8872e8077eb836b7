//! What the kernel's files and the NIC's driver tell: one function a subject, each fault with its fix.

use super::{Finding, Severity};
use crate::tune::cpus::{Cpus, parse_list, show_list};
use crate::tune::host::{Address, Host};

/// Looks at one subject; `None` where the host does not show it.
type Check = fn(&dyn Host) -> Option<Finding>;

/// Looks at one subject of a NIC; `None` where the host does not show it.
type NicCheck = fn(&dyn Host, &str) -> Option<Finding>;

/// What concerns the whole host.
pub(super) const HOST: &[Check] = &[
    kernel,
    io_uring_sysctl,
    seccomp,
    locked_memory,
    capabilities,
    |host| buffer(host, "rmem_max"),
    |host| buffer(host, "wmem_max"),
    udp_memory,
    governor,
    clock_source,
];

/// What concerns one NIC.
pub(super) const NIC: &[NicCheck] = &[mtu, xdp, udp_hashing, numa, rings];

fn line(host: &dyn Host, path: &str) -> Option<String> {
    host.value(&Address::file(path))
}

fn warning(subject: &str, found: impl Into<String>, fix: impl Into<String>) -> Option<Finding> {
    Some(Finding::bad(subject, Severity::Warning, found, fix))
}

fn good(subject: &str, found: impl Into<String>) -> Option<Finding> {
    Some(Finding::good(subject, found))
}

/// A line of `/proc/self/status`.
fn status(host: &dyn Host, name: &str) -> Option<String> {
    let text = line(host, "/proc/self/status")?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|text| text.trim().to_owned())
}

fn kernel(host: &dyn Host) -> Option<Finding> {
    let release = line(host, "/proc/sys/kernel/osrelease")?;
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    let lacks = match version {
        (..=4, _) => "UDP GSO and GRO together (5.0), multishot receive (6.0)",
        (5, _) => "multishot receive in io_uring (6.0)",
        _ => return good("kernel", release),
    };
    warning("kernel", format!("{release} lacks {lacks}"), "Linux 6.1 or later has all that ringwire uses")
}

fn io_uring_sysctl(host: &dyn Host) -> Option<Finding> {
    let subject = "io_uring sysctl";
    let fix = "sysctl -w kernel.io_uring_disabled=0";
    match line(host, "/proc/sys/kernel/io_uring_disabled")?.as_str() {
        "0" => good(subject, "allowed to everybody"),
        "1" => warning(
            subject,
            "allowed to one group and to root",
            format!("{fix}, or join kernel.io_uring_group"),
        ),
        _ => warning(subject, "allowed to nobody", fix),
    }
}

fn seccomp(host: &dyn Host) -> Option<Finding> {
    match status(host, "Seccomp")?.as_str() {
        "0" => good("seccomp", "no filter"),
        _ => good(
            "seccomp",
            "a filter is on; what it takes away shows in the backends above (tuning/container/seccomp.json lets all through)",
        ),
    }
}

fn locked_memory(host: &dyn Host) -> Option<Finding> {
    let text = line(host, "/proc/self/limits")?;
    let limit = text.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    let limit = limit.split_whitespace().next()?;
    match limit.parse::<u64>() {
        Ok(bytes) if bytes < LOCKED_MIN && !has(host, Capability::IpcLock).unwrap_or(false) => warning(
            "locked memory",
            format!("{} KiB: registered buffers and AF_XDP need more", bytes / 1024),
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
        ),
        Ok(bytes) => good("locked memory", format!("{} MiB", bytes >> 20)),
        Err(_) => good("locked memory", limit),
    }
}

/// What registered buffers of a few workers take.
const LOCKED_MIN: u64 = 8 << 20;

/// A bit of CapEff.
#[derive(Clone, Copy)]
enum Capability {
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    Bpf = 39,
}

fn has(host: &dyn Host, capability: Capability) -> Option<bool> {
    let bits = u64::from_str_radix(&status(host, "CapEff")?, 16).ok()?;
    Some(bits & (1 << capability as u64) != 0)
}

fn capabilities(host: &dyn Host) -> Option<Finding> {
    let wanted = [
        (Capability::NetAdmin, "NET_ADMIN (tune apply)"),
        (Capability::NetRaw, "NET_RAW (AF_XDP)"),
        (Capability::Bpf, "BPF (AF_XDP)"),
    ];
    let mut lacking = Vec::new();
    for (capability, name) in wanted {
        if !has(host, capability)? {
            lacking.push(name);
        }
    }
    if lacking.is_empty() {
        return good("capabilities", "all that any part of ringwire uses");
    }
    // Sending and receiving need none: no fault, but told before somebody misses it.
    good(
        "capabilities",
        format!("none is needed to send and receive; missing for more: {}", lacking.join(", ")),
    )
}

/// What a socket buffer should be allowed to hold.
const BUFFER_SIZE_WANTED: u64 = 4 << 20;

fn buffer(host: &dyn Host, name: &str) -> Option<Finding> {
    let size: u64 = line(host, &format!("/proc/sys/net/core/{name}"))?.parse().ok()?;
    let subject = format!("net.core.{name}");
    if size >= BUFFER_SIZE_WANTED {
        return good(&subject, format!("{} KiB", size / 1024));
    }
    warning(
        &subject,
        format!("{} KiB: bursts of several sessions may be dropped", size / 1024),
        format!("sysctl -w net.core.{name}={BUFFER_SIZE_WANTED}"),
    )
}

fn udp_memory(host: &dyn Host) -> Option<Finding> {
    let text = line(host, "/proc/sys/net/ipv4/udp_mem")?;
    let high: u64 = text.split_whitespace().nth(2)?.parse().ok()?;
    // Pages of 4 KiB.
    let mib = high / 256;
    if mib >= UDP_MIB_MIN {
        return good("UDP memory", format!("{mib} MiB for all sockets together"));
    }
    let pages = UDP_MIB_MIN * 256;
    let found = format!("{mib} MiB for all sockets together: full buffers of a few servers reach it");
    warning(
        "UDP memory",
        found,
        format!("sysctl -w net.ipv4.udp_mem='{} {} {pages}'", pages / 2, pages * 3 / 4),
    )
}

const UDP_MIB_MIN: u64 = 64;

fn governor(host: &dyn Host) -> Option<Finding> {
    match line(host, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")?.as_str() {
        "performance" => good("frequency governor", "performance"),
        other => warning("frequency governor", other, "cpupower frequency-set -g performance"),
    }
}

fn clock_source(host: &dyn Host) -> Option<Finding> {
    let source = line(host, "/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    match source.as_str() {
        "tsc" | "arch_sys_counter" | "kvm-clock" | "hyperv_clocksource_tsc_page" => {
            good("clock source", source)
        }
        _ => warning(
            "clock source",
            format!("{source}: reading the time is a system call"),
            "boot with clocksource=tsc where the processor's TSC is stable",
        ),
    }
}

fn mtu(host: &dyn Host, nic: &str) -> Option<Finding> {
    let size: u64 = line(host, &format!("/sys/class/net/{nic}/mtu"))?.parse().ok()?;
    let subject = format!("{nic} MTU");
    match size {
        ..1_280 => warning(
            &subject,
            format!("{size} bytes: a session's first packets are 1,228 and more"),
            format!("ip link set {nic} mtu 1500"),
        ),
        1_280..1_500 => good(&subject, format!("{size} bytes: a tunnel's, or a cloud's own")),
        1_500 => good(&subject, "1500 bytes; 9000 costs less per byte where the whole path carries it"),
        _ => good(&subject, format!("{size} bytes")),
    }
}

fn xdp(host: &dyn Host, nic: &str) -> Option<Finding> {
    let words = host.value(&Address::parse(&format!("xdp:{nic}")))?;
    let has = |wanted: &str| words.split_whitespace().any(|word| word == wanted);
    let mode = match (has("xsk-zerocopy"), has("basic")) {
        (true, _) => "in the driver, without copying",
        (false, true) => "in the driver, with a copy",
        (false, false) => "only generic: behind the stack's first steps",
    };
    good(&format!("{nic} XDP"), mode)
}

fn udp_hashing(host: &dyn Host, nic: &str) -> Option<Finding> {
    let fields = host.value(&Address::ethtool(nic, "udp-hash", "udp4"))?;
    let subject = format!("{nic} UDP hashing");
    if fields.contains('f') && fields.contains('n') {
        return good(&subject, "by addresses and ports");
    }
    let found = "by addresses alone: all flows of two hosts share one queue";
    warning(&subject, found, format!("ethtool -N {nic} rx-flow-hash udp4 sdfn"))
}

fn numa(host: &dyn Host, nic: &str) -> Option<Finding> {
    let node: usize = line(host, &format!("/sys/class/net/{nic}/device/numa_node"))?.parse().ok()?;
    let local = line(host, &format!("/sys/class/net/{nic}/device/local_cpulist"))
        .and_then(|text| parse_list(&text))?;
    let allowed = status(host, "Cpus_allowed_list").and_then(|text| parse_list(&text))?;
    let here: Cpus = local.intersection(&allowed).copied().collect();
    let subject = format!("{nic} NUMA");
    if here.is_empty() {
        return warning(
            &subject,
            format!("it sits on node {node}, and this process may use none of its CPUs"),
            format!("allow it some of CPUs {} (taskset, cpuset)", show_list(&local)),
        );
    }
    good(&subject, format!("node {node}: workers belong on CPUs {}", show_list(&here)))
}

fn rings(host: &dyn Host, nic: &str) -> Option<Finding> {
    let path = |name: &str| Address::file(format!("/sys/class/net/{nic}/statistics/{name}"));
    let counted = ["rx_missed_errors", "rx_fifo_errors"].map(|name| host.number(&path(name)));
    if counted.iter().all(Option::is_none) {
        return None;
    }
    let lost: u64 = counted.into_iter().flatten().sum();
    if lost == 0 {
        return good(&format!("{nic} losses"), "none in the NIC's rings since boot");
    }
    let found = format!("{lost} packets found its rings full since boot");
    warning(&format!("{nic} losses"), found, format!("ringwire tune plan --profile throughput --nic {nic}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::host::recorded::Recorded;
    use super::*;

    /// A host's values by address.
    type Facts<'a> = &'a [(&'a str, &'a str)];

    fn host(facts: Facts<'_>) -> Recorded {
        let facts = facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Recorded { facts, ..Recorded::default() }
    }

    fn fix(check: Check, facts: Facts<'_>) -> Option<String> {
        check(&host(facts)).expect("the host shows it").fix
    }

    #[test]
    fn a_small_socket_buffer_is_a_warning_with_the_command_that_raises_it() {
        let path = "file:/proc/sys/net/core/rmem_max";
        let of = |size| buffer(&host(&[(path, size)]), "rmem_max").expect("shown").fix;
        assert_eq!(of("212992").as_deref(), Some("sysctl -w net.core.rmem_max=4194304"));
        assert_eq!(of("8388608"), None);
    }

    #[test]
    fn each_fault_of_the_host_brings_its_fix() {
        let faults: [(Check, Facts<'_>, &str); 6] = [
            (kernel, &[("file:/proc/sys/kernel/osrelease", "5.10.0-28-amd64")], "6.1"),
            (io_uring_sysctl, &[("file:/proc/sys/kernel/io_uring_disabled", "2")], "io_uring_disabled=0"),
            (
                locked_memory,
                &[
                    ("file:/proc/self/limits", "Limit Soft\nMax locked memory   65536   65536   bytes"),
                    ("file:/proc/self/status", "CapEff:\t0000000000000000"),
                ],
                "LimitMEMLOCK",
            ),
            (udp_memory, &[("file:/proc/sys/net/ipv4/udp_mem", "10\t20\t30")], "udp_mem"),
            (
                governor,
                &[("file:/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave")],
                "cpupower",
            ),
            (
                clock_source,
                &[("file:/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet")],
                "clocksource=tsc",
            ),
        ];
        for (check, facts, wanted) in faults {
            let fix = fix(check, facts).unwrap_or_else(|| panic!("{facts:?} is a fault"));
            assert!(fix.contains(wanted), "{fix}");
        }
    }

    #[test]
    fn each_fault_of_a_nic_brings_its_fix() {
        let host = host(&[
            ("file:/sys/class/net/e0/mtu", "1200"),
            ("ethtool:e0/udp-hash/udp4", "sd"),
            ("file:/sys/class/net/e0/device/numa_node", "1"),
            ("file:/sys/class/net/e0/device/local_cpulist", "8-15"),
            ("file:/proc/self/status", "Cpus_allowed_list:\t0-7"),
            ("file:/sys/class/net/e0/statistics/rx_missed_errors", "12"),
        ]);
        let fixes: Vec<String> =
            NIC.iter().filter_map(|check| check(&host, "e0")).filter_map(|finding| finding.fix).collect();
        for wanted in ["mtu 1500", "sdfn", "CPUs 8-15", "--profile throughput"] {
            assert!(fixes.iter().any(|fix| fix.contains(wanted)), "{wanted}: {fixes:?}");
        }
    }

    #[test]
    fn a_process_that_may_lock_memory_needs_no_limit() {
        let facts = [
            ("file:/proc/self/limits", "Max locked memory   65536   65536   bytes"),
            ("file:/proc/self/status", "CapEff:\t000001ffffffffff"),
        ];
        assert_eq!(fix(locked_memory, &facts), None);
    }
}
