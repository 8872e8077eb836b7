//! What became of the calls, and how long it took: counts and HDR histograms.

use hdrhistogram::Histogram;

use super::flight::Call;
use crate::time::Timestamp;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A reply came, and where its bytes were compared they were right.
    Completed,
    /// A reply came with other bytes than it should have. Also completed.
    Mismatched,
    /// The server said no.
    Refused,
    /// The deadline passed.
    TimedOut,
    /// It was never sent, or the server certainly did not run it.
    NotSent,
    /// The session failed: it may have run or not.
    Unknown,
}

/// What became of the calls: `issued = completed + failed + unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls issued after the warm-up.
    pub issued: u64,
    /// Those with a reply.
    pub completed: u64,
    /// Those that failed for certain: refused, timed out or not sent.
    pub failed: u64,
    /// Of the failed: the deadline passed.
    pub timed_out: u64,
    /// Of the failed: never ran.
    pub not_sent: u64,
    /// Those of which nobody can say whether they ran.
    pub unknown: u64,
    /// Those completed before the window closed.
    pub completed_in_window: u64,
    /// Replies compared byte for byte.
    pub checked: u64,
    /// Of these: replies that were not what they should have been.
    pub mismatched: u64,
    /// Outcomes that matched no call in flight: one reported twice, or for nothing.
    pub stray: u64,
}

impl Tally {
    /// Adds another thread's counts.
    pub fn add(&mut self, other: &Tally) {
        self.issued += other.issued;
        self.completed += other.completed;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.not_sent += other.not_sent;
        self.unknown += other.unknown;
        self.completed_in_window += other.completed_in_window;
        self.checked += other.checked;
        self.mismatched += other.mismatched;
        self.stray += other.stray;
    }
}

/// Counts and times of one thread's calls; merged at the end, never averaged.
#[derive(Debug)]
pub struct Recorder {
    tally: Tally,
    latency: Times,
    service: Option<Times>,
    window: Window,
}

/// The part of a run that is measured: from the end of the warm-up to the end of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Calls meant to be sent from here on count.
    pub start: Timestamp,
    /// Nothing new is sent from here on.
    pub end: Timestamp,
}

impl Window {
    /// True inside the window.
    #[must_use]
    pub fn holds(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Its length in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.end.since_ns(self.start) as f64 / 1e9
    }
}

/// Which times a run keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// A closed loop: sending is intending, one histogram.
    Latency,
    /// An open loop: latency from the intended send, and service time from the real one.
    LatencyAndService,
}

impl Recorder {
    /// A recorder of what is issued inside `window`.
    #[must_use]
    pub fn new(window: Window, keep: Keep) -> Self {
        let service = (keep == Keep::LatencyAndService).then(Times::new);
        Self { tally: Tally::default(), latency: Times::new(), service, window }
    }

    /// Counts a call that took off, unless it belongs to the warm-up.
    #[inline]
    pub fn on_issued(&mut self, call: &Call) {
        self.tally.issued += u64::from(self.counts(call));
    }

    /// Counts a call that ended with a reply: what [`Recorder::on_ended`] does for one whose bytes are not compared.
    // A call of its own would cost each of millions of calls as much as what it does.
    #[inline(always)]
    pub fn on_completed(&mut self, now: Timestamp, call: &Call) {
        if !self.counts(call) {
            return;
        }
        self.take_times(now, call);
        self.tally.completed += 1;
        self.tally.completed_in_window += u64::from(now < self.window.end);
    }

    /// Counts how `call` ended, at `now`. Every ending counts in the percentiles: a call that fails
    /// took as long as it took to fail.
    pub fn on_ended(&mut self, now: Timestamp, call: &Call, ending: Ending) {
        // Wrong bytes are wrong in the warm-up too.
        let replied = matches!(ending, Ending::Completed | Ending::Mismatched);
        self.tally.checked += u64::from(call.checked && replied);
        self.tally.mismatched += u64::from(ending == Ending::Mismatched);
        if replied {
            return self.on_completed(now, call);
        }
        if !self.counts(call) {
            return;
        }
        self.take_times(now, call);
        self.on_failed(ending);
    }

    #[inline(always)]
    fn take_times(&mut self, now: Timestamp, call: &Call) {
        self.latency.record(now.since_ns(call.intended));
        if let Some(service) = &mut self.service {
            service.record(now.since_ns(call.sent));
        }
    }

    /// Counts an outcome that matched no call in flight.
    #[cold]
    pub fn on_stray(&mut self) {
        self.tally.stray += 1;
    }

    #[cold]
    fn on_failed(&mut self, ending: Ending) {
        match ending {
            Ending::Unknown => self.tally.unknown += 1,
            ending => {
                self.tally.failed += 1;
                self.tally.timed_out += u64::from(ending == Ending::TimedOut);
                self.tally.not_sent += u64::from(ending == Ending::NotSent);
            }
        }
    }

    fn counts(&self, call: &Call) -> bool {
        call.intended >= self.window.start
    }

    /// The load was broken off at `end`: rates are over what was.
    pub fn cut_short(&mut self, end: Timestamp) {
        self.window.end = self.window.end.min(end).max(self.window.start);
    }

    /// Takes counts that were made elsewhere: one-way messages have no outcomes to record.
    pub fn take_tally(&mut self, tally: Tally) {
        self.tally.add(&tally);
    }

    /// What was counted so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The window measured.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// Adds another thread's calls.
    pub fn merge(&mut self, mut other: Recorder) {
        self.tally.add(&other.tally);
        self.latency.merge(&mut other.latency);
        if let (Some(mine), Some(theirs)) = (&mut self.service, &mut other.service) {
            mine.merge(theirs);
        }
    }

    /// Latency from the intended send.
    pub fn latency(&mut self) -> Percentiles {
        self.latency.percentiles()
    }

    /// Service time from the real send, where kept.
    pub fn service(&mut self) -> Option<Percentiles> {
        self.service.as_mut().map(Times::percentiles)
    }
}

/// Nanoseconds to three digits. Calls that end in one turn share their clock reading: a run of equal
/// times is recorded once, with its count.
#[derive(Debug)]
struct Times {
    run_ns: u64,
    run_length: u64,
    histogram: Histogram<u64>,
}

impl Times {
    fn new() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, TIME_NS_MAX, 3).expect("the bounds are constants that fit");
        Self { run_ns: 0, run_length: 0, histogram }
    }

    #[inline]
    fn record(&mut self, ns: u64) {
        if ns != self.run_ns {
            self.flush();
            self.run_ns = ns;
        }
        self.run_length += 1;
    }

    #[inline(never)]
    fn flush(&mut self) {
        if self.run_length > 0 {
            self.histogram.saturating_record_n(self.run_ns, self.run_length);
            self.run_length = 0;
        }
    }

    fn merge(&mut self, other: &mut Times) {
        self.flush();
        other.flush();
        self.histogram.add(&other.histogram).expect("both histograms have the same bounds");
    }

    fn percentiles(&mut self) -> Percentiles {
        self.flush();
        Percentiles::of(&self.histogram)
    }
}

/// Times beyond an hour are an hour.
const TIME_NS_MAX: u64 = 3_600_000_000_000;

/// Percentiles in microseconds. One that fewer than [`SAMPLES_ABOVE_MIN`] samples lie above says
/// nothing and is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// Half were faster.
    pub p50: Option<f64>,
    /// One in ten was slower.
    pub p90: Option<f64>,
    /// One in a hundred was slower.
    pub p99: Option<f64>,
    /// One in a thousand was slower.
    pub p99_9: Option<f64>,
    /// One in ten thousand was slower.
    pub p99_99: Option<f64>,
    /// The slowest of all.
    pub max: Option<f64>,
    /// How many samples these rest on.
    pub samples: u64,
}

/// Samples that must lie above a percentile for it to be reported.
pub const SAMPLES_ABOVE_MIN: u64 = 10;

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let samples = histogram.len();
        let at = |above_one_in: u64| {
            // Whole numbers: 1 - 0.9999 is not 0.0001 in floating point.
            let above = samples / above_one_in;
            let quantile = 1.0 - 1.0 / above_one_in as f64;
            (above >= SAMPLES_ABOVE_MIN).then(|| us(histogram.value_at_quantile(quantile)))
        };
        Self {
            p50: at(2),
            p90: at(10),
            p99: at(100),
            p99_9: at(1_000),
            p99_99: at(10_000),
            max: (samples > 0).then(|| us(histogram.max())),
            samples,
        }
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { start: Timestamp(1_000), end: Timestamp(10_000_000) };

    fn call(intended: u64) -> Call {
        Call { token: 1, intended: Timestamp(intended), sent: Timestamp(intended + 5), checked: true }
    }

    fn run(recorder: &mut Recorder, intended: u64, took: u64, ending: Ending) {
        recorder.on_issued(&call(intended));
        recorder.on_ended(Timestamp(intended + took), &call(intended), ending);
    }

    #[test]
    fn every_call_issued_after_the_warm_up_is_in_exactly_one_sum() {
        let mut recorder = Recorder::new(WINDOW, Keep::Latency);
        run(&mut recorder, 999, 100, Ending::Completed);
        let endings = [
            Ending::Completed,
            Ending::Mismatched,
            Ending::Refused,
            Ending::TimedOut,
            Ending::NotSent,
            Ending::Unknown,
        ];
        endings.into_iter().for_each(|ending| run(&mut recorder, 2_000, 100, ending));
        let tally = *recorder.tally();
        assert_eq!(tally.issued, 6);
        assert_eq!(tally.issued, tally.completed + tally.failed + tally.unknown);
        assert_eq!((tally.completed, tally.failed, tally.unknown), (2, 3, 1));
        assert_eq!((tally.timed_out, tally.not_sent), (1, 1));
        assert_eq!((tally.checked, tally.mismatched), (3, 1), "the warm-up is checked too");
        assert_eq!(recorder.latency().samples, 6, "failures count in the percentiles");
    }

    #[test]
    fn a_call_that_ends_after_the_window_counts_but_not_in_the_rate() {
        let mut recorder = Recorder::new(WINDOW, Keep::Latency);
        run(&mut recorder, 9_999_999, 50, Ending::Completed);
        assert_eq!((recorder.tally().completed, recorder.tally().completed_in_window), (1, 0));
    }

    #[test]
    fn a_percentile_with_fewer_than_ten_samples_above_it_is_absent() {
        let mut recorder = Recorder::new(WINDOW, Keep::Latency);
        (0..999).for_each(|n| run(&mut recorder, 1_000 + n, 1_000 + n, Ending::Completed));
        let few = recorder.latency();
        assert!(few.p90.is_some());
        assert_eq!((few.p99, few.p99_9), (None, None));
        run(&mut recorder, 1_000, 5_000, Ending::Completed);
        let enough = recorder.latency();
        assert!((enough.p99.expect("ten samples lie above") - 1.99).abs() < 0.01, "{enough:?}");
        assert_eq!(enough.p99_9, None);
        assert!((enough.max.expect("there are samples") - 5.0).abs() < 0.01);
    }

    #[test]
    fn nothing_measured_is_nothing_reported() {
        assert_eq!(Recorder::new(WINDOW, Keep::Latency).latency(), Percentiles::default());
    }

    #[test]
    fn latency_counts_from_the_intended_send_and_service_from_the_real_one() {
        let mut recorder = Recorder::new(WINDOW, Keep::LatencyAndService);
        (0..40).for_each(|_| run(&mut recorder, 2_000, 1_005, Ending::Completed));
        let service = recorder.service().expect("kept").p50.expect("twenty lie above");
        let latency = recorder.latency().p50.expect("twenty lie above");
        assert!((latency - 1.005).abs() < 0.001, "{latency}");
        assert!((service - 1.0).abs() < 0.001, "{service}");
    }

    #[test]
    fn threads_merge_into_one_distribution() {
        let (mut a, mut b) = (Recorder::new(WINDOW, Keep::Latency), Recorder::new(WINDOW, Keep::Latency));
        (0..20).for_each(|_| run(&mut a, 2_000, 100, Ending::Completed));
        (0..20).for_each(|_| run(&mut b, 2_000, 900, Ending::TimedOut));
        a.merge(b);
        assert_eq!((a.tally().issued, a.tally().timed_out, a.latency().samples), (40, 20, 40));
        assert!((a.latency().max.expect("samples") - 0.9).abs() < 0.01);
    }
}
