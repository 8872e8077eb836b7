//! How many instructions does one call cost two workers? Counted by valgrind, not by a clock:
//!
//! ```text
//! cargo bench --no-run --bench instructions
//! valgrind --tool=callgrind target/release/deps/instructions-* WINDOW SIZE CALLS
//! ```

use ringwire::io::memory::Switch;

#[path = "../tests/pair_support/mod.rs"]
mod pair_support;

use pair_support::{Echo, Pair};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: u64| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (window, size, calls) = (number(0, 1), number(1, 64), number(2, 10_000));
    let mut pair = Pair::new(Switch::default(), Echo::default());
    let payload = vec![0x5a; size as usize];
    for _ in 0..calls.div_ceil(window) {
        pair.echo(window, &payload);
    }
}
