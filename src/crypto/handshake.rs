//! The handshake as a provider sees it: two opaque blobs, two secrets.
//!
//! Shaped after Noise IK: the prologue is bound by the first message, the ACCEPT body by the second,
//! and either may carry a short payload for the other end.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use zeroize::Zeroize;

use super::PublicKey;

/// One direction's secret. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; SECRET_SIZE]);

impl Secret {
    /// The first 16 bytes.
    #[must_use]
    pub fn first_half(&self) -> [u8; 16] {
        *self.0.first_chunk().expect("a secret is 32 bytes")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What both ends share once the handshake is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Protects what the client sends.
    pub client_to_server: Secret,
    /// Protects what the server sends.
    pub server_to_client: Secret,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The blob is not one of this provider's.
    #[error(
        "the peer's handshake is not of the kind expected here: check that both ends agree on --insecure"
    )]
    Malformed,
    /// A sealed handshake needs to know whom it talks to.
    #[error("the server's public key is not known: name it, as `ringwire serve` prints it")]
    NoServerKey,
    /// The blob does not prove what it must.
    #[error("the peer's handshake proves nothing: wrong key, or damaged on the way")]
    Unproven,
}

/// What the server has after the client's message, before it answers.
#[derive(Debug)]
pub struct Opened {
    /// Answers, if the server wants to.
    pub responder: Box<dyn Responder>,
    /// What the client's message carried.
    pub payload: Vec<u8>,
    /// The key the client proved to hold the private half of; `None` where nobody proves anything.
    pub peer: Option<PublicKey>,
}

/// What the server has after its answer.
#[derive(Debug)]
pub struct Answered {
    /// For the ACCEPT packet.
    pub blob: Vec<u8>,
    /// The session's secrets.
    pub keys: Keys,
}

/// What the client has after the second message.
#[derive(Debug)]
pub struct Finished {
    /// The session's secrets.
    pub keys: Keys,
    /// What the server's message carried.
    pub payload: Vec<u8>,
}

/// A way to agree on secrets in one round trip. Shared by an endpoint's workers. Chance is an argument:
/// 32 unpredictable bytes for each handshake, never twice the same.
pub trait Handshake: fmt::Debug + Send + Sync {
    /// Whether its sessions are sealed.
    fn is_secure(&self) -> bool;

    /// What this end is known by, if it is.
    fn public_key(&self) -> Option<PublicKey>;

    /// Opens a handshake as the client, with the server whose key is `server`. `prologue` is what both
    /// ends know of each other before (the INIT body without its blob); `payload` travels in the blob.
    ///
    /// # Errors
    /// [`HandshakeError::NoServerKey`].
    fn initiate(
        &self,
        server: Option<&PublicKey>,
        prologue: &[u8],
        payload: &[u8],
        entropy: [u8; 32],
    ) -> Result<(Box<dyn Initiator>, Vec<u8>), HandshakeError>;

    /// Reads a client's message as the server. Nothing is decided by it: whether it is answered, is.
    ///
    /// # Errors
    /// [`HandshakeError`]; nothing was changed, and strangers get silence.
    fn open(&self, prologue: &[u8], blob: &[u8], entropy: [u8; 32]) -> Result<Opened, HandshakeError>;
}

/// A server between its two messages.
pub trait Responder: fmt::Debug + Send {
    /// Answers. `accept` is the ACCEPT body without its blob, bound by the answer.
    ///
    /// # Errors
    /// [`HandshakeError`].
    fn answer(self: Box<Self>, accept: &[u8], payload: &[u8]) -> Result<Answered, HandshakeError>;
}

/// A client between its two messages.
pub trait Initiator: fmt::Debug + Send {
    /// Takes the server's answer. A forged one leaves the handshake open for the true one, so this
    /// may be called again after an error.
    ///
    /// # Errors
    /// [`HandshakeError`]; the answer must be dropped and counted.
    fn finish(&mut self, accept: &[u8], blob: &[u8]) -> Result<Finished, HandshakeError>;
}

/// No secrets at all, for `--insecure`: both "secrets" follow from what is sent in the clear. They
/// tell sessions apart and protect nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullHandshake;

#[derive(Debug)]
struct NullEnd {
    prologue: Vec<u8>,
}

impl Handshake for NullHandshake {
    fn is_secure(&self) -> bool {
        false
    }

    fn public_key(&self) -> Option<PublicKey> {
        None
    }

    fn initiate(
        &self,
        _server: Option<&PublicKey>,
        prologue: &[u8],
        payload: &[u8],
        _entropy: [u8; 32],
    ) -> Result<(Box<dyn Initiator>, Vec<u8>), HandshakeError> {
        Ok((Box::new(NullEnd { prologue: prologue.to_vec() }), null_blob(payload)))
    }

    fn open(&self, prologue: &[u8], blob: &[u8], _entropy: [u8; 32]) -> Result<Opened, HandshakeError> {
        let payload = null_payload(blob)?;
        Ok(Opened { responder: Box::new(NullEnd { prologue: prologue.to_vec() }), payload, peer: None })
    }
}

impl Responder for NullEnd {
    fn answer(self: Box<Self>, accept: &[u8], payload: &[u8]) -> Result<Answered, HandshakeError> {
        let keys = null_keys(&self.prologue, accept);
        let echo = keys.client_to_server.first_half();
        Ok(Answered { blob: null_blob(&[echo.as_slice(), payload].concat()), keys })
    }
}

impl Initiator for NullEnd {
    fn finish(&mut self, accept: &[u8], blob: &[u8]) -> Result<Finished, HandshakeError> {
        let said = null_payload(blob)?;
        let keys = null_keys(&self.prologue, accept);
        // Which of our first messages it answers must show: each gives other keys.
        let echo = keys.client_to_server.first_half();
        let payload = said.strip_prefix(&echo).ok_or(HandshakeError::Unproven)?.to_vec();
        Ok(Finished { keys, payload })
    }
}

/// A null blob opens with these bytes, so that a secure and an insecure end notice each other.
const NULL_MARK: &[u8; 4] = b"null";

fn null_blob(payload: &[u8]) -> Vec<u8> {
    [NULL_MARK, payload].concat()
}

fn null_payload(blob: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    blob.strip_prefix(NULL_MARK).map(<[u8]>::to_vec).ok_or(HandshakeError::Malformed)
}

fn null_keys(prologue: &[u8], accept: &[u8]) -> Keys {
    let secret = |direction: u8| {
        let mut secret = [0; SECRET_SIZE];
        for (half, bytes) in (0u8..).zip(secret.chunks_exact_mut(16)) {
            let mut hasher = SipHasher24::new_with_key(&[direction * 2 + half; 16]);
            // Lengths first, so that no byte can move from one part to the other.
            hasher.write(&(prologue.len() as u64).to_le_bytes());
            hasher.write(prologue);
            hasher.write(accept);
            bytes.copy_from_slice(&hasher.finish128().as_bytes());
        }
        Secret(secret)
    };
    Keys { client_to_server: secret(0), server_to_client: secret(1) }
}

/// Bytes of one direction's secret.
pub const SECRET_SIZE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn initiate() -> (Box<dyn Initiator>, Vec<u8>) {
        NullHandshake.initiate(None, b"prologue", b"from the client", [0; 32]).unwrap()
    }

    #[test]
    fn both_ends_hold_the_same_keys_and_each_others_payload() {
        let (mut initiator, blob) = initiate();
        let opened = NullHandshake.open(b"prologue", &blob, [0; 32]).unwrap();
        let answered = opened.responder.answer(b"accept", b"from the server").unwrap();
        let finished = initiator.finish(b"accept", &answered.blob).unwrap();
        assert_eq!(finished.keys, answered.keys);
        assert_eq!(opened.payload, b"from the client");
        assert_eq!(finished.payload, b"from the server");
        assert_ne!(finished.keys.client_to_server, finished.keys.server_to_client);
    }

    #[test]
    fn keys_differ_when_anything_of_the_handshake_does() {
        let keys = null_keys(b"ab", b"cd");
        assert_ne!(keys, null_keys(b"ab", b"ce"));
        assert_ne!(keys, null_keys(b"aa", b"cd"));
        assert_ne!(keys, null_keys(b"abc", b"d"));
    }

    #[test]
    fn a_blob_of_another_provider_is_refused_and_the_true_answer_still_taken() {
        let opened = NullHandshake.open(b"", b"noise", [0; 32]);
        assert_eq!(opened.unwrap_err(), HandshakeError::Malformed);
        let (mut initiator, blob) = initiate();
        let opened = NullHandshake.open(b"prologue", &blob, [0; 32]).unwrap();
        let answered = opened.responder.answer(b"a", b"").unwrap();
        assert_eq!(initiator.finish(b"a", b"").unwrap_err(), HandshakeError::Malformed);
        assert_eq!(initiator.finish(b"a", &answered.blob).unwrap().keys, answered.keys);
    }

    #[test]
    fn secrets_do_not_show_in_logs() {
        assert_eq!(format!("{:?}", Secret([7; 32])), "Secret(..)");
    }
}
