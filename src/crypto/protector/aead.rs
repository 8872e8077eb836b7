//! Sealed packets: an AEAD whose nonce is the packet number and whose additional data is the header.
//!
//! ```text
//!  secret 0 --> key, iv of epoch 0
//!     | update
//!  secret 1 --> key, iv of epoch 1 ...
//!
//!  receiving:  previous | current | next        sending:  current
//! ```
//!
//! Each direction steps by itself: its sender names the epoch in the header, its receiver follows when a
//! packet of the next epoch opened, and keeps the one before for packets that were overtaken.
//!
//! A session that goes idle keeps its secrets alone ([`DormantAead`]): expanded, each key takes half a kilobyte.

use super::epoch_key::{EpochKey, number_of};
use super::{OpenError, Role, Suite};
use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::crypto::kdf::expand;
use crate::crypto::{Keys, Secret};

/// Seals and opens with one session's keys.
#[derive(Debug)]
pub struct AeadProtector {
    send: Sending,
    receive: Receiving,
}

/// How far a session's keys are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AeadUsage {
    /// Packets sealed with the present key.
    pub sealed: u64,
    /// Packets of this session that did not open, in its life.
    pub forged: u64,
}

impl AeadUsage {
    /// True when so many forgeries were tried that one more might succeed (RFC 9001 §6.6): the session
    /// must end.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.forged >= FORGERIES_MAX
    }
}

/// RFC 9001 §6.6: 2^36 for ChaCha20-Poly1305, more for AES-GCM; the smaller serves for both.
const FORGERIES_MAX: u64 = 1 << 36;

/// What there is of the sending direction beside its expanded key.
#[derive(Clone, Debug)]
struct SendState {
    suite: Suite,
    secret: Secret,
    epoch: u8,
    sealed: u64,
    /// Numbers run on across epochs, and only rise.
    last_number: Option<u64>,
}

#[derive(Debug)]
struct Sending {
    state: SendState,
    key: EpochKey,
}

/// What there is of the receiving direction beside its expanded keys.
#[derive(Clone, Debug)]
struct ReceiveState {
    suite: Suite,
    secret: Secret,
    epoch: u8,
    forged: u64,
    /// The number after the largest that was opened.
    expected: u64,
}

#[derive(Debug)]
struct Receiving {
    state: ReceiveState,
    previous: Option<EpochKey>,
    current: EpochKey,
    /// Made ahead, so that the first packet of an epoch takes no longer than others.
    next: EpochKey,
}

/// The keys of a session on which nothing is under way: secrets, from which they are expanded again.
#[derive(Debug)]
pub struct DormantAead {
    send: SendState,
    receive: ReceiveState,
}

impl AeadProtector {
    /// # Panics
    /// When `suite` is not an AEAD.
    pub(super) fn new(suite: Suite, keys: &Keys, role: Role) -> Self {
        let (send, receive) = match role {
            Role::Client => (&keys.client_to_server, &keys.server_to_client),
            Role::Server => (&keys.server_to_client, &keys.client_to_server),
        };
        let send = SendState { suite, secret: send.clone(), epoch: 0, sealed: 0, last_number: None };
        let receive = ReceiveState { suite, secret: receive.clone(), epoch: 0, forged: 0, expected: 0 };
        DormantAead { send, receive }.awake()
    }

    /// Nothing is under way: only the secrets are kept. A packet of an earlier epoch that comes after this was under way
    /// for so long that it counts as lost.
    pub(super) fn rest(&self) -> DormantAead {
        DormantAead { send: self.send.state.clone(), receive: self.receive.state.clone() }
    }

    #[inline]
    pub(super) fn epoch(&self) -> u8 {
        self.send.state.epoch
    }

    #[inline]
    pub(super) fn seal(&mut self, packet: &mut [u8]) {
        let (head, rest) = packet.split_first_chunk_mut().expect("a packet built here has a header");
        let number = self.send.state.take_number(head);
        self.send.key.seal(number, head, rest);
    }

    /// Whether a large message's bytes may be sealed from where they lie, in the pass that would have copied them.
    #[inline]
    pub(super) fn seals_from_elsewhere(&self) -> bool {
        self.send.key.seals_from_elsewhere()
    }

    /// [`AeadProtector::seal`] for a packet whose bytes from `at` on are `elsewhere`.
    pub(super) fn seal_around(&mut self, packet: &mut [u8], at: usize, elsewhere: &[u8]) {
        let (head, rest) = packet.split_first_chunk_mut().expect("a packet built here has a header");
        let number = self.send.state.take_number(head);
        self.send.key.seal_around(number, head, rest, at - HEADER_SIZE, elsewhere);
    }

    #[inline]
    pub(super) fn open(&mut self, packet: &mut [u8]) -> Result<(), OpenError> {
        let (head, sealed) = split(packet)?;
        let opened = self.receive.open(head, sealed);
        self.receive.state.forged += u64::from(opened.is_err());
        opened
    }

    pub(super) fn update(&mut self) {
        let Sending { state, key } = &mut self.send;
        state.secret = following(&state.secret);
        *key = EpochKey::new(state.suite, &state.secret);
        state.epoch = state.epoch.wrapping_add(1);
        state.sealed = 0;
    }

    pub(super) fn usage(&self) -> AeadUsage {
        AeadUsage { sealed: self.send.state.sealed, forged: self.receive.state.forged }
    }
}

impl DormantAead {
    /// With all keys expanded.
    pub(super) fn awake(&self) -> AeadProtector {
        let (send, receive) = (&self.send, &self.receive);
        AeadProtector {
            send: Sending { key: EpochKey::new(send.suite, &send.secret), state: send.clone() },
            receive: Receiving {
                previous: None,
                current: EpochKey::new(receive.suite, &receive.secret),
                next: EpochKey::new(receive.suite, &following(&receive.secret)),
                state: receive.clone(),
            },
        }
    }

    /// Opens `packet` and wakes. A forgery costs the expansion of one key, and wakes nobody.
    pub(super) fn open(&mut self, packet: &mut [u8]) -> Result<AeadProtector, OpenError> {
        let (head, sealed) = split(packet)?;
        let ReceiveState { suite, secret, epoch, forged, expected } = &mut self.receive;
        let number = number_of(head, *expected);
        let steps = head[EPOCH_AT].wrapping_sub(*epoch);
        let opened = match steps {
            0 => EpochKey::new(*suite, secret).open(number, head, sealed),
            1 => EpochKey::new(*suite, &following(secret)).open(number, head, sealed),
            _ => Err(OpenError::Epoch { epoch: head[EPOCH_AT] }),
        };
        *forged += u64::from(opened.is_err());
        opened?;
        *expected = number.wrapping_add(1).max(*expected);
        let mut awake = self.awake();
        if steps == 1 {
            awake.receive.step();
        }
        Ok(awake)
    }

    pub(super) fn epoch(&self) -> u8 {
        self.send.epoch
    }

    pub(super) fn usage(&self) -> AeadUsage {
        AeadUsage { sealed: self.send.sealed, forged: self.receive.forged }
    }
}

/// The header, and what is sealed behind it.
#[inline]
fn split(packet: &mut [u8]) -> Result<(&[u8; HEADER_SIZE], &mut [u8]), OpenError> {
    let size = packet.len();
    match packet.split_first_chunk_mut() {
        Some((head, sealed)) if sealed.len() >= TAG_SIZE => Ok((head, sealed)),
        _ => Err(OpenError::TooShort { size }),
    }
}

impl SendState {
    #[inline]
    fn take_number(&mut self, head: &[u8; HEADER_SIZE]) -> u64 {
        let number = number_of(head, self.last_number.map_or(0, |last| last + 1));
        assert!(self.last_number.is_none_or(|last| last < number), "a packet number is never reused");
        self.last_number = Some(number);
        self.sealed += 1;
        number
    }
}

impl Receiving {
    #[inline]
    fn open(&mut self, head: &[u8; HEADER_SIZE], sealed: &mut [u8]) -> Result<(), OpenError> {
        let number = number_of(head, self.state.expected);
        self.open_numbered(number, head, sealed)?;
        self.state.expected = number.wrapping_add(1).max(self.state.expected);
        Ok(())
    }

    #[inline(always)]
    fn open_numbered(
        &mut self,
        number: u64,
        head: &[u8; HEADER_SIZE],
        sealed: &mut [u8],
    ) -> Result<(), OpenError> {
        let epoch = head[EPOCH_AT];
        if epoch == self.state.epoch {
            return self.current.open(number, head, sealed);
        }
        if epoch == self.state.epoch.wrapping_add(1) {
            self.next.open(number, head, sealed)?;
            self.step();
            return Ok(());
        }
        match &mut self.previous {
            Some(previous) if epoch == self.state.epoch.wrapping_sub(1) => {
                previous.open(number, head, sealed)
            }
            _ => Err(OpenError::Epoch { epoch }),
        }
    }

    /// The peer seals with the next keys from here on.
    #[cold]
    fn step(&mut self) {
        let ReceiveState { suite, secret, epoch, .. } = &mut self.state;
        *secret = following(secret);
        let next = EpochKey::new(*suite, &following(secret));
        let current = std::mem::replace(&mut self.next, next);
        self.previous = Some(std::mem::replace(&mut self.current, current));
        *epoch = epoch.wrapping_add(1);
    }
}

/// The secret of the epoch after the one of `secret`; the way back is closed.
fn following(secret: &Secret) -> Secret {
    Secret(expand(&secret.0, "update"))
}

/// Where the header names the epoch.
const EPOCH_AT: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Header, PacketKind, PacketNumber, SessionId};

    fn pair() -> (AeadProtector, AeadProtector) {
        let keys = Keys { client_to_server: Secret([1; 32]), server_to_client: Secret([2; 32]) };
        let end = |role| AeadProtector::new(Suite::Aes128Gcm, &keys, role);
        (end(Role::Client), end(Role::Server))
    }

    fn sealed(sealer: &mut AeadProtector, number: u64) -> Vec<u8> {
        let mut packet = vec![0; 100];
        let (kind, session) = (PacketKind::Data, SessionId(1));
        Header { kind, epoch: sealer.epoch(), length: 100, session, number: PacketNumber(number) }
            .encode(&mut packet);
        sealer.seal(&mut packet);
        packet
    }

    #[test]
    fn packets_overtaken_by_a_key_update_still_open_and_those_two_epochs_old_do_not() {
        let (mut client, mut server) = pair();
        let overtaken: Vec<_> = (0..2).map(|number| sealed(&mut client, number)).collect();
        client.update();
        assert_eq!(server.open(&mut sealed(&mut client, 2)), Ok(()));
        assert_eq!(server.open(&mut overtaken[0].clone()), Ok(()));
        client.update();
        assert_eq!(server.open(&mut sealed(&mut client, 3)), Ok(()));
        assert_eq!(server.open(&mut overtaken[1].clone()), Err(OpenError::Epoch { epoch: 0 }));
    }

    #[test]
    fn epochs_go_round_after_256_updates() {
        let (mut client, mut server) = pair();
        for number in 0..600 {
            assert_eq!(server.open(&mut sealed(&mut client, number)), Ok(()), "{number}");
            client.update();
        }
        assert_eq!(server.usage().forged, 0);
    }

    #[test]
    fn dormant_keys_open_the_present_epoch_and_the_next_and_seal_with_numbers_that_rise() {
        let (mut client, mut server) = pair();
        client.update();
        assert_eq!(server.open(&mut sealed(&mut client, 0)), Ok(()));
        let mut dormant = server.rest();
        assert_eq!((dormant.epoch(), dormant.usage()), (server.epoch(), server.usage()));
        let mut server = dormant.open(&mut sealed(&mut client, 1)).expect("it is of the present epoch");
        let mut dormant = server.rest();
        client.update();
        let mut server_later = dormant.open(&mut sealed(&mut client, 2)).expect("it is of the next epoch");
        assert_eq!(server_later.open(&mut sealed(&mut client, 3)), Ok(()));
        assert_eq!(client.open(&mut sealed(&mut server, 0)), Ok(()));
        let slept = server.rest().awake();
        assert_eq!(slept.send.state.last_number, Some(0));
    }

    #[test]
    fn a_nonce_is_made_of_the_whole_number_of_which_a_header_tells_32_bits() {
        // P-1.9, P-11.5.
        let (mut client, mut server) = pair();
        let early = sealed(&mut client, 5);
        assert_eq!(server.open(&mut early.clone()), Ok(()));
        let first = u64::from(u32::MAX) - 1;
        for number in (first - (1 << 31)..=first + 8).step_by(1 << 30).chain(first + 1..first + 8) {
            let mut packet = sealed(&mut client, number);
            assert_eq!(packet[12..HEADER_SIZE], (number as u32).to_le_bytes());
            assert_eq!(server.open(&mut packet), Ok(()), "{number}");
            assert_eq!(client.send.state.last_number, Some(number));
        }
        // The same low bits as a number that is next: its nonce is another.
        assert_eq!(server.open(&mut early.clone()), Err(OpenError::Tag));
        let mut dormant = server.rest();
        assert!(dormant.open(&mut early.clone()).is_err());
        assert!(
            dormant.open(&mut sealed(&mut client, first + 9)).is_ok(),
            "those that slept know where they stood"
        );
    }

    #[test]
    fn a_forgery_wakes_no_dormant_keys_and_is_counted() {
        let (mut client, server) = pair();
        let mut dormant = server.rest();
        for (epoch, error) in [(0, OpenError::Tag), (1, OpenError::Tag), (2, OpenError::Epoch { epoch: 2 })] {
            let mut forged = sealed(&mut client, u64::from(epoch));
            forged[EPOCH_AT] = epoch;
            forged[50] ^= 1;
            assert_eq!(dormant.open(&mut forged).err(), Some(error));
        }
        assert_eq!(dormant.open(&mut [0; 31]).err(), Some(OpenError::TooShort { size: 31 }));
        assert_eq!(dormant.usage(), AeadUsage { sealed: 0, forged: 3 });
        assert!(dormant.open(&mut sealed(&mut client, 7)).is_ok());
    }

    #[test]
    fn a_forged_packet_of_the_next_epoch_moves_nothing() {
        let (mut client, mut server) = pair();
        let honest = sealed(&mut client, 0);
        let mut forged = honest.clone();
        forged[EPOCH_AT] = 1;
        assert_eq!(server.open(&mut forged), Err(OpenError::Tag));
        assert_eq!(server.open(&mut honest.clone()), Ok(()));
        assert_eq!(server.usage(), AeadUsage { sealed: 0, forged: 1 });
    }

    #[test]
    #[should_panic(expected = "a packet number is never reused")]
    fn a_nonce_is_never_used_twice() {
        let (mut client, _) = pair();
        sealed(&mut client, 5);
        client.update();
        sealed(&mut client, 5);
    }
}
