//! What an ack teaches: which units are safe, how long the path is, what was lost.

use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::congestion::{AckInfo, Controller, LossInfo};
use crate::transport::ecn::EcnNews;
use crate::transport::late_ack::Waiting;
use crate::transport::path_mtu::CROWDED_WAIT_NS;
use crate::transport::planted::{self, Fault};
use crate::transport::sent::{Acked, NO_UNIT, SentPacket, Thresholds, carried};
use crate::transport::session::Session;
use crate::transport::shared::Shared;
use crate::transport::units_out::Body;
use crate::wire::Ack;

/// RFC 9002 §7.6.1: kPersistentCongestionThreshold.
const PERSISTENT_PTOS: u64 = 3;

/// What one ack newly acknowledged.
#[derive(Default)]
struct News {
    largest: Option<(u64, SentPacket)>,
    newest_sent_at: Timestamp,
    bytes: u64,
    packets: u64,
    smallest: u64,
    ack_largest: u64,
    spurious: u64,
    /// How long ago the oldest of them was sent.
    spurious_age_ns: u64,
    /// Packets whose unit had left again by now.
    repeated: u64,
    /// A number that was left out on purpose was acknowledged.
    lied: bool,
}

impl News {
    #[inline]
    fn note(&mut self, number: u64, packet: &SentPacket) {
        self.smallest = if self.packets == 0 { number } else { self.smallest.min(number) };
        self.packets += 1;
        if self.largest.is_none_or(|(n, _)| n < number) {
            self.largest = Some((number, *packet));
        }
        self.repeated += u64::from(packet.carried & carried::REPEATED != 0);
        self.newest_sent_at = self.newest_sent_at.max(packet.sent_at);
        self.ack_largest = self.ack_largest.max(packet.ack_largest);
    }
}

impl Session {
    /// Takes an ACK frame in: it is read once the turn's packets have left. An ack of something never
    /// sent is an attack or a bug, and ends the session.
    ///
    /// L57, RFC 9000 §13.1: "An endpoint SHOULD treat receipt of an acknowledgment for a packet it did not send
    /// as a connection error".
    #[inline(always)]
    pub(super) fn on_ack_frame(
        &mut self,
        now: Timestamp,
        ack: &Ack<'_>,
        shared: &mut Shared,
    ) -> Result<(), &'static str> {
        let Some(ack) = ack.near(self.sent.next(), self.units.next()) else {
            return Err("an ack of packets below zero");
        };
        if ack.largest().0 >= self.sent.next() {
            return Err("an ack of a packet never sent");
        }
        if ack.head.unit_floor.0 > self.units.next() {
            return Err("an ack of a unit never sent");
        }
        // Another of the same packet: the engine had those of earlier packets read.
        if rarely(shared.late_ack.is_waiting()) {
            self.read_late_ack(shared)?;
        }
        let then = (self.sent.next(), self.sent.bytes_in_flight());
        shared.late_ack.put(self.key.index, now, then, &ack);
        Ok(())
    }

    /// Reads the ack that waited, if it is this session's.
    ///
    /// # Errors
    /// What is wrong with it: the session is to be ended.
    pub(super) fn read_late_ack(&mut self, shared: &mut Shared) -> Result<(), &'static str> {
        if shared.late_ack.session() != Some(self.key.index) {
            return Ok(());
        }
        let Some(waiting) = shared.late_ack.take() else { return Ok(()) };
        let read = self.on_ack(&waiting, shared);
        shared.late_ack.give_back(waiting);
        read
    }

    /// Reads the ack that waited; a lie in it ends the session.
    pub(crate) fn settle_ack(&mut self, now: Timestamp, shared: &mut Shared) {
        if let Err(what) = self.read_late_ack(shared) {
            self.violation(now, what, shared);
        }
    }

    fn on_ack(&mut self, waiting: &Waiting, shared: &mut Shared) -> Result<(), &'static str> {
        let (now, ack) = (waiting.at, &waiting.ack());
        let news = self.acknowledge(now, ack, shared);
        if rarely(news.lied) {
            return Err("an ack of a packet that was left out on purpose");
        }
        while self.units.floor() < ack.head.unit_floor.0 {
            let floor = self.units.floor();
            self.release_unit(floor, shared);
        }
        self.received.prune_below(news.ack_largest);
        self.sample_rtt(now, ack, &news, shared);
        self.on_spurious(&news, shared);
        if let Some(largest) = news.largest.map(|(number, _)| number) {
            self.loss.largest_acked = Some(self.loss.largest_acked.map_or(largest, |l| l.max(largest)));
            self.key_use.on_acked(largest);
        }
        let marks = EcnNews {
            newly_acked: news.packets,
            smallest: news.smallest,
            ce: ack.head.ecn_ce,
            intact: ack.head.ecn_intact,
            in_order: news.largest.is_some_and(|(number, _)| number == ack.largest().0),
        };
        if rarely(self.ecn.on_ack(&marks) > 0) {
            shared.counters.ce_marks += 1;
            self.congestion.on_congestion_experienced(now, news.newest_sent_at);
        }
        if news.bytes > 0 {
            let round_end = ack.largest().0 >= self.loss.round_end;
            if round_end {
                self.loss.round_end = waiting.next;
            }
            if rarely(self.resume.is_quiet(now)) {
                self.end_quiet(now);
            }
            let window = self.congestion.window();
            self.resume.on_acked(now, ack.largest().0, news.bytes, window);
            let limited = waiting.in_flight * 2 >= window;
            self.congestion.on_ack(&AckInfo {
                now,
                bytes_acked: news.bytes,
                sent_at: news.newest_sent_at,
                rtt: &self.rtt,
                bytes_in_flight: self.sent.bytes_in_flight(),
                app_limited: !limited,
                round_end,
                sample: self.rate.as_mut().and_then(|rate| rate.sample(self.rtt.min_ns())),
            });
            // L08, RFC 9002 §6.2.1: "The PTO backoff factor is reset when an acknowledgment is received".
            self.loss.pto_count = 0;
            // L21, RFC 5682: the sender "monitors the incoming acknowledgments to determine whether the timeout
            // was spurious". An ack for what was sent before it says so: nothing more is sent again.
            self.loss.probes_due = 0;
            self.timers.answered_at = now;
        }
        self.detect_losses(now, shared);
        self.sent.forget_lost_before(Timestamp(now.0.saturating_sub(4 * self.pto_ns())));
        Ok(())
    }

    /// It was quiet for a while: if that was silence, what may leave next is no more than a session begins
    /// with (L41).
    #[cold]
    pub(super) fn end_quiet(&mut self, now: Timestamp) {
        let (pto_ns, next) = (self.pto_ns(), self.sent.next());
        self.resume.on_quiet(now, pto_ns, next);
    }

    fn acknowledge(&mut self, now: Timestamp, ack: &Ack<'_>, shared: &mut Shared) -> News {
        let mut news = News::default();
        let (mtu, path_began) = (&mut self.mtu, self.loss.path_began);
        // Never allocates unless units travel in parts.
        let mut parts = Vec::new();
        let rate = &mut self.rate;
        let mut units = std::mem::take(&mut shared.acked_units);
        let mut probes = ProbeNews::default();
        for (smallest, largest) in ack.ranges.iter() {
            self.sent.on_ack_range(smallest.0, largest.0, |number, acked| {
                let packet = match acked {
                    Acked::Newly(packet) => {
                        news.bytes += u64::from(packet.size);
                        rate.iter_mut().for_each(|rate| rate.on_acked(number, now));
                        packet
                    }
                    Acked::Spurious(packet) => {
                        if number >= path_began {
                            news.spurious += 1;
                            news.spurious_age_ns = news.spurious_age_ns.max(now.since_ns(packet.sent_at));
                        }
                        rate.iter_mut().for_each(|rate| rate.on_spurious(u64::from(packet.size), now));
                        packet
                    }
                    Acked::NeverSent => {
                        news.lied = true;
                        return;
                    }
                };
                news.note(number, &packet);
                probes.note(&packet);
                // RFC 9000 §9.4: what was sent on another path says nothing of this one's size.
                if number >= path_began {
                    probes.note_size(&packet);
                    mtu.on_passed(number, packet.size.into());
                }
                if packet.carried & carried::PART != 0 {
                    parts.push((packet.unit, number));
                } else if packet.unit != NO_UNIT {
                    units.extend(packet.units().map(|unit| (unit, packet.carried & carried::PROBE != 0)));
                }
            });
        }
        for (unit, by_probe) in units.drain(..) {
            let fresh = self.release_unit(unit, shared);
            probes.repaired |= fresh && by_probe;
        }
        shared.acked_units = units;
        shared.counters.probes_repairing += u64::from(probes.repaired);
        if rarely(!parts.is_empty()) {
            self.on_parts_acked(&parts, shared);
        }
        self.note_sizes(now, &probes, shared);
        if probes.grants_arrived && self.reassemblies.is_empty() {
            self.control.granted.clear();
        }
        news
    }

    /// What was acknowledged shows which packet sizes pass.
    fn note_sizes(&mut self, now: Timestamp, probes: &ProbeNews, shared: &mut Shared) {
        if let Some(size) = probes.size_probe {
            self.mtu.on_probe_acked(now, size);
            shared.paths.of(self.path).size.note(now, self.mtu.sizes());
            self.congestion.set_packet_size(self.mtu.size() as u64);
        }
    }

    /// The peer has `unit`: its memory comes back. True the first time.
    #[inline(always)]
    pub(super) fn release_unit(&mut self, unit: u64, shared: &mut Shared) -> bool {
        if rarely(self.path_change.parts_out.is_some()) {
            self.forget_parts_out(unit);
        }
        match self.units.on_acked(unit) {
            Some(Body::Packed(packed)) => {
                if !planted::is(Fault::SlotReusedBeforeAck) {
                    shared.slab.put(packed.slot);
                }
                true
            }
            Some(Body::Fragment { large, size, .. }) => {
                if let Some(buffer) = self.large.on_acked(large, u64::from(size)) {
                    shared.reserve.recycle(buffer);
                }
                true
            }
            None => false,
        }
    }

    /// L01, RFC 9002 §5.1: a sample only when "the largest acknowledged packet number is newly acknowledged" and
    /// wants an ack itself: the delay that the peer reports is that packet's.
    fn sample_rtt(&mut self, now: Timestamp, ack: &Ack<'_>, news: &News, shared: &mut Shared) {
        let Some((number, packet)) = news.largest else { return };
        // RFC 9000 §9.4: nor one of another path.
        if number != ack.largest().0 || number < self.loss.path_began {
            return;
        }
        let latest_ns = now.since_ns(packet.sent_at);
        self.rtt.on_sample(now, latest_ns, u64::from(ack.head.ack_delay_ns), self.tuning.peer_ack_delay_ns);
        self.loss.others_pto_ns = 0;
        shared.paths.of(self.path).rtt.on_sample(self.key.index, now, latest_ns);
        self.follow_rtt();
        self.acks.on_rtt(self.rtt.smoothed_ns());
    }

    /// RFC 8985 §6.2: proof of reordering widens the threshold; RFC 9438 §4.9: the cut is undone.
    ///
    /// L18, RFC 2883: the receiver reports a duplicate "to report the sequence numbers of the packet that
    /// triggered the acknowledgement". Here an ack names the very packet that had arrived, so whatever
    /// repeated its unit was needless, be it a loss declared too early or a probe.
    fn on_spurious(&mut self, news: &News, shared: &mut Shared) {
        shared.counters.spurious += news.repeated;
        if rarely(news.spurious > 0) {
            self.on_mistaken(news, shared);
        }
    }

    fn on_mistaken(&mut self, news: &News, shared: &mut Shared) {
        shared.counters.losses_mistaken += news.spurious;
        self.loss.reordering.on_spurious(news.spurious_age_ns.saturating_sub(self.rtt.smoothed_ns()));
        for _ in 0..news.spurious {
            self.congestion.on_spurious_loss();
        }
    }

    /// Declares packets lost and queues their units again.
    #[inline(always)]
    pub(super) fn detect_losses(&mut self, now: Timestamp, shared: &mut Shared) {
        let Some(largest_acked) = self.loss.largest_acked else { return };
        let mut lost = std::mem::take(&mut shared.lost);
        let flight = self.sent.bytes_in_flight();
        let thresholds = Thresholds {
            packets: self.loss.reordering.packets(),
            time_ns: self.loss.reordering.time_ns(&self.rtt, self.granularity_ns()),
            measured_at: self.rtt.first_sample_at(),
        };
        let found = self.sent.detect_lost(now, largest_acked, &thresholds, &mut lost);
        self.loss.time = found.next;
        if rarely(!lost.is_empty()) {
            self.on_lost(now, &lost, flight, shared);
            self.on_stretch_lost(found.stretch_ns, shared);
        }
        lost.clear();
        shared.lost = lost;
    }

    /// L19, RFC 8985 §7.4.2: "The sender then SHOULD invoke a congestion control response equivalent to a fast
    /// recovery": a tail that a probe repaired is found lost here as any other packet, once.
    #[inline(never)]
    fn on_lost(&mut self, now: Timestamp, lost: &[(u64, SentPacket)], flight: u64, shared: &mut Shared) {
        let mut bytes = 0;
        let mut newest = Timestamp(0);
        let mut lost_flight = None;
        let crowded = is_heavy(lost, flight);
        for (number, packet) in lost {
            shared.counters.lost += 1;
            self.on_control_lost(packet);
            if packet.carried & carried::SIZE_PROBE != 0 {
                // RFC 8899 §3: the loss of a probe is no sign of congestion.
                self.mtu.on_probe_lost(now, usize::from(packet.size), crowded);
                let path = &mut shared.paths.of(self.path).size;
                path.note(now, self.mtu.sizes());
                path.wait_until(if crowded { now.after_ns(CROWDED_WAIT_NS) } else { now });
                continue;
            }
            self.ecn.on_lost(1);
            self.mtu.on_lost(*number, usize::from(packet.size));
            self.on_unit_lost(*number, packet);
            bytes += u64::from(packet.size);
            newest = newest.max(packet.sent_at);
            if let Some(rate) = &mut self.rate {
                lost_flight = rate.on_lost(*number).or(lost_flight);
            }
        }
        if bytes == 0 {
            return;
        }
        let used = self.mtu.size();
        if self.mtu.is_black_hole(now) {
            shared.paths.of(self.path).size.on_fell(used);
            self.on_shrunk(shared);
        }
        if newest >= self.loss.recovery_start {
            self.loss.recovery_start = now;
            self.loss.reordering.on_recovery();
        }
        self.congestion.on_loss(&LossInfo {
            now,
            bytes_lost: bytes,
            packets_lost: lost.len() as u64,
            largest_lost_sent_at: newest,
            flight_bytes: flight,
            lost_flight,
        });
    }

    /// The unit that a lost packet carried is to be sent again.
    pub(super) fn on_unit_lost(&mut self, number: u64, packet: &SentPacket) {
        if packet.carried & carried::PART != 0 {
            self.on_part_lost(packet.unit, number);
        } else if packet.unit != NO_UNIT && !planted::is(Fault::LostUnitNotRequeued) {
            for unit in packet.units() {
                self.units.on_lost(unit, number);
            }
        }
    }

    /// Everything sent for `stretch_ns` was lost.
    ///
    /// L22, RFC 9002 §7.6.2: "When persistent congestion is declared, the sender's congestion window MUST be
    /// reduced to the minimum congestion window (kMinimumWindow)".
    fn on_stretch_lost(&mut self, stretch_ns: u64, shared: &mut Shared) {
        if stretch_ns > PERSISTENT_PTOS * self.pto_ns() {
            shared.counters.congestion_persistent += 1;
            self.congestion.on_persistent_congestion();
            // L03, RFC 9002 §5.2: "Endpoints SHOULD set the min_rtt to the newest RTT sample after persistent
            // congestion is established."
            self.rtt.on_persistent_congestion();
        }
    }

    /// A packet's control frames are made anew from what is true now.
    pub(super) fn on_control_lost(&mut self, packet: &SentPacket) {
        if planted::is(Fault::LostCreditNeverProbed) {
            return;
        }
        if packet.carried & carried::CREDIT != 0 {
            self.credit_in.on_credit_lost();
            self.control.credit = true;
        }
        if packet.carried & carried::GRANT != 0 {
            self.control.regrant();
        }
        if packet.carried & carried::BLOCKED != 0 {
            self.control.blocked = true;
        }
        if packet.carried & carried::LANE != 0 {
            self.on_lanes_lost(packet.sent_at);
        }
    }
}

#[derive(Default)]
struct ProbeNews {
    repaired: bool,
    size_probe: Option<usize>,
    grants_arrived: bool,
}

impl ProbeNews {
    fn note(&mut self, packet: &SentPacket) {
        self.grants_arrived |= packet.carried & carried::GRANT != 0;
    }

    fn note_size(&mut self, packet: &SentPacket) {
        if packet.carried & carried::SIZE_PROBE != 0 {
            self.size_probe = Some(usize::from(packet.size));
        }
    }
}

/// A quarter of a flight: chance and bad cables take less, a queue that is full takes more.
fn is_heavy(lost: &[(u64, SentPacket)], flight: u64) -> bool {
    let carrying = lost.iter().filter(|(_, packet)| packet.carried & carried::SIZE_PROBE == 0);
    carrying.map(|(_, packet)| u64::from(packet.size)).sum::<u64>() * 4 >= flight.max(1)
}
