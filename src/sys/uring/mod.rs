//! io_uring for one UDP socket: a multishot receive into provided buffers, sends that own their bytes
//! until they complete, and a bell that ends the wait.
//!
//! ```text
//! send(), arm_*() -> submission queue --- enter() ---> kernel
//! reap() <- completion queue (shared memory: looking costs no system call) <---+
//! ```
//!
//! Invariant: memory the kernel was told of is freed only after the request that names it completed.
//! [`Ring`]'s drop cancels what is in flight and waits for it; should that fail, it leaks.

mod buffers;
mod setup;
mod slots;

use std::io;
use std::ptr::NonNull;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, Submitter, cqueue, opcode, squeue};

use self::buffers::ProvidedBuffers;
pub use self::setup::{NopRing, SetupError};
use self::slots::{Receiving, SendSlots};
use super::{Arrived, Bell, RawAddress, Socket, TrafficClass};
use crate::rings::PacketMemory;

/// How large a [`Ring`] is.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Receive buffers the kernel may fill before it has to wait for one to come back.
    pub buffers: u16,
    /// Bytes of payload each takes.
    pub buffer_size: usize,
    /// Sends in flight at once.
    pub sends: u16,
}

/// One train to send; its bytes belong to the ring until the completion returns them.
#[derive(Debug)]
pub struct RingSend {
    /// The packets, end to end, from the start of this memory.
    pub bytes: PacketMemory,
    /// How many bytes of it.
    pub length: usize,
    /// Bytes of each packet but the last, when there is more than one.
    pub segment_size: Option<u16>,
    /// Where to; `None` on a connected socket.
    pub to: Option<RawAddress>,
    /// The traffic class, where it is not the socket's own.
    pub class: Option<TrafficClass>,
    /// Comes back with the completion.
    pub token: u64,
}

/// Something the kernel finished, copied out of the completion queue.
#[derive(Debug)]
pub enum Completion {
    /// Buffer `buffer` was filled: see [`Ring::arrived`]. It stays lent until [`Ring::give_back`].
    Received {
        /// Which.
        buffer: u16,
    },
    /// The multishot receive ended and must be armed again: it ran out of buffers, or met an error.
    ReceiveEnded {
        /// errno; 0 when the kernel gave no reason.
        errno: i32,
    },
    /// A send is over and its bytes are back.
    Sent {
        /// What the send carried.
        token: u64,
        /// Its memory.
        bytes: PacketMemory,
        /// 0, or errno.
        errno: i32,
    },
    /// The bell rang.
    Bell,
}

/// One io_uring instance, tied to one socket and one bell, turned by the thread that made it.
pub struct Ring {
    /// Borrows `ring`, which therefore never moves and is freed last.
    submitter: Submitter<'static>,
    ring: NonNull<IoUring>,
    buffers: ProvidedBuffers,
    sends: SendSlots,
    receiving: Receiving,
    copied: Vec<(u64, i32, u32)>,
    receive_armed: bool,
    bell_armed: bool,
}

impl Ring {
    /// Makes a ring for `socket` and `bell`.
    ///
    /// # Errors
    /// [`SetupError`] names the step that the kernel or a sandbox refused.
    pub fn open(socket: &Socket, bell: &Bell, options: RingOptions) -> Result<Ring, SetupError> {
        let ring = NonNull::from(Box::leak(Box::new(setup::build(options)?)));
        // SAFETY: the box was leaked just above: it stays valid and in place until Drop frees it, which
        // is after the last use of `submitter`; from here on it is only used through & references.
        let shared: &'static IoUring = unsafe { ring.as_ref() };
        let mut made = Ring {
            submitter: shared.submitter(),
            ring,
            buffers: ProvidedBuffers::new(options.buffers, options.buffer_size),
            sends: SendSlots::new(options.sends),
            receiving: Receiving::new(),
            copied: Vec::with_capacity(shared.params().cq_entries() as usize),
            receive_armed: false,
            bell_armed: false,
        };
        setup::register(&mut made.submitter, &made.buffers, socket, bell)?;
        Ok(made)
    }

    /// Starts the multishot receive unless it runs.
    pub fn arm_receive(&mut self) {
        if self.receive_armed {
            return;
        }
        let receive = opcode::RecvMsgMulti::new(Fixed(SOCKET), self.receiving.header(), BUFFER_GROUP).build();
        self.push(&receive.user_data(RECEIVE));
        self.receive_armed = true;
    }

    /// Watches the bell unless that is under way.
    pub fn arm_bell(&mut self) {
        if self.bell_armed {
            return;
        }
        let poll = opcode::PollAdd::new(Fixed(BELL), libc::POLLIN as u32).build();
        self.push(&poll.user_data(BELL_RANG));
        self.bell_armed = true;
    }

    /// Is the multishot receive armed?
    #[must_use]
    pub fn receives(&self) -> bool {
        self.receive_armed
    }

    /// Would a wait hear of both a packet and the bell?
    #[must_use]
    pub fn listens(&self) -> bool {
        self.receive_armed && self.bell_armed
    }

    /// Queues a send for the next enter.
    ///
    /// # Errors
    /// All slots are in flight: the send comes back.
    pub fn send(&mut self, send: RingSend) -> Result<(), RingSend> {
        debug_assert!(send.length <= send.bytes.len());
        let (slot, header) = self.sends.take(send)?;
        let sendmsg = opcode::SendMsg::new(Fixed(SOCKET), header)
            .flags((libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32)
            .build();
        self.push(&sendmsg.user_data(FIRST_SEND + u64::from(slot)));
        Ok(())
    }

    /// Sends in flight or queued.
    #[must_use]
    pub fn sends_in_flight(&self) -> usize {
        self.sends.in_flight()
    }

    /// Hands the queue to the kernel and runs what it has waiting for this thread.
    ///
    /// # Errors
    /// What `io_uring_enter` said, other than EINTR, a full completion queue and no memory for now.
    pub fn enter(&mut self) -> io::Result<()> {
        match self.submitter.submit() {
            Ok(_) => Ok(()),
            Err(error) if passes(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Is there anything only an enter can bring forward: queued requests, or work the kernel has
    /// deferred to this thread? Reads shared memory only.
    #[must_use]
    pub fn wants_enter(&self) -> bool {
        // SAFETY: the only other SubmissionQueue is made and dropped within `push`.
        let queue = unsafe { self.ring.as_ref().submission_shared() };
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Sleeps until something completes or `timeout` passes, submitting what is queued.
    ///
    /// # Errors
    /// What `io_uring_enter` said, other than a timeout, a signal, a full completion queue or no memory for now.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let time = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(time) = &time {
            args = args.timespec(time);
        }
        match self.submitter.submit_with_args(1, &args) {
            Ok(_) => Ok(()),
            Err(error) if passes(&error) || error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves what has completed into `completions`, without a system call.
    pub fn reap(&mut self, completions: &mut Vec<Completion>) {
        // Copied out first: handling one may queue requests whose completions land in this queue.
        // SAFETY: this is the only CompletionQueue, and it is dropped at the end of the statement.
        let queue = unsafe { self.ring.as_ref().completion_shared() };
        self.copied.extend(queue.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        for index in 0..self.copied.len() {
            let (user_data, result, flags) = self.copied[index];
            match user_data {
                RECEIVE => self.on_receive(result, flags, completions),
                BELL_RANG => {
                    self.bell_armed = false;
                    completions.push(Completion::Bell);
                }
                CANCEL => {}
                _ => {
                    // SAFETY: the kernel completed exactly this slot's send, and SENDMSG without
                    // zero-copy completes once.
                    let (token, bytes) = unsafe { self.sends.release((user_data - FIRST_SEND) as u16) };
                    completions.push(Completion::Sent { token, bytes, errno: (-result).max(0) });
                }
            }
        }
        self.copied.clear();
    }

    fn on_receive(&mut self, result: i32, flags: u32, completions: &mut Vec<Completion>) {
        if let Some(buffer) = cqueue::buffer_select(flags) {
            // SAFETY: the kernel took `buffer` from the ring for this completion and is done with it.
            unsafe { self.buffers.on_filled(buffer, result) };
            completions.push(Completion::Received { buffer });
        }
        if !cqueue::more(flags) {
            self.receive_armed = false;
            completions.push(Completion::ReceiveEnded { errno: (-result).max(0) });
        }
    }

    /// What a received buffer holds.
    #[must_use]
    pub fn arrived(&self, buffer: u16) -> Arrived {
        self.buffers.arrived(buffer)
    }

    /// The payload memory of a received buffer.
    pub fn buffer_mut(&mut self, buffer: u16) -> &mut [u8] {
        self.buffers.payload_mut(buffer)
    }

    /// Lends received buffers to the kernel again.
    pub fn give_back(&mut self, buffers: impl Iterator<Item = u16>) {
        self.buffers.give_back(buffers);
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: this is the only SubmissionQueue: it is dropped before the loop goes on. What the
            // entry points to is owned by `sends`, `receiving` or `buffers` until its completion.
            let pushed = unsafe { self.ring.as_ref().submission_shared().push(entry) };
            if pushed.is_ok() {
                return;
            }
            // The queue is as long as all requests there can be, so this takes an odd kernel.
            if let Err(error) = self.enter() {
                panic!("io_uring took none of a full queue: {error}");
            }
        }
    }

    /// Cancels everything and waits for it; false when something is still in flight.
    fn drain(&mut self) -> bool {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(&cancel.user_data(CANCEL));
        let mut completions = Vec::new();
        for _ in 0..DRAIN_ROUNDS_MAX {
            self.reap(&mut completions);
            completions.clear();
            if !self.receive_armed && !self.bell_armed && self.sends.in_flight() == 0 {
                return true;
            }
            if self.wait(Some(DRAIN_WAIT)).is_err() {
                return false;
            }
        }
        false
    }
}

/// What is over by itself: a signal came; EBUSY, completions must be reaped before more are made; EAGAIN, the
/// kernel is short of memory, and "the application should wait for some completions and try again"
/// (io_uring_enter(2)). What was queued stays queued.
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

impl Drop for Ring {
    fn drop(&mut self) {
        let drained = self.drain();
        // A registered ring descriptor holds the ring alive until its thread ends.
        let _ = self.submitter.unregister_ring_fd();
        if drained {
            // SAFETY: the box leaked in `open`; `submitter` is not used again and has no Drop.
            drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
        } else {
            // The kernel may still write to what is in flight: that memory is never reused.
            self.buffers.leak();
            self.sends.leak();
            self.receiving.leak();
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("receive_armed", &self.receive_armed)
            .field("sends_in_flight", &self.sends.in_flight())
            .finish_non_exhaustive()
    }
}

/// Registered descriptors: their index is their name.
const SOCKET: u32 = 0;
const BELL: u32 = 1;
const BUFFER_GROUP: u16 = 0;

/// What `user_data` says.
const RECEIVE: u64 = 0;
const BELL_RANG: u64 = 1;
const CANCEL: u64 = 2;
const FIRST_SEND: u64 = 3;

const DRAIN_ROUNDS_MAX: usize = 64;
const DRAIN_WAIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SocketOptions;

    fn overflows(ring: &Ring) -> bool {
        // SAFETY: no other SubmissionQueue is alive here.
        unsafe { ring.ring.as_ref().submission_shared() }.cq_overflow()
    }

    /// What does not fit into the completion queue the kernel keeps aside; shared memory shows that it does, and
    /// later enters bring it.
    #[test]
    fn a_completion_queue_that_overflows_loses_no_packet_and_no_buffer() {
        let bind = "127.0.0.1:0".parse().expect("an address");
        let options =
            SocketOptions { bind, reuse_port: false, buffer_size: 1 << 16, gro: false, errors: false };
        let socket = Socket::bind(&options).expect("a free port");
        let bell = Bell::new().expect("an eventfd");
        let options = RingOptions { buffers: 2, buffer_size: 256, sends: 2 };
        let mut ring = match Ring::open(&socket, &bell, options) {
            Ok(ring) => ring,
            Err(why) => {
                assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "{why}");
                println!("SKIPPED a_completion_queue_that_overflows_loses_no_packet_and_no_buffer: {why}");
                return;
            }
        };
        // Nothing of ours can complete so often: requests that do nothing fill the queue.
        let nothing = opcode::Nop::new().build().user_data(CANCEL);
        for _ in 0..10_000 {
            if overflows(&ring) {
                break;
            }
            ring.push(&nothing);
            ring.enter().expect("a ring in use");
        }
        assert!(overflows(&ring) && ring.wants_enter());
        ring.arm_receive();
        let to = Some(RawAddress::new(socket.local_addr()));
        let mut packet = PacketMemory::new(100, crate::rings::Direction::Out);
        packet.fill(7);
        let send = RingSend { bytes: packet, length: 100, segment_size: None, to, token: 9, class: None };
        ring.send(send).expect("a free slot");
        let (mut completions, mut came, mut back) = (Vec::new(), 0, 0);
        for _ in 0..1_000 {
            ring.enter().expect("a ring in use");
            ring.reap(&mut completions);
            for completion in completions.drain(..) {
                match completion {
                    Completion::Received { buffer } => {
                        assert_eq!(ring.arrived(buffer).length, 100);
                        assert!(ring.buffer_mut(buffer)[..100].iter().all(|byte| *byte == 7));
                        ring.give_back(std::iter::once(buffer));
                        came += 1;
                    }
                    Completion::Sent { token, bytes, errno } => {
                        assert_eq!((token, bytes.len(), errno), (9, 100, 0));
                        back += 1;
                    }
                    Completion::ReceiveEnded { .. } => ring.arm_receive(),
                    Completion::Bell => panic!("nobody rings"),
                }
            }
        }
        assert_eq!((came, back, overflows(&ring)), (1, 1, false));
    }
}
