//! What handles and workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::inbox::Inbox;
use super::incoming::{IncomingCall, IncomingMessage, PeerEvent};
use super::slots::Slots;
use crate::worker::mailbox::{Exchange, Mailbox, Sleep};

/// Commands that wait for one worker.
pub(super) const COMMANDS_MAX: usize = 1_024;
/// Operations of one worker's handles that are under way at once.
pub(super) const SLOTS_MAX: usize = 16_384;
/// Messages that wait for the application, and their bytes, before senders are held back.
const MESSAGES_MAX: usize = 4_096;
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Calls that wait for the application, and their bytes.
const REQUESTS_MAX: usize = 4_096;
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Events that wait for the application; the oldest is dropped for one more.
const EVENTS_MAX: usize = 1_024;

/// One worker, seen from other threads.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) index: u8,
    pub(super) mailbox: Mailbox,
    pub(super) slots: Slots,
    pub(super) sleep: Arc<Sleep>,
}

impl Link {
    pub(super) fn new(index: u8) -> Self {
        let sleep = Arc::new(Sleep::default());
        Self {
            index,
            mailbox: Mailbox::new(COMMANDS_MAX, sleep.clone()),
            slots: Slots::new(SLOTS_MAX),
            sleep,
        }
    }
}

/// One endpoint, seen from other threads.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) links: Vec<Arc<Link>>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) messages: Inbox<IncomingMessage>,
    pub(super) requests: Inbox<IncomingCall>,
    pub(super) events: Inbox<PeerEvent>,
    next: AtomicUsize,
}

impl Hub {
    pub(super) fn new(workers: usize) -> Self {
        let links: Vec<_> = (0..workers).map(|index| Arc::new(Link::new(index as u8))).collect();
        let exchange = Arc::new(Exchange::new(links.iter().map(|link| link.sleep.clone())));
        Self {
            links,
            exchange,
            messages: Inbox::new(MESSAGES_MAX, MESSAGE_BYTES_MAX),
            requests: Inbox::new(REQUESTS_MAX, REQUEST_BYTES_MAX),
            events: Inbox::new(EVENTS_MAX, usize::MAX),
            next: AtomicUsize::new(0),
        }
    }

    /// The worker for the next session: each in turn.
    pub(super) fn next_link(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.links.len()
    }

    /// The workers have ended: nothing more comes in.
    pub(super) fn close(&self) {
        self.messages.close();
        self.requests.close();
        self.events.close();
    }
}
