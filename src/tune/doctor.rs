//! What `ringwire doctor` finds out.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

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

/// Looks at this host. Each backend is tried by use, on loopback.
#[must_use]
pub fn examine() -> Examination {
    let config = Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let mut findings: Vec<Finding> =
        Kind::LADDER.into_iter().map(|kind| examine_kind(&config, kind)).collect();
    findings.push(examine_offloads());
    findings.extend(examine_files(Path::new("/")));
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

fn examine_files(root: &Path) -> Vec<Finding> {
    let line = |path: &str| fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned());
    let number = |path: &str| line(path).and_then(|text| text.parse::<u64>().ok());
    let mut findings = Vec::new();
    for name in ["rmem_max", "wmem_max"] {
        if let Some(size) = number(&format!("proc/sys/net/core/{name}")) {
            findings.push(examine_buffer(name, size));
        }
    }
    if let Some(governor) = line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") {
        findings.push(match governor.as_str() {
            "performance" => Finding::good("frequency governor", "performance"),
            other => Finding::bad(
                "frequency governor",
                Severity::Warning,
                other,
                "cpupower frequency-set -g performance",
            ),
        });
    }
    if let Some(source) = line("sys/devices/system/clocksource/clocksource0/current_clocksource") {
        findings.push(match source.as_str() {
            "tsc" | "arch_sys_counter" | "kvm-clock" => Finding::good("clock source", source),
            _ => Finding::bad(
                "clock source",
                Severity::Warning,
                format!("{source}: reading the time is a system call"),
                "boot with clocksource=tsc where the processor's TSC is stable",
            ),
        });
    }
    let cores = crate::sys::cores::allowed().len();
    findings.push(match cores {
        0 | 1 => Finding::bad(
            "cores",
            Severity::Warning,
            format!("{cores} allowed: a worker and whoever calls it take turns"),
            "allow this process two or more (taskset, cpuset or the container's limit)",
        ),
        cores => Finding::good("cores", format!("{cores} allowed")),
    });
    findings
}

/// What a socket buffer should be allowed to hold.
const BUFFER_SIZE_WANTED: u64 = 4 << 20;

fn examine_buffer(name: &str, size: u64) -> Finding {
    let subject = format!("net.core.{name}");
    if size >= BUFFER_SIZE_WANTED {
        return Finding::good(&subject, format!("{} KiB", size / 1024));
    }
    Finding::bad(
        &subject,
        Severity::Warning,
        format!("{} KiB: bursts of several sessions may be dropped", size / 1024),
        format!("sysctl -w net.core.{name}={BUFFER_SIZE_WANTED}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_runs_a_backend_and_every_fault_brings_its_fix() {
        let examination = examine();
        assert!(examination.can_run(), "{}", examination.backend_why);
        for finding in &examination.findings {
            assert_eq!(finding.fix.is_none(), finding.severity == Severity::Good, "{finding:?}");
            assert!(!finding.found.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn a_small_socket_buffer_is_a_warning_with_the_command_that_raises_it() {
        let finding = examine_buffer("rmem_max", 212_992);
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.fix.as_deref(), Some("sysctl -w net.core.rmem_max=4194304"));
        assert_eq!(examine_buffer("rmem_max", 8 << 20).fix, None);
    }

    #[test]
    fn what_a_host_does_not_show_is_no_finding() {
        let findings = examine_files(Path::new("/nowhere/at/all"));
        assert_eq!(findings.len(), 1, "only the cores: {findings:?}");
    }
}
