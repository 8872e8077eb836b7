//! What must hold for any bytes is written down once, in the library, and replayed over
//! `fuzz/seeds/pieces` by `cargo test --test wire_seeds`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ringwire::testing::scripted::pieces(bytes);
});
