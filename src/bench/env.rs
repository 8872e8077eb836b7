//! What a figure was measured on: without it a figure says nothing.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// The host and the build, as far as they can be read; what cannot is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Kernel release.
    pub kernel: Option<String>,
    /// Processor model.
    pub cpu: Option<String>,
    /// Frequency governor of the first core; absent where the host sets the frequency.
    pub governor: Option<String>,
    /// CPU vulnerabilities the kernel works around, by name: each costs system calls.
    pub mitigations: Vec<String>,
    /// Clock source of the kernel.
    pub clocksource: Option<String>,
    /// True when the processor says that it is virtual.
    pub virtualized: Option<bool>,
    /// The most a socket buffer may be set to without privilege, in bytes.
    pub rmem_max: Option<u64>,
    /// Cores this process may run on.
    pub cores_allowed: Option<usize>,
    /// Source revision of this build.
    pub commit: Option<String>,
}

impl Environment {
    /// Reads this host.
    #[must_use]
    pub fn read() -> Self {
        let mut environment = Self::read_under(Path::new("/"));
        environment.cores_allowed = std::thread::available_parallelism().ok().map(usize::from);
        environment.commit = option_env!("RINGWIRE_COMMIT").map(str::to_owned);
        environment
    }

    fn read_under(root: &Path) -> Self {
        let line = |path: &str| {
            let text = fs::read_to_string(root.join(path)).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let cpuinfo = line("proc/cpuinfo");
        let cpu_field = |name: &str| {
            let row = cpuinfo.as_ref()?.lines().find(|row| row.starts_with(name))?;
            Some(row.split_once(':')?.1.trim().to_owned())
        };
        Self {
            kernel: line("proc/sys/kernel/osrelease"),
            cpu: cpu_field("model name").or_else(|| cpu_field("CPU part")),
            governor: line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            mitigations: mitigations(&root.join("sys/devices/system/cpu/vulnerabilities")),
            clocksource: line("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            virtualized: cpu_field("flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            rmem_max: line("proc/sys/net/core/rmem_max").and_then(|text| text.parse().ok()),
            cores_allowed: None,
            commit: None,
        }
    }

    /// The object that a report carries.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("kernel".into(), json!(self.kernel));
        object.insert("cpu".into(), json!(self.cpu));
        object.insert("governor".into(), json!(self.governor));
        object.insert("mitigations".into(), json!(self.mitigations));
        object.insert("clocksource".into(), json!(self.clocksource));
        object.insert("virtualized".into(), json!(self.virtualized));
        object.insert("rmem_max".into(), json!(self.rmem_max));
        object.insert("cores_allowed".into(), json!(self.cores_allowed));
        object.insert("commit".into(), json!(self.commit));
        Value::Object(object)
    }
}

fn mitigations(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            fs::read_to_string(entry.path()).is_ok_and(|text| text.trim_start().starts_with("Mitigation"))
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Nanoseconds in which a hypervisor ran someone else on the given cores, since boot.
#[must_use]
pub fn stolen_ns(cores: &[usize]) -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    Some(cores.iter().filter_map(|core| stolen_ticks(&text, *core)).sum::<u64>() * TICK_NS)
}

/// `/proc/stat` counts in hundredths of a second on every Linux (USER_HZ).
const TICK_NS: u64 = 10_000_000;

fn stolen_ticks(stat: &str, core: usize) -> Option<u64> {
    let name = format!("cpu{core} ");
    let row = stat.lines().find_map(|row| row.strip_prefix(&name))?;
    row.split_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_tells_its_kernel() {
        let environment = Environment::read();
        assert!(environment.kernel.is_some());
        assert!(environment.cores_allowed.is_some_and(|cores| cores >= 1));
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_null() {
        let environment = Environment::read_under(Path::new("/nowhere/at/all"));
        assert_eq!(environment, Environment::default());
        assert_eq!(environment.to_json()["governor"], Value::Null);
    }

    #[test]
    fn steal_is_the_eighth_column_of_the_core_asked_for() {
        let stat = "cpu  1 2 3 4 5 6 7 800 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 0 0 0 0 0 0 0 42 0 0\n";
        assert_eq!(stolen_ticks(stat, 1), Some(42));
        assert_eq!(stolen_ticks(stat, 0), Some(8));
        assert_eq!(stolen_ticks(stat, 7), None);
    }
}
