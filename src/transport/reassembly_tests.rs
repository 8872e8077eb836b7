use std::ops::Range;

use super::*;
use crate::rng::Rng;

const KIB: u64 = 1_024;
const SIZE_MAX: u64 = 64 << 20;
const SHARE: u64 = 256 * KIB;
const COST: u64 = 1_000;

fn header(message: u64, offset: u64, total: u64) -> FragmentHeader {
    FragmentHeader { record: RecordHeader::Message, message: MessageId(message), offset, total }
}

/// Bytes that tell their message and their place.
fn content(message: u64, range: Range<u64>) -> Vec<u8> {
    range.map(|at| ((at ^ message << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Sends `offset..end` of `message`.
fn send(
    reassemblies: &mut Reassemblies,
    message: u64,
    total: u64,
    offset: u64,
    end: u64,
) -> Result<Progress, ReassemblyError> {
    let data = content(message, offset..end);
    // Nothing to reserve: small messages live on credit too.
    reassemblies.on_fragment(&header(message, offset, total), &data, COST, &mut Reserve::new(0))
}

fn grants(reassemblies: &mut Reassemblies, reserve: &mut Reserve) -> (Vec<(u64, u64)>, u64) {
    let mut out = Vec::new();
    let credit = reassemblies.next_grants(SHARE, reserve, &mut out);
    (out.iter().map(|grant| (grant.message.0, grant.offset)).collect(), credit)
}

#[test]
fn a_small_message_needs_no_grant_and_leaves_no_state() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::default();
    let first = send(&mut reassemblies, 1, 50_000, 0, 20_000).unwrap();
    assert!(first.complete.is_none());
    assert_eq!(first.credit, 0);
    assert_eq!(grants(&mut reassemblies, &mut reserve), (vec![], 0));
    let last = send(&mut reassemblies, 1, 50_000, 20_000, 50_000).unwrap();
    let complete = last.complete.expect("all bytes are there");
    assert_eq!(complete.buffer[..], content(1, 0..50_000)[..]);
    assert_eq!((complete.credit, complete.reserved), (2 * COST, 0));
    assert!(reassemblies.is_empty());
}

#[test]
fn a_large_message_is_granted_only_after_the_whole_was_reserved() {
    let total = 1_024 * KIB;
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::new(total - 1);
    drop(send(&mut reassemblies, 1, total, 0, 16 * KIB).unwrap());
    assert_eq!(grants(&mut reassemblies, &mut reserve), (vec![], 0));
    assert_eq!(reassemblies.granted(MessageId(1)), Some(64 * KIB));
    // Memory comes back from elsewhere: the next turn finds it without another fragment.
    reserve.give_back(1);
    assert_eq!(grants(&mut reassemblies, &mut reserve), (vec![(1, 272 * KIB)], COST));
    assert_eq!(reserve.available(), 0);
    // From now on its credit comes back at once.
    assert_eq!(send(&mut reassemblies, 1, total, 16 * KIB, 32 * KIB).unwrap().credit, COST);
}

#[test]
fn grants_run_a_share_ahead_and_never_shrink() {
    let total = 1_024 * KIB;
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::default();
    let (mut sent, mut granted, mut frames) = (0, 64 * KIB, 0);
    let complete = loop {
        let end = (sent + 16 * KIB).min(granted);
        assert!(end > sent, "the sender is stuck at {sent}");
        let progress = send(&mut reassemblies, 1, total, sent, end).unwrap();
        sent = end;
        if let Some(complete) = progress.complete {
            break complete;
        }
        for (_, offset) in grants(&mut reassemblies, &mut reserve).0 {
            assert!(offset > granted);
            assert!(offset <= sent + SHARE);
            granted = offset;
            frames += 1;
        }
    };
    assert_eq!(complete.buffer[..], content(1, 0..total)[..]);
    assert_eq!(complete.reserved, total);
    assert!(frames < 20, "{frames} grants for 1 MiB");
}

#[test]
fn the_shortest_remaining_message_is_granted_first() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::new(600 * KIB);
    drop(send(&mut reassemblies, 1, 400 * KIB, 0, KIB).unwrap());
    drop(send(&mut reassemblies, 2, 300 * KIB, 0, KIB).unwrap());
    drop(send(&mut reassemblies, 3, 200 * KIB, 0, KIB).unwrap());
    let granted = grants(&mut reassemblies, &mut reserve).0;
    assert_eq!(granted, [(3, 200 * KIB), (2, 257 * KIB)]);
}

#[test]
fn only_so_many_messages_are_granted_at_once_and_the_rest_follow() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::default();
    for message in 0..20 {
        drop(send(&mut reassemblies, message, 1_000 * KIB, 0, 64 * KIB).unwrap());
    }
    assert_eq!(grants(&mut reassemblies, &mut reserve).0.len(), GRANTED_AT_ONCE);
    let mut finished = 0;
    for _ in 0..200 {
        for message in 0..20 {
            let Some(granted) = reassemblies.granted(MessageId(message)) else { continue };
            let received = reassemblies.messages[&MessageId(message)].received;
            if granted > received {
                let progress = send(&mut reassemblies, message, 1_000 * KIB, received, granted).unwrap();
                finished += usize::from(progress.complete.is_some());
            }
        }
        grants(&mut reassemblies, &mut reserve);
    }
    assert_eq!(finished, 20);
}

#[test]
fn a_small_share_still_moves_a_large_message() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::default();
    let mut out = Vec::new();
    drop(send(&mut reassemblies, 1, 1_000 * KIB, 0, KIB).unwrap());
    reassemblies.next_grants(1, &mut reserve, &mut out);
    assert!(out[0].offset > 64 * KIB);
}

#[test]
fn every_lie_is_an_error() {
    let lie = |offset: u64, size: usize, total: u64| {
        let mut reassemblies = Reassemblies::new(SIZE_MAX);
        drop(send(&mut reassemblies, 1, 200_000, 1_000, 2_000).unwrap());
        let error = reassemblies.on_fragment(
            &header(1, offset, total),
            &vec![0; size],
            COST,
            &mut Reserve::default(),
        );
        error.expect_err("a lie is an error")
    };
    let message = MessageId(1);
    assert_eq!(lie(2_000, 10, 200_001), ReassemblyError::Changed { message });
    assert_eq!(lie(2_000, 0, 200_000), ReassemblyError::Empty { message });
    assert_eq!(lie(199_999, 2, 200_000), ReassemblyError::PastEnd { message });
    assert_eq!(lie(u64::MAX, 2, 200_000), ReassemblyError::PastEnd { message });
    assert_eq!(lie(1_999, 2, 200_000), ReassemblyError::Overlap { message });
    assert_eq!(lie(500, 5_000, 200_000), ReassemblyError::Overlap { message });
    let past = ReassemblyError::PastGrant { message, end: 64 * KIB + 1, granted: 64 * KIB };
    assert_eq!(lie(64 * KIB - 1, 2, 200_000), past);
    let large = ReassemblyError::TooLarge { size: SIZE_MAX + 1, size_max: SIZE_MAX };
    assert_eq!(lie(0, 1, SIZE_MAX + 1), large);
}

#[test]
fn a_record_that_changes_between_fragments_is_an_error() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    drop(send(&mut reassemblies, 1, 50_000, 0, 1_000).unwrap());
    let record = RecordHeader::Request { call: crate::wire::CallId(1), method: 2 };
    let changed = FragmentHeader { record, ..header(1, 1_000, 50_000) };
    let error = reassemblies.on_fragment(&changed, &[0; 10], COST, &mut Reserve::default()).unwrap_err();
    assert_eq!(error, ReassemblyError::Changed { message: MessageId(1) });
}

#[test]
fn a_message_that_waits_for_memory_does_not_hold_the_sessions_credit() {
    // Two messages that do not fit together: the second waits, and its first 64 KiB cost nothing.
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::new(2_000 * KIB);
    let mut out = Vec::new();
    for message in 1..=2 {
        let data = content(message, 0..64 * KIB);
        let header = header(message, 0, 1_500 * KIB);
        let progress = reassemblies.on_fragment(&header, &data, COST, &mut reserve).unwrap();
        assert_eq!(progress.credit, COST);
    }
    reassemblies.next_grants(SHARE, &mut reserve, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(reserve.available(), 436 * KIB);
    reassemblies.clear(&mut reserve);
    assert_eq!(reserve.available(), 2_000 * KIB);
}

#[test]
fn a_message_as_large_as_the_reserve_gets_through_alone() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::new(1_000 * KIB);
    let mut out = Vec::new();
    let data = content(1, 0..KIB);
    drop(reassemblies.on_fragment(&header(1, 0, 1_000 * KIB), &data, COST, &mut reserve).unwrap());
    reassemblies.next_grants(SHARE, &mut reserve, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(reserve.available(), 0);
}

#[test]
fn wholes_leave_memory_for_heads() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::new(1_600 * KIB);
    let mut out = Vec::new();
    for (message, total) in [(1, 800 * KIB), (2, 750 * KIB)] {
        let data = content(message, 0..KIB);
        drop(reassemblies.on_fragment(&header(message, 0, total), &data, COST, &mut reserve).unwrap());
    }
    reassemblies.next_grants(SHARE, &mut reserve, &mut out);
    // Both would fit, and leave 50 KiB: less than the sixteenth that is kept for heads.
    assert_eq!(out.len(), 1);
    assert!(reserve.available() >= 100 * KIB);
}

#[test]
fn messages_in_pieces_are_bounded() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    for message in 0..REASSEMBLIES_MAX as u64 {
        drop(send(&mut reassemblies, message, 100, 0, 1).unwrap());
    }
    let error = send(&mut reassemblies, u64::MAX, 100, 0, 1).unwrap_err();
    assert_eq!(error, ReassemblyError::TooMany);
}

#[test]
fn a_declared_total_allocates_nothing_by_itself() {
    // S10: a thousand claims of 64 MiB hold a thousand times what was sent ungranted at most.
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::new(0);
    for message in 0..100 {
        drop(
            reassemblies
                .on_fragment(&header(message, 0, SIZE_MAX), &[1], COST, &mut Reserve::default())
                .unwrap(),
        );
    }
    grants(&mut reassemblies, &mut reserve);
    let held: usize = reassemblies.messages.values().map(|partial| partial.buffer.room()).sum();
    assert!(held as u64 <= 100 * UNGRANTED_SIZE_MAX, "{held} bytes held");
}

#[test]
fn heads_of_messages_do_not_keep_the_memory_of_large_ones() {
    // S10: whole messages leave memory behind, which begun ones must not hold under a smaller name.
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::default();
    for message in 0..100 {
        reserve.recycle(vec![1; 1 << 20].into());
        for (id, total) in [(2 * message, 20_000), (2 * message + 1, SIZE_MAX)] {
            let header = header(id, 0, total);
            drop(reassemblies.on_fragment(&header, &[1], COST, &mut reserve).unwrap());
        }
    }
    let held: usize = reassemblies.messages.values().map(|partial| partial.buffer.room()).sum();
    let counted = reassemblies.kept_size() as usize;
    assert!(held <= 2 * counted, "{held} bytes held, {counted} counted");
}

#[test]
fn a_session_that_ends_gives_its_memory_back() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::default();
    drop(send(&mut reassemblies, 1, 1_000 * KIB, 0, KIB).unwrap());
    drop(send(&mut reassemblies, 2, 50_000, 0, KIB).unwrap());
    grants(&mut reassemblies, &mut reserve);
    assert_eq!(reserve.available(), crate::bounds::REASSEMBLY_BYTES_MAX - 1_000 * KIB);
    reassemblies.clear(&mut reserve);
    assert_eq!(reserve.available(), crate::bounds::REASSEMBLY_BYTES_MAX);
    assert!(reassemblies.is_empty());
}

#[test]
fn a_recycled_buffer_shows_nothing_of_the_message_before() {
    let mut reassemblies = Reassemblies::new(SIZE_MAX);
    let mut reserve = Reserve::default();
    reserve.recycle(vec![0xee; 60_000].into());
    let data = content(1, 0..40_000);
    let progress = reassemblies.on_fragment(&header(1, 0, 40_000), &data, COST, &mut reserve).unwrap();
    assert_eq!(progress.credit, COST, "reserved memory took the place of credit");
    let complete = progress.complete.unwrap();
    assert_eq!(complete.reserved, 40_000);
    assert_eq!(complete.buffer[..], content(1, 0..40_000)[..]);
}

#[test]
fn any_arrival_order_gives_the_message_back() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let total = 1 + rng.below(400_000);
        let mut reassemblies = Reassemblies::new(SIZE_MAX);
        let mut reserve = Reserve::default();
        let (mut cut, mut waiting, mut complete) = (0, Vec::new(), None);
        let mut granted = total.min(UNGRANTED_SIZE_MAX);
        while complete.is_none() {
            while cut < granted && waiting.len() < 20 {
                let end = (cut + 1 + rng.below(16_000)).min(granted);
                waiting.push((cut, end));
                cut = end;
            }
            let at = rng.below(waiting.len() as u64) as usize;
            let (start, end) = waiting.swap_remove(at);
            complete = send(&mut reassemblies, seed, total, start, end).unwrap().complete;
            for (_, offset) in grants(&mut reassemblies, &mut reserve).0 {
                granted = offset;
            }
        }
        assert_eq!(
            complete.map(|complete| complete.buffer.to_vec()),
            Some(content(seed, 0..total)),
            "seed {seed}"
        );
        assert!(waiting.is_empty(), "seed {seed}");
    }
}
