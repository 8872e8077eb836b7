use super::*;

#[test]
fn what_is_sealed_comes_in_whole_blocks_that_fit_the_path() {
    for size_max in [1_200, 1_452, 1_472, 8_972, 16_368] {
        let mut mtu = PathMtu::new(size_max).in_blocks();
        mtu.on_probe_acked(Timestamp(0), size_max);
        let filled = mtu.filled_size();
        assert!(filled <= size_max && filled + CIPHER_BLOCK_SIZE > size_max, "{size_max}");
        for size in AROUND..=filled {
            let padded = mtu.padded(size);
            assert!((size..size + CIPHER_BLOCK_SIZE).contains(&padded) && padded <= filled, "{size}");
            assert_eq!((padded - AROUND) % CIPHER_BLOCK_SIZE, 0, "{size}");
        }
    }
    assert_eq!((PathMtu::new(1_200).filled_size(), PathMtu::new(1_200).padded(777)), (1_200, 777));
}

const NOW: Timestamp = Timestamp(1_000);

/// Answers every probe as a path that carries `carries` would; the probes that were sent.
fn settle(mtu: &mut PathMtu, now: Timestamp, carries: usize) -> Vec<usize> {
    let mut probes = Vec::new();
    while let Some(size) = mtu.probe(now) {
        probes.push(size);
        mtu.on_probe_sent(size);
        assert_eq!(mtu.probe(now), None, "one probe at a time");
        if size <= carries {
            mtu.on_probe_acked(now, size)
        } else {
            mtu.on_probe_lost(now, size, false)
        }
        assert!(probes.len() < 100, "no end: {probes:?}");
    }
    probes
}

#[test]
fn a_path_starts_at_1200_bytes_and_grows_by_an_acknowledged_probe() {
    // RFC 8899 §5.1.2, L52
    let mut mtu = PathMtu::new(16_000);
    assert_eq!((mtu.size(), mtu.probe(NOW)), (1_200, Some(16_000)));
    assert_eq!(settle(&mut mtu, NOW, 65_507), [16_000]);
    assert_eq!((mtu.size(), mtu.probe(Timestamp(u64::MAX - 1))), (16_000, None), "all there is");
}

#[test]
fn three_lost_probes_give_a_size_up_and_the_next_smaller_is_tried() {
    // RFC 8899 §5.1.2, L52
    let mut mtu = PathMtu::new(9_972);
    for _ in 0..3 {
        assert_eq!(mtu.probe(NOW), Some(9_972));
        mtu.on_probe_sent(9_972);
        mtu.on_probe_lost(NOW, 9_972, false);
    }
    assert_eq!((mtu.size(), mtu.probe(NOW)), (1_200, Some(8_972)));
    assert!(!mtu.on_refused(NOW, 8_972), "a probe, not a size in use");
    assert_eq!(mtu.probe(NOW), Some(8_952));
}

#[test]
fn a_size_is_not_given_up_because_its_probes_met_a_full_queue() {
    // A hundred sessions that open at once lose three probes each in the first milliseconds, and everything
    // else as well.
    let mut mtu = PathMtu::new(1_472);
    let mut now = NOW;
    for _ in 0..11 {
        assert_eq!(mtu.probe(now), Some(1_472));
        mtu.on_probe_sent(1_472);
        mtu.on_probe_lost(now, 1_472, true);
        assert_eq!(mtu.probe(now), None, "the queue is left alone");
        now = now.after_ns(CROWDED_WAIT_NS);
    }
    mtu.on_probe_sent(1_472);
    mtu.on_probe_lost(now, 1_472, true);
    assert_eq!(mtu.probe(now.after_ns(CROWDED_WAIT_NS)), Some(1_452), "twelve say what three alone would");
}

#[test]
fn any_path_is_found_to_within_a_64th_and_never_beyond_what_it_carries() {
    for carries in (1_200..17_000).step_by(37).chain([1_272, 1_380, 1_472, 4_442, 8_972, 16_368]) {
        let mut mtu = PathMtu::new(16_368);
        let probes = settle(&mut mtu, NOW, carries);
        let best = carries.min(16_368);
        assert!(mtu.size() <= best, "{carries}: {}", mtu.size());
        assert!(best - mtu.size() <= PRECISION_SIZE.max(best / PRECISION_PART), "{carries}: {}", mtu.size());
        assert!(probes.len() <= 50, "{carries}: {probes:?}");
    }
}

#[test]
fn common_links_are_found_exactly() {
    for carries in [16_368, 8_972, 8_952, 1_472, 1_452, 1_380] {
        let mut mtu = PathMtu::new(16_368);
        settle(&mut mtu, NOW, carries);
        assert_eq!(mtu.size(), carries);
    }
}

#[test]
fn a_path_that_grew_is_noticed_ten_minutes_later() {
    // RFC 8899 §5.1.1: PMTU_RAISE_TIMER
    let mut mtu = PathMtu::new(8_972);
    settle(&mut mtu, NOW, 1_472);
    let (before, after) = (NOW.after_ns(599_000_000_000), NOW.after_ns(600_000_000_000));
    assert_eq!(mtu.probe(before), None);
    assert_eq!(settle(&mut mtu, after, 8_972), [8_972]);
    assert_eq!(mtu.size(), 8_972);
}

#[test]
fn three_large_losses_while_small_packets_pass_fall_back_to_the_base_size() {
    // RFC 8899 §4.3, L53
    let mut mtu = PathMtu::new(8_972);
    settle(&mut mtu, NOW, 8_972);
    mtu.on_passed(10, 8_972);
    for number in [11, 13, 14] {
        assert!(!mtu.is_black_hole(NOW));
        mtu.on_lost(number, 8_900);
    }
    assert!(mtu.is_black_hole(NOW));
    assert_eq!(mtu.size(), 1_200);
    settle(&mut mtu, NOW, 1_372);
    assert!((1_340..=1_372).contains(&mtu.size()), "{}", mtu.size());
}

#[test]
fn a_size_that_fell_by_chance_is_back_after_one_probe() {
    let mut mtu = PathMtu::new(8_972);
    settle(&mut mtu, NOW, 8_972);
    (1..4).for_each(|number| mtu.on_lost(number, 8_972));
    assert!(mtu.is_black_hole(NOW));
    assert_eq!(settle(&mut mtu, NOW, 8_972), [8_972]);
    assert_eq!(mtu.size(), 8_972);
}

#[test]
fn losses_among_large_packets_that_pass_are_no_black_hole() {
    let mut mtu = PathMtu::new(8_972);
    settle(&mut mtu, NOW, 8_972);
    for round in 0..100 {
        (0..2).for_each(|n| mtu.on_lost(10 * round + n, 8_972));
        mtu.on_passed(10 * round + 5, 8_972);
        // Found late: a later packet of that size has passed.
        mtu.on_lost(10 * round + 3, 8_972);
        mtu.on_lost(10 * round + 4, 1_200);
        assert!(!mtu.is_black_hole(NOW), "round {round}");
    }
}

#[test]
fn losses_among_packets_that_do_not_fill_the_size_and_pass_are_no_black_hole() {
    // Fragments of 13 KiB where 16 would fit: three lost in one ack beside many that passed were taken for a
    // black hole, and everything left in packets of the base size until the next probe.
    let mut mtu = PathMtu::new(16_368);
    settle(&mut mtu, NOW, 16_368);
    for round in 0..100 {
        (3..10).for_each(|n| mtu.on_passed(10 * round + n, 13_296));
        (0..3).for_each(|n| mtu.on_lost(10 * round + n, 13_296));
        assert!(!mtu.is_black_hole(NOW), "round {round}");
    }
    // Of 16 KiB they show nothing.
    (1_003..1_010).for_each(|number| mtu.on_passed(number, 13_296));
    (1_000..1_003).for_each(|number| mtu.on_lost(number, 16_368));
    assert!(mtu.is_black_hole(NOW));
}

#[test]
fn a_smaller_packet_that_passes_does_not_clear_a_larger_one() {
    let mut mtu = PathMtu::new(1_472);
    settle(&mut mtu, NOW, 1_472);
    mtu.on_lost(1, 1_472);
    mtu.on_passed(3, 1_379);
    mtu.on_lost(2, 1_400);
    mtu.on_passed(4, 1_379);
    assert!(!mtu.is_black_hole(NOW));
    mtu.on_probe_timer();
    assert!(mtu.is_black_hole(NOW), "nothing at all passed until something small was sent");
}

#[test]
fn a_size_in_use_that_the_kernel_refuses_falls_at_once() {
    let mut mtu = PathMtu::new(8_972);
    settle(&mut mtu, NOW, 8_972);
    assert!(mtu.on_refused(NOW, 8_000));
    assert_eq!((mtu.size(), mtu.probe(NOW)), (1_200, Some(1_472)));
}
