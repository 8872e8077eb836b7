//! What a NIC's driver can be asked and told: the `SIOCETHTOOL` requests of
//! `include/uapi/linux/ethtool.h`. Every kernel has them, in containers without netlink too, and some
//! (steering rules) exist in no other form. What netlink has, `tune::host` asks there first.
//!
//! ```text
//! tune::host::live ---> Ethtool ---> ioctl(SIOCETHTOOL, { nic, request })
//! ```

mod features;
mod request;
mod rules;
mod words;

pub use features::{Feature, Switch};
pub use rules::{Family, UdpRule};
pub use words::{Field, Group};

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use request::{get_u32, name_bytes, set_u32};

/// A way to ask drivers.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

/// What drives a NIC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// The driver's name, such as `mlx5_core`.
    pub name: String,
    /// The firmware's version; may be empty.
    pub firmware: String,
    /// Where it sits, such as a PCI address; may be empty.
    pub bus: String,
}

impl Ethtool {
    /// Opens the socket that carries the requests, in this thread's network namespace.
    ///
    /// # Errors
    /// No socket is to be had.
    pub fn open() -> io::Result<Ethtool> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Ethtool { socket })
    }

    /// Who drives `nic`.
    ///
    /// # Errors
    /// There is no such NIC, or its driver does not say.
    pub fn driver(&self, nic: &str) -> io::Result<Driver> {
        let mut request = vec![0u8; DRIVER_SIZE];
        set_u32(&mut request, 0, GDRVINFO);
        self.ask(nic, &mut request)?;
        let text = |at: usize| {
            let bytes = &request[at..at + 32];
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        Ok(Driver { name: text(4), firmware: text(68), bus: text(100) })
    }

    /// The values of `group`, in the order of [`Group::fields`].
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the driver has no such group.
    pub fn group(&self, nic: &str, group: Group) -> io::Result<Vec<u32>> {
        let request = self.group_request(nic, group)?;
        let fields = group.fields();
        Ok(fields.iter().map(|field| get_u32(&request, field.word * 4)).collect())
    }

    /// Sets one field of `group` and leaves the others as they are.
    ///
    /// # Errors
    /// What the driver says; `EINVAL` for a field it cannot set.
    pub fn set_group_field(&self, nic: &str, group: Group, name: &str, value: u32) -> io::Result<()> {
        let field = group.fields().iter().find(|field| field.name == name && !field.read_only);
        let field = field.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let mut request = self.group_request(nic, group)?;
        set_u32(&mut request, 0, group.set_command());
        set_u32(&mut request, field.word * 4, value);
        self.ask(nic, &mut request)
    }

    fn group_request(&self, nic: &str, group: Group) -> io::Result<Vec<u8>> {
        let mut request = vec![0u8; group.size()];
        set_u32(&mut request, 0, group.get_command());
        self.ask(nic, &mut request)?;
        Ok(request)
    }

    /// The RSS table: which queue each hash bucket goes to.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the NIC has none.
    pub fn rss_table(&self, nic: &str) -> io::Result<Vec<u32>> {
        let mut request = vec![0u8; 8];
        set_u32(&mut request, 0, GRXFHINDIR);
        self.ask(nic, &mut request)?;
        let length = bounded(get_u32(&request, 4), TABLE_MAX)?;
        let mut request = vec![0u8; 8 + 4 * length];
        set_u32(&mut request, 0, GRXFHINDIR);
        set_u32(&mut request, 4, length as u32);
        self.ask(nic, &mut request)?;
        Ok((0..length).map(|at| get_u32(&request, 8 + 4 * at)).collect())
    }

    /// Replaces the RSS table. An empty one asks the driver for its own.
    ///
    /// # Errors
    /// `EINVAL` for a queue that is not there or another length.
    pub fn set_rss_table(&self, nic: &str, table: &[u32]) -> io::Result<()> {
        let mut request = vec![0u8; 8 + 4 * table.len()];
        set_u32(&mut request, 0, SRXFHINDIR);
        set_u32(&mut request, 4, table.len() as u32);
        for (at, queue) in table.iter().enumerate() {
            set_u32(&mut request, 8 + 4 * at, *queue);
        }
        self.ask(nic, &mut request)
    }
}

/// A count that the kernel gave, held against what makes sense before memory is taken for it.
fn bounded(count: u32, max: usize) -> io::Result<usize> {
    let count = count as usize;
    if count <= max { Ok(count) } else { Err(io::Error::other(format!("a driver counts {count} entries"))) }
}

/// No NIC has a table as long.
const TABLE_MAX: usize = 65_536;
const DRIVER_SIZE: usize = 196;
const GDRVINFO: u32 = 0x03;
const GRXFHINDIR: u32 = 0x38;
const SRXFHINDIR: u32 = 0x39;

/// True if `name` can be a NIC's name.
#[must_use]
pub fn is_nic_name(name: &str) -> bool {
    name_bytes(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_features_and_no_channels() {
        let ethtool = Ethtool::open().expect("sockets are allowed");
        let features = ethtool.features("lo").expect("every device has features");
        assert!(features.iter().any(|feature| feature.name == "tx-udp-segmentation"), "{features:?}");
        let error = ethtool.group("lo", Group::Channels).expect_err("lo has no channels");
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
        assert!(ethtool.rss_table("lo").is_err());
    }

    #[test]
    fn a_nic_that_is_not_there_is_no_device() {
        let ethtool = Ethtool::open().expect("sockets are allowed");
        assert_eq!(ethtool.driver("no-such-nic0").expect_err("none").raw_os_error(), Some(libc::ENODEV));
        assert!(ethtool.driver("a name that is too long for a NIC").is_err());
        assert!(!is_nic_name("") && !is_nic_name("a/b") && is_nic_name("eth0"));
    }
}
