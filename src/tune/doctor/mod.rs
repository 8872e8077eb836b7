//! What `ringwire doctor` finds out: backends by use, the rest from what the host shows.

mod checks;

use std::net::{Ipv4Addr, SocketAddr};

use super::host::{Address, Host};
use crate::bench::limits::{Copies, copies};
use crate::io::Config;
use crate::io::select::{Kind, Selection, open};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Good,
    /// It works, but not as well as it could.
    Warning,
    /// It does not work.
    Failed,
}

impl Severity {
    /// How it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Good => "ok",
            Severity::Warning => "warning",
            Severity::Failed => "failed",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it stands.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do about it, in one line; `None` when there is nothing to do.
    pub fix: Option<String>,
}

impl Finding {
    fn good(subject: &str, found: impl Into<String>) -> Finding {
        Finding { subject: subject.into(), severity: Severity::Good, found: found.into(), fix: None }
    }

    fn bad(subject: &str, severity: Severity, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { subject: subject.into(), severity, found: found.into(), fix: Some(fix.into()) }
    }
}

/// What the host can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// The backend that `--backend auto` would take; `None` when there is none.
    pub backend: Option<&'static str>,
    /// Why that one.
    pub backend_why: String,
    /// All that was looked at.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// True when a backend runs here.
    #[must_use]
    pub fn can_run(&self) -> bool {
        self.backend.is_some()
    }
}

/// Looks at this host, and at `nic`, or at every NIC with hardware behind it. Each backend is tried by
/// use, on loopback.
#[must_use]
pub fn examine(host: &dyn Host, nic: Option<&str>) -> Examination {
    let config = Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let mut findings: Vec<Finding> =
        Kind::LADDER.into_iter().map(|kind| examine_kind(&config, kind)).collect();
    findings.push(examine_offloads());
    findings.extend(checks::HOST.iter().filter_map(|check| check(host)));
    findings.push(examine_cores());
    findings.push(examine_copies(copies()));
    for nic in nic.map_or_else(|| hardware_nics(host), |nic| vec![nic.to_owned()]) {
        findings.extend(checks::NIC.iter().filter_map(|check| check(host, &nic)));
    }
    let (backend, backend_why) = match open(&config, &Selection::default()) {
        Ok((backend, why)) => (Some(backend.name()), why),
        Err(error) => (None, error.to_string()),
    };
    Examination { backend, backend_why, findings }
}

fn examine_kind(config: &Config, kind: Kind) -> Finding {
    let subject = format!("backend {kind}");
    match open(config, &Selection { kinds: vec![kind], auto: false }) {
        Ok((backend, _)) => {
            let size = backend.receive_buffer_size() / 1024;
            Finding::good(&subject, format!("works; a receive buffer of {size} KiB was granted"))
        }
        Err(error) => {
            let fix = match kind {
                Kind::Mmsg => "let the sandbox allow UDP sockets, sendmmsg and recvmmsg",
                Kind::Uring => {
                    "sysctl -w kernel.io_uring_disabled=0, and a seccomp profile that allows the io_uring calls; mmsg does without"
                }
            };
            let severity = if kind == Kind::Mmsg { Severity::Failed } else { Severity::Warning };
            Finding::bad(&subject, severity, error.to_string(), fix)
        }
    }
}

fn examine_offloads() -> Finding {
    match crate::sys::probe::probe_offloads(false) {
        Ok(offloads) if offloads.gso && offloads.gro => Finding::good("UDP GSO and GRO", "both work"),
        Ok(offloads) => Finding::bad(
            "UDP GSO and GRO",
            Severity::Warning,
            format!("GSO {}, GRO {}", works(offloads.gso), works(offloads.gro)),
            "use Linux 5.0 or later, and a sandbox that lets UDP_SEGMENT and UDP_GRO through",
        ),
        Err(error) => Finding::bad(
            "UDP GSO and GRO",
            Severity::Warning,
            format!("could not be tried: {error}"),
            "let the sandbox allow UDP sockets on loopback",
        ),
    }
}

fn works(yes: bool) -> &'static str {
    if yes { "works" } else { "does not work" }
}

fn hardware_nics(host: &dyn Host) -> Vec<String> {
    let names = host.list(&Address::file("/sys/class/net")).unwrap_or_default();
    let has_device =
        |nic: &String| host.value(&Address::link(format!("/sys/class/net/{nic}/device"))).is_some();
    names.into_iter().filter(has_device).collect()
}

fn examine_cores() -> Finding {
    match crate::sys::cores::allowed().len() {
        cores @ (0 | 1) => Finding::bad(
            "cores",
            Severity::Warning,
            format!("{cores} allowed: a worker and whoever calls it take turns"),
            "allow this process two or more (taskset, cpuset or the container's limit)",
        ),
        cores => Finding::good("cores", format!("{cores} allowed")),
    }
}

/// Whether a copy's speed hangs on where its ends lie, and what to do about that in code that is not ours.
fn examine_copies(copies: Copies) -> Finding {
    let gb_s = |byte_s: f64| format!("{:.1} GB/s", byte_s / 1e9);
    let (aligned, near) = (gb_s(copies.aligned_byte_s), gb_s(copies.near_byte_s));
    if copies.near_byte_s >= copies.aligned_byte_s * NEAR_SHARE_MIN {
        return Finding::good(
            COPIES,
            format!("{aligned}, and {near} with the destination 16 bytes further on"),
        );
    }
    Finding::bad(
        COPIES,
        Severity::Warning,
        format!(
            "{aligned}, but {near} where the destination lies 1 to 31 bytes further into its page than the source, as \
             `rep movsb` has it on AMD Zen 3 and 4 (glibc bug 30994). ringwire's packets and its own copies keep clear of \
             it; an application's copies of received bytes may not"
        ),
        "for the application's copies: GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1000000000, or a glibc \
         in which bug 30994 is fixed",
    )
}

const COPIES: &str = "memory copies";
/// The share of an aligned copy's speed below which the other is not noise: 1/25 was measured where it is slow.
const NEAR_SHARE_MIN: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::super::host::live::Live;
    use super::super::host::recorded::Recorded;
    use super::*;

    #[test]
    fn this_host_runs_a_backend_and_every_fault_brings_its_fix() {
        let examination = examine(&Live::new(), None);
        assert!(examination.can_run(), "{}", examination.backend_why);
        for finding in &examination.findings {
            assert_eq!(finding.fix.is_none(), finding.severity == Severity::Good, "{finding:?}");
            assert!(!finding.found.is_empty(), "{finding:?}");
        }
        let subject = |name: &str| examination.findings.iter().any(|finding| finding.subject == name);
        assert!(subject("kernel") && subject("locked memory") && subject("capabilities"));
    }

    #[test]
    fn what_a_host_does_not_show_is_no_finding() {
        let examination = examine(&Recorded::default(), Some("eth0"));
        let shown = examination.findings.iter().filter(|finding| !finding.subject.starts_with("backend"));
        let subjects: Vec<&str> = shown.map(|finding| finding.subject.as_str()).collect();
        assert_eq!(subjects, ["UDP GSO and GRO", "cores", "memory copies"]);
    }

    #[test]
    fn copies_that_are_slow_for_where_they_lie_are_a_warning_with_a_remedy_for_the_users_own_code() {
        let of = |near| examine_copies(Copies { aligned_byte_s: 50e9, near_byte_s: near });
        let slow = of(1.9e9);
        assert_eq!(slow.severity, Severity::Warning, "{slow:?}");
        assert!(slow.found.contains("50.0 GB/s, but 1.9 GB/s"), "{slow:?}");
        assert!(slow.found.contains("ringwire's packets and its own copies keep clear"), "{slow:?}");
        assert!(slow.fix.is_some_and(|fix| fix.contains("glibc.cpu.x86_rep_movsb_threshold=")));
        for near in [12.5e9, 49e9, 60e9] {
            assert_eq!(of(near).fix, None, "{near}");
        }
    }
}
