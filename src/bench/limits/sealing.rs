//! What closes the packets of a raw limit: nothing, or what closes ringwire's own, by the same code.

use crate::bounds::HEADER_SIZE;
use crate::crypto::{Keys, Protector, Role, SECRET_SIZE, Secret, Suite};
use crate::wire::{Header, PacketKind, PacketNumber, SessionId};

/// Whether a limit's packets are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealing {
    /// They leave as they are: a limit of what `--insecure` does, which checks at least.
    Plain,
    /// By the suite that sessions prefer on this CPU.
    Sealed,
}

impl Sealing {
    /// What the end that is `role` closes and opens its packets with.
    pub(super) fn end(self, role: Role) -> Closer {
        // Known to all: nobody's bytes are hidden here, only the work is done.
        let secret = |byte| Secret([byte; SECRET_SIZE]);
        let keys = Keys { client_to_server: secret(1), server_to_client: secret(2) };
        let sealed = self == Self::Sealed;
        Closer { protector: sealed.then(|| Protector::new(Suite::preferred(), &keys, role)), number: 0 }
    }
}

/// See [`Sealing::end`].
pub(super) struct Closer {
    protector: Option<Protector>,
    /// The next packet's.
    number: u64,
}

impl Closer {
    /// Writes header and tag of `packet`, which has room for both, and seals what lies between them.
    pub(super) fn close(&mut self, packet: &mut [u8]) {
        let Some(protector) = &mut self.protector else { return };
        let header = Header {
            kind: PacketKind::Data,
            epoch: protector.epoch(),
            length: packet.len() as u16,
            session: SessionId(1),
            number: PacketNumber(self.number),
        };
        header.encode(&mut packet[..HEADER_SIZE]);
        self.number += 1;
        protector.seal(packet);
    }

    /// Opens `packet` in place; false when it is not what the other end closed.
    pub(super) fn open(&mut self, packet: &mut [u8]) -> bool {
        self.protector.as_mut().is_none_or(|protector| protector.open(packet).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_limit_pays_for_the_cipher_and_notices_damage() {
        let (mut here, mut there) = (Sealing::Sealed.end(Role::Client), Sealing::Sealed.end(Role::Server));
        for _ in 0..3 {
            let mut packet = vec![7u8; 100];
            here.close(&mut packet);
            assert_ne!(packet[HEADER_SIZE..84], [7; 68], "it is hidden");
            let mut damaged = packet.clone();
            damaged[50] ^= 1;
            assert!(!there.open(&mut damaged));
            assert!(there.open(&mut packet));
            assert_eq!(packet[HEADER_SIZE..84], [7; 68]);
        }
    }

    #[test]
    fn a_plain_limit_touches_nothing() {
        let mut packet = vec![7u8; 100];
        Sealing::Plain.end(Role::Client).close(&mut packet);
        assert!(Sealing::Plain.end(Role::Server).open(&mut packet));
        assert_eq!(packet, [7; 100]);
    }
}
