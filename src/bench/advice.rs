//! One line of advice: what limits this host most, and what to do about it.

use super::env::Environment;

/// What the advice rests on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The host.
    pub env: Environment,
    /// True when both ends of the runs shared a core.
    pub shared_core: bool,
    /// The largest share of time that the hypervisor took from the cores used, 0 to 1.
    pub stolen: f64,
    /// The largest share of time that other processes had this end's cores, 0 to 1.
    pub crowded: f64,
    /// Nanoseconds of one system call.
    pub syscall_ns: Option<f64>,
    /// Microseconds from a wake-up to the woken thread running.
    pub wake_us: Option<f64>,
    /// Bulk with GSO and GRO against single packets; near 1 when the offloads do nothing.
    pub offload_gain: Option<f64>,
    /// Half of the round trips took less, in microseconds.
    pub ping_p50_us: Option<f64>,
    /// One round trip in a thousand took longer, in microseconds.
    pub ping_p99_9_us: Option<f64>,
    /// Packets lost in the runs of this host.
    pub lost: u64,
}

/// The line: the biggest limiter first found, from what costs most to what costs least.
#[must_use]
pub fn advise(facts: &Facts) -> String {
    let rules: [fn(&Facts) -> Option<String>; 10] = [
        one_core,
        crowded_cores,
        stolen_time,
        no_offloads,
        small_buffer,
        slow_governor,
        long_tail,
        dear_syscalls,
        slow_wake,
        virtual_host,
    ];
    rules.iter().find_map(|rule| rule(facts)).unwrap_or_else(|| {
        "nothing on this host stands out: more cores or a faster one raise the figures".into()
    })
}

fn one_core(facts: &Facts) -> Option<String> {
    facts.shared_core.then(|| {
        "both ends share one core and take turns: run on two or more (taskset, cpuset or the container's limit)".into()
    })
}

fn crowded_cores(facts: &Facts) -> Option<String> {
    (facts.crowded > CROWDED_MAX).then(|| {
        format!(
            "other processes had this end's cores for {:.0} % of the time: stop them, or give bench cores of its own (--cores, cpuset)",
            facts.crowded * 100.0
        )
    })
}

fn stolen_time(facts: &Facts) -> Option<String> {
    (facts.stolen > STOLEN_MAX).then(|| {
        format!(
            "the hypervisor took {:.1} % of the cores' time: ask for dedicated cores, or run when the host is quiet",
            facts.stolen * 100.0
        )
    })
}

fn no_offloads(facts: &Facts) -> Option<String> {
    facts.offload_gain.filter(|gain| *gain < OFFLOAD_GAIN_MIN).map(|gain| {
        format!(
            "UDP GSO and GRO gain only {gain:.1} times: use Linux 5.0 or later and a sandbox that lets UDP_SEGMENT through"
        )
    })
}

fn small_buffer(facts: &Facts) -> Option<String> {
    let size = facts.env.rmem_max.filter(|size| *size < BUFFER_MIN && facts.lost > 0)?;
    Some(format!(
        "packets were lost in a socket buffer of at most {} KiB: sysctl -w net.core.rmem_max={BUFFER_MIN}",
        size / 1024
    ))
}

fn slow_governor(facts: &Facts) -> Option<String> {
    let governor = facts.env.governor.as_ref().filter(|governor| *governor != "performance")?;
    Some(format!("the frequency governor is {governor}: cpupower frequency-set -g performance"))
}

fn long_tail(facts: &Facts) -> Option<String> {
    let (p50, tail) = (facts.ping_p50_us?, facts.ping_p99_9_us?);
    (tail > p50 * TAIL_MAX).then(|| {
        format!(
            "the tail of a round trip is {:.0} times its median: keep other work off these cores (isolcpus, nohz_full, or cpuset), IRQs too",
            tail / p50
        )
    })
}

fn dear_syscalls(facts: &Facts) -> Option<String> {
    let ns = facts.syscall_ns.filter(|ns| *ns > SYSCALL_NS_MAX)?;
    let causes = facts.env.mitigations.len();
    Some(format!(
        "a system call costs {ns:.0} ns, with {causes} CPU mitigations on: larger batches help (more in flight, --poll spin); on a host that runs only trusted code, mitigations=off"
    ))
}

fn slow_wake(facts: &Facts) -> Option<String> {
    let us = facts.wake_us.filter(|us| *us > WAKE_US_MAX)?;
    Some(format!("waking a sleeping thread takes {us:.0} us: use --poll spin, or limit C-states (cpuidle)"))
}

fn virtual_host(facts: &Facts) -> Option<String> {
    (facts.env.virtualized == Some(true)).then(|| {
        "this is a virtual machine: interrupts and wake-ups pass the hypervisor; the same figures on bare metal are better".into()
    })
}

/// Share of stolen time that spoils a figure.
pub const STOLEN_MAX: f64 = 0.02;
/// Share of a spinning thread's time that others may have.
pub const CROWDED_MAX: f64 = 0.1;
const OFFLOAD_GAIN_MIN: f64 = 3.0;
const BUFFER_MIN: u64 = 4 << 20;
const SYSCALL_NS_MAX: f64 = 150.0;
const WAKE_US_MAX: f64 = 30.0;
const TAIL_MAX: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_biggest_limiter_comes_first_and_brings_its_fix() {
        let mut facts = Facts { syscall_ns: Some(200.0), ..Facts::default() };
        assert!(advise(&facts).contains("mitigations=off"));
        facts.env.governor = Some("powersave".into());
        assert!(advise(&facts).contains("cpupower"));
        facts.env.rmem_max = Some(212_992);
        assert!(advise(&facts).contains("cpupower"), "a small buffer that lost nothing limits nothing");
        facts.lost = 3;
        assert!(advise(&facts).contains("net.core.rmem_max=4194304"));
        facts.stolen = 0.1;
        assert!(advise(&facts).contains("10.0 %"));
        facts.crowded = 0.4;
        assert!(advise(&facts).contains("40 %"));
        facts.shared_core = true;
        assert!(advise(&facts).contains("one core"));
    }

    #[test]
    fn a_host_without_faults_gets_one_line_too() {
        let line = advise(&Facts::default());
        assert!(!line.is_empty());
        assert!(!line.contains('\n'));
    }
}
