//! What all sessions of one worker share: memory, counters, events, budgets.

use std::collections::VecDeque;

use crate::bounds::REASSEMBLY_BYTES_MAX;
use crate::crypto::PublicKey;
use crate::rings::Slab;
use crate::time::Timestamp;
use crate::transport::Event;
use crate::transport::accounts::Accounts;
use crate::transport::config::Config;
use crate::transport::counters::Counters;
use crate::transport::credit;
use crate::transport::lane::LaneNote;
use crate::transport::late_ack::LateAck;
use crate::transport::path_facts::PathFacts;
use crate::transport::peer_workers::PeerWorkers;
use crate::transport::quota::Quota;
use crate::transport::reassembly::{Grant, Reserve};
use crate::transport::sent::SentPacket;

/// The worker-wide part of the engine.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) slab: Slab,
    pub(crate) counters: Counters,
    pub(crate) events: Vec<Event>,
    /// What sessions have to say to other workers about lanes.
    pub(crate) lane_notes: VecDeque<LaneNote>,
    pub(crate) reserve: Reserve,
    pub(crate) accounts: Accounts,
    pub(crate) peer_workers: PeerWorkers,
    pub(crate) paths: PathFacts,
    /// The ack that is read when the packets of this turn have left.
    pub(crate) late_ack: LateAck,
    /// Scratch for loss detection, kept to avoid allocation.
    pub(crate) lost: Vec<(u64, SentPacket)>,
    /// Scratch for acknowledged units, and whether a probe carried them.
    pub(crate) acked_units: Vec<(u64, bool)>,
    /// Scratch for the control frames of the packet being built.
    pub(crate) control_scratch: Vec<u8>,
    /// Scratch for the unit that a part is cut from.
    pub(crate) part_scratch: Vec<u8>,
    /// Scratch for grants.
    pub(crate) grants: Vec<Grant>,
    /// Sessions that sent something in the last while.
    pub(crate) active_sessions: u64,
    /// Packets the kernel dropped at our socket, as last read.
    pub(crate) socket_drops: u64,
    /// No loss or probe timer fires while the receive batch came back full: acks may still wait in the socket.
    pub(crate) receive_full: bool,
    receive_buffer_size: u64,
}

impl Shared {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            slab: Slab::new(config.slab_slots),
            counters: Counters::default(),
            events: Vec::new(),
            lane_notes: VecDeque::new(),
            // At least one message of the largest size, which could never be granted otherwise.
            reserve: Reserve::new(REASSEMBLY_BYTES_MAX.max(config.message_size_max)),
            accounts: Accounts::default(),
            peer_workers: PeerWorkers::default(),
            paths: PathFacts::default(),
            late_ack: LateAck::default(),
            lost: Vec::new(),
            acked_units: Vec::new(),
            control_scratch: Vec::new(),
            part_scratch: Vec::new(),
            grants: Vec::new(),
            active_sessions: 0,
            socket_drops: 0,
            receive_full: false,
            receive_buffer_size: config.receive_buffer_size,
        }
    }

    /// A peer asked for a session or a lane beyond its quota.
    pub(crate) fn tell_over_sessions(&mut self, now: Timestamp, peer: &PublicKey, quota: Quota) {
        if self.accounts.tells_of(peer, quota, now) {
            self.events.push(Event::OverQuota { session: None, peer: Some(*peer), quota });
        }
    }

    /// What a session that says nothing may send at once: one packet.
    pub(crate) fn initial_credit(&self) -> u64 {
        credit::IDLE_SHARE
    }

    /// The share of an active session whose round trip takes `rtt_ns`.
    pub(crate) fn credit_share(&self, rtt_ns: u64) -> u64 {
        credit::session_share(self.receive_buffer_size, self.active_sessions, rtt_ns)
    }
}
