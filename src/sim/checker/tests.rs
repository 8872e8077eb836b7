//! Each promise broken by hand is noticed, and nothing else is.

use super::*;
use crate::sim::contents::contents;

const A: Life = Life { node: 0, incarnation: 0 };
const B: Life = Life { node: 1, incarnation: 0 };
const AT: Timestamp = Timestamp(1_000_000);

fn sent(checker: &mut Checker, channel: Option<u32>) -> (u64, Vec<u8>) {
    let id = checker.fresh_id();
    checker.message_accepted(id, (A, 1), B, channel, 32);
    (id, contents(id, Purpose::Message, 32))
}

fn called(checker: &mut Checker) -> (u64, Vec<u8>) {
    let id = checker.fresh_id();
    checker.call_accepted(id, (A, 1), B, (32, Answer::Reply(10)), Timestamp(2_000_000));
    (id, contents(id, Purpose::Request, 32))
}

/// The one violation there is.
fn only(checker: &Checker) -> String {
    assert_eq!(checker.violations().len(), 1, "{:?}", checker.violations());
    checker.violations()[0].to_string()
}

#[test]
fn a_faultless_run_breaks_nothing() {
    let mut checker = Checker::default();
    for channel in [None, Some(1), Some(1)] {
        let (_, bytes) = sent(&mut checker, channel);
        checker.message_delivered(AT, B, channel, &bytes);
    }
    let (id, bytes) = called(&mut checker);
    assert_eq!(checker.pending(), 1);
    assert_eq!(checker.call_runs(AT, B, &bytes), Some((id, Answer::Reply(10))));
    checker.call_ended(AT, A, id, Ended::Replied(&contents(id, Purpose::Reply, 10)));
    assert_eq!(checker.pending(), 0);
    checker.finish(AT);
    assert!(checker.violations().is_empty(), "{:?}", checker.violations());
}

#[test]
fn a_message_delivered_twice_is_noticed() {
    let mut checker = Checker::default();
    let (_, bytes) = sent(&mut checker, None);
    checker.message_delivered(AT, B, None, &bytes);
    checker.message_delivered(AT, B, None, &bytes);
    assert!(only(&checker).contains("a second time"));
}

#[test]
fn a_changed_message_is_noticed_wherever_it_changed() {
    for at in 8..32 {
        let mut checker = Checker::default();
        let (_, mut bytes) = sent(&mut checker, None);
        bytes[at] ^= 1;
        checker.message_delivered(AT, B, None, &bytes);
        assert!(only(&checker).contains("changed contents"), "byte {at}");
    }
    let mut checker = Checker::default();
    let (_, bytes) = sent(&mut checker, None);
    checker.message_delivered(AT, B, None, &bytes[..31]);
    assert!(only(&checker).contains("changed contents"));
}

#[test]
fn a_message_nobody_sent_is_noticed() {
    let mut checker = Checker::default();
    checker.message_delivered(AT, B, None, &contents(77, Purpose::Message, 32));
    assert!(only(&checker).contains("nobody sent"));
}

#[test]
fn a_gap_stepped_over_is_noticed() {
    let mut checker = Checker::default();
    let (_, first) = sent(&mut checker, Some(3));
    let (_, second) = sent(&mut checker, Some(3));
    checker.message_delivered(AT, B, Some(3), &second);
    assert!(only(&checker).contains("out of order"));
    checker.message_delivered(AT, B, Some(3), &first);
    assert_eq!(checker.violations().len(), 2);
}

#[test]
fn silence_is_noticed() {
    let mut checker = Checker::default();
    sent(&mut checker, None);
    called(&mut checker);
    checker.finish(AT);
    assert_eq!(checker.violations().len(), 2);
    assert!(checker.violations().iter().all(|violation| violation.promise == Promise::Progress));
}

#[test]
fn reported_messages_and_those_held_behind_them_are_not_silent() {
    let mut checker = Checker::default();
    let (gap, _) = sent(&mut checker, Some(1));
    sent(&mut checker, Some(1));
    checker.message_told(AT, gap, Told::Unknown);
    assert_eq!(checker.pending(), 1, "the session lives: the second must come");
    checker.session_ended(AT, A, 1, Ending::Explained, "closed");
    assert_eq!(checker.pending(), 0);
}

#[test]
fn the_dead_are_owed_nothing_and_what_was_sent_to_them_is_pending_but_not_between_the_living() {
    let mut checker = Checker::default();
    sent(&mut checker, None);
    called(&mut checker);
    assert!(
        checker.is_anything_pending() && checker.is_anything_pending_between_the_living(&HalfOpen::new())
    );
    checker.died(B);
    assert_eq!(checker.pending(), 2);
    assert!(
        checker.is_anything_pending() && !checker.is_anything_pending_between_the_living(&HalfOpen::new())
    );
    checker.died(A);
    assert_eq!(checker.pending(), 0);
    assert!(!checker.is_anything_pending());
}

#[test]
fn what_waits_on_a_session_that_nobody_holds_at_the_other_end_is_due_when_the_books_are_closed_and_no_other()
{
    // Seed 611: an INIT from before a crash opened a session that its client had given up.
    let mut checker = Checker::default();
    sent(&mut checker, None);
    let (mine, another) = (HalfOpen::from([(A, 1)]), HalfOpen::from([(A, 2), (B, 1)]));
    assert!(!checker.is_anything_pending_between_the_living(&mine));
    checker.expect_nothing_pending_between_the_living(AT, &mine, "1 ms");
    assert!(checker.violations().is_empty());
    assert!(checker.is_anything_pending_between_the_living(&another));
    checker.expect_nothing_pending_between_the_living(AT, &another, "1 ms");
    assert_eq!(checker.violations().len(), 2);
    let mut checker = Checker::default();
    sent(&mut checker, None);
    checker.finish(AT);
    assert!(only(&checker).contains("neither delivered nor reported"));
}

#[test]
fn not_sent_and_yet_delivered_is_noticed_in_either_order() {
    let mut checker = Checker::default();
    let (id, bytes) = sent(&mut checker, None);
    checker.message_told(AT, id, Told::NotSent);
    checker.message_delivered(AT, B, None, &bytes);
    assert!(only(&checker).contains("NotSent"));
    let mut checker = Checker::default();
    let (id, bytes) = sent(&mut checker, None);
    checker.message_delivered(AT, B, None, &bytes);
    checker.message_told(AT, id, Told::NotSent);
    assert!(only(&checker).contains("NotSent"));
}

#[test]
fn a_call_that_runs_or_ends_twice_is_noticed() {
    let mut checker = Checker::default();
    let (id, bytes) = called(&mut checker);
    checker.call_runs(AT, B, &bytes);
    checker.call_runs(AT, B, &bytes);
    assert!(only(&checker).contains("ran a second time"));
    let mut checker = Checker::default();
    let (id_ended, bytes) = called(&mut checker);
    assert_eq!(id, id_ended);
    checker.call_runs(AT, B, &bytes);
    let reply = contents(id, Purpose::Reply, 10);
    checker.call_ended(AT, A, id, Ended::Replied(&reply));
    checker.call_ended(AT, A, id, Ended::Replied(&reply));
    assert!(only(&checker).contains("ended a second time"));
}

#[test]
fn an_untrue_outcome_is_noticed() {
    let untrue = |runs: bool, at: u64, ended: Ended<'_>| {
        let mut checker = Checker::default();
        let (id, bytes) = called(&mut checker);
        if runs {
            checker.call_runs(AT, B, &bytes);
        }
        checker.call_ended(Timestamp(at), A, id, ended);
        only(&checker)
    };
    assert!(untrue(false, 1, Ended::Replied(&contents(1, Purpose::Reply, 10))).contains("as if it had run"));
    assert!(untrue(true, 1, Ended::Replied(b"")).contains("another reply"));
    assert!(untrue(true, 1, Ended::Failed(16)).contains("did not report"));
    assert!(untrue(true, 1, Ended::NotSent).contains("it had run"));
    assert!(untrue(false, 1_999_999, Ended::TimedOut).contains("before its deadline"));
    assert!(untrue(false, 1_000_000_000, Ended::TimedOut).contains("long after"));
}

#[test]
fn a_session_that_fails_for_no_reason_is_noticed_when_it_took_something_along() {
    let mut checker = Checker::default();
    checker.session_ended(AT, A, 1, Ending::Explained, "closed here");
    checker.session_ended(AT, A, 2, Ending::Unexplained, "never used");
    assert!(checker.violations().is_empty());
    let id = checker.fresh_id();
    checker.message_accepted(id, (A, 3), B, None, 32);
    checker.message_told(AT, id, Told::Unknown);
    checker.session_ended(AT, A, 3, Ending::Unexplained, "TimedOut");
    assert!(only(&checker).contains("two living ends"));
}

#[test]
fn an_accusation_is_noticed_whatever_it_took_along() {
    let mut checker = Checker::default();
    checker.session_ended(AT, A, 1, Ending::Accused, "Violation");
    assert!(only(&checker).contains("Violation"));
}

#[test]
fn what_waits_for_the_dead_may_wait_longer_but_not_for_ever() {
    let mut checker = Checker::default();
    sent(&mut checker, None);
    checker.died(B);
    checker.expect_nothing_pending_between_the_living(AT, &HalfOpen::new(), "1 ms");
    assert!(checker.violations().is_empty());
    checker.finish(AT);
    assert!(only(&checker).contains("from 0.0 to 1.0"));
}

#[test]
fn what_was_acknowledged_by_a_receiver_that_died_within_its_turn_is_nobody_s_to_report() {
    let mut checker = Checker::default();
    sent(&mut checker, None);
    checker.died(B);
    checker.session_ended(AT, A, 1, Ending::Explained, "Reset");
    checker.finish(AT);
    assert!(checker.violations().is_empty(), "{:?}", checker.violations());
}

#[test]
fn a_call_that_a_later_life_of_its_server_runs_is_noticed() {
    let mut checker = Checker::default();
    let (_, bytes) = called(&mut checker);
    checker.died(B);
    checker.call_runs(AT, Life { incarnation: 1, ..B }, &bytes);
    assert!(only(&checker).starts_with("R2 broken") && only(&checker).contains("made to 1.0, ran in 1.1"));
}

#[test]
fn a_restart_that_did_not_happen_is_noticed() {
    let next = Life { incarnation: 1, ..B };
    let told = |died: bool, now_there: Life| {
        let mut checker = Checker::default();
        if died {
            checker.died(B);
        }
        checker.restart_named(AT, A, B, now_there);
        checker.violations().len()
    };
    assert_eq!(told(true, next), 0);
    assert_eq!(told(false, next), 1, "its peer lives");
    assert_eq!(told(true, B), 1, "the very life that died");
    assert_eq!(told(true, A), 1, "another endpoint");
}
