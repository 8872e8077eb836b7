//! A client's open sessions, whichever way in they are used by: what one-way messages need of them.

use std::time::Duration;

use bytes::Bytes;

use super::connected::Balance;
use super::echo::Status;
use super::report::{Choice, Packets};
use crate::time::Timestamp;
use crate::transport::SendError;
use crate::worker::LossCounters;

/// Open sessions, and the thread that has them.
pub trait Line {
    /// Both ends' counts at the start of a measurement.
    type Books;

    /// How many there are.
    fn sessions(&self) -> usize;

    /// The clock's time.
    fn now(&self) -> Timestamp;

    /// Why a session ended, if one did.
    fn broken(&self) -> Option<String>;

    /// Sends a message on the session with the given index: it is on its way, or there is no room now.
    ///
    /// # Errors
    /// [`SendError`]; it will not be delivered.
    fn send(&mut self, session: usize, payload: Bytes) -> Result<(), SendError>;

    /// Lets what is on its way go on, and waits where there is nothing else to do.
    fn step(&mut self);

    /// Lets what is on its way arrive for `time`, with nothing new.
    fn pause(&mut self, time: Duration);

    /// What this end has counted; `None` when its worker is gone.
    fn counts(&mut self) -> Option<(Packets, LossCounters)>;

    /// Of the messages that were sent, those that never left.
    fn messages_not_sent(&mut self) -> u64;

    /// Asks the server about itself over the session with the given index, once what was sent before has its
    /// place. `None` from a server that is no `ringwire serve`, or is gone.
    fn ask_and_wait(&mut self, session: usize, within: Duration) -> Option<Status>;

    /// Both ends' books at one moment, with an answer that the server gave just now.
    fn open_books_with(&mut self, answer: Option<Status>) -> Self::Books;

    /// What both ends spent since.
    fn close_books(&mut self, books: Self::Books, within: Duration) -> Balance;

    /// What moves the packets.
    fn backend(&self) -> Choice;

    /// Bytes of a full packet.
    fn packet_size(&mut self) -> Option<usize>;
}
