//! Reads `tests/vectors/wire.txt`.

use std::path::PathBuf;

/// One golden vector.
pub struct Vector {
    /// Which decoder it is for.
    pub decoder: String,
    /// What it shows.
    #[allow(dead_code, reason = "each test binary that includes this file uses a part of it")]
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What they decode to, one line an item.
    #[allow(dead_code, reason = "each test binary that includes this file uses a part of it")]
    pub expected: Vec<String>,
}

/// Every vector of the file, in its order.
pub fn vectors() -> Vec<Vector> {
    let path = root().join("tests/vectors/wire.txt");
    let text = std::fs::read_to_string(path).expect("the vectors are committed");
    let mut vectors: Vec<Vector> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(title) = line.strip_prefix("@ ") {
            let (decoder, name) = title.split_once(' ').expect("a title is a decoder and a name");
            let (decoder, name) = (decoder.to_owned(), name.to_owned());
            vectors.push(Vector { decoder, name, bytes: Vec::new(), expected: Vec::new() });
            continue;
        }
        let vector = vectors.last_mut().expect("a title comes first");
        match line.strip_prefix("= ") {
            Some(expected) => vector.expected.push(expected.to_owned()),
            None => parse_hex(line.split(';').next().unwrap_or_default(), &mut vector.bytes),
        }
    }
    vectors
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn parse_hex(line: &str, bytes: &mut Vec<u8>) {
    for word in line.split_whitespace() {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let times: usize = times.parse().expect("a repeat is a decimal number");
        assert!(digits.len().is_multiple_of(2), "bytes are pairs of hex digits: {word}");
        for _ in 0..times {
            let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
            bytes.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")));
        }
    }
}
