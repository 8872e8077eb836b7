//! The bodies of handshake packets: what lies between their header and their tag (P-6).

use super::control::{REASON_SIZE_MAX, put_reason};
use super::{DecodeError, Reader, SessionId, Writer};
use crate::bounds::{
    CALL_SLOTS_MAX, HEADER_SIZE, PACKET_SIZE_MIN, TAG_SIZE, UNIT_WINDOW_MAX, UNIT_WINDOW_MIN,
};

/// The protocol this build speaks: "RW" and a number. 1 had no suite and no keys, 2 no parts of units and no
/// challenges of paths, 3 whole numbers, and 4 at most one unit in a packet (P-6.2).
pub const VERSION: u32 = 0x5257_0005;
/// Bytes of every INIT packet, header and tag included (P-6.1).
pub const INIT_PACKET_SIZE: usize = 1_200;
/// Bytes of every INIT body.
pub const INIT_BODY_SIZE: usize = INIT_PACKET_SIZE - HEADER_SIZE - TAG_SIZE;
/// Bytes of the longest cookie.
pub const COOKIE_SIZE_MAX: usize = 64;
/// Bytes of the longest blob of a handshake provider.
pub const BLOB_SIZE_MAX: usize = 1_024;
/// Bytes of encoded [`Bounds`].
pub const BOUNDS_SIZE: usize = 40;
/// Bytes of an ACCEPT body without its blob.
pub const ACCEPT_FIXED_SIZE: usize = PROLOGUE_SIZE + 2;
/// Bytes of an INIT or ACCEPT body before cookie and blob.
pub const PROLOGUE_SIZE: usize = 4 + 8 + 8 + BOUNDS_SIZE + 1;
/// Versions one hint names at most.
pub const VERSION_HINT_MAX: usize = 8;
/// Bytes of a reset token.
pub const RESET_TOKEN_SIZE: usize = 16;

/// Bytes of a server's key.
pub const SERVER_KEY_SIZE: usize = 32;

const INIT_FIXED_SIZE: usize = PROLOGUE_SIZE + 1 + 2;

const _: () = assert!(INIT_FIXED_SIZE + COOKIE_SIZE_MAX + BLOB_SIZE_MAX <= INIT_BODY_SIZE);

/// What one end is ready to take, declared once (P-6.5). The sender keeps to the smaller of its own
/// wish and this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The largest packet, in bytes; at least 1,200.
    pub packet_size_max: u32,
    /// Units tracked above the floor; 64 to 65,536.
    pub unit_window: u32,
    /// Calls in flight; at most 65,536.
    pub call_slots: u32,
    /// The largest message, in bytes.
    pub message_size_max: u64,
    /// Session bytes that may be sent before the first CREDIT.
    pub credit: u64,
    /// The longest an ack is held back, in nanoseconds.
    pub max_ack_delay_ns: u32,
    /// Silence after which the session is given up, in milliseconds; 0 is never.
    pub idle_timeout_ms: u32,
    /// Lanes the peer may have, this one included.
    pub lanes: u32,
}

impl Bounds {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.put_u32(self.packet_size_max);
        writer.put_u32(self.unit_window);
        writer.put_u32(self.call_slots);
        writer.put_u64(self.message_size_max);
        writer.put_u64(self.credit);
        writer.put_u32(self.max_ack_delay_ns);
        writer.put_u32(self.idle_timeout_ms);
        writer.put_u32(self.lanes);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bounds = Self {
            packet_size_max: reader.u32("packet size")?,
            unit_window: reader.u32("unit window")?,
            call_slots: reader.u32("call slots")?,
            message_size_max: reader.u64("message size")?,
            credit: reader.u64("initial credit")?,
            max_ack_delay_ns: reader.u32("ack delay")?,
            idle_timeout_ms: reader.u32("idle timeout")?,
            lanes: reader.u32("lanes")?,
        };
        let refuse = |what, value: u32| Err(DecodeError::Field { what, value: u64::from(value) });
        if (bounds.packet_size_max as usize) < PACKET_SIZE_MIN {
            return refuse("the packet size bound", bounds.packet_size_max);
        }
        if !(UNIT_WINDOW_MIN..=UNIT_WINDOW_MAX).contains(&bounds.unit_window) {
            return refuse("the unit window", bounds.unit_window);
        }
        if bounds.call_slots > CALL_SLOTS_MAX {
            return refuse("the number of call slots", bounds.call_slots);
        }
        Ok(bounds)
    }
}

/// INIT: a client asks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init<'a> {
    /// The client's version; always [`VERSION`] in a decoded one.
    pub version: u32,
    /// What the client calls the session.
    pub session: SessionId,
    /// The client's incarnation.
    pub boot: u64,
    /// What the client takes.
    pub bounds: Bounds,
    /// What the client would seal packets with (P-6.12).
    pub suite: u8,
    /// The cookie the server gave, or nothing; at most [`COOKIE_SIZE_MAX`] bytes.
    pub cookie: &'a [u8],
    /// The handshake provider's bytes; at most [`BLOB_SIZE_MAX`].
    pub blob: &'a [u8],
}

impl<'a> Init<'a> {
    /// Writes the body and its zero padding, [`INIT_BODY_SIZE`] bytes in all, and returns that size.
    ///
    /// # Panics
    /// When `out` is shorter, or the cookie or blob longer than its maximum.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(&mut out[..INIT_BODY_SIZE]);
        writer.put_u32(self.version);
        writer.put_u64(self.session.0);
        writer.put_u64(self.boot);
        self.bounds.encode(&mut writer);
        writer.put_u8(self.suite);
        put_cookie(&mut writer, self.cookie);
        put_blob(&mut writer, self.blob);
        writer.put_zeros(writer.remaining());
        INIT_BODY_SIZE
    }

    /// Bytes of the body before the blob's length: what the handshake binds, cookie and all (P-6.12).
    #[must_use]
    pub fn prologue_size(&self) -> usize {
        PROLOGUE_SIZE + 1 + self.cookie.len()
    }

    /// Reads the body. The version comes first and is looked at before anything else (P-6.2), the size
    /// included.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let version = known_version(&mut reader)?;
        if body.len() != INIT_BODY_SIZE {
            return Err(DecodeError::Field { what: "the size of an INIT body", value: body.len() as u64 });
        }
        let init = Self {
            version,
            session: SessionId(reader.u64("INIT session")?),
            boot: reader.u64("INIT boot id")?,
            bounds: Bounds::decode(&mut reader)?,
            suite: reader.u8("INIT suite")?,
            cookie: cookie(&mut reader)?,
            blob: blob(&mut reader)?,
        };
        // P-1.7: bytes without a meaning are zero, so that no one hides a second message in them.
        match reader.rest().iter().fold(0, |all, byte| all | byte) {
            0 => Ok(init),
            some => Err(DecodeError::Field { what: "INIT padding", value: u64::from(some) }),
        }
    }
}

/// COOKIE: the server asks the client to send its INIT again with this cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieReply<'a> {
    /// The server's version.
    pub version: u32,
    /// What the client calls the session, repeated.
    pub session: SessionId,
    /// At most [`COOKIE_SIZE_MAX`] bytes.
    pub cookie: &'a [u8],
}

impl<'a> CookieReply<'a> {
    /// Writes the body and returns its size.
    ///
    /// # Panics
    /// When `out` is too short, or the cookie too long.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(out);
        writer.put_u32(self.version);
        writer.put_u64(self.session.0);
        put_cookie(&mut writer, self.cookie);
        writer.position()
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let version = known_version(&mut reader)?;
        let session = SessionId(reader.u64("COOKIE session")?);
        let cookie = cookie(&mut reader)?;
        reader.finish("COOKIE")?;
        Ok(Self { version, session, cookie })
    }
}

/// ACCEPT: the server opens the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept<'a> {
    /// The version spoken from here on.
    pub version: u32,
    /// What the server calls the session.
    pub session: SessionId,
    /// The server's incarnation.
    pub boot: u64,
    /// What the server takes.
    pub bounds: Bounds,
    /// What packets are sealed with (P-6.12).
    pub suite: u8,
    /// The handshake provider's bytes; at most [`BLOB_SIZE_MAX`].
    pub blob: &'a [u8],
}

impl<'a> Accept<'a> {
    /// The same without the provider's bytes: what stays when the packet is gone.
    #[must_use]
    pub fn without_blob(&self) -> Accept<'static> {
        let Self { version, session, boot, bounds, suite, .. } = *self;
        Accept { version, session, boot, bounds, suite, blob: &[] }
    }

    /// What the handshake binds: the body before the length of the blob.
    #[must_use]
    pub fn prologue(&self) -> [u8; PROLOGUE_SIZE] {
        let mut body = [0; ACCEPT_FIXED_SIZE];
        self.without_blob().encode(&mut body);
        *body.first_chunk().expect("the prologue is the front of the body")
    }

    /// Writes the body and returns its size.
    ///
    /// # Panics
    /// When `out` is too short, or the blob too long.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(out);
        writer.put_u32(self.version);
        writer.put_u64(self.session.0);
        writer.put_u64(self.boot);
        self.bounds.encode(&mut writer);
        writer.put_u8(self.suite);
        put_blob(&mut writer, self.blob);
        writer.position()
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let accept = Self {
            version: known_version(&mut reader)?,
            session: SessionId(reader.u64("ACCEPT session")?),
            boot: reader.u64("ACCEPT boot id")?,
            bounds: Bounds::decode(&mut reader)?,
            suite: reader.u8("ACCEPT suite")?,
            blob: blob(&mut reader)?,
        };
        reader.finish("ACCEPT")?;
        Ok(accept)
    }
}

/// REFUSE: the server declines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refuse<'a> {
    /// The server's version.
    pub version: u32,
    /// Why, for the program.
    pub code: u16,
    /// Why, for the reader: UTF-8, shown lossily; the front 255 bytes are sent.
    pub reason: &'a [u8],
}

impl<'a> Refuse<'a> {
    /// Bytes of the largest body.
    pub const SIZE_MAX: usize = 4 + 2 + 1 + REASON_SIZE_MAX;

    /// Writes the body and returns its size.
    ///
    /// # Panics
    /// When `out` is too short.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(out);
        writer.put_u32(self.version);
        writer.put_u16(self.code);
        put_reason(&mut writer, self.reason);
        writer.position()
    }

    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let version = known_version(&mut reader)?;
        let code = reader.u16("REFUSE code")?;
        let size = reader.u8("REFUSE reason length")?;
        let reason = reader.bytes(usize::from(size), "REFUSE reason")?;
        reader.finish("REFUSE")?;
        Ok(Self { version, code, reason })
    }
}

/// VERSION_HINT: the versions a server speaks, at most [`VERSION_HINT_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionHint {
    versions: [u32; VERSION_HINT_MAX],
    count: u8,
}

impl VersionHint {
    /// The hint that names the first [`VERSION_HINT_MAX`] of `versions`.
    #[must_use]
    pub fn new(versions: &[u32]) -> Self {
        let mut hint = Self::default();
        for (slot, version) in hint.versions.iter_mut().zip(versions) {
            *slot = *version;
            hint.count += 1;
        }
        hint
    }

    /// The versions named, the preferred one first.
    #[must_use]
    pub fn versions(&self) -> &[u32] {
        &self.versions[..usize::from(self.count)]
    }

    /// Bytes of the whole packet, header and tag included; it answers only larger ones (P-6.3).
    #[must_use]
    pub fn packet_size(&self) -> usize {
        HEADER_SIZE + 1 + 4 * usize::from(self.count) + TAG_SIZE
    }

    /// Writes the body and returns its size.
    ///
    /// # Panics
    /// When `out` is too short.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(out);
        writer.put_u8(self.count);
        self.versions().iter().for_each(|version| writer.put_u32(*version));
        writer.position()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let count = reader.u8("VERSION_HINT count")?;
        let mut hint = Self { versions: [0; VERSION_HINT_MAX], count };
        let Some(slots) = hint.versions.get_mut(..usize::from(count)) else {
            return Err(DecodeError::Field {
                what: "the number of hinted versions",
                value: u64::from(count),
            });
        };
        for slot in slots {
            *slot = reader.u32("VERSION_HINT version")?;
        }
        reader.finish("VERSION_HINT")?;
        Ok(hint)
    }
}

/// RESET: the sender knows no such session. The token shows that it once did (P-6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// What the peer that once knew the session can compute, and no one else.
    pub token: [u8; RESET_TOKEN_SIZE],
}

impl Reset {
    /// Writes the body and returns its size.
    ///
    /// # Panics
    /// When `out` is too short.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        Writer::new(out).put_array(self.token);
        RESET_TOKEN_SIZE
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let token = *reader.array("RESET token")?;
        reader.finish("RESET")?;
        Ok(Self { token })
    }
}

/// SERVER_KEY: what a server on the same host is known by, for a client that asked with an INIT
/// without a blob (P-6.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// The server's version.
    pub version: u32,
    /// Its public key.
    pub key: [u8; SERVER_KEY_SIZE],
}

impl ServerKey {
    /// Writes the body and returns its size.
    ///
    /// # Panics
    /// When `out` is too short.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(out);
        writer.put_u32(self.version);
        writer.put_array(self.key);
        writer.position()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let version = known_version(&mut reader)?;
        let key = *reader.array("SERVER_KEY key")?;
        reader.finish("SERVER_KEY")?;
        Ok(Self { version, key })
    }
}

fn known_version(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    match reader.u32("protocol version")? {
        VERSION => Ok(VERSION),
        version => Err(DecodeError::Version { version }),
    }
}

fn put_cookie(writer: &mut Writer<'_>, cookie: &[u8]) {
    assert!(cookie.len() <= COOKIE_SIZE_MAX, "a cookie holds at most 64 bytes");
    writer.put_u8(cookie.len() as u8);
    writer.put_bytes(cookie);
}

fn cookie<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let size = usize::from(reader.u8("cookie length")?);
    if size > COOKIE_SIZE_MAX {
        return Err(DecodeError::Field { what: "the length of a cookie", value: size as u64 });
    }
    reader.bytes(size, "cookie")
}

fn put_blob(writer: &mut Writer<'_>, blob: &[u8]) {
    assert!(blob.len() <= BLOB_SIZE_MAX, "a handshake blob holds at most 1,024 bytes");
    writer.put_u16(blob.len() as u16);
    writer.put_bytes(blob);
}

fn blob<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let size = usize::from(reader.u16("blob length")?);
    if size > BLOB_SIZE_MAX {
        return Err(DecodeError::Field { what: "the length of a handshake blob", value: size as u64 });
    }
    reader.bytes(size, "handshake blob")
}
