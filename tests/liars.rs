//! Peers that were let in and lie: each loses its session at once, or gets no more than its quota, and
//! another peer's calls go on as if nothing had happened.

use std::sync::Arc;

use ringwire::endpoint::AllowList;
use ringwire::testing::bare::{BarePeer, BareServer, identity};
use ringwire::transport::quota::Quota;
use ringwire::transport::{CallToken, Config, Counters};
use ringwire::wire::{
    ACK_FIXED_SIZE, AckHead, CallId, ChannelId, FRAGMENT_HEAD_SIZE, FragmentHeader, Frame, Frames,
    MESSAGES_HEAD_SIZE, MessageId, PacketNumber, RecordHeader, Records, UnitNumber, Writer, encode_ack,
    encode_ack_request, encode_fragment_head, encode_messages_head, encode_ping,
};
use ringwire::worker::{App, CloseReason, Cx, Event, Outcome, ReplyWriter, Request, status};

/// Answers method 1 at once, method 2 with a large reply, and keeps the calls of any other.
#[derive(Default)]
struct Desk {
    ran: u64,
    kept: Vec<CallToken>,
    closed: Vec<CloseReason>,
    over: Vec<Quota>,
}

const LARGE_REPLY: usize = 1 << 20;

impl App for Desk {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        self.ran += 1;
        match request.method {
            1 => reply.send(request.payload),
            2 => reply.send_owned(vec![7; LARGE_REPLY].into()),
            _ => self.kept.push(reply.defer()),
        }
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        panic!("nobody called, and call {token} ended as {outcome:?}");
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Closed { reason, .. } => self.closed.push(reason),
            Event::OverQuota { quota, .. } => self.over.push(quota),
            _ => {}
        }
    }
}

const LIAR: u64 = 1;
const HONEST: u64 = 2;

struct Scene {
    server: BareServer<Desk>,
    liar: BarePeer,
    liars_units: u64,
    honest: BarePeer,
    honest_calls: u16,
}

impl Scene {
    /// The liar's limits as an allow-list has them; the honest peer has none.
    fn new(limits: &str) -> Self {
        let [liar, honest] = [LIAR, HONEST].map(|seed| identity(seed).public_key());
        let list = format!("{liar} liar {limits}\n{honest} honest\n");
        let list = Arc::new(AllowList::parse(&list).expect("a good list"));
        let mut server = BareServer::new(Config::default(), list, Desk::default());
        let honest = server.connect(HONEST, 1).expect("it is on the list");
        let liar = server.connect(LIAR, 1).expect("it is on the list, too");
        Self { server, liar, liars_units: 0, honest, honest_calls: 0 }
    }

    /// The liar says one unit of records.
    fn say(&mut self, records: &[(RecordHeader, &[u8])]) {
        let packet = self.liar.say_bytes(&unit(self.liars_units, records));
        self.liars_units += 1;
        self.server.hear(&self.liar, packet);
        self.server.run(1_000);
    }

    fn call(&mut self, slot: u16, method: u32) {
        self.say(&[(RecordHeader::Request { call: CallId::new(slot, 0), method }, b"work")]);
    }

    /// The liar says the first bytes of a message of `total`.
    fn begin(&mut self, message: u64, total: u64) {
        self.piece(message, total, 0, 1_000);
    }

    fn piece(&mut self, message: u64, total: u64, offset: u64, size: u16) {
        let header =
            FragmentHeader { record: RecordHeader::Message, message: MessageId(message), offset, total };
        let mut frames = vec![0; FRAGMENT_HEAD_SIZE + usize::from(size)];
        encode_fragment_head(&mut frames, &header, UnitNumber(self.liars_units), size);
        self.liars_units += 1;
        let packet = self.liar.say_bytes(&frames);
        self.server.hear(&self.liar, packet);
        self.server.run(1_000);
    }

    /// Acknowledges what the worker said, so that it has no reason to think the way to this peer dead.
    fn acknowledge_all(&mut self) {
        for (number, _) in self.server.packets_to(&mut self.liar) {
            self.acknowledge(number.0, number.0);
        }
    }

    fn ping(&mut self) {
        let packet = self.liar.say(|writer| {
            encode_ping(writer);
            encode_ack_request(writer);
        });
        self.server.hear(&self.liar, packet);
        self.server.run(1_000);
    }

    fn acknowledge(&mut self, smallest: u64, largest: u64) {
        let packet = self.liar.say(|writer| ack(writer, smallest, largest));
        self.server.hear(&self.liar, packet);
        self.server.run(1_000);
    }

    /// Replies among what the worker said to the liar: by slot and status.
    fn replies(&mut self) -> Vec<(u16, u8)> {
        replies(&self.server.said_to(&mut self.liar))
    }

    fn counters(&mut self) -> Counters {
        self.server.worker().engine().counters()
    }

    fn desk(&mut self) -> &Desk {
        self.server.worker().app()
    }

    /// The lie was found out within a millisecond of it; the other peer's call is answered in the turn it
    /// comes in.
    #[track_caller]
    fn liar_is_out(&mut self, why: &str) {
        self.server.run(1_000_000);
        let [CloseReason::Violation(what)] = self.desk().closed[..] else {
            panic!("the liar's session: {:?}", self.desk().closed)
        };
        assert!(what.contains(why), "{what}");
        assert_eq!(self.counters().violations, 1);
        self.others_do_not_notice();
        assert_eq!(self.server.worker().engine().sessions(), 1);
    }

    fn keep_honest(&mut self) {
        for (number, _) in self.server.packets_to(&mut self.honest) {
            let packet = self.honest.say(|writer| ack(writer, number.0, number.0));
            self.server.hear(&self.honest, packet);
        }
        let packet = self.honest.say(encode_ping);
        self.server.hear(&self.honest, packet);
        self.server.run(1_000);
    }

    #[track_caller]
    fn others_do_not_notice(&mut self) {
        let slot = self.honest_calls;
        self.honest_calls += 1;
        let record = (RecordHeader::Request { call: CallId::new(slot, 0), method: 1 }, b"honest".as_slice());
        let packet = self.honest.say_bytes(&unit(slot.into(), &[record]));
        self.server.said_to(&mut self.honest);
        self.server.hear(&self.honest, packet);
        self.server.run(1);
        let said = self.server.said_to(&mut self.honest);
        assert_eq!(replies(&said), [(slot, status::OK)]);
    }
}

/// The first call of each of `count` slots.
fn requests(count: u16, method: u32) -> Vec<(RecordHeader, &'static [u8])> {
    let request = |slot| RecordHeader::Request { call: CallId::new(slot, 0), method };
    (0..count).map(|slot| (request(slot), b"work".as_slice())).collect()
}

fn unit(number: u64, records: &[(RecordHeader, &[u8])]) -> Vec<u8> {
    let mut frames = vec![0; MESSAGES_HEAD_SIZE];
    for (header, payload) in records {
        let start = frames.len();
        frames.resize(start + header.size(), 0);
        header.encode(payload.len() as u16, &mut frames[start..]);
        frames.extend_from_slice(payload);
    }
    let size = frames.len() - MESSAGES_HEAD_SIZE;
    encode_messages_head(&mut frames, UnitNumber(number), size as u16);
    frames
}

fn ack(writer: &mut Writer<'_>, smallest: u64, largest: u64) {
    assert!(writer.remaining() >= ACK_FIXED_SIZE);
    let head = AckHead {
        duplicate_seen: false,
        ecn_ce: 0,
        ecn_intact: false,
        ack_delay_ns: 0,
        unit_floor: UnitNumber(0),
    };
    encode_ack(writer, &head, std::iter::once((PacketNumber(smallest), PacketNumber(largest))));
}

fn replies(packets: &[Vec<u8>]) -> Vec<(u16, u8)> {
    let mut replies = Vec::new();
    for packet in packets {
        for frame in Frames::new(packet) {
            let Ok(Frame::Messages(unit)) = frame else { continue };
            for record in Records::new(&packet[unit.offset..unit.offset + unit.length]) {
                if let RecordHeader::Reply { call, status } = record.expect("well formed").header {
                    replies.push((call.slot(), status));
                }
            }
        }
    }
    replies
}

/// L57.
#[test]
fn a_peer_that_acknowledges_what_was_never_sent_is_out() {
    let mut scene = Scene::new("");
    scene.acknowledge(1_000_000, 1_000_000);
    scene.liar_is_out("an ack of a packet never sent");
}

#[test]
fn a_peer_that_acknowledges_blindly_to_be_sent_more_runs_into_a_number_left_out() {
    let mut scene = Scene::new("");
    for round in 0..100_000 {
        scene.call(round as u16 % 512, 1);
        // Whatever came: there is one packet at least for each call.
        scene.acknowledge(0, round);
        if !scene.desk().closed.is_empty() {
            return scene.liar_is_out("left out on purpose");
        }
    }
    panic!("100,000 blind acks were believed");
}

#[test]
fn a_peer_that_opens_a_call_beyond_the_slots_it_was_granted_is_out() {
    let mut scene = Scene::new("calls=4");
    assert_eq!(scene.liar.granted.call_slots, 4, "no more than the quota is granted");
    (0..4).for_each(|slot| scene.call(slot, 9));
    assert_eq!(scene.desk().kept.len(), 4);
    scene.others_do_not_notice();
    scene.call(4, 9);
    scene.liar_is_out("slot");
}

#[test]
fn calls_beyond_the_quota_over_several_sessions_are_refused_and_not_run() {
    let mut scene = Scene::new("calls=4");
    (0..3).for_each(|slot| scene.call(slot, 9));
    let mut second = scene.server.connect(LIAR, 2).expect("two sessions are allowed");
    let records = requests(3, 9);
    let packet = second.say_bytes(&unit(0, &records));
    scene.server.hear(&second, packet);
    scene.server.run(1_000);
    let said = scene.server.said_to(&mut second);
    assert_eq!(replies(&said), [(0, status::OVER_QUOTA), (1, status::OVER_QUOTA)]);
    assert_eq!(scene.desk().kept.len(), 4, "the handler never saw the others");
    assert_eq!(scene.counters().over_calls, 2);
    assert_eq!(scene.desk().over, [Quota::Calls], "told once, not for each call");
    scene.others_do_not_notice();
    assert_eq!(scene.desk().closed, []);

    // An answer makes room for another.
    let token = scene.server.worker().app_mut().kept.remove(0);
    scene.server.worker().reply(token, status::OK, b"done").expect("the call is open");
    scene.server.run(1_000);
    let packet = second.say_bytes(&unit(1, &records[..1].iter().map(again).collect::<Vec<_>>()));
    scene.server.hear(&second, packet);
    scene.server.run(1_000);
    assert_eq!(scene.desk().kept.len(), 4);
    assert_eq!(scene.counters().over_calls, 2);
}

/// The slot's next call.
fn again<'a>((header, payload): &(RecordHeader, &'a [u8])) -> (RecordHeader, &'a [u8]) {
    let RecordHeader::Request { call, method } = *header else { panic!("a request") };
    (RecordHeader::Request { call: CallId::new(call.slot(), 1), method }, *payload)
}

#[test]
fn a_peer_that_declares_four_gib_is_out() {
    let mut scene = Scene::new("");
    scene.begin(0, 4 << 30);
    scene.liar_is_out("fragments");
}

#[test]
fn a_peer_that_declares_more_than_its_quota_is_out() {
    let mut scene = Scene::new("reassembly=1MiB");
    assert_eq!(scene.liar.granted.message_size_max, 1 << 20);
    scene.begin(0, (1 << 20) + 1);
    scene.liar_is_out("fragments");
}

#[test]
fn messages_begun_and_never_ended_take_no_more_than_their_peers_quota() {
    let mut scene = Scene::new("reassembly=4MiB");
    for message in 0..32 {
        scene.begin(message, 1 << 20);
    }
    let reserved = scene.server.worker().engine().reserved();
    assert!((3 << 20..=4 << 20).contains(&reserved), "{reserved} bytes are set aside");
    assert!(scene.counters().over_reassembly > 0);
    assert_eq!(scene.desk().over, [Quota::Reassembly]);
    scene.others_do_not_notice();
    assert_eq!(scene.desk().closed, []);
}

#[test]
fn a_message_begun_and_not_gone_on_with_does_not_hold_its_memory_for_ever() {
    let mut scene = Scene::new("");
    scene.begin(0, 32 << 20);
    assert_eq!(scene.server.worker().engine().reserved(), 32 << 20);
    for second in 0..60 {
        scene.ping();
        scene.server.run(1_000_000_000);
        scene.acknowledge_all();
        if !scene.desk().closed.is_empty() {
            assert!((19..=22).contains(&second), "after {second} s: {:?}", scene.desk().closed);
            assert_eq!(scene.server.worker().engine().reserved(), 0);
            assert!(
                matches!(scene.desk().closed[..], [CloseReason::Violation(what)] if what.contains("begun"))
            );
            return;
        }
        scene.keep_honest();
    }
    panic!("it holds 32 MiB by pings alone");
}

#[test]
fn a_message_that_stood_still_through_an_outage_may_go_on() {
    let mut scene = Scene::new("");
    scene.begin(0, 32 << 20);
    for outage in 0..5 {
        // A whole idle timeout of 10 s in which only a sign of life comes; in the next the message goes on.
        scene.server.run(9_500_000_000);
        scene.acknowledge_all();
        scene.ping();
        scene.keep_honest();
        scene.server.run(9_500_000_000);
        (0..20).for_each(|piece| scene.piece(0, 32 << 20, 1_000 + (outage * 20 + piece) * 1_000, 1_000));
        scene.acknowledge_all();
        scene.keep_honest();
        assert_eq!(scene.desk().closed, [], "outage {outage}");
    }
}

#[test]
fn a_peer_that_never_acknowledges_its_replies_has_no_more_calls_run() {
    let mut scene = Scene::new("unacked=8MiB");
    (0..64).for_each(|slot| scene.call(slot, 2));
    assert_eq!(scene.desk().ran, 9, "the ninth reply of a MiB goes over the 8");
    let refused = scene.counters().over_unacked;
    assert_eq!(refused, 64 - 9);
    assert_eq!(scene.desk().over, [Quota::Unacked]);
    scene.others_do_not_notice();
    assert_eq!(scene.desk().closed, []);
}

#[test]
fn large_replies_of_one_burst_of_calls_are_counted_before_the_next_runs() {
    let mut scene = Scene::new("unacked=8MiB");
    scene.say(&requests(64, 2));
    assert_eq!(scene.desk().ran, 9);
}

#[test]
fn sessions_beyond_the_quota_are_refused_and_told_of() {
    let mut scene = Scene::new("sessions=2");
    let second = scene.server.connect(LIAR, 2);
    assert!(second.is_some());
    for port in 3..10 {
        assert!(scene.server.connect(LIAR, port).is_none());
    }
    assert_eq!(scene.counters().over_sessions, 7);
    assert_eq!(scene.desk().over, [Quota::Sessions]);
    scene.others_do_not_notice();
}

#[test]
fn a_peer_that_sends_more_than_its_credit_is_out() {
    let mut scene = Scene::new("");
    let payload = vec![0; 15_000];
    for sent in 0..100_000u64 {
        // The worker's turn comes after the burst: it could not give credit back in between.
        let packet = scene.liar.say_bytes(&unit(sent, &[(RecordHeader::Message, &payload)]));
        scene.server.hear(&scene.liar, packet);
        if sent % 64 == 63 {
            scene.server.run(1_000);
        }
        if !scene.desk().closed.is_empty() {
            return scene.liar_is_out("credit");
        }
    }
    panic!("the credit was not held");
}

#[test]
fn a_peer_that_leaves_a_gap_in_an_ordered_channel_for_ever_fills_its_bound_and_no_more() {
    let mut scene = Scene::new("");
    let before = scene.server.worker().engine().counters().messages_delivered;
    for round in 0..400u64 {
        let records: Vec<_> = (0..500)
            .map(|n| {
                let header = RecordHeader::Ordered { channel: ChannelId(1), sequence: 1 + round * 500 + n };
                (header, b"x".as_slice())
            })
            .collect();
        scene.say(&records);
        if !scene.desk().closed.is_empty() {
            break;
        }
    }
    let delivered = scene.server.worker().engine().counters().messages_delivered;
    assert_eq!(delivered, before, "nothing overtakes the gap");
    scene.others_do_not_notice();
}

#[test]
fn a_call_in_a_slot_that_waits_for_its_reply_is_a_lie() {
    let mut scene = Scene::new("");
    scene.call(3, 9);
    scene.call(3, 9);
    scene.liar_is_out("slot");
}

#[test]
fn a_reply_to_no_call_is_a_lie() {
    let mut scene = Scene::new("");
    scene.say(&[(RecordHeader::Reply { call: CallId::new(0, 0), status: 0 }, b"thanks")]);
    scene.liar_is_out("reply to no call");
}

#[test]
fn a_peer_that_only_keeps_its_session_alive_costs_nothing_more() {
    let mut scene = Scene::new("");
    (0..1_000).for_each(|_| scene.ping());
    assert_eq!(scene.desk().closed, []);
    assert_eq!(scene.server.worker().engine().reserved(), 0);
    assert!(scene.replies().is_empty());
    scene.others_do_not_notice();
}
