//! Running this program under callgrind, and reading what it wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Instructions by function, each without what it calls.
pub type Counted = BTreeMap<String, u64>;

/// Why nothing can be counted here that compares with the table.
pub fn obstacle() -> Option<String> {
    if cfg!(debug_assertions) {
        return Some("a debug build: the table is of the release profile (cargo test --release)".into());
    }
    // Cargo hands its own environment on, and what overrides a profile there made this program.
    let is_override = |name: &String| {
        name.starts_with("CARGO_PROFILE_RELEASE_") || name == "RUSTFLAGS" || name == "CARGO_ENCODED_RUSTFLAGS"
    };
    if let Some(name) = std::env::vars().map(|(name, _)| name).find(is_override) {
        return Some(format!("{name} is set: the table is of the release profile as Cargo.toml has it"));
    }
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx2") {
        return Some("no AVX2: valgrind shows the program no more than the processor has".into());
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Some("the table is of x86-64".into());
    }
    match Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--callgrind-out-file=/dev/null", "true"])
        .output()
    {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("valgrind: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("valgrind cannot be run: {error}")),
    }
}

/// The compiler that is at hand, which is the one that made this program.
pub fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output
        .map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs `test` of this program under callgrind with `order` in its environment, and counts while `within` runs.
pub fn count(test: &str, (name, order): (&str, &str), within: &str) -> Counted {
    let program = std::env::current_exe().expect("it runs");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--toggle-collect={within}*"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(name, order)
        .env("GLIBC_TUNABLES", LIBC)
        .output()
        .expect("valgrind has just run");
    let told = || [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{order}: {:?}", told());
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    fs::remove_file(&file).expect("it was read");
    let counted = by_function(&text);
    assert!(!counted.is_empty(), "{order}: nothing was counted within {within}: {:?}", told());
    counted
}

/// The C library copies and fills with vectors whatever the size, and asks no cache how large it is.
const LIBC: &str = "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000:\
                    glibc.cpu.x86_non_temporal_threshold=1000000000";

/// Reads the profile format (valgrind's manual, "Callgrind Format Specification"), uncompressed: `fn=` opens a
/// function, `calls=` is followed by a line with what the callee cost, every other line of numbers ends in a cost.
pub fn by_function(text: &str) -> Counted {
    let mut counted = Counted::new();
    let (mut function, mut is_callees) = (String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = plain(name);
        } else if line.starts_with("calls=") {
            is_callees = true;
        } else if line
            .starts_with(|first: char| first.is_ascii_digit() || first == '+' || first == '-' || first == '*')
        {
            if let (false, Some(cost)) =
                (is_callees, line.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok()))
            {
                *counted.entry(function.clone()).or_default() += cost;
            }
            is_callees = false;
        }
    }
    counted.retain(|_, cost| *cost > 0);
    counted
}

/// The name without the compiler's hash and without callgrind's mark of recursion.
fn plain(name: &str) -> String {
    let name = name.split('\'').next().unwrap_or(name);
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            path.into()
        }
        _ => name.into(),
    }
}

#[test]
fn costs_are_a_functions_own_and_hashes_are_no_part_of_its_name() {
    let text = "events: Ir\n\nfl=a.rs\nfn=a::b::h0123456789abcdef\n5 10\nfi=c.rs\n7 2\ncfn=c\ncalls=3 9\n6 500\n8 1\n\n\
                fn=c\n1 400\nfn=a::b::hfedcba9876543210\n5 7\ntotals: 420\n";
    assert_eq!(by_function(text), Counted::from([("a::b".into(), 20), ("c".into(), 400)]));
}
