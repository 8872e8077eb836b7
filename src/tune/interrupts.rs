//! Which interrupt serves which queue, read from the names that drivers give them.

use super::host::{Address, Host};
use super::scope::{Scope, device_link};

/// One queue's interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number in `/proc/irq`.
    pub number: u32,
    /// The queue it serves.
    pub queue: usize,
    /// The driver's name for it.
    pub name: String,
}

/// The interrupts of the queues of `scope.nic`.
pub(super) fn of_nic(host: &dyn Host, scope: &Scope) -> Vec<Interrupt> {
    let table = host.value(&Address::file("/proc/interrupts")).unwrap_or_default();
    let bus = host.value(&Address::ethtool(&scope.nic, "driver", "bus")).unwrap_or_default();
    // virtio names its interrupts after the virtio device, which the link leads to.
    let device = host.value(&device_link(&scope.nic)).unwrap_or_default();
    let device = device.rsplit('/').next().unwrap_or_default().to_owned();
    let owners = [scope.nic.clone(), bus, device];
    table.lines().filter_map(|line| read_line(line, &owners, scope.rx_queues.max(1))).collect()
}

fn read_line(line: &str, owners: &[String], queues: usize) -> Option<Interrupt> {
    let (number, rest) = line.trim_start().split_once(':')?;
    let number = number.parse().ok()?;
    let name = rest.split_whitespace().last()?;
    if !owners.iter().any(|owner| is_of(name, owner)) || CONTROL.iter().any(|word| name.contains(word)) {
        return None;
    }
    Some(Interrupt { number, queue: queue_of(name) % queues, name: name.to_owned() })
}

/// `mlx5_comp3@pci:0000:3b:00.0` is of `0000:3b:00.0`, `ice-eth0-TxRx-3` of `eth0`, `virtio3-input.0` of
/// `virtio3`; `eth01-…` is not of `eth0`.
fn is_of(name: &str, owner: &str) -> bool {
    if owner.is_empty() {
        return false;
    }
    name.match_indices(owner).any(|(at, _)| {
        let edge = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_ascii_alphanumeric());
        edge(name[..at].chars().next_back()) && edge(name[at + owner.len()..].chars().next())
    })
}

/// The last number of the name, before what tells the device.
fn queue_of(name: &str) -> usize {
    let name = name.split('@').next().unwrap_or(name);
    let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
    name[digits..].parse().unwrap_or(0)
}

/// Words in the names of interrupts that serve no queue.
const CONTROL: [&str; 9] = ["config", "async", "mgmnt", "ctrl", "event", "misc", "pages", "cmd", "fault"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_known_by_the_names_that_drivers_give() {
        let owners = ["eth0".into(), "0000:3b:00.0".into(), "virtio3".into()];
        let queue = |line: &str| read_line(line, &owners, 8).map(|found| (found.number, found.queue));
        assert_eq!(
            queue(" 41: 33 0 PCI-MSIX-0000:3b:00.0 4-edge mlx5_comp3@pci:0000:3b:00.0"),
            Some((41, 3))
        );
        assert_eq!(queue(" 50: 1 2 PCI-MSI 12-edge ice-eth0-TxRx-7"), Some((50, 7)));
        assert_eq!(queue(" 51: 1 2 PCI-MSI 12-edge virtio3-input.1"), Some((51, 1)));
        assert_eq!(queue(" 52: 1 2 PCI-MSI 12-edge virtio3-rx"), Some((52, 0)));
        assert_eq!(queue(" 53: 1 2 PCI-MSI 12-edge gve-ntfy-blk9@pci:0000:3b:00.0"), Some((53, 1)));
        for line in [
            " 40: 0 0 PCI-MSIX 0-edge mlx5_async0@pci:0000:3b:00.0",
            " 54: 0 0 PCI-MSIX 0-edge virtio3-config",
            " 55: 0 0 PCI-MSIX 0-edge virtio30-input.0",
            " 56: 0 0 PCI-MSIX 0-edge ice-eth01-TxRx-0",
            "           CPU0       CPU1",
            "NMI:          0          0   Non-maskable interrupts",
        ] {
            assert_eq!(queue(line), None, "{line}");
        }
    }
}
