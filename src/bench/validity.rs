//! When a figure is not to be used, and why.

use super::advice::{CROWDED_MAX, STOLEN_MAX};
use super::recorder::SAMPLES_ABOVE_MIN;
use super::report::Report;

/// What happened around a run that its own counts do not show.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Why the load ended before its time.
    pub cut_short: Option<String>,
}

/// Every reason not to use the figures of `report`.
#[must_use]
pub fn reasons(report: &Report, around: &Circumstances) -> Vec<String> {
    let checks = [
        around.cut_short.clone(),
        rate_missed(report),
        report.stolen.filter(|share| *share > STOLEN_MAX).map(|share| {
            format!(
                "the hypervisor took {:.1} % of the cores' time: run again when the host is quiet",
                share * 100.0
            )
        }),
        report.crowded.filter(|share| *share > CROWDED_MAX).map(|share| {
            format!(
                "other processes had the client's cores for {:.0} % of the time: run again when the host is quiet",
                share * 100.0
            )
        }),
        too_few(report),
        mismatch(report),
        (report.tally.stray > 0)
            .then(|| format!("{} outcomes belonged to no call in flight", report.tally.stray)),
    ];
    checks.into_iter().flatten().collect()
}

/// Share of an offered rate that may be missed.
const SKIPPED_MAX: f64 = 0.01;

fn rate_missed(report: &Report) -> Option<String> {
    let (offered, skipped) = (report.offered_per_s?, report.skipped?);
    let meant = offered * report.seconds;
    (skipped as f64 > meant * SKIPPED_MAX).then(|| {
        format!("the offered rate was not reached: {skipped} of {meant:.0} sends never left; lower --rate, or raise --window or --sessions")
    })
}

fn too_few(report: &Report) -> Option<String> {
    let samples = report.tally.completed;
    let enough = 2 * SAMPLES_ABOVE_MIN;
    (samples < enough)
        .then(|| format!("only {samples} completed, of {enough} that a median needs: raise --duration"))
}

fn mismatch(report: &Report) -> Option<String> {
    let wrong = report.tally.mismatched;
    (wrong > 0).then(|| format!("{wrong} replies carried other bytes than they should have"))
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Tally;
    use super::*;

    fn report() -> Report {
        let tally = Tally { issued: 100, completed: 100, ..Tally::default() };
        Report { seconds: 1.0, tally, offered_per_s: Some(100.0), skipped: Some(1), ..Report::default() }
    }

    #[test]
    fn a_good_run_has_no_reason_against_it() {
        assert_eq!(reasons(&report(), &Circumstances::default()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        let found = |report: &Report, around: &Circumstances| reasons(report, around).join("; ");
        let none = Circumstances::default();
        assert!(found(&Report { skipped: Some(2), ..report() }, &none).contains("offered rate"));
        let mut few = report();
        few.tally.completed = 19;
        assert!(found(&few, &none).contains("median"));
        let mut wrong = report();
        wrong.tally.mismatched = 1;
        assert!(found(&wrong, &none).contains("other bytes"));
        assert!(found(&Report { stolen: Some(0.05), ..report() }, &none).contains("5.0 %"));
        assert!(found(&Report { crowded: Some(0.5), ..report() }, &none).contains("50 %"));
        let cut = Circumstances { cut_short: Some("interrupted".into()) };
        assert!(found(&report(), &cut).contains("interrupted"));
    }
}
