//! Offloads and other switches of a device, by name (`ethtool -k`).

use std::io;

use super::request::{get_u32, get_u64, set_u32, set_u64};
use super::{Ethtool, bounded};

/// One switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's name, such as `rx-gro`.
    pub name: String,
    /// It is on.
    pub active: bool,
    /// Somebody asked for it to be on; what it needs may be missing.
    pub requested: bool,
    /// It cannot be changed.
    pub fixed: bool,
}

impl Ethtool {
    /// The switches of `nic`, in the kernel's order.
    ///
    /// # Errors
    /// There is no such NIC.
    pub fn features(&self, nic: &str) -> io::Result<Vec<Feature>> {
        let names = self.feature_names(nic)?;
        let blocks = names.len().div_ceil(32);
        let mut request = vec![0u8; 8 + 16 * blocks];
        set_u32(&mut request, 0, GFEATURES);
        set_u32(&mut request, 4, blocks as u32);
        self.ask(nic, &mut request)?;
        let bit = |word: usize, index: usize| {
            get_u32(&request, 8 + 16 * (index / 32) + 4 * word) & (1 << (index % 32)) != 0
        };
        let named = names.into_iter().enumerate().filter(|(_, name)| !name.is_empty());
        Ok(named
            .map(|(index, name)| Feature {
                name,
                active: bit(2, index),
                requested: bit(1, index),
                fixed: !bit(0, index) || bit(3, index),
            })
            .collect())
    }

    /// Asks for one switch to be on or off.
    ///
    /// # Errors
    /// `EINVAL` for one that the device does not have, `EOPNOTSUPP` for one that is fixed.
    pub fn set_feature(&self, nic: &str, name: &str, on: Switch) -> io::Result<()> {
        let names = self.feature_names(nic)?;
        let index = names.iter().position(|known| known == name);
        let index = index.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let blocks = names.len().div_ceil(32);
        let mut request = vec![0u8; 8 + 8 * blocks];
        set_u32(&mut request, 0, SFEATURES);
        set_u32(&mut request, 4, blocks as u32);
        let at = 8 + 8 * (index / 32);
        set_u32(&mut request, at, 1 << (index % 32));
        set_u32(&mut request, at + 4, if on == Switch::On { 1 << (index % 32) } else { 0 });
        self.ask(nic, &mut request)
    }

    fn feature_names(&self, nic: &str) -> io::Result<Vec<String>> {
        let mut request = vec![0u8; 20];
        set_u32(&mut request, 0, GSSET_INFO);
        set_u64(&mut request, 8, 1 << SET_FEATURES);
        self.ask(nic, &mut request)?;
        let known = get_u64(&request, 8) != 0;
        let count = bounded(if known { get_u32(&request, 16) } else { 0 }, NAMES_MAX)?;
        let mut request = vec![0u8; 12 + NAME_SIZE * count];
        set_u32(&mut request, 0, GSTRINGS);
        set_u32(&mut request, 4, SET_FEATURES);
        set_u32(&mut request, 8, count as u32);
        self.ask(nic, &mut request)?;
        let name = |bytes: &[u8]| {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        Ok(request[12..].chunks(NAME_SIZE).map(name).collect())
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
/// ETH_SS_FEATURES.
const SET_FEATURES: u32 = 4;
const NAME_SIZE: usize = 32;
/// The kernel has 64 bits of features.
const NAMES_MAX: usize = 1_024;
