//! What a kernel or a sandbox may answer, injected at each stage: ENOBUFS, EAGAIN and ENOMEM, EPERM and ENOSYS,
//! a call that does nothing. Real sockets, real system calls; a seccomp filter on one thread answers the
//! calls that are named, as a container's does.

#![allow(unsafe_code, reason = "the filter is set by two system calls that no crate here wraps")]

use std::time::Duration;

use ringwire::io::mmsg::Mmsg;
use ringwire::io::select::{self, SelectError, Selection};
use ringwire::io::uring::Uring;
use ringwire::io::{Backend, Config, Event, PathId, Train};
use ringwire::time::{Clock, MonotonicClock};

/// Runs `body` on a thread whose system calls with these numbers answer `errno` and do nothing.
fn refused<T: Send>(calls: &[libc::c_long], errno: i32, body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            install(calls, errno).expect("a thread may restrict itself");
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A filter for this thread: these calls answer `errno`, all others run.
fn install(calls: &[libc::c_long], errno: i32) -> std::io::Result<()> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (at, call) in calls.iter().enumerate() {
        let to_refusal = (calls.len() - at) as u8;
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_refusal, 0, *call as u32));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: prctl with these arguments reads no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: `filter` points to `program`, which outlives the call; the kernel copies it.
    let set =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn config() -> Config {
    Config::new("127.0.0.1:0".parse().expect("an address"))
}

/// Two sockets, and 20 trains of three packets sent from the first to the second; both, with what the first
/// told.
fn send_twenty() -> (Mmsg, Mmsg, Vec<Event>) {
    let (mut here, mut there) =
        (Mmsg::open(&config()).expect("a port"), Mmsg::open(&config()).expect("a port"));
    here.register_path(PathId(0), there.local_addr());
    there.register_path(PathId(0), here.local_addr());
    for _ in 0..20 {
        let mut buffer = here.lend().expect("what is given up comes back");
        buffer.bytes_mut()[..3_000].fill(5);
        here.submit(Train { buffer, length: 3_000, segment_size: 1_000, path: PathId(0) });
        here.flush().expect("the socket itself is well");
    }
    let mut events = Vec::new();
    here.poll_events(&mut events);
    (here, there, events)
}

fn dropped(events: &[Event]) -> usize {
    let packets = |event: &Event| match event {
        Event::SendDropped { packets, .. } => *packets,
        _ => 0,
    };
    events.iter().map(packets).sum()
}

#[test]
fn a_kernel_without_room_costs_packets_that_are_counted_and_told_and_nothing_hangs() {
    for errno in [libc::ENOBUFS, libc::EAGAIN, libc::ENOMEM] {
        refused(&[libc::SYS_sendmmsg, libc::SYS_sendmsg, libc::SYS_sendto], errno, move || {
            let (mut here, _there, events) = send_twenty();
            let counters = here.counters(true);
            assert_eq!((counters.packets_sent, counters.send_dropped), (0, 60), "errno {errno}");
            assert_eq!((counters.dropped_no_room, counters.dropped_offload), (60, 0), "errno {errno}");
            assert_eq!(dropped(&events), 60, "errno {errno}: {events:?}");
        });
    }
}

#[test]
fn a_send_that_a_filter_forbids_is_refused_and_counted_and_receiving_goes_on() {
    for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
        refused(&[libc::SYS_sendmmsg, libc::SYS_sendmsg, libc::SYS_sendto], errno, move || {
            let (mut here, _there, events) = send_twenty();
            let counters = here.counters(true);
            assert_eq!((counters.packets_sent, counters.send_dropped), (0, 60), "errno {errno}");
            assert_eq!(counters.dropped_no_room + counters.dropped_offload, 0, "errno {errno}");
            assert_eq!(dropped(&events), 60, "errno {errno}: {events:?}");
            here.wait(Some(Duration::from_millis(1))).expect("waiting works");
            let mut batch = Vec::new();
            here.receive(&mut batch).expect("receiving works");
        });
    }
}

#[test]
fn a_send_call_that_takes_nothing_and_says_so_does_not_spin_for_ever() {
    // No error and no packet: the batch came back shorter than anything.
    refused(&[libc::SYS_sendmmsg, libc::SYS_sendmsg, libc::SYS_sendto], 0, || {
        let (mut here, _there, _) = send_twenty();
        let counters = here.counters(true);
        assert_eq!((counters.packets_sent, counters.send_dropped), (0, 60));
        assert_eq!(counters.dropped_no_room, 60);
    });
}

#[test]
fn a_receive_that_is_forbidden_is_an_error_and_not_silence() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let calls = [libc::SYS_recvmmsg, libc::SYS_recvmsg, libc::SYS_recvfrom];
        refused(&calls, errno, move || {
            let mut here = Mmsg::open(&config()).expect("a port");
            let error = here.receive(&mut Vec::new()).expect_err("nothing can be received here");
            assert_eq!(error.raw_os_error(), Some(errno));
        });
    }
}

/// The stages of io_uring, each of which a sandbox or a kernel may refuse.
const URING_STAGES: [(&str, libc::c_long); 3] = [
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_enter", libc::SYS_io_uring_enter),
];

#[test]
fn io_uring_refused_at_any_stage_falls_back_within_a_tenth_of_a_second_and_says_why_in_a_line() {
    for (stage, call) in URING_STAGES {
        for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
            refused(&[call], errno, move || {
                let list: Selection = "uring,mmsg".parse().expect("two names");
                let began = MonotonicClock.now();
                let (backend, why) = select::open(&config(), &list).expect("mmsg is there");
                let took_ns = MonotonicClock.now().since_ns(began);
                assert_eq!(backend.name(), "mmsg", "{stage} {errno}: {why}");
                assert!(why.ends_with("using mmsg") && !why.contains('\n'), "{stage} {errno}: {why}");
                // Generous, for a machine that runs other tests: a stage that waits in vain takes seconds.
                assert!(took_ns < 1_000_000_000, "{stage} {errno}: {took_ns} ns");
            });
        }
    }
}

#[test]
fn io_uring_asked_for_by_name_and_refused_is_never_another_backend() {
    for (stage, call) in URING_STAGES {
        refused(&[call], libc::EPERM, move || {
            let alone: Selection = "uring".parse().expect("a name");
            match select::open(&config(), &alone) {
                Err(SelectError::Unavailable { reasons }) => {
                    assert!(!reasons.is_empty() && !reasons.contains('\n'), "{stage}: {reasons}");
                }
                Err(other) => panic!("{stage}: {other}"),
                Ok((backend, why)) => panic!("{stage}: {} came: {why}", backend.name()),
            }
        });
    }
}

/// A packet to oneself.
fn submit_one(here: &mut Uring) {
    let mut buffer = here.lend().expect("a few are in flight at most");
    buffer.bytes_mut()[..100].fill(5);
    here.submit(Train { buffer, length: 100, segment_size: 100, path: PathId(0) });
}

/// A ring that carried a packet, in a thread whose later enters answer `errno`.
fn forbidden_in_use(errno: i32, body: impl FnOnce(&mut Uring) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut here = Uring::open(&config()).expect("it opened before");
            here.register_path(PathId(0), here.local_addr());
            submit_one(&mut here);
            here.flush().expect("nothing is forbidden yet");
            let (mut batch, end) = (Vec::new(), MonotonicClock.now().after(Duration::from_secs(10)));
            while batch.is_empty() {
                assert!(MonotonicClock.now() < end, "a packet to oneself arrives");
                here.receive(&mut batch).expect("nothing is forbidden yet");
            }
            here.release();
            install(&[libc::SYS_io_uring_enter], errno).expect("a thread may restrict itself");
            body(&mut here);
            // A ring that cannot be entered cannot be emptied either: its end does not wait for that.
            let began = MonotonicClock.now();
            drop(here);
            assert!(MonotonicClock.now().since_ns(began) < 1_000_000_000);
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn has_io_uring(test: &str) -> bool {
    let Err(why) = Uring::open(&config()) else { return true };
    assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "{test}: {why}");
    println!("SKIPPED {test}: {why}");
    false
}

#[test]
fn a_ring_that_may_not_be_entered_any_more_is_an_error_of_every_call_that_needs_it() {
    if !has_io_uring("a_ring_that_may_not_be_entered_any_more_is_an_error_of_every_call_that_needs_it") {
        return;
    }
    for errno in [libc::EPERM, libc::ENOSYS] {
        forbidden_in_use(errno, move |here| {
            submit_one(here);
            let errors = [
                here.flush().expect_err("nothing leaves"),
                here.receive(&mut Vec::new()).map(drop).expect_err("nothing can be asked for"),
                here.wait(Some(Duration::from_millis(1))).expect_err("nothing can be waited for"),
            ];
            assert!(errors.iter().all(|error| error.raw_os_error() == Some(errno)), "{errors:?}");
        });
    }
}

#[test]
fn a_kernel_short_of_memory_for_a_moment_fails_no_call_of_the_ring() {
    if !has_io_uring("a_kernel_short_of_memory_for_a_moment_fails_no_call_of_the_ring") {
        return;
    }
    for errno in [libc::EAGAIN, libc::EBUSY, libc::EINTR] {
        forbidden_in_use(errno, |here| {
            submit_one(here);
            here.flush().expect("what was queued stays queued");
            here.receive(&mut Vec::new()).expect("nothing came");
            here.wait(Some(Duration::from_millis(1))).expect("nothing to wait for");
        });
    }
}
