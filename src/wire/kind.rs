//! The kind bytes of frames and records (P-3.1, P-4.1).

pub(super) const PADDING: u8 = 0x00;
pub(super) const PING: u8 = 0x01;
pub(super) const ACK: u8 = 0x02;
pub(super) const ACK_REQUEST: u8 = 0x03;
pub(super) const CREDIT: u8 = 0x04;
pub(super) const BLOCKED: u8 = 0x05;
pub(super) const GRANT: u8 = 0x06;
pub(super) const CLOSE: u8 = 0x08;
pub(super) const LANE_REQUEST: u8 = 0x09;
pub(super) const LANE_GRANT: u8 = 0x0a;
pub(super) const STATS: u8 = 0x0b;
pub(super) const PATH_CHALLENGE: u8 = 0x0c;
pub(super) const PATH_RESPONSE: u8 = 0x0d;
pub(super) const MESSAGES: u8 = 0x20;
pub(super) const FRAGMENT: u8 = 0x21;
pub(super) const UNIT_PART: u8 = 0x22;
pub(super) const DATAGRAM: u8 = 0x30;
/// From here on a frame carries its length, so that one that is not known can be skipped.
pub(super) const EXTENSION_FIRST: u8 = 0x40;
pub(super) const FILL: u8 = 0x41;

pub(super) const RECORD_MESSAGE: u8 = 1;
pub(super) const RECORD_ORDERED: u8 = 2;
pub(super) const RECORD_REQUEST: u8 = 3;
pub(super) const RECORD_REPLY: u8 = 4;
