//! Which host a plan is for.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};

use super::host::{Address, Host};
use super::scope::Scope;

/// What tells one host and NIC from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The host's name.
    pub name: String,
    /// A digest of its machine id, which itself is nobody's business.
    pub machine: String,
    /// The NIC's driver; empty where it does not say.
    pub driver: String,
    /// The NIC's hardware address.
    pub mac: String,
}

impl Identity {
    /// Of this host and its NIC.
    #[must_use]
    pub fn of(host: &dyn Host, scope: &Scope) -> Identity {
        let line = |path: &str| host.value(&Address::file(path)).unwrap_or_default();
        let machine = line("/etc/machine-id");
        Identity {
            name: line("/proc/sys/kernel/hostname"),
            machine: if machine.is_empty() { String::new() } else { digest(machine.as_bytes()) },
            driver: scope.driver.clone().unwrap_or_default(),
            mac: scope.mac.clone().unwrap_or_default(),
        }
    }

    /// What differs from `other`, in words; `None` if it is the same host and NIC.
    #[must_use]
    pub fn differs(&self, other: &Identity) -> Option<String> {
        let pairs = [
            ("host name", &self.name, &other.name),
            ("machine id", &self.machine, &other.machine),
            ("driver", &self.driver, &other.driver),
            ("hardware address", &self.mac, &other.mac),
        ];
        let (what, planned, here) = pairs.into_iter().find(|(_, planned, here)| planned != here)?;
        Some(format!("its {what} is {planned}, this one's is {here}"))
    }
}

/// 64 bits that tell texts apart, as 16 digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(0x7269_6e67, 0x7769_7265);
    hasher.write(bytes);
    format!("{:016x}", hasher.finish())
}
