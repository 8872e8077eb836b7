//! The frames of a DATA packet, one after the other (P-3).

use super::error::narrow;
use super::{
    Ack, DecodeError, FragmentUnit, MessageId, MessagesUnit, RESET_TOKEN_SIZE, Reader, SessionId, Stats,
    UnitPart, control, datagram, kind, unit,
};

/// One frame. Offsets count from the start of the slice given to [`Frames::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Asks for an ack, carries nothing.
    Ping,
    /// Asks for an ack at once.
    AckRequest,
    /// Which packets and units arrived.
    Ack(Ack<'a>),
    /// The session's bytes sent may reach `limit`, counted from the session's start (P-7.1).
    Credit {
        /// Cumulative bytes.
        limit: u64,
    },
    /// The sender has more to send than it may.
    Blocked {
        /// The message that waits for a GRANT; `None` when the session waits for CREDIT.
        message: Option<MessageId>,
        /// The limit it stands at.
        limit: u64,
    },
    /// The message's bytes may be sent up to `offset` (P-7.3).
    Grant {
        /// The message.
        message: MessageId,
        /// Bytes from the message's start.
        offset: u64,
    },
    /// The session ends now.
    Close {
        /// Why, for the program.
        code: u16,
        /// Why, for the reader: UTF-8, but shown lossily rather than refused.
        reason: &'a [u8],
    },
    /// The peer asks for one more lane.
    LaneRequest {
        /// The worker it wants at the other end; 255 is any.
        worker: u8,
        /// What the requester calls the new lane.
        session: SessionId,
        /// What a reset of the requester's for it must carry; zeros where nothing is sealed.
        token: [u8; RESET_TOKEN_SIZE],
    },
    /// The answer to a LANE_REQUEST.
    LaneGrant {
        /// 0 is granted; else why not, and the fields below but `session` are zero.
        status: u8,
        /// The requester's name for the lane, repeated.
        session: SessionId,
        /// What the granter calls it.
        granted: SessionId,
        /// What a reset of the granter's for it must carry; zeros where nothing is sealed.
        token: [u8; RESET_TOKEN_SIZE],
    },
    /// What the peer counted.
    Stats(Stats),
    /// Proof is asked that the receiver takes packets where this one was sent (P-15.2).
    PathChallenge {
        /// What the proof repeats: nothing that can be guessed.
        data: u64,
    },
    /// The proof.
    PathResponse {
        /// The challenge's data.
        data: u64,
    },
    /// A unit of whole messages.
    Messages(MessagesUnit),
    /// A unit that is a piece of a large message.
    Fragment(FragmentUnit),
    /// A part of a unit that no longer fits a packet.
    Part(UnitPart),
    /// An unreliable datagram.
    Datagram {
        /// Where its bytes start.
        offset: usize,
        /// How many they are.
        length: usize,
    },
}

impl Frame<'_> {
    /// True when a packet that carries this frame is to be acknowledged (P-8.2): all but ACK, CLOSE, STATS
    /// and the two that try a path, whose loss is repaired by the next one or not at all.
    #[inline]
    #[must_use]
    pub fn is_ack_eliciting(&self) -> bool {
        !matches!(
            self,
            Self::Ack(_)
                | Self::Close { .. }
                | Self::Stats(_)
                | Self::PathChallenge { .. }
                | Self::PathResponse { .. }
        )
    }
}

/// The frames of one packet, up to the padding. After an error it yields nothing more.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    units: Units,
    done: bool,
}

/// The units of a packet that were seen (P-3.4).
#[derive(Clone, Copy, Debug)]
enum Units {
    None,
    /// A FRAGMENT, behind which another may follow.
    Fragment,
    /// As many as there may be.
    All,
}

impl<'a> Frames<'a> {
    /// The frames in `frames`: what lies between a packet's header and its tag.
    #[inline]
    #[must_use]
    pub fn new(frames: &'a [u8]) -> Self {
        Self { reader: Reader::new(frames), units: Units::None, done: false }
    }

    /// Where the next frame starts: behind the last one yielded, or at the padding or the error.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.reader.position()
    }

    /// True when no frame follows: nothing, or padding (P-3.5).
    #[inline]
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.done || self.reader.rest().first().is_none_or(|kind| *kind == kind::PADDING)
    }

    /// The next frame if it is an ACK, with which most packets begin: [`Frames::next`] for one kind, without the choice.
    #[inline(always)]
    pub fn next_ack(&mut self) -> Option<Result<Ack<'a>, DecodeError>> {
        if self.done || *self.reader.rest().first()? != kind::ACK {
            return None;
        }
        let ack = Ack::decode(&mut self.reader);
        self.done = ack.is_err();
        Some(ack)
    }

    /// Steps over the next frame if it is an ACK_REQUEST; false if it is another.
    #[inline(always)]
    pub fn next_ack_request(&mut self) -> bool {
        !self.done
            && self.reader.rest().first() == Some(&kind::ACK_REQUEST)
            && self.reader.u8("ACK_REQUEST").is_ok()
    }

    /// The next frame if it is a MESSAGES.
    #[inline(always)]
    pub fn next_messages(&mut self) -> Option<Result<MessagesUnit, DecodeError>> {
        if self.done || *self.reader.rest().first()? != kind::MESSAGES {
            return None;
        }
        let unit = self.note_unit(Units::All).and_then(|()| unit::decode_messages(&mut self.reader));
        self.done = unit.is_err();
        Some(unit)
    }

    // Inlined down to the match on the frame: handed back through memory, each of the three nested results
    // is a copy whose tag is read before it was written whole.
    #[inline(always)]
    fn decode(&mut self, kind: u8) -> Result<Option<Frame<'a>>, DecodeError> {
        let frame = match kind {
            kind::MESSAGES => {
                self.note_unit(Units::All)?;
                Frame::Messages(unit::decode_messages(&mut self.reader)?)
            }
            kind::FRAGMENT => {
                self.note_unit(Units::Fragment)?;
                Frame::Fragment(unit::decode_fragment(&mut self.reader)?)
            }
            kind::UNIT_PART => {
                self.note_unit(Units::All)?;
                Frame::Part(unit::decode_part(&mut self.reader)?)
            }
            kind::ACK => Frame::Ack(Ack::decode(&mut self.reader)?),
            kind::DATAGRAM => {
                let (offset, length) = datagram::decode(&mut self.reader)?;
                Frame::Datagram { offset, length }
            }
            kind::EXTENSION_FIRST.. => {
                self.skip_extension(kind)?;
                return Ok(None);
            }
            _ => self.decode_control(kind)?,
        };
        Ok(Some(frame))
    }

    fn decode_control(&mut self, kind: u8) -> Result<Frame<'a>, DecodeError> {
        let at = narrow(self.reader.position());
        let reader = &mut self.reader;
        if kind == kind::STATS {
            return Stats::decode(reader).map(Frame::Stats);
        }
        reader.u8("frame kind")?;
        Ok(match kind {
            kind::PING => Frame::Ping,
            kind::ACK_REQUEST => Frame::AckRequest,
            kind::CREDIT => Frame::Credit { limit: reader.u64("CREDIT limit")? },
            kind::BLOCKED => Frame::Blocked {
                message: control::blocked_message(reader.u64("BLOCKED message")?),
                limit: reader.u64("BLOCKED limit")?,
            },
            kind::GRANT => Frame::Grant {
                message: MessageId(reader.u64("GRANT message")?),
                offset: reader.u64("GRANT offset")?,
            },
            kind::CLOSE => {
                let code = reader.u16("CLOSE code")?;
                let size = reader.u8("CLOSE reason length")?;
                Frame::Close { code, reason: reader.bytes(usize::from(size), "CLOSE reason")? }
            }
            kind::LANE_REQUEST => Frame::LaneRequest {
                worker: reader.u8("LANE_REQUEST worker")?,
                session: SessionId(reader.u64("LANE_REQUEST session")?),
                token: *reader.array("LANE_REQUEST token")?,
            },
            kind::LANE_GRANT => control::decode_lane_grant(reader)?,
            kind::PATH_CHALLENGE => Frame::PathChallenge { data: reader.u64("PATH_CHALLENGE data")? },
            kind::PATH_RESPONSE => Frame::PathResponse { data: reader.u64("PATH_RESPONSE data")? },
            _ => return Err(DecodeError::UnknownFrame { kind, at }),
        })
    }

    #[inline]
    fn note_unit(&mut self, unit: Units) -> Result<(), DecodeError> {
        self.units = match (self.units, unit) {
            (Units::None, _) => unit,
            (Units::Fragment, Units::Fragment) => Units::All,
            _ => return Err(DecodeError::SurplusUnit { at: narrow(self.reader.position()) }),
        };
        Ok(())
    }

    /// P-3.3: an odd kind from 0x40 on may be stepped over, an even one may not.
    fn skip_extension(&mut self, kind: u8) -> Result<(), DecodeError> {
        if kind & 1 == 0 {
            return Err(DecodeError::UnknownFrame { kind, at: narrow(self.reader.position()) });
        }
        let [_, _, low, high] = *self.reader.array("extension frame")?;
        self.reader.bytes(usize::from(u16::from_le_bytes([low, high])), "extension bytes")?;
        Ok(())
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let kind = *self.reader.rest().first()?;
            if kind == kind::PADDING {
                break;
            }
            match self.decode(kind) {
                Ok(Some(frame)) => return Some(Ok(frame)),
                Ok(None) => {}
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        self.done = true;
        None
    }
}

impl std::iter::FusedIterator for Frames<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AckHead, PacketNumber, UnitNumber, Writer, encode_ack};

    #[test]
    fn acks_closes_and_stats_want_no_ack_and_all_else_does() {
        // P-8.2: no ack answers an ack.
        let head = AckHead {
            unit_floor: UnitNumber(0),
            ack_delay_ns: 0,
            duplicate_seen: false,
            ecn_ce: 0,
            ecn_intact: false,
        };
        let mut bytes = [0; 28];
        let one = std::iter::once((PacketNumber(1), PacketNumber(1)));
        encode_ack(&mut Writer::new(&mut bytes), &head, one).unwrap();
        let ack = Ack::decode(&mut Reader::new(&bytes)).unwrap();
        let silent = [
            Frame::Ack(ack),
            Frame::Close { code: 0, reason: b"" },
            Frame::Stats(Stats::default()),
            Frame::PathChallenge { data: 0 },
            Frame::PathResponse { data: 0 },
        ];
        let session = SessionId(1);
        let eliciting = [
            Frame::Ping,
            Frame::AckRequest,
            Frame::Credit { limit: 0 },
            Frame::Blocked { message: None, limit: 0 },
            Frame::Grant { message: MessageId(0), offset: 0 },
            Frame::LaneRequest { worker: 0, session, token: [0; 16] },
            Frame::LaneGrant { status: 0, session, granted: session, token: [0; 16] },
            Frame::Messages(MessagesUnit { unit: UnitNumber(0), offset: 0, length: 0 }),
            Frame::Datagram { offset: 0, length: 0 },
        ];
        assert!(silent.iter().all(|frame| !frame.is_ack_eliciting()));
        assert!(eliciting.iter().all(Frame::is_ack_eliciting));
    }

    #[test]
    fn frames_taken_one_kind_at_a_time_are_those_that_the_iterator_yields() {
        // What most packets hold, in and out of order, cut short, and with one byte changed.
        let mut ack = [0; 28];
        let head = AckHead {
            unit_floor: UnitNumber(3),
            ack_delay_ns: 5,
            duplicate_seen: false,
            ecn_ce: 0,
            ecn_intact: true,
        };
        let one = std::iter::once((PacketNumber(2), PacketNumber(9)));
        encode_ack(&mut Writer::new(&mut ack), &head, one).unwrap();
        let request = [kind::ACK_REQUEST];
        let messages = [kind::MESSAGES, 0, 4, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        let parts: [&[u8]; 4] = [&ack, &request, &messages, &[kind::PADDING, 0]];
        for order in 0..4_usize.pow(4) {
            let picked = (0..4).map(|place| parts[order / 4_usize.pow(place) % 4]);
            let whole = picked.collect::<Vec<_>>().concat();
            for end in 0..=whole.len() {
                assert_alike(&whole[..end]);
            }
            for at in (0..whole.len()).step_by(3) {
                let mut changed = whole.clone();
                changed[at] ^= 0x21;
                assert_alike(&changed);
            }
        }
    }

    fn assert_alike(bytes: &[u8]) {
        let mut rest = Frames::new(bytes);
        let mut row = Vec::new();
        row.extend(rest.next_ack().map(|ack| ack.map(Frame::Ack)));
        row.extend(rest.next_ack_request().then_some(Ok(Frame::AckRequest)));
        row.extend(rest.next_messages().map(|unit| unit.map(Frame::Messages)));
        assert!(!rest.is_over() || rest.clone().next().is_none(), "{bytes:x?}");
        row.extend(rest);
        assert_eq!(row, Frames::new(bytes).collect::<Vec<_>>(), "{bytes:x?}");
    }

    #[test]
    fn nothing_follows_an_error_even_when_it_could() {
        // A bad kind, then a good PING.
        let mut frames = Frames::new(&[0x07, 0x01]);
        assert_eq!(frames.next(), Some(Err(DecodeError::UnknownFrame { kind: 0x07, at: 0 })));
        assert_eq!(frames.next(), None);
        assert_eq!(frames.next(), None);
    }
}
