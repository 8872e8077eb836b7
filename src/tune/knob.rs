//! The knobs: what can be turned, where, at what price. The catalogue is data, `tuning/knobs.toml`; the
//! few words that need a topology to be understood are in [`super::want`].

use std::sync::LazyLock;

use serde::Deserialize;

use super::host::Address;
use super::value::Form;

/// One knob.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knob {
    /// Its stable name, such as `rings.rx`.
    pub id: String,
    /// Where it lives, with `{nic}`, `{rx}`, `{tx}`, `{irq}`, `{napi}`, `{worker}`, `{node}` or `{port}`
    /// for each of which it has a value. Empty for what is only reported.
    #[serde(default)]
    pub address: String,
    /// What its values look like.
    pub form: Form,
    /// The address of its greatest value.
    #[serde(default)]
    pub limit: Option<String>,
    /// When it is applied.
    pub order: Order,
    /// What it can harm.
    pub risk: Risk,
    /// What it does.
    pub what: String,
    /// What applying it disturbs.
    pub disruption: String,
    /// How to see by hand that it holds.
    pub verify: String,
    /// How it is taken back by hand.
    pub undo: String,
    /// It changes the whole host, not one NIC.
    #[serde(default)]
    pub host_wide: bool,
    /// What is told where it is not there; without it, that this host does not have it.
    #[serde(default)]
    pub absent: Option<String>,
    /// Drivers round it.
    #[serde(default)]
    pub rounds: bool,
    /// Values that come with the hardware's state and are lost when this knob is turned: they are
    /// saved before and put back by undo. Addresses with the same placeholders.
    #[serde(default)]
    pub disturbs: Vec<String>,
}

/// What a knob can harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Risk {
    /// Safe, and live.
    S,
    /// Drops packets or resets the link for a moment.
    D,
    /// Affects other programs on the host.
    G,
    /// At boot only.
    B,
    /// For experts; reported, or touching security.
    X,
}

impl Risk {
    /// Its letter.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Risk::S => 'S',
            Risk::D => 'D',
            Risk::G => 'G',
            Risk::B => 'B',
            Risk::X => 'X',
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Risk::S => "safe and live",
            Risk::D => "drops packets for a moment",
            Risk::G => "affects other programs",
            Risk::B => "at boot only",
            Risk::X => "for experts",
        }
    }
}

/// When a knob is applied. Each class may reset what the later ones set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Queues come and go.
    Channels,
    /// The driver allocates anew.
    Rings,
    /// MTU and queueing discipline.
    Link,
    /// Offloads.
    Features,
    /// Hashing and steering.
    Rss,
    /// Interrupts, RPS and XPS.
    Affinity,
    /// Interrupt moderation, NAPI.
    Coalesce,
    /// The network stack's limits.
    Sysctl,
    /// CPUs and memory of the host.
    Host,
    /// Never applied.
    Report,
}

#[derive(Deserialize)]
struct Catalogue {
    knob: Vec<Knob>,
}

static CATALOGUE: LazyLock<Vec<Knob>> = LazyLock::new(|| {
    let catalogue: Catalogue = toml::from_str(include_str!("../../tuning/knobs.toml"))
        .expect("tuning/knobs.toml is compiled in, and a test reads it");
    catalogue.knob
});

/// Every knob.
#[must_use]
pub fn all() -> &'static [Knob] {
    &CATALOGUE
}

/// The knob called `id`.
#[must_use]
pub fn find(id: &str) -> Option<&'static Knob> {
    all().iter().find(|knob| knob.id == id)
}

impl Knob {
    /// True if the knob can be turned at all.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.order != Order::Report
    }

    /// True if turning it back and forth disturbs nobody.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.risk == Risk::S && !self.host_wide
    }

    /// True if `address` is one of this knob's, for `nic`. A plan is a file that anybody may have
    /// edited: nothing else is ever written.
    #[must_use]
    pub fn owns(&self, address: &Address, nic: &str) -> bool {
        matches(&self.address.replace("{nic}", nic), address.as_str())
    }
}

impl Knob {
    /// True if `address` is one that turning this knob of `nic` may reset.
    #[must_use]
    pub fn may_disturb(&self, address: &Address, nic: &str) -> bool {
        self.disturbs.iter().any(|template| matches(&template.replace("{nic}", nic), address.as_str()))
    }
}

/// True if `text` is `template` with a number in place of each `{name}`.
fn matches(template: &str, text: &str) -> bool {
    let Some((before, rest)) = template.split_once('{') else { return template == text };
    let Some((_, after)) = rest.split_once('}') else { return false };
    let Some(text) = text.strip_prefix(before) else { return false };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && matches(after, &text[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_reads_and_every_entry_is_whole() {
        assert!(all().len() > 30, "{}", all().len());
        for knob in all() {
            assert_eq!(all().iter().filter(|other| other.id == knob.id).count(), 1, "{}", knob.id);
            for text in [&knob.what, &knob.disruption, &knob.verify, &knob.undo] {
                assert!(!text.is_empty(), "{}", knob.id);
            }
            assert_eq!(knob.address.is_empty(), knob.order == Order::Report, "{}", knob.id);
            assert!(!knob.host_wide || knob.risk != Risk::S, "{} touches others", knob.id);
        }
    }

    #[test]
    fn a_knob_owns_its_addresses_and_no_others() {
        let owns = |id: &str, text: &str| find(id).expect(id).owns(&Address::parse(text), "eth0");
        assert!(owns("rps.cpus", "file:/sys/class/net/eth0/queues/rx-12/rps_cpus"));
        assert!(!owns("rps.cpus", "file:/sys/class/net/eth1/queues/rx-12/rps_cpus"));
        assert!(!owns("rps.cpus", "file:/sys/class/net/eth0/queues/rx-/rps_cpus"));
        assert!(!owns("rps.cpus", "file:/sys/class/net/eth0/queues/rx-../rps_cpus"));
        assert!(!owns("mtu", "file:/etc/passwd"));
        assert!(owns("irq.affinity", "file:/proc/irq/33/smp_affinity_list"));
    }
}
