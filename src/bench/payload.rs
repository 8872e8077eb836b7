//! What calls carry: contents that follow from (seed, token), so that a reply proves itself and
//! nothing has to be kept to check it.

/// One call in this many is checked byte for byte even when nobody asked for it.
pub const CHECKED_EVERY: u64 = 512;

/// The contents of every call of one run.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    seed: u64,
}

impl Contents {
    /// The contents that `seed` stands for.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Writes what the call `token` carries.
    pub fn fill(self, token: u64, bytes: &mut [u8]) {
        let mut state = self.start(token);
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = next_word(&mut state);
        }
        let length = rest.len();
        rest.copy_from_slice(&next_word(&mut state)[..length]);
    }

    /// True when `bytes` are what the call `token` carried, of the same length.
    #[must_use]
    pub fn matches(self, token: u64, size: usize, bytes: &[u8]) -> bool {
        let mut state = self.start(token);
        let (words, rest) = bytes.as_chunks::<8>();
        bytes.len() == size
            && words.iter().all(|word| *word == next_word(&mut state))
            && *rest == next_word(&mut state)[..rest.len()]
    }

    fn start(self, token: u64) -> u64 {
        // Two tokens that differ by one must not give two streams shifted by one word.
        (self.seed ^ token.wrapping_mul(0xd134_2543_de82_ef95)).wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Bytes at the front of a one-way message that say what follows: magic, seed, token.
pub const LABEL_SIZE: usize = 24;
const MAGIC: [u8; 8] = *b"rwSEEDED";

/// What a receiver can say of a one-way message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// It names no contents.
    Absent,
    /// It carries what its label promises.
    Intact,
    /// It does not.
    Corrupt,
}

/// Writes a one-way message whose receiver can check it without knowing the run: at least
/// [`LABEL_SIZE`] bytes.
pub fn fill_labelled(seed: u64, token: u64, bytes: &mut [u8]) {
    let (label, contents) = bytes.split_at_mut(LABEL_SIZE);
    label[..8].copy_from_slice(&MAGIC);
    label[8..16].copy_from_slice(&seed.to_le_bytes());
    label[16..].copy_from_slice(&token.to_le_bytes());
    Contents::new(seed).fill(token, contents);
}

/// Checks a one-way message against its own label.
#[must_use]
pub fn check_labelled(bytes: &[u8]) -> Label {
    let Some((label, contents)) = bytes.split_at_checked(LABEL_SIZE) else { return Label::Absent };
    let (words, _) = label.as_chunks::<8>();
    if words[0] != MAGIC {
        return Label::Absent;
    }
    let (seed, token) = (u64::from_le_bytes(words[1]), u64::from_le_bytes(words[2]));
    if Contents::new(seed).matches(token, contents.len(), contents) { Label::Intact } else { Label::Corrupt }
}

/// A weak but quick stream (a Weyl sequence, mixed once): it must differ from call to call and from
/// place to place, not resist anyone.
fn next_word(state: &mut u64) -> [u8; 8] {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 32)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_matches_its_own_contents_only() {
        let contents = Contents::new(7);
        for size in [0, 1, 7, 8, 9, 64, 1_400] {
            let mut bytes = vec![0; size];
            contents.fill(11, &mut bytes);
            assert!(contents.matches(11, size, &bytes), "{size}");
            assert!(!contents.matches(11, size + 1, &bytes), "{size}");
            if size > 0 {
                assert!(!contents.matches(12, size, &bytes), "{size}");
                assert!(!Contents::new(8).matches(11, size, &bytes), "{size}");
                bytes[size / 2] ^= 1;
                assert!(!contents.matches(11, size, &bytes), "{size}");
            }
        }
    }

    #[test]
    fn neighbouring_calls_share_no_words() {
        let contents = Contents::new(1);
        let (mut one, mut next) = ([0; 512], [0; 512]);
        contents.fill(1, &mut one);
        contents.fill(2, &mut next);
        assert!(one.chunks(8).all(|word| !next.chunks(8).any(|other| other == word)));
    }

    #[test]
    fn a_labelled_message_proves_itself() {
        let mut bytes = vec![0; 1_000];
        assert_eq!(check_labelled(&bytes), Label::Absent);
        assert_eq!(check_labelled(&bytes[..10]), Label::Absent);
        fill_labelled(3, 9, &mut bytes);
        assert_eq!(check_labelled(&bytes), Label::Intact);
        assert_eq!(check_labelled(&bytes[..999]), Label::Intact, "its length is the transport's to keep");
        bytes[999] ^= 0x80;
        assert_eq!(check_labelled(&bytes), Label::Corrupt);
        bytes[999] ^= 0x80;
        bytes[16] ^= 1;
        assert_eq!(check_labelled(&bytes), Label::Corrupt);
    }
}
