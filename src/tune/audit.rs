//! What stands in the way on this host, found without changing anything.

use super::cpus::{Cpus, parse_list, show_list};
use super::guard;
use super::host::recorded::Recorded;
use super::host::recorder::Recorder;
use super::host::{Address, Host, Why};
use super::knob::{Risk, find};
use super::plan::{self, PlanError, Planned, Settled};
use super::scope::{Request, Scope, ScopeError};

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable: a knob's, or `report.…` and `seen.…` for what is only told.
    pub id: String,
    /// What was seen.
    pub evidence: String,
    /// What is gained by mending it.
    pub benefit: String,
    /// What mending it can harm.
    pub risk: Risk,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The NIC and the CPUs.
    pub scope: Scope,
    /// The profile that the host was held against.
    pub profile: String,
    /// What was found, the knobs first.
    pub findings: Vec<Finding>,
    /// What the profile wants and this host does not have.
    pub notes: Vec<String>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No such NIC.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// No such profile.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Audits `host`; what was read comes with it, for `--record`.
///
/// # Errors
/// There is no such NIC or profile.
pub fn audit(
    host: &mut dyn Host,
    request: &Request,
    profile: &str,
    settled: &Settled,
) -> Result<(Audit, Recorded), AuditError> {
    let recorder = Recorder::new(host);
    let scope = Scope::look(&recorder, request)?;
    let Planned { plan, notes } = plan::make(&recorder, &scope, profile, settled)?;
    let mut findings = of_plan(&plan);
    let checks: [Check; 12] = [
        link_down,
        softnet_drops,
        softnet_squeezes,
        socket_drops,
        nic_drops,
        hot_queue,
        irqbalance,
        far_workers,
        clock_source,
        mitigations,
        isolation,
        iommu,
    ];
    findings.extend(checks.iter().filter_map(|check| check(&recorder, &scope)));
    findings.extend(bios(&recorder, &scope));
    read_the_rest(&recorder, &scope);
    let record = recorder.into_record();
    let unread = unread(&record);
    let audit = Audit { scope, profile: profile.to_owned(), findings, notes, unread };
    Ok((audit, record))
}

/// Looks for one thing; `None` where there is nothing to say.
type Check = fn(&dyn Host, &Scope) -> Option<Finding>;

/// One finding a knob, however many places it has.
fn of_plan(plan: &plan::Plan) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for setting in &plan.settings {
        if findings.iter().any(|finding| finding.id == setting.knob) {
            continue;
        }
        let knob = find(&setting.knob).expect("it was planned");
        let same = plan.settings.iter().filter(|other| other.knob == setting.knob).count();
        let more = if same > 1 { format!(", and {} more like it", same - 1) } else { String::new() };
        findings.push(Finding {
            id: knob.id.clone(),
            evidence: format!(
                "{} is {}, not {}{more}",
                setting.address,
                shorten(&setting.current),
                shorten(&setting.wanted)
            ),
            benefit: setting.why.clone(),
            risk: knob.risk,
        });
    }
    findings
}

/// A table of 128 entries fits no line.
#[must_use]
pub fn shorten(value: &str) -> String {
    let words: Vec<&str> = value.split_whitespace().collect();
    if value.is_empty() {
        return "nothing".into();
    }
    if words.len() <= 8 {
        value.into()
    } else {
        format!("{} … ({} entries)", words[..8].join(" "), words.len())
    }
}

fn seen(id: &str, risk: Risk, evidence: String, benefit: &str) -> Finding {
    Finding { id: format!("seen.{id}"), evidence, benefit: benefit.into(), risk }
}

fn reported(id: &str, evidence: String) -> Option<Finding> {
    let knob = find(&format!("report.{id}"))?;
    Some(Finding { id: knob.id.clone(), evidence, benefit: knob.what.clone(), risk: knob.risk })
}

/// A column of `/proc/net/softnet_stat`, summed over CPUs.
fn softnet(host: &dyn Host, column: usize) -> Option<u64> {
    let text = host.value(&Address::file("/proc/net/softnet_stat"))?;
    let of = |line: &str| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok();
    Some(text.lines().filter_map(of).sum())
}

fn softnet_drops(host: &dyn Host, _: &Scope) -> Option<Finding> {
    let drops = softnet(host, 1).filter(|drops| *drops > 0)?;
    let advice = "raise net.core.netdev_max_backlog (profile throughput), or spread the load over more CPUs";
    Some(seen(
        "softnet-drops",
        Risk::G,
        format!("{drops} packets found the backlog of their CPU full"),
        advice,
    ))
}

fn softnet_squeezes(host: &dyn Host, _: &Scope) -> Option<Finding> {
    let squeezes = softnet(host, 2).filter(|squeezes| *squeezes > SQUEEZES_MAX)?;
    let text = format!("{squeezes} times a softirq had to stop with packets left");
    Some(seen(
        "softnet-squeezes",
        Risk::G,
        text,
        "raise net.core.netdev_budget, or move other interrupts away",
    ))
}

/// A counter of `/proc/net/snmp`.
fn snmp(host: &dyn Host, table: &str, name: &str) -> Option<u64> {
    let text = host.value(&Address::file("/proc/net/snmp"))?;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(table)?.strip_prefix(':'));
    let (names, values) = (rows.next()?, rows.next()?);
    let at = names.split_whitespace().position(|one| one == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

fn socket_drops(host: &dyn Host, _: &Scope) -> Option<Finding> {
    let drops = snmp(host, "Udp", "RcvbufErrors").filter(|drops| *drops > 0)?;
    let text = format!("{drops} UDP packets found their socket's buffer full, since boot");
    Some(seen("socket-drops", Risk::S, text, "larger socket buffers (memory.rmem-max), or a faster reader"))
}

fn nic_drops(host: &dyn Host, scope: &Scope) -> Option<Finding> {
    let counter = |name: &str| {
        let path = format!("/sys/class/net/{}/statistics/{name}", scope.nic);
        host.number(&Address::file(path)).unwrap_or(0)
    };
    let drops = counter("rx_missed_errors") + counter("rx_fifo_errors") + counter("rx_over_errors");
    let text = format!("{drops} packets found no free descriptor in the NIC's rings, since boot");
    (drops > 0)
        .then(|| seen("nic-drops", Risk::D, text, "larger rings (rings.rx), or interrupts on idle CPUs"))
}

/// One queue that has nearly all interrupts while others idle.
fn hot_queue(host: &dyn Host, scope: &Scope) -> Option<Finding> {
    let table = host.value(&Address::file("/proc/interrupts"))?;
    let count = |number: u32| -> u64 {
        let prefix = format!("{number}:");
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix(&prefix));
        line.map_or(0, |line| line.split_whitespace().map_while(|word| word.parse::<u64>().ok()).sum())
    };
    let counts: Vec<u64> = scope.interrupts.iter().map(|irq| count(irq.number)).collect();
    let (total, most) = (counts.iter().sum::<u64>(), counts.iter().copied().max()?);
    if counts.len() < 3 || total < INTERRUPTS_MIN || most * 10 < total * 8 {
        return None;
    }
    let at = counts.iter().position(|count| *count == most)?;
    let name = &scope.interrupts[at].name;
    let text = format!("{name} has {most} of {total} interrupts of {} queues", counts.len());
    Some(seen("hot-queue", Risk::S, text, "hash UDP by ports too (rss.udp4-fields), or send from more ports"))
}

fn link_down(host: &dyn Host, scope: &Scope) -> Option<Finding> {
    let status = host.value(&Address::parse(&format!("rtnl:{}/status", scope.nic)))?;
    let advice =
        "bring it up (`ip link set NIC up`, the cable, the peer): drivers change some settings only then";
    let down = !["up", "unknown", "dormant"].contains(&status.as_str());
    down.then(|| seen("link-down", Risk::S, format!("{} is {status}", scope.nic), advice))
}

fn irqbalance(host: &dyn Host, scope: &Scope) -> Option<Finding> {
    let running = host.value(&Address::parse("irqbalance:banned-irqs")).is_some()
        || host.value(&Address::file("/run/irqbalance.pid")).is_some()
        || !host.list(&Address::file("/run/irqbalance")).unwrap_or_default().is_empty();
    let banned = host.value(&Address::parse("irqbalance:banned-irqs"));
    let banned = banned.as_deref().and_then(parse_list).unwrap_or_default();
    let free = scope.interrupts.iter().filter(|irq| !banned.contains(&(irq.number as usize))).count();
    let text = format!("irqbalance runs, and may move {free} of the interrupts of {}", scope.nic);
    let advice = "irq.balance has it leave them alone (every profile but base); it is not stopped for you";
    (running && free > 0).then(|| seen("irqbalance", Risk::G, text, advice))
}

fn far_workers(_: &dyn Host, scope: &Scope) -> Option<Finding> {
    let far: Cpus = scope.workers.iter().copied().filter(|cpu| !scope.local.contains(cpu)).collect();
    let node = scope.node?;
    (!far.is_empty()).then(|| {
        let text =
            format!("workers on CPUs {} are not on node {node}, where {} sits", show_list(&far), scope.nic);
        seen("far-workers", Risk::S, text, "--cores out of that node: each packet then stays in its memory")
    })
}

fn clock_source(host: &dyn Host, _: &Scope) -> Option<Finding> {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = host.value(&Address::file(path))?;
    let quick = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];
    let slow = !quick.contains(&source.as_str());
    slow.then(|| reported("clock-source", format!("the clock source is {source}")))?
}

fn mitigations(host: &dyn Host, _: &Scope) -> Option<Finding> {
    let folder = Address::file("/sys/devices/system/cpu/vulnerabilities");
    let names = host.list(&folder).unwrap_or_default();
    let is_on =
        |name: &&String| host.value(&folder.below(name)).is_some_and(|text| text.starts_with("Mitigation"));
    let on: Vec<&str> = names.iter().filter(is_on).map(String::as_str).collect();
    if on.is_empty() { None } else { reported("mitigations", format!("on: {}", on.join(", "))) }
}

fn isolation(host: &dyn Host, scope: &Scope) -> Option<Finding> {
    let line = host.value(&Address::file("/proc/cmdline"))?;
    let workers: Cpus = scope.workers.iter().copied().collect();
    let missing: Vec<&str> =
        ["isolcpus=", "nohz_full=", "rcu_nocbs="].into_iter().filter(|word| !line.contains(word)).collect();
    let text = format!("CPUs {} share ticks with the host: no {}", show_list(&workers), missing.join(" "));
    if missing.is_empty() { None } else { reported("isolation", text) }
}

fn iommu(host: &dyn Host, _: &Scope) -> Option<Finding> {
    let units = host.list(&Address::file("/sys/class/iommu")).unwrap_or_default();
    let line = host.value(&Address::file("/proc/cmdline")).unwrap_or_default();
    let passes = line.contains("iommu=pt") || line.contains("iommu.passthrough=1");
    if units.is_empty() || passes {
        None
    } else {
        reported("iommu", format!("{} translates DMA", units.join(", ")))
    }
}

/// What the firmware decides, as far as it shows.
fn bios(host: &dyn Host, scope: &Scope) -> Option<Finding> {
    let vendor = host.value(&Address::file("/sys/class/dmi/id/sys_vendor"));
    let smt = host.value(&Address::file("/sys/devices/system/cpu/smt/active"))?;
    let shared: Cpus = scope
        .workers
        .iter()
        .copied()
        .filter(|cpu| scope.siblings.get(cpu).is_some_and(|all| all.len() > 1))
        .collect();
    let text = format!(
        "SMT is on ({}): CPUs {} share a core with a sibling",
        vendor.unwrap_or_else(|| "vendor unknown".into()),
        show_list(&shared)
    );
    if smt == "1" && !shared.is_empty() { reported("bios", text) } else { None }
}

/// What other profiles would look at, so that a record serves for all of them.
fn read_the_rest(host: &dyn Host, scope: &Scope) {
    for name in plan::every_profile() {
        // A profile that cannot be resolved is reported when it is asked for.
        let _ = plan::make(host, scope, name, &Settled::new());
    }
    let _ = guard::management(host, &scope.nic, None);
    for group in ["channels", "rings", "coalesce", "pause", "eee", "features"] {
        let address = Address::parse(&format!("ethtool:{}/{group}", scope.nic));
        for name in host.list(&address).unwrap_or_default() {
            let _ = host.read(&address.below(&name));
        }
    }
    for id in &scope.napis {
        for name in ["irq", "defer-hard-irqs", "gro-flush-timeout", "irq-suspend-timeout"] {
            let _ = host.read(&Address::parse(&format!("napi:{}/{id}/{name}", scope.nic)));
        }
    }
    let link = Address::parse(&format!("rtnl:{}", scope.nic));
    for name in host.list(&link).unwrap_or_default() {
        let _ = host.read(&link.below(&name));
    }
    let _ = host.read(&Address::parse(&format!("xdp:{}", scope.nic)));
}

/// What was refused, but for what is simply not there.
fn unread(record: &Recorded) -> Vec<String> {
    let told = record
        .refused
        .iter()
        .filter(|(_, refused)| matches!(refused.why, Why::Denied | Why::ReadOnly | Why::Other | Why::Fixed));
    told.map(|(address, refused)| format!("{address}: {} ({})", refused.text, refused.why.advice())).collect()
}

const SQUEEZES_MAX: u64 = 100;
/// Below this a distribution says nothing.
const INTERRUPTS_MIN: u64 = 10_000;
