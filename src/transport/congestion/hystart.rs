//! HyStart++ (RFC 9406): leave slow start when the delay rises, before the buffer overflows (L36).

/// What an ack means for a window in slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowStart {
    /// Add so many bytes.
    Grow(u64),
    /// Add so many bytes, and go on in congestion avoidance.
    Leave(u64),
}

/// The state of one slow start.
#[derive(Clone, Debug)]
pub struct HyStart {
    last_round_min_ns: u64,
    round_min_ns: u64,
    samples: u32,
    conservative: Option<Conservative>,
}

/// Conservative slow start: growth at a quarter while the rise of the delay proves itself.
#[derive(Clone, Copy, Debug)]
struct Conservative {
    baseline_ns: u64,
    rounds: u32,
}

impl HyStart {
    /// A fresh slow start.
    #[must_use]
    pub fn new() -> Self {
        Self { last_round_min_ns: u64::MAX, round_min_ns: u64::MAX, samples: 0, conservative: None }
    }

    /// Takes one ack of `bytes_acked` with the round-trip sample `rtt_ns`. `round_end`: this ack is the
    /// first of a new round. We pace, so RFC 9406's L is infinite.
    pub fn on_ack(&mut self, rtt_ns: u64, bytes_acked: u64, round_end: bool) -> SlowStart {
        let leave = round_end && self.start_round();
        self.round_min_ns = self.round_min_ns.min(rtt_ns);
        self.samples += 1;
        self.weigh_delay();
        let divisor = if self.conservative.is_some() { CSS_GROWTH_DIVISOR } else { 1 };
        let growth = bytes_acked / divisor;
        if leave { SlowStart::Leave(growth) } else { SlowStart::Grow(growth) }
    }

    /// RFC 9406 §4.2; true when conservative slow start has lasted its rounds.
    fn start_round(&mut self) -> bool {
        self.last_round_min_ns = self.round_min_ns;
        self.round_min_ns = u64::MAX;
        self.samples = 0;
        let Some(conservative) = &mut self.conservative else { return false };
        conservative.rounds += 1;
        conservative.rounds >= CSS_ROUNDS
    }

    fn weigh_delay(&mut self) {
        if self.samples < RTT_SAMPLES_MIN {
            return;
        }
        match self.conservative {
            // RFC 9406 §4.2: the rise did not last; the first exit was spurious.
            Some(conservative) if self.round_min_ns < conservative.baseline_ns => self.conservative = None,
            Some(_) => {}
            None if self.last_round_min_ns == u64::MAX => {}
            None => {
                let step_ns = (self.last_round_min_ns / RTT_DIVISOR).clamp(RTT_STEP_NS_MIN, RTT_STEP_NS_MAX);
                if self.round_min_ns >= self.last_round_min_ns.saturating_add(step_ns) {
                    self.conservative = Some(Conservative { baseline_ns: self.round_min_ns, rounds: 0 });
                }
            }
        }
    }
}

impl Default for HyStart {
    fn default() -> Self {
        Self::new()
    }
}

/// RFC 9406 §4.3's constants.
const RTT_STEP_NS_MIN: u64 = 4_000_000;
const RTT_STEP_NS_MAX: u64 = 16_000_000;
const RTT_DIVISOR: u64 = 8;
const RTT_SAMPLES_MIN: u32 = 8;
const CSS_GROWTH_DIVISOR: u64 = 4;
const CSS_ROUNDS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// One round of ten acks of 1,000 bytes; what the last of them said.
    fn round(hystart: &mut HyStart, rtt_ms: u64) -> SlowStart {
        let first = hystart.on_ack(rtt_ms * MS, 1_000, true);
        let last = (0..9).map(|_| hystart.on_ack(rtt_ms * MS, 1_000, false)).last().expect("nine acks");
        if matches!(first, SlowStart::Leave(_)) { first } else { last }
    }

    #[test]
    fn a_steady_delay_keeps_slow_start() {
        let mut hystart = HyStart::new();
        assert!((0..50).all(|_| round(&mut hystart, 40) == SlowStart::Grow(1_000)));
    }

    #[test]
    fn a_rise_slows_growth_to_a_quarter_and_ends_slow_start_after_five_rounds() {
        let mut hystart = HyStart::new();
        round(&mut hystart, 40);
        assert_eq!(round(&mut hystart, 45), SlowStart::Grow(250));
        assert!((0..4).all(|_| round(&mut hystart, 46) == SlowStart::Grow(250)));
        assert_eq!(round(&mut hystart, 46), SlowStart::Leave(250));
    }

    #[test]
    fn a_rise_below_the_step_is_ignored() {
        let mut hystart = HyStart::new();
        round(&mut hystart, 40);
        assert_eq!(round(&mut hystart, 44), SlowStart::Grow(1_000));
        // 200 ms / 8 is over the largest step of 16 ms.
        round(&mut hystart, 200);
        let mut hystart = HyStart::new();
        round(&mut hystart, 200);
        assert_eq!(round(&mut hystart, 215), SlowStart::Grow(1_000));
        assert_eq!(round(&mut hystart, 231), SlowStart::Grow(250));
    }

    #[test]
    fn a_rise_that_goes_away_resumes_slow_start() {
        let mut hystart = HyStart::new();
        round(&mut hystart, 40);
        assert_eq!(round(&mut hystart, 50), SlowStart::Grow(250));
        assert_eq!(round(&mut hystart, 40), SlowStart::Grow(1_000));
    }

    #[test]
    fn too_few_samples_decide_nothing() {
        let mut hystart = HyStart::new();
        round(&mut hystart, 40);
        hystart.on_ack(400 * MS, 1_000, true);
        assert!((0..6).all(|_| hystart.on_ack(400 * MS, 1_000, false) == SlowStart::Grow(1_000)));
        assert_eq!(hystart.on_ack(400 * MS, 1_000, false), SlowStart::Grow(250));
    }
}
