//! A call to be answered later.

use crate::transport::SessionKey;
use crate::wire::CallId;

/// Names a call of the peer that was deferred. Owned: it may go to another thread and come back.
/// Its caller waits until its deadline, so answer every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct CallToken {
    /// The session it came on.
    pub(crate) session: SessionKey,
    /// The peer's call.
    pub(crate) call: CallId,
}

impl CallToken {
    /// The session the call came on.
    #[must_use]
    pub fn session(&self) -> SessionKey {
        self.session
    }
}
