//! What must hold for any bytes is written down once, in the library, and replayed over
//! `fuzz/seeds/durable` by `cargo test --test wire_seeds`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ringwire::wire::check::durable(bytes);
});
