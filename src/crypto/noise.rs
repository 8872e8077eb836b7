//! Noise IK over X25519, ChaCha20-Poly1305 and BLAKE2s, with or without a pre-shared key: the client
//! knows the server's key and shows its own, hidden, in its first message (Noise §7.5; S05).
//!
//! Either end's Noise payload opens with what it says in the clear beside it, where Noise could not
//! bind that by a prologue: the ACCEPT body in the server's.

use std::fmt;

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::{Zeroize, Zeroizing};

use super::handshake::{
    Answered, Finished, Handshake, HandshakeError, Initiator, Keys, Opened, Responder, Secret,
};
use super::keys::{Identity, PresharedKey, PublicKey};

/// The provider of sealed sessions.
#[derive(Debug)]
pub struct NoiseHandshake {
    identity: Identity,
    preshared: Option<PresharedKey>,
}

impl NoiseHandshake {
    /// Handshakes in the name of `identity`, with peers that hold `preshared` too, if it is given.
    #[must_use]
    pub fn new(identity: Identity, preshared: Option<PresharedKey>) -> Self {
        Self { identity, preshared }
    }

    fn state(
        &self,
        server: Option<&PublicKey>,
        prologue: &[u8],
        entropy: [u8; 32],
    ) -> Result<HandshakeState, snow::Error> {
        let name = if self.preshared.is_some() { NAME_PSK } else { NAME };
        let params = name.parse().expect("the protocol's name is well formed");
        let resolver = Box::new(Resolver { ephemeral: Zeroizing::new(entropy) });
        let mut builder = Builder::with_resolver(params, resolver)
            .prologue(prologue)?
            .local_private_key(self.identity.private())?;
        if let Some(preshared) = &self.preshared {
            builder = builder.psk(PSK_POSITION, preshared.as_bytes())?;
        }
        match server {
            Some(key) => builder.remote_public_key(key.as_bytes())?.build_initiator(),
            None => builder.build_responder(),
        }
    }
}

impl Handshake for NoiseHandshake {
    fn is_secure(&self) -> bool {
        true
    }

    fn public_key(&self) -> Option<PublicKey> {
        Some(self.identity.public_key())
    }

    fn initiate(
        &self,
        server: Option<&PublicKey>,
        prologue: &[u8],
        payload: &[u8],
        entropy: [u8; 32],
    ) -> Result<(Box<dyn Initiator>, Vec<u8>), HandshakeError> {
        let server = server.ok_or(HandshakeError::NoServerKey)?;
        let mut state = self.state(Some(server), prologue, entropy).map_err(unproven)?;
        let mut blob = vec![0; MESSAGE_SIZE_MAX];
        let size = state.write_message(payload, &mut blob).map_err(unproven)?;
        blob.truncate(size);
        Ok((Box::new(NoiseInitiator(Box::new(state))), blob))
    }

    fn open(&self, prologue: &[u8], blob: &[u8], entropy: [u8; 32]) -> Result<Opened, HandshakeError> {
        let mut state = self.state(None, prologue, entropy).map_err(unproven)?;
        let payload = read(&mut state, blob)?;
        let peer = state.get_remote_static().and_then(|key| <[u8; 32]>::try_from(key).ok());
        // A key of small order would prove nothing about who holds it.
        let peer = peer.and_then(|key| PublicKey::new(key).ok()).ok_or(HandshakeError::Unproven)?;
        Ok(Opened { responder: Box::new(NoiseResponder(Box::new(state))), payload, peer: Some(peer) })
    }
}

struct NoiseResponder(Box<HandshakeState>);
struct NoiseInitiator(Box<HandshakeState>);

impl Responder for NoiseResponder {
    fn answer(mut self: Box<Self>, accept: &[u8], payload: &[u8]) -> Result<Answered, HandshakeError> {
        let mut blob = vec![0; MESSAGE_SIZE_MAX];
        let size = self.0.write_message(&[accept, payload].concat(), &mut blob).map_err(unproven)?;
        blob.truncate(size);
        Ok(Answered { blob, keys: split(&mut self.0) })
    }
}

impl Initiator for NoiseInitiator {
    fn finish(&mut self, accept: &[u8], blob: &[u8]) -> Result<Finished, HandshakeError> {
        if self.0.is_handshake_finished() {
            return Err(HandshakeError::Unproven);
        }
        let said = read(&mut self.0, blob)?;
        let payload = said.strip_prefix(accept).ok_or(HandshakeError::Unproven)?.to_vec();
        Ok(Finished { keys: split(&mut self.0), payload })
    }
}

impl fmt::Debug for NoiseResponder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseResponder(..)")
    }
}

impl fmt::Debug for NoiseInitiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseInitiator(..)")
    }
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut payload = vec![0; message.len()];
    let size = state.read_message(message, &mut payload).map_err(unproven)?;
    payload.truncate(size);
    Ok(payload)
}

/// The handshake's two secrets, as Noise §5.2 `Split` gives them: packets are sealed here, since Noise's
/// own transport knows no loss.
fn split(state: &mut HandshakeState) -> Keys {
    let (mut client, mut server) = state.dangerously_get_raw_split();
    let keys = Keys { client_to_server: Secret(client), server_to_client: Secret(server) };
    client.zeroize();
    server.zeroize();
    keys
}

/// Why it failed is nobody's business but the counter's: all failures look alike.
fn unproven(_: snow::Error) -> HandshakeError {
    HandshakeError::Unproven
}

/// The library's own primitives, with chance as an argument.
struct Resolver {
    ephemeral: Zeroizing<[u8; 32]>,
}

struct Ephemeral(Zeroizing<[u8; 32]>);

impl Random for Ephemeral {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        // A handshake draws one ephemeral key, 32 bytes, and nothing else.
        if out.len() != self.0.len() {
            return Err(snow::Error::Rng);
        }
        out.copy_from_slice(&*self.0);
        Ok(())
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Ephemeral(self.ephemeral.clone())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

const NAME: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const NAME_PSK: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PSK_POSITION: u8 = 2;
/// Room for a message and its payload: keys, tags and a few hundred bytes.
const MESSAGE_SIZE_MAX: usize = crate::wire::BLOB_SIZE_MAX;

#[cfg(test)]
#[path = "noise_tests.rs"]
mod tests;
