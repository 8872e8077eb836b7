//! One suite of promises, run over every backend: what the worker may rely on whichever carries it.
//!
//! A backend that this host cannot run is skipped aloud; with `RINGWIRE_STRICT=1` a skip fails.

#[path = "backends/promises.rs"]
mod promises;
#[path = "backends/rig.rs"]
mod rig;

use rig::{Family, Kind};

macro_rules! suite {
    ($module:ident, $kind:expr, $family:expr, [$($test:ident),* $(,)?]) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $test() {
                    if rig::available($kind, $family, stringify!($test)) {
                        promises::$test($kind, $family);
                    }
                }
            )*
        }
    };
}

macro_rules! socket_suite {
    ($module:ident, $kind:expr, $family:expr) => {
        suite!(
            $module,
            $kind,
            $family,
            [
                a_single_packet_arrives_whole_and_names_its_sender,
                a_train_is_cut_exactly_and_rejoined,
                a_train_arrives_packet_by_packet_without_gro,
                a_train_leaves_packet_by_packet_without_gso,
                what_lies_elsewhere_arrives_in_its_place,
                trains_to_64_kib_arrive_in_order,
                a_connected_pair_talks_without_addresses,
                a_full_batch_says_so,
                a_wait_ends_when_a_packet_comes,
                a_wait_ends_when_the_doorbell_rings,
                a_wait_ends_when_its_time_is_up,
                buffers_run_out_and_come_back,
                a_packet_too_big_is_an_event_and_the_next_one_leaves,
                an_icmp_refusal_is_a_hint_and_kills_nothing,
                the_counters_add_up,
                ecn_bits_are_carried,
                an_empty_packet_is_passed_over,
                a_storm_of_icmp_leaves_no_kernel_worker_behind,
            ]
        );
    };
}

socket_suite!(mmsg_v4, Kind::Mmsg, Family::V4);
socket_suite!(mmsg_v6, Kind::Mmsg, Family::V6);
socket_suite!(uring_v4, Kind::Uring, Family::V4);
socket_suite!(uring_v6, Kind::Uring, Family::V6);

suite!(
    memory,
    Kind::Memory,
    Family::V4,
    [
        a_single_packet_arrives_whole_and_names_its_sender,
        a_train_is_cut_exactly_and_rejoined,
        a_train_arrives_packet_by_packet_without_gro,
        what_lies_elsewhere_arrives_in_its_place,
        trains_to_64_kib_arrive_in_order,
        a_full_batch_says_so,
        buffers_run_out_and_come_back,
        a_packet_too_big_is_an_event_and_the_next_one_leaves,
        the_counters_add_up,
        ecn_bits_are_carried,
    ]
);
