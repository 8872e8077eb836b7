//! What stands between a plan and the host: another host, drift, and the NIC that carries this login.

use std::net::IpAddr;

use thiserror::Error;

use super::host::{ABSENT, Address, Host, Refusal, state};
use super::identity::Identity;
use super::knob::find;
use super::plan::{Plan, Setting, read_state};
use super::scope::{Request, Scope, ScopeError};

/// Why a plan is not applied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GuardError {
    /// It was made elsewhere.
    #[error("this plan is for another host: {difference}; make one here with `ringwire tune plan`")]
    OtherHost {
        /// What differs.
        difference: String,
    },
    /// The host is no longer as it was planned.
    #[error("the host changed since the plan was made, and nothing was touched:\n  {}\nmake a new plan", found.join("\n  "))]
    Drift {
        /// What, setting by setting.
        found: Vec<String>,
    },
    /// The NIC is the way to this host.
    #[error(
        "{nic} carries {what}: a mistake may cut this host off; say --allow-mgmt, best with --confirm-within 60s"
    )]
    Management {
        /// The NIC.
        nic: String,
        /// What it carries.
        what: String,
    },
    /// A setting that cannot be written here.
    #[error("nothing was touched: {0}")]
    Refused(Refusal),
    /// The NIC is not there.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// An interrupt of something else.
    #[error("{address} is no interrupt of {nic}: make a new plan")]
    ForeignInterrupt {
        /// Which.
        address: Address,
        /// The NIC.
        nic: String,
    },
}

/// What to do about a host that is not as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Touch nothing.
    Refuse,
    /// Take it as it is: what a boot left is nobody's change.
    Accept,
}

/// Holds `plan` against `host` before anything is touched.
///
/// # Errors
/// Why it is not applied.
pub fn check(host: &dyn Host, plan: &Plan, drift: Drift) -> Result<Scope, GuardError> {
    let scope = Scope::look(host, &Request { nic: Some(plan.nic.clone()), ..Request::default() })?;
    if let Some(difference) = plan.host.differs(&Identity::of(host, &scope)) {
        return Err(GuardError::OtherHost { difference });
    }
    let mut found = Vec::new();
    for setting in &plan.settings {
        let knob = find(&setting.knob).expect("the plan was checked when it was read");
        if interrupt_of(&setting.address).is_some_and(|number| !serves(&scope, number)) {
            let (address, nic) = (setting.address.clone(), plan.nic.clone());
            return Err(GuardError::ForeignInterrupt { address, nic });
        }
        if let Some(refusal) = host.read_only(&setting.address) {
            return Err(GuardError::Refused(refusal));
        }
        let now = read_state(host, knob, &setting.address).map_err(GuardError::Refused)?;
        let same = now == setting.current || now != ABSENT && knob.form.same(&now, &setting.current);
        if !same {
            found.push(format!("{} is {now}, planned from {}", setting.address, setting.current));
        }
    }
    if found.is_empty() || drift == Drift::Accept { Ok(scope) } else { Err(GuardError::Drift { found }) }
}

/// `plan` as far as it fits this boot, with what is left out: a knob that comes and goes with a program, such as
/// irqbalance, where that does not run now, and interrupts that this boot numbered otherwise. The rest of the plan should
/// wait for neither.
#[must_use]
pub fn fit_to_boot(host: &dyn Host, mut plan: Plan) -> (Plan, Vec<String>) {
    let scope = Scope::look(host, &Request { nic: Some(plan.nic.clone()), ..Request::default() }).ok();
    let is_foreign = |setting: &Setting| {
        interrupt_of(&setting.address)
            .is_some_and(|number| scope.as_ref().is_some_and(|s| !serves(s, number)))
    };
    let renumbered = plan.settings.iter().any(is_foreign);
    let mut left: Vec<String> = Vec::new();
    plan.settings.retain(|setting| {
        let absent = find(&setting.knob).and_then(|knob| knob.absent.as_deref());
        let absent = absent.filter(|_| state(host, &setting.address).is_ok_and(|now| now == ABSENT));
        let moved = renumbered && (is_foreign(setting) || setting.address.scheme() == "irqbalance");
        let why = absent.or(moved.then_some(RENUMBERED));
        let line = why.map(|why| format!("{}: {why}", setting.knob));
        left.extend(line.filter(|line| !left.contains(line)));
        why.is_none()
    });
    (plan, left)
}

const RENUMBERED: &str =
    "this boot numbered the interrupts otherwise: plan and apply once more, and persist that";

/// The interrupt that `address` is of.
fn interrupt_of(address: &Address) -> Option<u32> {
    address.rest().strip_prefix("/proc/irq/")?.split('/').next()?.parse().ok()
}

fn serves(scope: &Scope, number: u32) -> bool {
    scope.interrupts.iter().any(|interrupt| interrupt.number == number)
}

/// What makes `nic` the way to this host, in words; `None` if nothing does.
#[must_use]
pub fn management(host: &dyn Host, nic: &str, login: Option<IpAddr>) -> Option<String> {
    if let Some(upper) = default_route_nics(host).iter().find(|upper| carries(host, upper, nic, 0)) {
        return Some(if upper == nic {
            "the default route".into()
        } else {
            format!("{upper}, which has the default route")
        });
    }
    let login = login?;
    let nics = host.list(&Address::file("/sys/class/net")).unwrap_or_default();
    let has_login = |name: &&String| {
        let addresses = host.value(&Address::parse(&format!("addresses:{name}"))).unwrap_or_default();
        addresses.split_whitespace().any(|text| text.parse() == Ok(login))
    };
    let upper = nics.iter().find(has_login)?;
    carries(host, upper, nic, 0).then(|| format!("this login (from an SSH connection to {login})"))
}

/// NICs with a default route of either family.
fn default_route_nics(host: &dyn Host) -> Vec<String> {
    let mut nics = Vec::new();
    let v4 = host.value(&Address::file("/proc/net/route")).unwrap_or_default();
    for line in v4.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [nic, "00000000", _, _, _, _, _, "00000000", ..] = words[..] {
            nics.push(nic.to_owned());
        }
    }
    let v6 = host.value(&Address::file("/proc/net/ipv6_route")).unwrap_or_default();
    for line in v6.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [target, "00", .., nic] = words[..] {
            let is_default = target.bytes().all(|byte| byte == b'0') && nic != "lo";
            nics.extend(is_default.then(|| nic.to_owned()));
        }
    }
    nics
}

/// True if `upper` is `nic`, or a bond, bridge or VLAN that runs over it.
fn carries(host: &dyn Host, upper: &str, nic: &str, depth: usize) -> bool {
    if upper == nic {
        return true;
    }
    let names = host.list(&Address::file(format!("/sys/class/net/{upper}"))).unwrap_or_default();
    let mut lowers = names.iter().filter_map(|name| name.strip_prefix("lower_"));
    depth < STACKED_MAX && lowers.any(|lower| carries(host, lower, nic, depth + 1))
}

/// A VLAN on a bridge on a bond is three; a circle is a broken host.
const STACKED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::host::recorded::Recorded;
    use super::*;

    fn host(facts: &[(&str, &str)]) -> Recorded {
        let facts = facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Recorded { facts, ..Recorded::default() }
    }

    const ROUTE: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
        bond0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n\
        eth2 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0";

    #[test]
    fn the_default_route_is_found_through_a_bond() {
        let host = host(&[
            ("file:/proc/net/route", ROUTE),
            ("file:/sys/class/net/bond0/lower_eth0/", ""),
            ("file:/sys/class/net/bond0/lower_eth1/", ""),
            ("file:/sys/class/net/eth2/mtu", "1500"),
        ]);
        assert!(management(&host, "bond0", None).is_some_and(|what| what.contains("default route")));
        assert!(management(&host, "eth1", None).is_some_and(|what| what.contains("bond0")));
        assert_eq!(management(&host, "eth2", None), None);
    }

    #[test]
    fn a_login_is_found_by_the_address_it_came_to() {
        let host = host(&[("file:/sys/class/net/eth2/mtu", "1500"), ("addresses:eth2", "10.0.0.7 fe80::1")]);
        let login = "10.0.0.7".parse().ok();
        assert!(management(&host, "eth2", login).is_some_and(|what| what.contains("login")));
        assert_eq!(management(&host, "eth2", "10.0.0.8".parse().ok()), None);
    }

    #[test]
    fn a_default_route_of_ipv6_counts() {
        let zero = "0".repeat(32);
        let line = format!("{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0");
        let none = format!("{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo");
        let host = host(&[("file:/proc/net/ipv6_route", &format!("{line}\n{none}"))]);
        assert!(management(&host, "eth0", None).is_some());
        assert_eq!(management(&host, "lo", None), None);
    }
}
