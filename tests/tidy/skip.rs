//! A test that this host cannot run says so.

/// Prints that `test` was skipped and why; fails it where nothing may be skipped.
pub fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
    assert!(std::env::var_os("RINGWIRE_STRICT").is_none_or(|value| value != "1"), "skipped: {test}: {why}");
}
