//! The engine's timing, as scripts: what one end is told and does, and when, to the microsecond.
//!
//! After packetdrill. The engine is the product's, in a worker of its own on a virtual clock; its peer is the
//! script. Each file in `tests/scripts/` is one test:
//!
//! ```text
//! rtt 100us                            settings: profile, congestion, rtt, peer ack delay, idle timeout
//!
//! +0              send 1 x 1000        the application sends one message of 1,000 bytes
//! +0              > unit 0             the engine says a packet; a time counts from the line before
//! +141us..158us   > ask, unit 0        …at the earliest, at the latest (a timer's grain is 16 us)
//! +100us          < ack p1             the peer says a packet: p0, p1, … number what the engine said
//! +0              lost 1               a fact: a counter since the script began, srtt, window, closed
//! ```
//!
//! Between two lines the engine says nothing but what stands there. Before the script begins the session is open
//! and the round trip known to the nanosecond.

#[path = "scripts/play.rs"]
mod play;
#[path = "scripts/read.rs"]
mod read;

/// One test for each script, and their names.
macro_rules! scripts {
    ($($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                play::play(stringify!($name));
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    a_lost_tail_is_repaired_by_one_probe,
    a_repaired_tail_cuts_the_window_once,
    the_probe_timer_doubles_and_an_ack_resets_it,
    the_probe_timer_is_held_at_some_milliseconds_and_doubles_on,
    the_probe_timer_runs_from_the_newest_packet,
    a_probe_declares_nothing_lost_and_repeats_one_unit,
    a_probe_passes_a_full_window_and_new_data_does_not,
    a_short_path_is_not_probed_before_75_us,
    a_lost_repeat_is_found_by_the_packets_after_it,
    a_needless_probe_counts_as_spurious,
    a_unit_that_comes_twice_is_reported,
    a_late_ack_undoes_the_cut_its_loss_caused,
    all_lost_for_three_probe_timeouts_leaves_two_packets_of_window,
    an_outage_of_two_probe_timeouts_is_no_persistent_congestion,
    what_cannot_be_kept_is_not_acknowledged,
    a_packet_whose_seal_is_broken_is_not_acknowledged,
    a_lone_packet_is_acknowledged_within_the_ack_delay,
    a_gap_is_acknowledged_at_once,
    an_ack_that_says_nothing_new_of_its_largest_gives_no_sample,
    the_probe_timer_allows_for_the_ack_delay_of_the_handshake,
}

#[test]
fn every_script_is_played() {
    let files = std::fs::read_dir(play::folder()).expect("the scripts are there");
    let names = files.map(|file| file.expect("readable").file_name().into_string().expect("ASCII"));
    for name in names.filter_map(|name| name.strip_suffix(".pkt").map(str::to_owned)) {
        assert!(NAMES.contains(&name.as_str()), "{name}.pkt: name it in tests/scripts.rs");
    }
}
