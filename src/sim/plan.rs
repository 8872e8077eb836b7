//! What one seed is: the endpoints, the network's faults and the mix of work, drawn swarm-wise.
//!
//! Each seed leaves most faults out and turns a few up: a network that has a little of everything
//! hides what one fault alone would show (swarm testing, Groce et al. 2012).

use std::net::SocketAddr;
use std::time::Duration;

use crate::crypto::{Csprng, Identity};
use crate::rng::Rng;
use crate::sim::clock::HostClock;
use crate::sim::swarm::{Faults, HostTime, Swarm};
use crate::time::{Clock, Timestamp, VirtualClock, saturating_ns};
use crate::transport::security::Security;
use crate::transport::{Config, CongestionKind, Profile};
use crate::worker::WorkerConfig;
use crate::worker::impair::{ImpairSpec, Probability};

/// One seed, spelled out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// Endpoints: 2 or 3.
    pub nodes: usize,
    /// One way across the network when it behaves.
    pub delay_ns: u64,
    /// Time between two strokes of work, on average.
    pub work_every_ns: u64,
    /// Time between two changes of the network, on average.
    pub weather_every_ns: u64,
    /// Which kinds of fault are on, and how far each may go.
    pub faults: Faults,
    /// Packets to be sent before the faults stop.
    pub packets: u64,
    /// True size of an endpoint's receive buffer, in bytes.
    pub inbox_size: u64,
    /// The largest packet the links take, in bytes.
    pub link_packet_size: usize,
    /// The bottleneck's rate, if there is one.
    pub rate_bit_s: Option<u64>,
    /// Lanes that an endpoint opens towards each peer beside the session of the handshake, at once.
    pub lanes: usize,
    /// How much of each kind of work there is.
    pub work: Work,
    transport: Config,
}

/// Weights of the kinds of work; 0 leaves one out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// A call that fits a packet.
    pub small_call: u64,
    /// A call whose request or reply is cut into fragments.
    pub big_call: u64,
    /// A message in no order.
    pub message: u64,
    /// A message on an ordered channel.
    pub ordered: u64,
    /// A message beyond 64 KiB, which waits for grants.
    pub granted: u64,
    /// A datagram.
    pub datagram: u64,
    /// Many of one kind at once.
    pub burst: u64,
    /// Silence for long enough that sessions return their active block.
    pub idle: u64,
    /// A session closed in order, and opened again.
    pub close: u64,
}

impl Plan {
    /// The plan that `seed` is.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let delay_ns = delay(&mut rng);
        let on = Swarm::draw(&mut rng);
        let faults = Faults::draw(on, &mut rng);
        let link_packet_size = some(&mut rng, &[1_200, 1_452, 8_952, 65_507, 65_507]);
        Self {
            seed,
            nodes: 2 + usize::from(rng.below(3) == 0),
            delay_ns,
            work_every_ns: (delay_ns * some(&mut rng, &[1, 4, 16]) / 8).clamp(1_000, 5_000_000),
            weather_every_ns: delay_ns * rng.between(20, 200) + 200_000,
            faults,
            packets: rng.between(5_000, 7_000),
            inbox_size: some(&mut rng, &[65_536, 212_992, 212_992, 4 << 20]),
            link_packet_size,
            rate_bit_s: some(&mut rng, &[None, None, None, Some(100_000_000), Some(1_000_000_000)]),
            work: Work::new(&mut rng),
            transport: transport(&mut rng, delay_ns),
            // By a generator of its own: what a seed was before there were lanes, it is still.
            lanes: some(&mut Rng::new(!seed), &[0, 1, 3]),
        }
    }

    /// The clock of endpoint `node`'s host.
    #[must_use]
    pub fn clock(&self, node: usize, world: VirtualClock) -> HostClock {
        let HostTime { drift_ppm, first_ns, .. } = self.faults.clocks[node];
        let first = world.now().after_ns(first_ns);
        HostClock::new(world, first, drift_ppm)
    }

    /// The settings of the `incarnation`-th life of endpoint `node`, which begins at `now` with `clock`.
    #[must_use]
    pub fn worker(&self, node: usize, incarnation: u32, now: Timestamp, clock: &HostClock) -> WorkerConfig {
        let mut config = WorkerConfig { transport: self.transport.clone(), ..WorkerConfig::default() };
        config.transport.boot_id = boot_id(node, incarnation);
        config.transport.entropy =
            Rng::entropy(self.seed ^ boot_id(node, incarnation).wrapping_mul(0x9e37_79b9));
        config.transport.security = self.security(node, now, clock.reading_at(now));
        // Now and then fewer are granted than are asked for.
        config.transport.lanes = if self.seed.is_multiple_of(5) { 3 } else { config.transport.lanes };
        config
    }

    /// Every other seed is sealed. An identity outlives its process, as a key file does. A host sets its
    /// date anew when a process starts: what its clock gained by then is taken back.
    fn security(&self, node: usize, now: Timestamp, reading: Timestamp) -> Security {
        let date_ns = DATE_NS.wrapping_add_signed(self.faults.clocks[node].date_s * 1_000_000_000);
        match self.identity(node) {
            Some(identity) => {
                let wall_at_zero_ns = date_ns.wrapping_add(now.0).wrapping_sub(reading.0);
                Security::sealed(&identity, None, wall_at_zero_ns, reading)
            }
            None => Security::insecure_anywhere(),
        }
    }

    /// Who endpoint `node` is; `None` in a run without sealing.
    #[must_use]
    pub fn identity(&self, node: usize) -> Option<Identity> {
        let sealed = self.seed % 2 == 1;
        let entropy = Rng::entropy(!self.seed ^ node as u64);
        sealed.then(|| Identity::generate(&mut Csprng::new(entropy)))
    }

    /// How long a session may hear nothing before it fails.
    #[must_use]
    pub fn idle_timeout(&self) -> Duration {
        self.transport.idle_timeout
    }

    /// How long an endpoint may delay an ack, in nanoseconds.
    #[must_use]
    pub fn ack_delay_ns(&self) -> u64 {
        saturating_ns(self.transport.max_ack_delay)
    }

    /// A link's behaviour for the next while. `clean`: the network behaves.
    #[must_use]
    pub fn weather(&self, rng: &mut Rng, clean: bool) -> ImpairSpec {
        let seed = rng.u64();
        let delay_ns = self.delay_ns;
        if clean {
            return ImpairSpec { delay_ns, seed, rate_bit_s: self.rate_bit_s, ..ImpairSpec::default() };
        }
        let mut up_to = |most: u32| Probability::from_ppm(rng.below(u64::from(most) + 1) as u32);
        ImpairSpec {
            loss: up_to(self.faults.loss),
            duplicate: up_to(self.faults.duplicate),
            reorder: up_to(self.faults.reorder),
            corrupt: up_to(self.faults.corrupt),
            delay_ns,
            jitter_ns: rng.below(delay_ns),
            rate_bit_s: self.rate_bit_s,
            queue_size: None,
            seed,
        }
    }

    /// How long a run may go on without reaching its packets before it counts as stuck.
    #[must_use]
    pub fn time_limit_ns(&self) -> u64 {
        240_000_000_000 + self.delay_ns * 20_000
    }
}

impl Work {
    fn new(rng: &mut Rng) -> Self {
        let mut weight = |most: u64| if rng.chance(0.3) { 0 } else { 1 + rng.below(most) };
        Self {
            // Never none at all, nor so little beside `idle` that a run is mostly silence.
            small_call: 20 + weight(100),
            big_call: weight(4),
            message: weight(60),
            ordered: weight(60),
            granted: weight(2),
            datagram: weight(20),
            burst: weight(8),
            idle: weight(1),
            close: weight(1),
        }
    }

    /// The weights, in the order of the fields.
    #[must_use]
    pub fn weights(&self) -> [u64; 9] {
        let Work { small_call, big_call, message, ordered, granted, datagram, burst, idle, close } = *self;
        [small_call, big_call, message, ordered, granted, datagram, burst, idle, close]
    }
}

/// Where endpoint `node` is.
#[must_use]
pub fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + node as u8], 7_000 + node as u16))
}

/// The boot id says whose life it is, so that a peer's identity can be told from outside.
#[must_use]
pub fn boot_id(node: usize, incarnation: u32) -> u64 {
    (node as u64 + 1) << 32 | u64::from(incarnation)
}

/// Which endpoint a boot id belongs to.
#[must_use]
pub fn node_of(boot_id: u64) -> u32 {
    ((boot_id >> 32) as u32).wrapping_sub(1)
}

/// A rack, a building or an ocean.
fn delay(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 | 1 => rng.between(2_000, 50_000),
        2 => rng.between(50_000, 1_000_000),
        _ => rng.between(1_000_000, 40_000_000),
    }
}

fn transport(rng: &mut Rng, delay_ns: u64) -> Config {
    let wan = delay_ns >= 500_000;
    let defaults = Config::default();
    Config {
        packet_size_max: some(rng, &[1_200, 1_400, defaults.packet_size_max, defaults.packet_size_max]),
        unit_window: some(rng, &[64, 64, 4_096]),
        call_slots: some(rng, &[4, 32, 1_024]),
        max_ack_delay: if wan { Duration::from_millis(2) } else { defaults.max_ack_delay },
        profile: match rng.below(3) {
            0 => Profile::Auto,
            _ if wan => Profile::Wan,
            _ => Profile::Dc,
        },
        congestion: congestion(wan, delay_ns),
        slab_slots: some(rng, &[8, 256, 8_192]),
        // Keys that wear out within the run, in half of the sealed ones: some so soon that bad weather lasts
        // longer than a key.
        key_update_packets: some(rng, &[10, 300, 2_000, defaults.key_update_packets]),
        ..defaults
    }
}

/// The date at which the world's time reads zero, in nanoseconds since 1970.
const DATE_NS: u64 = 1_700_000_000_000_000_000;

/// Without a draw, which would move all that are drawn after it: an even delay is as good as a coin.
fn congestion(wan: bool, delay_ns: u64) -> CongestionKind {
    match (wan, delay_ns % 4) {
        (_, 0) => CongestionKind::Auto,
        (false, _) => CongestionKind::Dc,
        (true, 1) => CongestionKind::Cubic,
        (true, _) => CongestionKind::Model,
    }
}

fn some<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.below(choices.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_its_seed() {
        let text = |seed| format!("{:?}", Plan::new(seed));
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
    }

    #[test]
    fn a_boot_id_names_its_endpoint() {
        assert_eq!(node_of(boot_id(2, 7)), 2);
    }

    #[test]
    fn a_hundred_seeds_reach_every_kind_of_work_and_fault() {
        let plans: Vec<Plan> = (0..100).map(Plan::new).collect();
        for kind in 0..9 {
            assert!(plans.iter().any(|plan| plan.work.weights()[kind] > 0), "work {kind}");
        }
        assert!(plans.iter().any(|plan| plan.faults.loss == 500_000));
        assert!(plans.iter().any(|plan| !plan.faults.crashes.is_empty() && plan.nodes == 3));
        assert!([0, 1, 3].iter().all(|lanes| plans.iter().any(|plan| plan.lanes == *lanes)));
    }
}
