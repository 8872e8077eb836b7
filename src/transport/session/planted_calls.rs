//! Planted: calls of a session that failed are made again on the next one. Never in a release build.

use crate::time::Timestamp;
use crate::transport::planted::{self, Fault, kept_calls};
use crate::transport::session::Session;
use crate::transport::session::submit::Payload;
use crate::transport::shared::Shared;
use crate::transport::units_out::Packed;
use crate::wire::{MESSAGES_HEAD_SIZE, RecordHeader, Records};

impl Session {
    /// Keeps the requests of a unit that was sent and not acknowledged.
    #[cold]
    pub(super) fn plant_calls(&self, packed: Packed, shared: &Shared) {
        if !planted::is(Fault::CallRunAgainAfterRestart) || self.accepted {
            return;
        }
        let end = MESSAGES_HEAD_SIZE + usize::from(packed.size);
        let records = &shared.slab.bytes(packed.slot)[MESSAGES_HEAD_SIZE..end];
        for record in Records::new(records).flatten() {
            if let RecordHeader::Request { method, .. } = record.header {
                let payload = records[record.offset..record.offset + record.length].to_vec();
                kept_calls(|calls| calls.push((self.path.0, method, payload)));
            }
        }
    }

    /// Makes the calls again that an earlier session to the same path left.
    #[cold]
    pub(crate) fn plant_calls_again(&mut self, shared: &mut Shared) {
        for (path, method, payload) in kept_calls(std::mem::take) {
            if path == self.path.0 {
                let _ = self.call(method, Payload::Copied(&payload), Timestamp::NEVER, 0, shared);
            }
        }
    }
}
