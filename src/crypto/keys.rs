//! Keys as people and files see them: who an endpoint is, and what it says it is.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::Dh;
use zeroize::Zeroizing;

use super::crc32c;
use super::kdf::expand;
use super::{Csprng, ResetKey};

/// Why a key was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It does not begin as a key of this kind does.
    #[error("it does not begin with \"{expected}\": copy the whole key, as `ringwire keygen` prints it")]
    Prefix {
        /// What it should begin with.
        expected: &'static str,
    },
    /// Too long, too short, or with a character that no key has.
    #[error("it is not a key: cut short, too long, or with a character that none has; copy it again")]
    Malformed,
    /// A character was mistyped.
    #[error("its checksum is wrong: a character was changed; copy it again")]
    Checksum,
    /// A point of small order: it agrees on the same secret with everybody.
    #[error("it is a key that no one may have: it agrees on the same secret with everybody")]
    LowOrder,
    /// A key file without a key.
    #[error("it holds no line \"private KEY\": write one with `ringwire keygen FILE`")]
    NoKey,
}

/// Who an endpoint is: an X25519 public key, written `rw1` and 48 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_SIZE]);

impl PublicKey {
    /// The key with these bytes.
    ///
    /// # Errors
    /// [`KeyError::LowOrder`].
    pub fn new(bytes: [u8; KEY_SIZE]) -> Result<Self, KeyError> {
        // RFC 7748 §6.1: a point of small order gives zero with every scalar.
        let mut shared = [0; KEY_SIZE];
        let agreed = curve(&[0x42; KEY_SIZE]).dh(&bytes, &mut shared);
        if agreed.is_err() || shared == [0; KEY_SIZE] { Err(KeyError::LowOrder) } else { Ok(Self(bytes)) }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_SIZE] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_text(PUBLIC_PREFIX, &self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(*from_text(PUBLIC_PREFIX, text)?)
    }
}

/// The private half: what makes an endpoint the one its public key names. Wiped when dropped.
#[derive(Clone)]
pub struct Identity {
    private: Zeroizing<[u8; KEY_SIZE]>,
    public: PublicKey,
}

impl Identity {
    /// A new identity from unpredictable bytes.
    #[must_use]
    pub fn generate(random: &mut Csprng) -> Self {
        Self::from_private(Zeroizing::new(random.bytes()))
    }

    fn from_private(private: Zeroizing<[u8; KEY_SIZE]>) -> Self {
        let mut public = [0; KEY_SIZE];
        public.copy_from_slice(curve(&private).pubkey());
        Self { private, public: PublicKey(public) }
    }

    /// What the others know it by.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The text of its file: keep that readable by its owner only.
    #[must_use]
    pub fn to_file(&self) -> Zeroizing<String> {
        let private = Zeroizing::new(to_text(PRIVATE_PREFIX, &self.private));
        Zeroizing::new(format!(
            "# A ringwire identity. Whoever reads the private key can speak in its name: keep the mode 600.\n\
             private {}\n\
             public {}\n",
            private.as_str(),
            self.public
        ))
    }

    /// Reads the text of a file that [`Identity::to_file`] wrote. The line `public` is for people.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_file(text: &str) -> Result<Self, KeyError> {
        let mut keys = text.lines().filter_map(|line| line.trim().strip_prefix("private "));
        let key = keys.next().ok_or(KeyError::NoKey)?;
        Ok(Self::from_private(from_text(PRIVATE_PREFIX, key.trim())?))
    }

    /// What makes this identity's reset tokens: the same after a restart (D10).
    #[must_use]
    pub fn reset_key(&self) -> ResetKey {
        ResetKey::new(expand(&self.private, "reset"))
    }

    pub(super) fn private(&self) -> &[u8; KEY_SIZE] {
        &self.private
    }

    #[cfg(test)]
    pub(super) fn from_private_for_tests(private: [u8; KEY_SIZE]) -> Self {
        Self::from_private(Zeroizing::new(private))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public)
    }
}

/// A secret that both ends hold beside their keys, for who fears that X25519 falls: a recorded session
/// stays closed while this stays secret. Wiped when dropped.
#[derive(Clone)]
pub struct PresharedKey(Zeroizing<[u8; KEY_SIZE]>);

impl PresharedKey {
    /// The key with these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; KEY_SIZE]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new one from unpredictable bytes.
    #[must_use]
    pub fn generate(random: &mut Csprng) -> Self {
        Self(Zeroizing::new(random.bytes()))
    }

    /// The text of its file: keep that readable by its owners only.
    #[must_use]
    pub fn to_file(&self) -> Zeroizing<String> {
        let shared = Zeroizing::new(to_text(SHARED_PREFIX, &self.0));
        Zeroizing::new(format!(
            "# A ringwire pre-shared key, for both ends. Carry it over a way that nobody records: keep the mode 600.\n\
             shared {}\n",
            shared.as_str()
        ))
    }

    /// Reads the text of a file that [`PresharedKey::to_file`] wrote.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_file(text: &str) -> Result<Self, KeyError> {
        let mut keys = text.lines().filter_map(|line| line.trim().strip_prefix("shared "));
        let key = keys.next().ok_or(KeyError::NoKey)?;
        Ok(Self(from_text(SHARED_PREFIX, key.trim())?))
    }

    pub(super) fn as_bytes(&self) -> &[u8; KEY_SIZE] {
        &self.0
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

fn curve(private: &[u8; KEY_SIZE]) -> Box<dyn Dh> {
    let mut curve = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("X25519 is compiled in");
    curve.set(private);
    curve
}

fn to_text(prefix: &str, key: &[u8; KEY_SIZE]) -> String {
    let mut bytes = Zeroizing::new([0; KEY_SIZE + CHECKSUM_SIZE]);
    bytes[..KEY_SIZE].copy_from_slice(key);
    bytes[KEY_SIZE..].copy_from_slice(&crc32c(key).to_le_bytes());
    format!("{prefix}{}", BASE64URL_NOPAD.encode(&*bytes))
}

fn from_text(prefix: &'static str, text: &str) -> Result<Zeroizing<[u8; KEY_SIZE]>, KeyError> {
    let body = text.strip_prefix(prefix).ok_or(KeyError::Prefix { expected: prefix })?;
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| KeyError::Malformed)?);
    let (key, checksum) = bytes.split_first_chunk::<KEY_SIZE>().ok_or(KeyError::Malformed)?;
    let checksum: [u8; CHECKSUM_SIZE] = checksum.try_into().map_err(|_| KeyError::Malformed)?;
    if crc32c(key) != u32::from_le_bytes(checksum) {
        return Err(KeyError::Checksum);
    }
    Ok(Zeroizing::new(*key))
}

/// Bytes of a key.
pub const KEY_SIZE: usize = 32;
const CHECKSUM_SIZE: usize = 4;
const PUBLIC_PREFIX: &str = "rw1";
const PRIVATE_PREFIX: &str = "rwsecret1";
const SHARED_PREFIX: &str = "rwshared1";

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(seed: u8) -> Identity {
        Identity::generate(&mut Csprng::new([seed; 32]))
    }

    #[test]
    fn a_public_key_is_read_as_it_was_printed() {
        let key = identity(1).public_key();
        assert_eq!(key.to_string().len(), 3 + 48);
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn a_key_with_any_character_changed_missing_or_added_is_refused() {
        let text = identity(2).public_key().to_string();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(String::from_utf8(changed).unwrap().parse::<PublicKey>().is_err(), "character {at}");
            assert!(text[..at].parse::<PublicKey>().is_err(), "cut at {at}");
        }
        assert!(format!("{text}A").parse::<PublicKey>().is_err());
        assert_eq!("ssh-rsa x".parse::<PublicKey>(), Err(KeyError::Prefix { expected: "rw1" }));
    }

    #[test]
    fn points_of_small_order_are_no_keys() {
        let mut one = [0; 32];
        one[0] = 1;
        for bytes in [[0; 32], one] {
            assert_eq!(PublicKey::new(bytes), Err(KeyError::LowOrder));
        }
    }

    #[test]
    fn an_identity_survives_its_file_and_keeps_its_reset_tokens() {
        let identity = identity(3);
        let text = identity.to_file();
        let read = Identity::from_file(&text).unwrap();
        assert_eq!(read.public_key(), identity.public_key());
        assert_eq!(read.reset_key().token(9), identity.reset_key().token(9));
        assert!(text.contains(&identity.public_key().to_string()));
        assert_eq!(Identity::from_file("public x\n").unwrap_err(), KeyError::NoKey);
        let cut = text.find("rwsecret1").unwrap() + 30;
        assert_eq!(Identity::from_file(&text[..cut]).unwrap_err(), KeyError::Malformed);
    }

    #[test]
    fn a_known_private_key_gives_its_known_public_one() {
        // The responder of cacophony's Noise vectors.
        let hex = |text: &str| -> [u8; 32] {
            data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
        };
        let private = hex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893");
        let public = hex("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62");
        assert_eq!(Identity::from_private(Zeroizing::new(private)).public_key().as_bytes(), &public);
    }

    #[test]
    fn private_keys_do_not_show_in_logs() {
        let identity = identity(4);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.public_key()));
        assert_eq!(format!("{:?}", PresharedKey::new([1; 32])), "PresharedKey(..)");
    }
}
