//! What is asked over netlink: links, drivers, queueing disciplines, and NAPI instances one by one.

use std::io;

use netlink_bindings::{netdev, tc};
use netlink_socket2::{NetlinkSocket, ReplyError};
use nix::net::if_::if_nametoindex;

use super::attributes::{in_words, number_of};
use super::{ethtool_netlink, links};
use crate::sys::ethtool::{Feature, Switch};

/// Sockets to the kernel, opened when first needed.
pub struct Netlink {
    socket: NetlinkSocket,
}

impl Default for Netlink {
    fn default() -> Self {
        Self::new()
    }
}

impl Netlink {
    /// No socket yet.
    #[must_use]
    pub fn new() -> Netlink {
        Netlink { socket: NetlinkSocket::new() }
    }

    /// One number that the driver of `nic` keeps; `None` where the ioctl must be asked.
    pub fn driver_number(&mut self, nic: &str, group: &str, name: &str) -> io::Result<Option<u32>> {
        ethtool_netlink::read(&mut self.socket, index_of(nic)?.cast_unsigned(), group, name)
    }

    /// The names of the numbers in `group` that the driver of `nic` has; `None` where the ioctl must be asked.
    pub fn driver_names(&mut self, nic: &str, group: &str) -> io::Result<Option<Vec<&'static str>>> {
        ethtool_netlink::names(&mut self.socket, index_of(nic)?.cast_unsigned(), group)
    }

    /// Sets one number that the driver of `nic` keeps; `None` where the ioctl must be told.
    pub fn set_driver_number(
        &mut self,
        nic: &str,
        group: &str,
        name: &str,
        value: u32,
    ) -> io::Result<Option<()>> {
        ethtool_netlink::write(&mut self.socket, index_of(nic)?.cast_unsigned(), group, name, value)
    }

    /// The switches of `nic`; `None` where the ioctl must be asked.
    pub fn features(&mut self, nic: &str) -> io::Result<Option<Vec<Feature>>> {
        ethtool_netlink::features(&mut self.socket, index_of(nic)?.cast_unsigned())
    }

    /// Turns one switch of `nic`; `None` where the ioctl must be told.
    pub fn set_feature(&mut self, nic: &str, name: &str, to: Switch) -> io::Result<Option<()>> {
        let index = index_of(nic)?.cast_unsigned();
        ethtool_netlink::set_feature(&mut self.socket, index, name, to == Switch::On)
    }

    /// One value of a link: `NIC/NAME`.
    pub fn link(&mut self, path: &str) -> io::Result<String> {
        let (nic, name) = path.split_once('/').ok_or_else(absent)?;
        links::read(&mut self.socket, index_of(nic)?, name)
    }

    /// The names of what the kernel tells of a link.
    pub fn link_names(&mut self, nic: &str) -> io::Result<Vec<String>> {
        links::names(&mut self.socket, index_of(nic)?)
    }

    /// Sets one value of a link: `NIC/NAME`.
    pub fn set_link(&mut self, path: &str, value: &str) -> io::Result<()> {
        let (nic, name) = path.split_once('/').ok_or_else(absent)?;
        links::write(&mut self.socket, index_of(nic)?, name, value)
    }

    /// The root queueing discipline of `nic`: its kind, and `default` before it where nobody chose it.
    pub fn qdisc(&mut self, nic: &str) -> io::Result<String> {
        let index = index_of(nic)?;
        let header = tc::Tcmsg { ifindex: index, ..tc::Tcmsg::default() };
        let request = tc::Request::new().op_getqdisc_dump(&header);
        let mut replies = self.socket.request(&request)?;
        let mut found = Err(io::Error::from_raw_os_error(libc::ENOENT));
        while let Some(reply) = replies.recv() {
            let (header, attributes) = reply.map_err(into_io)?;
            if header.ifindex != index || header.parent != ROOT {
                continue;
            }
            let kind = attributes.get_kind().map_err(io::Error::other)?.to_string_lossy().into_owned();
            // The kernel's own choice has no handle.
            found = Ok(if header.handle == 0 { format!("default {kind}") } else { kind });
        }
        found
    }

    /// Replaces the root queueing discipline; `default …` gives the choice back to the kernel.
    pub fn set_qdisc(&mut self, nic: &str, value: &str) -> io::Result<()> {
        let header = tc::Tcmsg { ifindex: index_of(nic)?, parent: ROOT, ..tc::Tcmsg::default() };
        if value.starts_with("default") {
            let request = tc::Request::new().op_delqdisc_do(&header);
            return self.socket.request(&request)?.recv_ack().map_err(into_io);
        }
        let mut request = tc::Request::new().set_change().op_newqdisc_do(&header);
        request.encode().push_kind_bytes(value.as_bytes());
        let answer = self.socket.request(&request)?.recv_ack();
        answer.map_err(|error| match into_io(error) {
            error if number_of(&error) == Some(libc::ENOENT) => {
                // Not "no such setting": the module for this kind is not there.
                io::Error::from_raw_os_error(libc::EOPNOTSUPP)
            }
            error => error,
        })
    }

    /// The NAPI instances of `nic`, by id.
    pub fn napi_ids(&mut self, nic: &str) -> io::Result<Vec<String>> {
        let index = index_of(nic)?;
        let mut request = netdev::Request::new().op_napi_get_dump();
        request.encode().push_ifindex(index.cast_unsigned());
        let mut replies = self.socket.request(&request)?;
        let mut ids = Vec::new();
        while let Some(reply) = replies.recv() {
            ids.push(reply.map_err(into_io)?.get_id().map_err(io::Error::other)?);
        }
        ids.sort_unstable();
        Ok(ids.iter().map(u32::to_string).collect())
    }

    /// One number of one NAPI instance: `NIC/ID/NAME`.
    pub fn napi(&mut self, path: &str) -> io::Result<String> {
        let (id, name) = napi_path(path)?;
        let mut request = netdev::Request::new().op_napi_get_do();
        request.encode().push_id(id);
        let mut replies = self.socket.request(&request)?;
        let reply = replies.recv().ok_or_else(absent)?.map_err(into_io)?;
        let value = match name {
            "irq" => reply.get_irq(),
            "defer-hard-irqs" => reply.get_defer_hard_irqs(),
            "gro-flush-timeout" => reply.get_gro_flush_timeout(),
            "irq-suspend-timeout" => reply.get_irq_suspend_timeout(),
            _ => return Err(absent()),
        };
        // An older kernel leaves out what it does not have.
        value.map(|value| value.to_string()).map_err(|_| absent())
    }

    /// Sets one number of one NAPI instance: `NIC/ID/NAME`.
    pub fn set_napi(&mut self, path: &str, value: &str) -> io::Result<()> {
        let (id, name) = napi_path(path)?;
        let value = value.parse().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let mut request = netdev::Request::new().op_napi_set_do();
        let encoder = request.encode().push_id(id);
        match name {
            "defer-hard-irqs" => drop(encoder.push_defer_hard_irqs(value)),
            "gro-flush-timeout" => drop(encoder.push_gro_flush_timeout(value)),
            "irq-suspend-timeout" => drop(encoder.push_irq_suspend_timeout(value)),
            _ => return Err(absent()),
        }
        self.socket.request(&request)?.recv_ack().map_err(into_io)
    }

    /// What the driver of `nic` does for XDP, as words apart by blanks; empty where it does nothing.
    pub fn xdp(&mut self, nic: &str) -> io::Result<String> {
        let mut request = netdev::Request::new().op_dev_get_do();
        request.encode().push_ifindex(index_of(nic)?.cast_unsigned());
        let mut replies = self.socket.request(&request)?;
        let reply = replies.recv().ok_or_else(absent)?.map_err(into_io)?;
        let bits = reply.get_xdp_features().map_err(|_| absent())?;
        let words = XDP_FEATURES.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
        Ok(words.map(|(_, word)| *word).collect::<Vec<_>>().join(" "))
    }
}

fn napi_path(path: &str) -> io::Result<(u32, &str)> {
    let mut parts = path.split('/').skip(1);
    let id = parts.next().and_then(|id| id.parse().ok()).ok_or_else(absent)?;
    Ok((id, parts.next().ok_or_else(absent)?))
}

fn index_of(nic: &str) -> io::Result<i32> {
    let index = if_nametoindex(nic).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    i32::try_from(index).map_err(io::Error::other)
}

fn into_io(error: ReplyError) -> io::Error {
    in_words(&error)
}

fn absent() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

/// TC_H_ROOT.
const ROOT: u32 = 0xffff_ffff;
/// `enum netdev_xdp_act`, bit by bit.
const XDP_FEATURES: [&str; 7] =
    ["basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"];
