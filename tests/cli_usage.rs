//! What the command says to a line that makes no sense: status 2, and what to write instead.
#![cfg(feature = "cli")]

mod cli_support;

use cli_support::run;

#[test]
fn a_line_that_makes_no_sense_ends_with_2_and_says_what_to_write() {
    for (line, advice) in [
        ("", "Usage"),
        ("fly", "ringwire"),
        ("bench fly", "--help"),
        ("bench rate --size lots", "for example 64KiB"),
        ("bench rate --duration 4", "for example 4s"),
        ("bench rate --backend xdp", "uring"),
        ("bench rate --congestion bbr", "cubic"),
        ("bench load --rate 0", "for example 1.5M"),
        ("bench rate --window 0", "1.."),
        ("bench rate --cores 9999999", "for example"),
        ("bench rate --impair loss=lots", "loss"),
        ("bench rate --deadline 0s", "1s"),
        ("bench rate --duration 1us", "10ms"),
        ("bench bulk --verify --size 8", "24"),
        ("limits --iface eth0", "veth:9000"),
        ("limits --iface 9000", "veth:9000"),
        ("limits --iface veth:100", "1280 to 9216"),
        ("bench rate no-such-host.invalid", "127.0.0.1"),
    ] {
        let ended = run(line);
        assert_eq!(ended.status, Some(2), "{line}: {ended:?}");
        assert!(ended.stderr.contains(advice), "{line}: {advice} in {ended:?}");
        assert_eq!(ended.stdout, "", "{line}");
    }
}

#[test]
fn a_core_that_does_not_exist_is_named_with_those_that_do() {
    for line in ["bench ping --cores 8191", "bench ping --server-cores 8191", "serve --cores 8191"] {
        let ended = run(line);
        assert_eq!(ended.status, Some(2), "{line}: {ended:?}");
        assert!(ended.stderr.contains("core 8191"), "{ended:?}");
        assert!(ended.stderr.contains("choose from"), "{ended:?}");
    }
}

#[test]
fn help_and_version_end_with_0_and_help_with_three_examples() {
    assert_eq!(run("--version").status, Some(0));
    for line in ["--help", "bench --help", "bench load --help", "serve --help", "doctor --help"] {
        let ended = run(line);
        assert_eq!(ended.status, Some(0), "{line}");
        let (_, examples) = ended.stdout.split_once("Examples:\n").unwrap_or_else(|| panic!("{ended:?}"));
        assert_eq!(examples.lines().filter(|line| line.contains("ringwire ")).count(), 3, "{examples}");
    }
}
