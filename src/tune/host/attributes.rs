//! Netlink messages as rows of attributes, for families whose fields are tables here: one row of a table
//! reads and writes a field, where generated code has a function for each.

use std::fmt;
use std::io;

use netlink_bindings::traits::{NetlinkRequest, Protocol};
use netlink_bindings::utils::{
    IterableChunks, finalize_nested_header, find_attr, push_header, push_nested_header,
};
use netlink_socket2::{NetlinkSocket, ReplyError};

/// A request under construction.
#[derive(Debug)]
pub(super) struct Message {
    protocol: Protocol,
    /// Bytes of the family's own header, in requests and replies alike.
    header_size: usize,
    payload: Vec<u8>,
}

impl Message {
    /// For a generic family: command and version stand before the attributes.
    pub(super) fn generic(family: &'static [u8], command: u8) -> Message {
        let payload = vec![command, 1, 0, 0];
        Message { protocol: Protocol::Generic(family), header_size: payload.len(), payload }
    }

    /// For rtnetlink: a link's header stands before the attributes.
    pub(super) fn link(request_type: u16, index: i32) -> Message {
        let mut payload = vec![0u8; LINK_HEADER_SIZE];
        payload[4..8].copy_from_slice(&index.to_ne_bytes());
        let protocol = Protocol::Raw { protonum: NETLINK_ROUTE, request_type };
        Message { protocol, header_size: LINK_HEADER_SIZE, payload }
    }

    pub(super) fn put_u8(&mut self, kind: u16, value: u8) {
        self.put_bytes(kind, &[value]);
    }

    pub(super) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put_bytes(kind, &value.to_ne_bytes());
    }

    pub(super) fn put_bytes(&mut self, kind: u16, value: &[u8]) {
        push_header(&mut self.payload, kind, value.len() as u16);
        self.payload.extend_from_slice(value);
        // What follows starts at a multiple of four.
        self.payload.resize(self.payload.len().next_multiple_of(4), 0);
    }

    /// Puts what `fill` puts inside of one attribute.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) {
        let at = push_nested_header(&mut self.payload, kind);
        fill(self);
        finalize_nested_header(&mut self.payload, at);
    }

    /// Sends it, and gives the attributes of the answer.
    pub(super) fn ask(&self, socket: &mut NetlinkSocket) -> Result<Vec<u8>, AskError> {
        let mut replies = socket.request(self).map_err(AskError::NoFamily)?;
        let reply = replies.recv_one().map_err(|error| AskError::Refused(in_words(&error)))?;
        Ok(reply.get(self.header_size..).unwrap_or_default().to_vec())
    }

    /// Sends it, and waits for the kernel to have done it.
    pub(super) fn tell(&self, socket: &mut NetlinkSocket) -> Result<(), AskError> {
        let mut replies = socket.request(self).map_err(AskError::NoFamily)?;
        replies.recv_ack().map_err(|error| AskError::Refused(in_words(&error)))
    }
}

impl NetlinkRequest for Message {
    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn flags(&self) -> u16 {
        0
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    type ReplyType<'buf> = &'buf [u8];

    fn decode_reply(buf: &[u8]) -> &[u8] {
        buf
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// This kernel or sandbox does not have the family at all.
    NoFamily(io::Error),
    /// It has, and says no.
    Refused(io::Error),
}

impl From<AskError> for io::Error {
    fn from(error: AskError) -> io::Error {
        let (AskError::NoFamily(error) | AskError::Refused(error)) = error;
        error
    }
}

/// What is said beside a number: drivers explain there why they refuse.
#[derive(Debug)]
struct Explained {
    code: i32,
    text: String,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Explained {}

/// The error's number, from the system call or from an [`Explained`] answer.
pub(super) fn number_of(error: &io::Error) -> Option<i32> {
    let explained = || error.get_ref()?.downcast_ref::<Explained>().map(|explained| explained.code);
    error.raw_os_error().or_else(explained)
}

/// An error with a number of the system's and words of its own.
pub(super) fn explained(code: i32, text: String) -> io::Error {
    io::Error::new(io::Error::from_raw_os_error(code).kind(), Explained { code, text })
}

/// The kernel's answer with its explanation, where there is one.
pub(super) fn in_words(error: &ReplyError) -> io::Error {
    let plain = error.as_io_error();
    let Some(code) = plain.raw_os_error() else { return io::Error::other(error.to_string()) };
    let words = error.ext_ack().and_then(|ack| Some(ack.get_msg().ok()?.to_string_lossy().into_owned()));
    match words {
        Some(words) => explained(code, format!("{}: {words}", io::Error::from_raw_os_error(code))),
        None => io::Error::from_raw_os_error(code),
    }
}

/// The number in attribute `kind`, whichever width it has.
pub(super) fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    match find_attr(attributes, kind)? {
        [byte] => Some(u32::from(*byte)),
        bytes => Some(u32::from_ne_bytes(bytes.first_chunk().copied()?)),
    }
}

/// The text in attribute `kind`.
pub(super) fn text(attributes: &[u8], kind: u16) -> Option<String> {
    let bytes = find_attr(attributes, kind)?;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// Every attribute with its kind.
pub(super) fn each(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    IterableChunks::new(attributes).map(|(header, bytes)| (header.r#type, bytes))
}

const NETLINK_ROUTE: u16 = 0;
/// `struct ifinfomsg`.
const LINK_HEADER_SIZE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_found_again_and_nested_too() {
        let mut message = Message::generic(b"any", 7);
        message.put_u8(1, 200);
        message.put_bytes(2, b"abcde\0");
        message.nest(3, |inner| inner.put_u32(4, 70_000));
        let attributes = &message.payload[message.header_size..];
        assert_eq!(number(attributes, 1), Some(200));
        assert_eq!(text(attributes, 2).as_deref(), Some("abcde"));
        let inner = find_attr(attributes, 3).expect("nested");
        assert_eq!((number(inner, 4), number(inner, 1)), (Some(70_000), None));
        assert_eq!(each(attributes).map(|(kind, _)| kind).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(message.payload.len() % 4, 0);
    }

    #[test]
    fn attributes_cut_short_are_none() {
        assert_eq!(number(&[8, 0, 1, 0, 1], 1), None);
        assert_eq!(number(&[6, 0, 1, 0, 1, 2], 1), None, "two bytes are no number here");
        assert_eq!(each(&[1, 0, 0, 0]).count(), 0);
    }
}
