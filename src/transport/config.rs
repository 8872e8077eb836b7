//! What an endpoint is told before it starts.

use std::time::Duration;

use crate::bounds;
use crate::transport::congestion::CongestionKind;
use crate::transport::quota::Quotas;
use crate::transport::security::Security;

/// Which constants a session uses (PROTOCOL.md §10; each departure from an RFC is argued in §13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// `Dc` when the smallest RTT is below one millisecond, else `Wan`.
    #[default]
    Auto,
    /// Data centre: microsecond timers, delay-based control.
    Dc,
    /// Wide area: RFC 9002's constants.
    Wan,
}

/// An endpoint's settings. All have working defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest packet to send or take, in bytes of UDP payload.
    pub packet_size_max: usize,
    /// Units this side tracks above its floor (a power of two, 64 to 65,536).
    pub unit_window: u32,
    /// Calls the peer may have open towards this side (at most 65,536).
    pub call_slots: u32,
    /// The largest message this side takes, in bytes.
    pub message_size_max: u64,
    /// Sessions that one handshake of a peer may lead to on this side, that of the handshake included: 1 grants
    /// no lanes. Each worker holds as many more as the peer's quota of lanes lets it.
    pub lanes: u32,
    /// How long this side may delay an ack.
    pub max_ack_delay: Duration,
    /// A session that hears nothing for this long is dead.
    pub idle_timeout: Duration,
    /// How often a quiet session says it is alive while calls wait; zero: never.
    pub keep_alive: Duration,
    /// How long `close` waits for what is unacknowledged.
    pub drain_timeout: Duration,
    /// Which constants to use.
    pub profile: Profile,
    /// Which congestion controller to use.
    pub congestion: CongestionKind,
    /// Memory of one worker for units that are queued or unacknowledged, in full packets of
    /// [`PACKET_SIZE_MAX`](crate::bounds::PACKET_SIZE_MAX) bytes: so many large units, or 32 times as many of at most
    /// [`SLOT_SIZE_SMALL`](crate::bounds::SLOT_SIZE_SMALL) bytes.
    pub slab_slots: usize,
    /// The socket's receive buffer as the kernel reports it, in bytes of true size.
    pub receive_buffer_size: u64,
    /// This incarnation: a random number drawn when the process starts.
    pub boot_id: u64,
    /// The index of the worker that runs this engine.
    pub worker_index: u8,
    /// 32 unpredictable bytes, from which session ids, cookies and ephemeral keys are drawn.
    pub entropy: [u8; 32],
    /// What is proven, and who is believed. Insecure unless set: an endpoint sets it.
    pub security: Security,
    /// What each peer may take of a worker, unless the gate gives it another quota.
    pub quotas: Quotas,
    /// Packets sealed with one key before the next (at most 2^22; RFC 9001 §6.6).
    pub key_update_packets: u64,
    /// How long a key seals before the next.
    pub key_update_interval: Duration,
}

/// Four packets fill one GSO send to the last bytes: 4 x 16,368 = 65,472 of 65,507.
const PACKET_SIZE_DEFAULT: usize = 16_368;

impl Default for Config {
    fn default() -> Self {
        Self {
            packet_size_max: PACKET_SIZE_DEFAULT,
            unit_window: bounds::UNIT_WINDOW_DEFAULT,
            call_slots: bounds::CALL_SLOTS_DEFAULT,
            message_size_max: bounds::MESSAGE_SIZE_DEFAULT,
            lanes: bounds::LANES_DEFAULT,
            max_ack_delay: Duration::from_micros(25),
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(1),
            profile: Profile::Auto,
            congestion: CongestionKind::Auto,
            slab_slots: 8_192,
            receive_buffer_size: 212_992,
            boot_id: 0,
            worker_index: 0,
            entropy: [0; 32],
            security: Security::insecure(),
            quotas: Quotas::default(),
            key_update_packets: 1 << 22,
            key_update_interval: Duration::from_secs(120),
        }
    }
}
