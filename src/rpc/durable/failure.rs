//! How a durable handler says no.

use bytes::Bytes;

use super::store::StoreError;
use crate::rpc::status;

/// Why a durable handler did not do what it was asked. What it wrote is not kept.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It says so: the answer is recorded as a reply is, and every retry gets it.
    Said {
        /// Why: one of the application's own codes.
        status: u8,
        /// What there is to say.
        message: Bytes,
    },
    /// The store could not be read. Nothing is recorded, the client tries again.
    Store(StoreError),
}

impl Failure {
    /// A failure with one of the application's own codes.
    ///
    /// # Panics
    /// When `status` is below [`status::APPLICATION`]: those mean something else.
    pub fn new(status: u8, message: impl Into<Bytes>) -> Self {
        assert!(status >= status::APPLICATION, "status {status} is not the application's to give");
        Self::Said { status, message: message.into() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
