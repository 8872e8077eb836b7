//! What sealing allows: our own packets, sealed by our own code, with nothing around it.

use std::hint::black_box;

use super::Options;
use super::duel::Watch;
use crate::bounds::HEADER_SIZE;
use crate::crypto::{Keys, Protector, Role, SECRET_SIZE, Secret, Suite};
use crate::wire::{Header, PacketKind, PacketNumber, SessionId};

/// Packets of `size` bytes sealed one after the other, in bytes a second.
pub(super) fn seal_byte_s(options: &Options, size: usize) -> f64 {
    let secret = |byte| Secret([byte; SECRET_SIZE]);
    let keys = Keys { client_to_server: secret(1), server_to_client: secret(2) };
    let mut protector = Protector::new(Suite::preferred(), &keys, Role::Client);
    let mut packet = vec![7u8; size];
    let mut watch = Watch::new(options.duration_each);
    let mut number = 0;
    loop {
        for _ in 0..32 {
            let (kind, session) = (PacketKind::Data, SessionId(1));
            let header =
                Header { kind, epoch: 0, length: size as u16, session, number: PacketNumber(number) };
            header.encode(&mut packet[..HEADER_SIZE]);
            number += 1;
            protector.seal(black_box(&mut packet));
        }
        if !watch.done(32 * size as u64) {
            return watch.per_s().unwrap_or(0.0);
        }
    }
}
