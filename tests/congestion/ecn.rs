//! Queues that mark, and links that lie about it (L42).

use ringwire::sim::link::{LinkSpec, Marks};
use ringwire::transport::CongestionKind::{Cubic, Dc, Model};

use crate::scene::{over, show, wide_area};

/// A rack's switch: 1 Gbit/s, 100 µs, 250 KB, marking from 30 KB on.
fn switch() -> LinkSpec {
    LinkSpec::new(1_000_000_000, 50_000, 250_000).with_marks_from(30_000)
}

#[test]
fn a_queue_that_marks_stays_short_and_drops_nothing() {
    // L42, L44: the marks come before the delay target of a millisecond.
    let marked = over(&switch(), &[Dc, Dc], 1, 1);
    show("dc, marked", 1, &marked);
    assert!(marked.watched().marked > 0);
    assert!(marked.watched().capable * 10 > marked.watched().packets * 9);
    assert_eq!(marked.watched().dropped, 0);
    assert!(marked.queue_mean() < 60_000.0, "{}", marked.queue_mean());
    assert!(marked.goodput_sum_bit_s() > 0.85e9, "{}", marked.goodput_sum_bit_s());
    let unmarked = over(&LinkSpec { mark_from: None, ..switch() }, &[Dc, Dc], 1, 1);
    show("dc, unmarked", 1, &unmarked);
    assert!(unmarked.queue_mean() > 1.5 * marked.queue_mean());
}

#[test]
fn every_controller_heeds_marks() {
    // L42
    for kind in [Cubic, Model] {
        let measured = over(&wide_area("0%", 1).with_marks_from(40_000), &[kind, kind], 4, 1);
        show(&format!("two of {}, marked", kind.name()), 1, &measured);
        assert!(measured.watched().marked > 0, "{}", kind.name());
        assert_eq!(measured.watched().dropped, 0, "{}", kind.name());
        assert!(measured.goodput_sum_bit_s() > 75e6, "{}", kind.name());
    }
}

#[test]
fn a_link_that_bleaches_is_found_out_and_no_longer_marked() {
    // L42, RFC 9000 §13.4.2
    let before = switch().with_marks(Marks::Bleached);
    let measured = over(&before, &[Dc, Dc], 1, 1);
    show("dc, bleached", 1, &measured);
    assert_eq!((measured.watched().capable, measured.engine.ce_marks), (0, 0), "long after it was found out");
    assert!(measured.goodput_sum_bit_s() > 0.85e9, "{}", measured.goodput_sum_bit_s());
}

#[test]
fn a_link_that_drops_what_is_marked_carries_the_session_all_the_same() {
    // L42, RFC 9000 §13.4.2: "all packets sent with an ECT codepoint are eventually deemed lost".
    let measured = over(&switch().with_marks(Marks::Refused), &[Dc, Dc], 1, 1);
    show("dc, marks refused", 1, &measured);
    assert_eq!(measured.watched().capable, 0, "long after it was found out");
    assert!(measured.goodput_sum_bit_s() > 0.85e9, "{}", measured.goodput_sum_bit_s());
}
