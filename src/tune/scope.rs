//! What a plan is about: one NIC, its queues and interrupts, and the CPUs that workers run on.

use std::collections::BTreeMap;

use thiserror::Error;

use super::cpus::{Cpus, parse_list, show_list};
use super::host::{Address, Host, Refusal};
use super::interrupts::{self, Interrupt};

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The NIC; `None` takes the only one there is.
    pub nic: Option<String>,
    /// The workers' CPUs; `None` chooses near the NIC.
    pub cores: Option<Cpus>,
    /// The UDP port to steer, if any.
    pub port: Option<u16>,
}

/// A NIC with the CPUs around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The NIC.
    pub nic: String,
    /// Its driver; `None` where it does not say.
    pub driver: Option<String>,
    /// Its hardware address.
    pub mac: Option<String>,
    /// It is hardware, or looks like it.
    pub physical: bool,
    /// Receive queues now.
    pub rx_queues: usize,
    /// Transmit queues now.
    pub tx_queues: usize,
    /// Interrupts of its queues.
    pub interrupts: Vec<Interrupt>,
    /// NAPI instances, where the kernel lists them.
    pub napis: Vec<u32>,
    /// CPUs this process may use.
    pub cpus: Cpus,
    /// Those of them on the NIC's node.
    pub local: Cpus,
    /// The NIC's NUMA node, where it has one.
    pub node: Option<usize>,
    /// How many nodes there are.
    pub nodes: usize,
    /// Each CPU with the CPUs of its physical core.
    pub siblings: BTreeMap<usize, Cpus>,
    /// The workers' CPUs, one each.
    pub workers: Vec<usize>,
    /// The UDP port to steer, if any.
    pub port: Option<u16>,
}

/// Why there is nothing to tune.
#[derive(Debug, Error)]
pub enum ScopeError {
    /// No such NIC.
    #[error("there is no NIC {nic} here: choose from {}", known.join(", "))]
    NoSuchNic {
        /// Which was asked for.
        nic: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// None was named, and there is not exactly one.
    #[error("name the NIC with --nic: {}", if known.is_empty() { "only the loopback is here".into() } else { known.join(", ") })]
    Unnamed {
        /// Those there are.
        known: Vec<String>,
    },
    /// The loopback.
    #[error("lo has no queues to tune: name a NIC with --nic")]
    Loopback,
    /// CPUs that are not there.
    #[error("cores {cores} are not all allowed here: choose from {allowed}")]
    NoSuchCores {
        /// Which were asked for.
        cores: String,
        /// Those there are.
        allowed: String,
    },
    /// It cannot be looked at.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Scope {
    /// Looks at the NIC and what is around it.
    ///
    /// # Errors
    /// There is no such NIC, or it cannot be looked at.
    pub fn look(host: &dyn Host, request: &Request) -> Result<Scope, ScopeError> {
        let nic = choose_nic(host, request.nic.as_deref())?;
        let folder = format!("/sys/class/net/{nic}");
        let device = |file: &str| host.value(&Address::file(format!("{folder}/device/{file}")));
        let cpus = usable_cpus(host);
        let local = device("local_cpulist").and_then(|text| parse_list(&text)).unwrap_or_default();
        let local: Cpus = local.intersection(&cpus).copied().collect();
        let mut scope = Scope {
            driver: host.value(&Address::ethtool(&nic, "driver", "name")),
            mac: host.value(&Address::file(format!("{folder}/address"))),
            physical: device("numa_node").is_some() || host.value(&device_link(&nic)).is_some(),
            node: device("numa_node").and_then(|text| text.parse().ok()),
            nodes: count_nodes(host),
            local: if local.is_empty() { cpus.clone() } else { local },
            napis: napis(host, &nic),
            port: request.port,
            cpus,
            nic,
            ..Scope::default()
        };
        scope.count_queues(host);
        scope.interrupts = interrupts::of_nic(host, &scope);
        scope.siblings = siblings(host, &scope.cpus);
        scope.workers = scope.choose_workers(host, request.cores.as_ref())?;
        Ok(scope)
    }

    fn count_queues(&mut self, host: &dyn Host) {
        let folder = Address::file(format!("/sys/class/net/{}/queues", self.nic));
        let names = host.list(&folder).unwrap_or_default();
        let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
        (self.rx_queues, self.tx_queues) = (count("rx-"), count("tx-"));
    }

    fn choose_workers(&self, host: &dyn Host, cores: Option<&Cpus>) -> Result<Vec<usize>, ScopeError> {
        if let Some(cores) = cores {
            if cores.is_empty() || !cores.is_subset(&self.cpus) {
                return Err(ScopeError::NoSuchCores {
                    cores: show_list(cores),
                    allowed: show_list(&self.cpus),
                });
            }
            return Ok(cores.iter().copied().collect());
        }
        let is_first = |cpu: &usize| self.siblings.get(cpu).is_none_or(|all| all.first() == Some(cpu));
        let physical: Vec<usize> = self.local.iter().copied().filter(is_first).collect();
        let max = ["combined-max", "rx-max"]
            .iter()
            .filter_map(|name| host.number(&Address::ethtool(&self.nic, "channels", name)))
            .find(|max| *max > 0);
        // The first core is left to the rest of the host; half of what remains does other work.
        let spare = if physical.len() > 1 { &physical[1..] } else { &physical[..] };
        let wanted = physical.len().div_ceil(2).min(WORKERS_MAX);
        let wanted = wanted.min(max.map_or(usize::MAX, |max| max as usize)).max(1);
        Ok(spare.iter().copied().take(wanted).collect())
    }

    /// The worker that reads `queue`.
    #[must_use]
    pub fn worker_of(&self, queue: usize) -> Option<usize> {
        self.workers.get(queue.checked_rem(self.workers.len())?).copied()
    }

    /// CPUs near the NIC on which no worker runs.
    #[must_use]
    pub fn housekeeping(&self) -> Cpus {
        self.local.iter().copied().filter(|cpu| !self.workers.contains(cpu)).collect()
    }

    /// A CPU close to `worker` that is not a worker's: its sibling, else one near the NIC, in turn.
    #[must_use]
    pub fn beside(&self, worker: usize) -> usize {
        let free = self.housekeeping();
        let sibling = self.siblings.get(&worker).and_then(|all| all.intersection(&free).next().copied());
        let turn = self.workers.iter().position(|one| *one == worker).unwrap_or(0);
        sibling.or_else(|| free.iter().copied().cycle().nth(turn)).unwrap_or(worker)
    }
}

fn choose_nic(host: &dyn Host, asked: Option<&str>) -> Result<String, ScopeError> {
    let known: Vec<String> =
        host.list(&Address::file("/sys/class/net"))?.into_iter().filter(|name| is_nic(name)).collect();
    match asked {
        Some("lo") => Err(ScopeError::Loopback),
        Some(nic) if !known.iter().any(|name| name == nic) => {
            Err(ScopeError::NoSuchNic { nic: nic.into(), known })
        }
        Some(nic) => {
            // Refused when sysfs shows another namespace.
            host.read(&Address::file(format!("/sys/class/net/{nic}/mtu")))?;
            Ok(nic.to_owned())
        }
        None => {
            let hardware: Vec<&String> =
                known.iter().filter(|nic| host.value(&device_link(nic)).is_some()).collect();
            match (hardware.as_slice(), known.as_slice()) {
                ([nic], _) => Ok((*nic).clone()),
                ([], [nic]) => Ok(nic.clone()),
                _ => Err(ScopeError::Unnamed { known }),
            }
        }
    }
}

/// Not the loopback, nor the file that bonding puts among the NICs.
fn is_nic(name: &str) -> bool {
    name != "lo" && name != "bonding_masters"
}

pub(super) fn device_link(nic: &str) -> Address {
    Address::link(format!("/sys/class/net/{nic}/device"))
}

/// The CPUs that are online and that this process may run on.
fn usable_cpus(host: &dyn Host) -> Cpus {
    let online = host.value(&Address::file("/sys/devices/system/cpu/online"));
    let online = online.and_then(|text| parse_list(&text)).unwrap_or_default();
    let status = host.value(&Address::file("/proc/self/status")).unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    match allowed.and_then(parse_list) {
        Some(allowed) if online.is_empty() => allowed,
        Some(allowed) => allowed.intersection(&online).copied().collect(),
        None => online,
    }
}

fn siblings(host: &dyn Host, cpus: &Cpus) -> BTreeMap<usize, Cpus> {
    let of = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        host.value(&Address::file(path)).and_then(|text| parse_list(&text))
    };
    cpus.iter().map(|&cpu| (cpu, of(cpu).unwrap_or_else(|| Cpus::from([cpu])))).collect()
}

fn napis(host: &dyn Host, nic: &str) -> Vec<u32> {
    let ids = host.list(&Address::parse(&format!("napi:{nic}"))).unwrap_or_default();
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

fn count_nodes(host: &dyn Host) -> usize {
    let nodes = host.value(&Address::file("/sys/devices/system/node/online"));
    nodes.and_then(|text| parse_list(&text)).map_or(1, |nodes| nodes.len().max(1))
}

/// More workers than this are chosen by hand.
const WORKERS_MAX: usize = 8;
