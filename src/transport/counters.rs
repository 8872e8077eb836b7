//! What an engine counted. One writer, the worker; readers take a copy.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the engine was made. Each only grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Name and value of each counter, in the order of this file.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// The sum with another worker's.
            #[must_use]
            pub fn plus(&self, other: &Counters) -> Counters {
                Counters { $($name: self.$name + other.$name,)* }
            }

            /// What was counted since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Counters) -> Counters {
                Counters { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }
    };
}

counters! {
    /// Packets built and handed to the backend.
    packets_sent,
    /// Their bytes.
    bytes_sent,
    /// Packets that arrived, good or bad.
    packets_received,
    /// Their bytes.
    bytes_received,
    /// Units sent again.
    retransmitted,
    /// Packets declared lost.
    lost,
    /// Units sent again though a packet that had left before brought them: needless probes, and losses
    /// declared too early.
    spurious,
    /// Bytes of the packets that sent units again.
    bytes_retransmitted,
    /// Packets declared lost whose ack came later.
    losses_mistaken,
    /// Times everything sent for three probe timeouts was lost.
    congestion_persistent,
    /// Packets that arrived twice.
    duplicate_packets,
    /// Units that arrived again under a new packet number.
    duplicate_units,
    /// Packets whose tag or header was wrong.
    corrupt,
    /// Packets for sessions that are not here.
    unknown_session,
    /// Packets too short or too long to be one of ours.
    malformed,
    /// Units beyond the window W: dropped.
    beyond_window,
    /// Acks sent alone.
    acks_alone,
    /// Probe timers that fired.
    probes,
    /// Probes that repaired a loss.
    probes_repairing,
    /// Times a new unit waited because W units were unacknowledged.
    window_full,
    /// Times a large message waited for a GRANT.
    grant_waits,
    /// Times new units waited for session credit and BLOCKED was said.
    blocked,
    /// Times new units waited for the congestion window.
    congestion_limited,
    /// Congestion events that cut a window.
    congestion_cuts,
    /// Acks that told of packets marked "congestion experienced".
    ce_marks,
    /// Active blocks returned by sessions gone idle.
    idle_returns,
    /// Sessions opened.
    sessions_opened,
    /// Sessions that ended, in any way.
    sessions_closed,
    /// Sessions that failed because the peer restarted.
    peer_restarts,
    /// Sessions that failed because the peer fell silent.
    peer_timeouts,
    /// Sessions that failed because nothing they sent was acknowledged any more.
    paths_dead,
    /// Sessions closed because the peer broke the protocol.
    violations,
    /// Handshake packets sent.
    handshakes_sent,
    /// Handshake packets received.
    handshakes_received,
    /// Of these, first messages without a cookie.
    inits_bare,
    /// And with one.
    inits_with_cookie,
    /// Handshake packets refused: bad cookie, bad version, too many sessions.
    handshakes_refused,
    /// Stateless resets sent.
    resets_sent,
    /// Messages accepted from the application (calls and replies apart).
    messages_sent,
    /// Messages delivered to the application.
    messages_delivered,
    /// Bytes of messages, requests and replies delivered.
    payload_delivered,
    /// Calls issued.
    calls_sent,
    /// Calls delivered to a handler.
    calls_received,
    /// Replies queued.
    replies_sent,
    /// Replies that reached their caller.
    replies_received,
    /// Calls that timed out.
    calls_timed_out,
    /// Datagrams sent.
    datagrams_sent,
    /// Datagrams delivered.
    datagrams_received,
    /// Datagrams dropped at the sender because its queue was full.
    datagrams_dropped,
    /// The peers' socket drops, as their STATS last told: once for each worker of a peer's, however many sessions
    /// there are with it.
    peer_socket_drops,
    /// Packets that reached the peers damaged, as their STATS last told.
    peer_corrupt,
    /// Packets the backend had no memory for; they were built in a later turn.
    train_waits,
    /// First messages that might be copies: their senders were asked for a cookie.
    handshakes_unproven,
    /// Packets that came before the session they belong to was ready.
    early_packets,
    /// Resets that prove nothing: dropped.
    resets_forged,
    /// Keys exchanged for the next, in the sending direction.
    key_updates,
    /// Sessions refused because their peer holds as many as it may.
    over_sessions,
    /// Calls refused because their peer has as many open as it may.
    over_calls,
    /// Calls refused because their peer has not acknowledged as many bytes as may be kept for it.
    over_unacked,
    /// Times a large message waited because its peer has as many bytes in pieces as it may.
    over_reassembly,
    /// Sessions ended because their key may no longer come in.
    expelled,
    /// Lanes that the peers granted.
    lanes_opened,
    /// Lanes granted to peers.
    lanes_granted,
    /// Lanes refused to peers, for whatever reason.
    lanes_refused,
    /// Lanes refused because their session, or their peer, has as many as it may.
    over_lanes,
    /// Times the packet size fell back because large packets vanished or were refused.
    black_holes,
    /// Parts sent of units that no longer fit a packet.
    parts_sent,
    /// Parts received.
    parts_received,
    /// Parts refused for want of memory: they come again.
    parts_refused,
    /// Addresses from which a peer was heard and was asked whether it receives there.
    paths_challenged,
    /// Sessions that went on at another address of their peer's.
    paths_changed,
    /// Addresses that did not prove to be the peer's.
    paths_refused,
}
