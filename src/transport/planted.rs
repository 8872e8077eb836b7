//! Planted faults: twenty-two ways to break a promise on purpose, so that the simulator can show it would
//! have noticed.
//!
//! Not for users. Without the feature `planted-faults` the question [`is`] is the constant `false`
//! and the hooks leave no trace in the build. The suite that arms them (`tests/planted/`) is a
//! package of its own over the same sources, so that building the whole workspace never puts them
//! into the product.
//!
//! ```text
//! arm(fault) --> this thread's current fault --> is(fault)? at the hook --> the broken branch
//! ```
//!
//! Invariant: at most one fault is armed per thread, and none unless a test armed it.

/// One way of being wrong. Each hook sits where the promise is kept, and breaks just that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A unit received before is delivered again.
    NoDuplicateSuppression,
    /// A packet is acknowledged although its unit was thrown away.
    AckBeforeQueued,
    /// A packet whose tag does not fit is taken all the same.
    ChecksumNotVerified,
    /// A sender blocked on credit neither says so again nor probes.
    LostCreditNeverProbed,
    /// The probe timer is never armed: a lost tail stays lost.
    ProbeTimerNeverArmed,
    /// Fragments are put together in the order they arrive, whatever their offset.
    ReassemblyIgnoresOffset,
    /// An ordered channel hands over what it has and steps over the gap.
    ChannelSkipsGap,
    /// A call slot is used again before its reply is known to have arrived.
    SlotReusedBeforeAck,
    /// A packet that came before is opened and handled again.
    ReplayWindowOff,
    /// A sender numbers units beyond the window that its peer keeps track of.
    WindowIgnored,
    /// A large message is granted beyond its head without memory set aside for it.
    GrantWithoutReserve,
    /// A call's outcome is told twice.
    CompletionReportedTwice,
    /// A call whose deadline passed is told as replied.
    TimedOutReportedAsReplied,
    /// The calls of a session that failed are made again on the next one to the same address, whoever is
    /// there by then.
    CallRunAgainAfterRestart,
    /// An ack behind a gap claims the first unit of the gap.
    UnitFloorTooHigh,
    /// A receiver does not go on to the peer's next keys.
    KeyUpdateNotFollowed,
    /// A sender goes on to its next keys before the peer is known to hold the present ones.
    KeyUpdateUnconfirmed,
    /// A call slot is used again once its deadline passed, though its reply may still come.
    SlotFreedAtTimeout,
    /// A large message under way is not reported when its session fails.
    LargeMessageNotReported,
    /// What was sent and not acknowledged is reported as never sent when its session fails.
    SentReportedNotSent,
    /// A unit whose packet was lost is left to the probe timer.
    LostUnitNotRequeued,
    /// A keep-alive is due that may not leave yet.
    KeepAliveDueUnproven,
}

impl Fault {
    /// Every fault there is.
    pub const ALL: [Fault; 22] = [
        Fault::NoDuplicateSuppression,
        Fault::AckBeforeQueued,
        Fault::ChecksumNotVerified,
        Fault::LostCreditNeverProbed,
        Fault::ProbeTimerNeverArmed,
        Fault::ReassemblyIgnoresOffset,
        Fault::ChannelSkipsGap,
        Fault::SlotReusedBeforeAck,
        Fault::ReplayWindowOff,
        Fault::WindowIgnored,
        Fault::GrantWithoutReserve,
        Fault::CompletionReportedTwice,
        Fault::TimedOutReportedAsReplied,
        Fault::CallRunAgainAfterRestart,
        Fault::UnitFloorTooHigh,
        Fault::KeyUpdateNotFollowed,
        Fault::KeyUpdateUnconfirmed,
        Fault::SlotFreedAtTimeout,
        Fault::LargeMessageNotReported,
        Fault::SentReportedNotSent,
        Fault::LostUnitNotRequeued,
        Fault::KeepAliveDueUnproven,
    ];
}

/// True while `fault` is armed on this thread.
#[cfg(not(feature = "planted-faults"))]
#[inline(always)]
#[must_use]
pub const fn is(_fault: Fault) -> bool {
    false
}

#[cfg(feature = "planted-faults")]
pub use armed::{Armed, arm, is, kept_calls};

#[cfg(feature = "planted-faults")]
mod armed {
    use std::cell::{Cell, RefCell};
    use std::marker::PhantomData;

    use super::Fault;

    thread_local! {
        static CURRENT: Cell<Option<Fault>> = const { Cell::new(None) };
        static CALLS: RefCell<Vec<KeptCall>> = const { RefCell::new(Vec::new()) };
    }

    /// True while `fault` is armed on this thread.
    #[inline]
    #[must_use]
    pub fn is(fault: Fault) -> bool {
        CURRENT.with(|current| current.get() == Some(fault))
    }

    /// A call of a session that failed: the session's path, the method and the request.
    pub type KeptCall = (u32, u32, Vec<u8>);

    /// The calls that [`Fault::CallRunAgainAfterRestart`] keeps, to look at and to change.
    pub fn kept_calls<T>(each: impl FnOnce(&mut Vec<KeptCall>) -> T) -> T {
        CALLS.with_borrow_mut(each)
    }

    /// Arms `fault` on this thread until the guard is dropped; `None` arms nothing.
    #[must_use = "the fault is disarmed when the guard is dropped"]
    pub fn arm(fault: Option<Fault>) -> Armed {
        let before = CURRENT.replace(fault);
        kept_calls(Vec::clear);
        Armed { before, one_thread: PhantomData }
    }

    /// Keeps a fault armed. Stays on its thread.
    #[derive(Debug)]
    pub struct Armed {
        before: Option<Fault>,
        one_thread: PhantomData<*const ()>,
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            CURRENT.set(self.before);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_fault_is_armed_until_its_guard_falls() {
            assert!(!is(Fault::ChannelSkipsGap));
            let guard = arm(Some(Fault::ChannelSkipsGap));
            assert!(is(Fault::ChannelSkipsGap));
            assert!(!is(Fault::AckBeforeQueued));
            drop(guard);
            assert!(!is(Fault::ChannelSkipsGap));
        }
    }
}
