//! Packets of any content under valid keys, from a peer that was let in. What must hold is written down
//! once, in the library, and replayed over `fuzz/seeds/sealed` by `cargo test --test wire_seeds`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ringwire::testing::said::said(bytes);
});
