//! What an error from a send means for the train it met.

use std::io;

/// Why the kernel refused a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A signal came first: try again.
    Interrupted,
    /// No room for now: EAGAIN, ENOBUFS, ENOMEM.
    NoRoom,
    /// EMSGSIZE: the packet does not fit, or an earlier one did not and ICMP said so.
    TooBig,
    /// EINVAL or EIO: what a kernel, driver or sandbox without working GSO answers to a train.
    Offload,
    /// An ICMP error about an earlier packet, or no route.
    Unreachable,
    /// A filter, a family that does not match: this train will not go, others may.
    Rejected,
    /// The socket itself is gone.
    Broken,
}

impl Refusal {
    pub fn of(error: &io::Error) -> Refusal {
        match error.raw_os_error().unwrap_or(0) {
            libc::EINTR => Refusal::Interrupted,
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => Refusal::NoRoom,
            libc::EMSGSIZE => Refusal::TooBig,
            libc::EINVAL | libc::EIO => Refusal::Offload,
            libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENETDOWN
            | libc::ECONNRESET
            | libc::ENOPROTOOPT
            | libc::EPROTO => Refusal::Unreachable,
            libc::EBADF | libc::ENOTSOCK | libc::EFAULT => Refusal::Broken,
            _ => Refusal::Rejected,
        }
    }

    /// May the error be about an *earlier* packet? The kernel reports such a one once, on whatever
    /// call comes next, without having tried the packet of that call.
    pub fn may_be_pending(self) -> bool {
        matches!(self, Refusal::Unreachable | Refusal::TooBig)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_icmp_errors_can_be_about_an_earlier_packet() {
        let of = |errno| Refusal::of(&io::Error::from_raw_os_error(errno));
        assert!(of(libc::ECONNREFUSED).may_be_pending());
        assert!(of(libc::EMSGSIZE).may_be_pending());
        assert!(!of(libc::EPERM).may_be_pending());
        assert_eq!(of(libc::EPERM), Refusal::Rejected);
        assert_eq!(of(libc::EIO), Refusal::Offload);
    }
}
