//! This host, as it is now.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::netlink::Netlink;
use super::{ABSENT, Address, Host, Refusal, Why, irqbalance};
use crate::sys::ethtool::{Ethtool, Family, Feature, Group, Switch, UdpRule};

/// The machine this process runs on, seen from its network namespace.
pub struct Live {
    ethtool: io::Result<Ethtool>,
    netlink: RefCell<Netlink>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// This host. What cannot be reached is refused when it is asked for.
    #[must_use]
    pub fn new() -> Live {
        Live { ethtool: Ethtool::open(), netlink: RefCell::new(Netlink::new()) }
    }

    fn ethtool(&self) -> io::Result<&Ethtool> {
        self.ethtool.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }

    /// sysfs may show another network namespace than the one this process is in: a container that
    /// joined a namespace and kept its mounts. A write would then change another host's NIC.
    fn check_namespace(&self, path: &str) -> io::Result<()> {
        let Some(rest) = path.strip_prefix(NET_CLASS) else { return Ok(()) };
        let Some(nic) = rest.strip_prefix('/').and_then(|rest| rest.split('/').next()) else {
            return Ok(());
        };
        let shown = fs::read_to_string(format!("{NET_CLASS}/{nic}/address")).unwrap_or_default();
        let index = fs::read_to_string(format!("{NET_CLASS}/{nic}/ifindex")).unwrap_or_default();
        if index.is_empty() {
            return Ok(());
        }
        let own = nix::net::if_::if_nametoindex(nic).map_or(String::new(), |index| index.to_string());
        let same_hardware = hardware_address(nic).is_none_or(|address| address == shown.trim());
        if own == index.trim() && same_hardware {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{NET_CLASS} shows another network namespace's {nic}: mount a sysfs of this one (mount -t sysfs sysfs /sys)"
        )))
    }

    fn read_ethtool(&self, path: &str) -> io::Result<String> {
        let ethtool = self.ethtool()?;
        let (nic, group, name) = split(path)?;
        match group {
            "driver" => {
                let driver = ethtool.driver(nic)?;
                match name {
                    "name" => Ok(driver.name),
                    "firmware" => Ok(driver.firmware),
                    "bus" => Ok(driver.bus),
                    _ => Err(absent()),
                }
            }
            "features" => {
                let features = self.features(nic)?;
                features.iter().find(|feature| feature.name == name).map(show_feature).ok_or_else(absent)
            }
            "rss" if name == "table" => ethtool.rss_table(nic).map(|table| join(&table)),
            "udp-hash" => ethtool.udp_hash(nic, family(name)?),
            "ntuple" => {
                let queue = ethtool.steered_to(nic, rule(name)?)?;
                Ok(queue.map_or(ABSENT.into(), |queue| format!("queue {queue}")))
            }
            _ => {
                if let Some(number) = self.netlink.borrow_mut().driver_number(nic, group, name)? {
                    return Ok(number.to_string());
                }
                let group = word_group(group)?;
                let at = group.fields().iter().position(|field| field.name == name).ok_or_else(absent)?;
                Ok(ethtool.group(nic, group)?[at].to_string())
            }
        }
    }

    /// Over netlink where the kernel has it, else by ioctl: so for all that both know.
    fn features(&self, nic: &str) -> io::Result<Vec<Feature>> {
        match self.netlink.borrow_mut().features(nic)? {
            Some(features) => Ok(features),
            None => self.ethtool()?.features(nic),
        }
    }

    fn write_ethtool(&self, path: &str, value: &str) -> io::Result<()> {
        let ethtool = self.ethtool()?;
        let (nic, group, name) = split(path)?;
        match group {
            "features" => {
                // "off (requested on)" gives back what was asked for, not what came of it.
                let on = value == "on" || value.contains("requested on");
                let to = if on { Switch::On } else { Switch::Off };
                match self.netlink.borrow_mut().set_feature(nic, name, to)? {
                    Some(()) => Ok(()),
                    None => ethtool.set_feature(nic, name, to),
                }
            }
            "rss" => {
                let table: Result<Vec<u32>, _> = value.split_whitespace().map(str::parse).collect();
                ethtool.set_rss_table(nic, &table.map_err(|_| invalid())?)
            }
            "udp-hash" => ethtool.set_udp_hash(nic, family(name)?, value),
            "ntuple" => {
                let queue = value.strip_prefix("queue ").map(str::parse).transpose();
                ethtool.steer(nic, rule(name)?, queue.map_err(|_| invalid())?)
            }
            _ => {
                let value = value.parse().map_err(|_| invalid())?;
                match self.netlink.borrow_mut().set_driver_number(nic, group, name, value)? {
                    Some(()) => Ok(()),
                    None => ethtool.set_group_field(nic, word_group(group)?, name, value),
                }
            }
        }
    }

    fn list_ethtool(&self, path: &str) -> io::Result<Vec<String>> {
        let (nic, group) = path.split_once('/').ok_or_else(absent)?;
        if group == "features" {
            return Ok(self.features(nic)?.into_iter().map(|feature| feature.name).collect());
        }
        if let Some(names) = self.netlink.borrow_mut().driver_names(nic, group)? {
            return Ok(names.into_iter().map(str::to_owned).collect());
        }
        let group = word_group(group)?;
        self.ethtool()?.group(nic, group)?;
        Ok(group.fields().iter().map(|field| field.name.to_owned()).collect())
    }
}

impl Host for Live {
    fn read(&self, address: &Address) -> Result<String, Refusal> {
        let rest = address.rest();
        let read = match address.scheme() {
            "file" => self.check_namespace(rest).and_then(|()| read_file(rest)),
            "link" => fs::read_link(rest).map(|target| target.display().to_string()),
            "ethtool" => self.read_ethtool(rest),
            "rtnl" => self.netlink.borrow_mut().link(rest),
            "qdisc" => self.netlink.borrow_mut().qdisc(rest),
            "napi" => self.netlink.borrow_mut().napi(rest),
            "xdp" => self.netlink.borrow_mut().xdp(rest),
            "cpuset" => super::super::cpuset::read(rest),
            "irqbalance" => irqbalance::read(rest),
            "addresses" => addresses(rest),
            _ => Err(absent()),
        };
        read.map(|text| text.trim().to_owned()).map_err(|error| Refusal::from_io(address, &error))
    }

    fn list(&self, address: &Address) -> Result<Vec<String>, Refusal> {
        let rest = address.rest();
        let listed = match address.scheme() {
            "file" => self.check_namespace(rest).and_then(|()| list_folder(rest)),
            "ethtool" => self.list_ethtool(rest),
            "rtnl" => self.netlink.borrow_mut().link_names(rest),
            "napi" => self.netlink.borrow_mut().napi_ids(rest),
            _ => Err(absent()),
        };
        listed.map_err(|error| Refusal::from_io(address, &error))
    }

    fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal> {
        let rest = address.rest();
        let written = match address.scheme() {
            "file" => self.check_namespace(rest).and_then(|()| write_file(rest, value)),
            "ethtool" => self.write_ethtool(rest, value),
            "rtnl" => self.netlink.borrow_mut().set_link(rest, value),
            "qdisc" => self.netlink.borrow_mut().set_qdisc(rest, value),
            "napi" => self.netlink.borrow_mut().set_napi(rest, value),
            "cpuset" => super::super::cpuset::write(rest, value),
            "irqbalance" => irqbalance::write(rest, value),
            _ => Err(absent()),
        };
        written.map_err(|error| Refusal::from_io(address, &error))
    }

    fn read_only(&self, address: &Address) -> Option<Refusal> {
        if address.scheme() != "file" {
            return None;
        }
        let path = Path::new(address.rest());
        let metadata = fs::metadata(path).ok()?;
        if metadata.permissions().mode() & 0o222 == 0 {
            return Some(Refusal::new(address, Why::ReadOnly, "nobody may write it here"));
        }
        let mount = statvfs(path).ok()?;
        let read_only = mount.flags().contains(FsFlags::ST_RDONLY);
        read_only.then(|| Refusal::new(address, Why::ReadOnly, "it is mounted read-only"))
    }
}

/// The whole file; sysfs and procfs answer in one piece.
fn read_file(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_SIZE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// One write: sysfs and procfs take a value in one piece, and tell of errors there and not at the end.
fn write_file(path: &str, value: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let line = format!("{value}\n");
    if file.write(line.as_bytes())? == line.len() { Ok(()) } else { Err(io::Error::other("cut short")) }
}

fn list_folder(path: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort_by_key(|name| natural(name));
    Ok(names)
}

/// `rx-10` behind `rx-9`.
fn natural(name: &str) -> (String, u64) {
    let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
    (name[..digits].to_owned(), name[digits..].parse().unwrap_or(0))
}

fn hardware_address(nic: &str) -> Option<String> {
    let link = getifaddrs().ok()?.find(|entry| {
        entry.interface_name == nic
            && entry.address.is_some_and(|address| address.as_link_addr().is_some_and(|a| a.addr().is_some()))
    })?;
    let bytes = link.address?.as_link_addr()?.addr()?;
    Some(bytes.map(|byte| format!("{byte:02x}")).join(":"))
}

/// The IP addresses of a NIC, apart by blanks.
fn addresses(nic: &str) -> io::Result<String> {
    let of_nic = getifaddrs()?.filter(|entry| entry.interface_name == nic);
    let ips = of_nic.filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().to_string());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().to_string()))
    });
    Ok(ips.collect::<Vec<_>>().join(" "))
}

fn split(path: &str) -> io::Result<(&str, &str, &str)> {
    let (nic, rest) = path.split_once('/').ok_or_else(absent)?;
    let (group, name) = rest.split_once('/').ok_or_else(absent)?;
    Ok((nic, group, name))
}

fn word_group(name: &str) -> io::Result<Group> {
    Group::ALL.into_iter().find(|group| group.name() == name).ok_or_else(absent)
}

fn family(name: &str) -> io::Result<Family> {
    match name {
        "udp4" => Ok(Family::V4),
        "udp6" => Ok(Family::V6),
        _ => Err(absent()),
    }
}

fn rule(name: &str) -> io::Result<UdpRule> {
    let (family_name, port) = name.split_once('-').ok_or_else(absent)?;
    Ok(UdpRule { family: family(family_name)?, port: port.parse().map_err(|_| absent())? })
}

fn show_feature(feature: &Feature) -> String {
    let word = |on: bool| if on { "on" } else { "off" };
    match (feature.fixed, feature.active == feature.requested) {
        (true, _) => format!("{} [fixed]", word(feature.active)),
        (false, true) => word(feature.active).into(),
        (false, false) => format!("{} (requested {})", word(feature.active), word(feature.requested)),
    }
}

fn join(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

fn absent() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

const NET_CLASS: &str = "/sys/class/net";
/// `/proc/interrupts` of a large machine.
const FILE_SIZE_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_listed_by_number() {
        let mut names = ["rx-10", "tx-0", "rx-9"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["rx-9", "rx-10", "tx-0"]);
    }

    #[test]
    fn a_device_that_is_not_there_is_absent_and_a_field_that_is_not_there_too() {
        let live = Live::new();
        for text in
            ["file:/sys/class/net/no-such0/mtu", "ethtool:lo/features/no-such", "nonsense", "ethtool:lo"]
        {
            let refusal = live.read(&Address::parse(text)).expect_err(text);
            assert_eq!(refusal.why, Why::Absent, "{refusal}");
        }
        let address = Address::parse("ethtool:no-such0/channels/rx");
        assert_eq!(live.read(&address).expect_err("none").why, Why::Gone);
    }

    #[test]
    fn what_nobody_may_write_is_told_from_what_this_user_may_not() {
        let live = Live::new();
        assert!(live.read_only(&Address::file("/proc/version")).is_some());
        assert!(live.read_only(&Address::file("/proc/sys/kernel/hostname")).is_none());
    }
}
