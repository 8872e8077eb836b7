//! The one system call, and the numbers in a request.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd;

use super::super::checked;
use super::Ethtool;

impl Ethtool {
    /// Hands `request` to the driver of `nic`, which writes its answer over it.
    ///
    /// Each caller makes `request` as large as its command and the counts in it say: that is what the
    /// kernel reads and writes.
    pub(super) fn ask(&self, nic: &str, request: &mut [u8]) -> io::Result<()> {
        // SAFETY: an ifreq of zeros is a valid value: a name of no bytes and a null pointer.
        let mut carrier: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in carrier.ifr_name.iter_mut().zip(name_bytes(nic)?) {
            *to = from as libc::c_char;
        }
        carrier.ifr_ifru.ifru_data = request.as_mut_ptr().cast::<c_void>().cast();
        // SAFETY: `carrier` and `request` outlive the call. The kernel copies at most the size that the
        // command and the counts inside `request` give, and every caller in this folder sized its
        // buffer by them; copying makes no demand on alignment.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut carrier) };
        checked(result).map(|_| ())
    }
}

/// A NIC's name with its closing zero.
pub(super) fn name_bytes(nic: &str) -> io::Result<impl Iterator<Item = u8> + '_> {
    let printable = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    if nic.is_empty() || nic.len() >= libc::IFNAMSIZ || !nic.bytes().all(printable) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    Ok(nic.bytes().chain(std::iter::once(0)))
}

/// The number at `at`, in the host's byte order.
pub(super) fn get_u32(request: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes were taken"))
}

/// Writes the number at `at`.
pub(super) fn set_u32(request: &mut [u8], at: usize, value: u32) {
    request[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

/// The long number at `at`.
pub(super) fn get_u64(request: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(request[at..at + 8].try_into().expect("eight bytes were taken"))
}

/// Writes the long number at `at`.
pub(super) fn set_u64(request: &mut [u8], at: usize, value: u64) {
    request[at..at + 8].copy_from_slice(&value.to_ne_bytes());
}

const SIOCETHTOOL: libc::Ioctl = 0x8946 as libc::Ioctl;
