//! Every maximum, in one place, with the relations between them asserted when the crate is built.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Bytes of the clear packet header (P-1.2: kind, epoch, length, session, packet number).
pub const HEADER_SIZE: usize = 16;
/// Bytes of the tag that closes each packet, AEAD or CRC alike.
pub const TAG_SIZE: usize = 16;
/// The largest packet (one UDP payload) this build sends or takes, in bytes.
pub const PACKET_SIZE_MAX: usize = 16 * 1024;
/// Bytes of the slot that a unit of small records starts in; one that outgrows it moves to a slot of a packet.
pub const SLOT_SIZE_SMALL: usize = 512;
/// The packet size every path must carry (RFC 9000 §14: 1,200 bytes).
pub const PACKET_SIZE_MIN: usize = 1_200;
/// Bytes at the front of a packet kept free for control frames, so that an ack always rides along.
pub const CONTROL_SIZE_RESERVED: usize = 96;
/// Bytes one lent train buffer holds.
pub const TRAIN_BUFFER_SIZE: usize = 64 * 1024;
/// The most bytes one GSO send carries: an IPv4 packet less its headers (65,535 - 20 - 8).
pub const TRAIN_SIZE_MAX: usize = 65_507;
/// The most packets in one train (UDP_MAX_SEGMENTS was 64 before Linux 6.9).
pub const TRAIN_PACKETS_MAX: usize = 64;
/// A train leaves before its turn ends once it holds this many packets…
pub const TRAIN_PACKETS_EARLY: usize = 8;
/// …or this many bytes; both grow with what came in at once, so that much is answered in few system calls.
pub const TRAIN_SIZE_EARLY: usize = 16 * 1024;
/// Packet-number ranges in one ack.
pub const ACK_RANGES_MAX: usize = 32;
/// Units a receiver tracks above its floor by default, and the most it may grant.
pub const UNIT_WINDOW_DEFAULT: u32 = 4_096;
/// See [`UNIT_WINDOW_DEFAULT`].
pub const UNIT_WINDOW_MAX: u32 = 65_536;
/// The smallest unit window a peer may declare.
pub const UNIT_WINDOW_MIN: u32 = 64;
/// The largest message sent as one record; a larger one is cut into fragments.
pub const RECORD_SIZE_MAX: usize = PACKET_SIZE_MAX;
/// Messages up to this size live on session credit alone; larger ones also need a GRANT beyond it.
pub const UNGRANTED_SIZE_MAX: u64 = 64 * 1024;
/// The largest message a peer may send unless configured otherwise.
pub const MESSAGE_SIZE_DEFAULT: u64 = 64 << 20;
/// The largest message that can be configured (a `u32` of fragments' offsets).
pub const MESSAGE_SIZE_MAX: u64 = 1 << 32;
/// Call slots a peer grants by default: calls in flight in one direction of one session.
pub const CALL_SLOTS_DEFAULT: u32 = 16_384;
/// A slot index is 16 bits of the call id.
pub const CALL_SLOTS_MAX: u32 = 65_536;
/// Ordered channels one session may open.
pub const CHANNELS_MAX: usize = 1_024;
/// Messages one ordered channel holds back behind a gap.
pub const CHANNEL_HELD_MAX: usize = 65_536;
/// Large messages in reassembly at once in one session.
pub const REASSEMBLIES_MAX: usize = 1_024;
/// Bytes of large messages that all sessions of one worker may hold in reassembly.
pub const REASSEMBLY_BYTES_MAX: u64 = 256 << 20;
/// Calls run in place between two transmits.
pub const HANDLER_CALLS_MAX: usize = 256;
/// Time spent in handlers between two transmits.
pub const HANDLER_TIME_MAX: Duration = Duration::from_micros(50);
/// Sessions of one worker.
pub const SESSIONS_MAX: usize = 65_536;
/// First messages on their way to one address at once: a socket buffer of 208 KiB, what an unprivileged server
/// gets, holds ninety.
pub const ASKING_MAX: usize = 64;
/// Sessions that one peer may open with one worker, unless it is given another quota.
pub const PEER_SESSIONS_DEFAULT: u32 = 16_384;
/// Of these, lanes: sessions asked for over another, without a handshake.
pub const PEER_LANES_DEFAULT: u32 = 1_024;
/// Sessions that one handshake may lead to at one end, its own included, unless configured otherwise.
pub const LANES_DEFAULT: u32 = 64;
/// Calls that one peer may have open towards one worker, all its sessions together, unless given otherwise.
pub const PEER_CALLS_DEFAULT: u32 = 262_144;
/// Bytes of large messages that one peer may have in pieces at one worker, unless given otherwise.
pub const PEER_REASSEMBLY_DEFAULT: u64 = 128 << 20;
/// Bytes that one worker keeps for one peer until it acknowledges them, unless given otherwise: from there
/// on its calls are refused.
pub const PEER_UNACKED_DEFAULT: u64 = 256 << 20;
/// Workers of one endpoint: the worker's index is one byte of the session id.
pub const WORKERS_MAX: usize = 255;
/// Receive buffers a backend fills in one turn.
pub const RECEIVE_BATCH_MAX: usize = 16;
/// Train buffers one backend lends at once.
pub const TRAIN_BUFFERS_MAX: usize = 64;
/// What a unit costs in session credit beside its bytes: the kernel charges a packet its true size.
pub const UNIT_CREDIT_OVERHEAD: u64 = 768;
/// Bytes queued in one session before a send is refused with back-pressure.
pub const SEND_QUEUE_SIZE_MAX: usize = 4 << 20;
/// How long a lease of durable calls lasts unless it is used, unless configured otherwise.
pub const DURABLE_TERM_DEFAULT: Duration = Duration::from_secs(600);
/// Durable calls that may be incomplete under one lease, unless configured otherwise.
pub const DURABLE_WINDOW_DEFAULT: u32 = 256;
/// Leases of one reply log, unless configured otherwise.
pub const DURABLE_LEASES_DEFAULT: usize = 16_384;
/// Leases of one client, unless configured otherwise.
pub const DURABLE_CLIENT_LEASES_DEFAULT: usize = 64;
/// Bytes that a reply log keeps for all clients, unless configured otherwise.
pub const DURABLE_BYTES_DEFAULT: u64 = 256 << 20;
/// Bytes that a reply log keeps for one client, unless configured otherwise.
pub const DURABLE_CLIENT_BYTES_DEFAULT: u64 = 8 << 20;
/// The largest reply that is recorded, unless configured otherwise.
pub const DURABLE_REPLY_SIZE_DEFAULT: usize = 64 << 10;
/// Durable calls in one commit.
pub const DURABLE_BATCH_CALLS_MAX: usize = 1_024;
/// Bytes of durable calls in one commit, but for the last.
pub const DURABLE_BATCH_BYTES_MAX: usize = 4 << 20;

const _: () = {
    assert!(DURABLE_REPLY_SIZE_DEFAULT as u64 <= DURABLE_CLIENT_BYTES_DEFAULT);
    assert!(DURABLE_CLIENT_BYTES_DEFAULT <= DURABLE_BYTES_DEFAULT);
    assert!(DURABLE_CLIENT_LEASES_DEFAULT <= DURABLE_LEASES_DEFAULT);
    assert!(PACKET_SIZE_MIN > HEADER_SIZE + TAG_SIZE + CONTROL_SIZE_RESERVED);
    assert!(PACKET_SIZE_MAX <= u16::MAX as usize);
    assert!(SLOT_SIZE_SMALL < PACKET_SIZE_MAX);
    assert!(TRAIN_SIZE_MAX <= TRAIN_BUFFER_SIZE);
    assert!(PACKET_SIZE_MAX <= TRAIN_SIZE_MAX);
    assert!(UNIT_WINDOW_DEFAULT.is_power_of_two());
    assert!(UNIT_WINDOW_MAX.is_power_of_two());
    assert!(CALL_SLOTS_DEFAULT <= CALL_SLOTS_MAX);
    assert!(MESSAGE_SIZE_DEFAULT <= MESSAGE_SIZE_MAX);
    assert!(PEER_SESSIONS_DEFAULT as usize <= SESSIONS_MAX);
    assert!(PEER_LANES_DEFAULT < PEER_SESSIONS_DEFAULT);
    assert!(LANES_DEFAULT <= PEER_LANES_DEFAULT);
    assert!(MESSAGE_SIZE_DEFAULT <= PEER_REASSEMBLY_DEFAULT);
    assert!(PEER_REASSEMBLY_DEFAULT <= REASSEMBLY_BYTES_MAX);
    assert!(UNGRANTED_SIZE_MAX > PACKET_SIZE_MAX as u64);
};
