//! `ringwire keygen` and the flags that take keys, as scripts see them.
#![cfg(feature = "cli")]

mod cli_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cli_support::{Served, end, rest_ms, run, start};
use ringwire::crypto::PublicKey;

/// A folder of this test's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringwire-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left-overs in a temporary folder harm nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_identity_is_written_once_for_its_owner_alone_and_shown_again() {
    let folder = Folder::new("keygen");
    let path = folder.path("identity");
    let made = run(&format!("keygen {path}"));
    assert_eq!(made.status, Some(0), "{made:?}");
    let key: PublicKey = made.stdout.trim().parse().expect("a public key");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    let before = fs::read_to_string(&path).expect("readable");
    assert!(before.contains(&key.to_string()) && before.contains("private "));
    let again = run(&format!("keygen {path}"));
    assert_eq!(again.status, Some(2), "{again:?}");
    assert!(again.stderr.contains("exists"), "{again:?}");
    assert_eq!(fs::read_to_string(&path).expect("readable"), before, "nothing was overwritten");
    assert_eq!(run(&format!("keygen --show {path}")).stdout.trim(), key.to_string());
    let printed = run("keygen");
    assert_eq!(printed.status, Some(0));
    assert!(printed.stdout.contains("private ") && printed.stdout.contains("public rw1"), "{printed:?}");
}

#[test]
fn a_server_with_an_identity_is_known_by_it_and_no_other_key_gets_an_answer() {
    let folder = Folder::new("identity");
    let path = folder.path("identity");
    let key = run(&format!("keygen {path}")).stdout.trim().to_owned();
    let served = Served::start(&format!("--identity {path}"));
    assert_eq!(served.key, key);
    let ping = |key: &str| {
        let address = &served.address;
        run(&format!(
            "bench ping {address} --server-key {key} --duration 50ms --warmup 10ms --poll park --json"
        ))
    };
    let right = ping(&key);
    assert_eq!(right.status, Some(0), "{right:?}");
    assert_eq!(right.json()["secure"], true);
    let other = run("keygen").stdout;
    let other = other.lines().find_map(|line| line.strip_prefix("public ")).expect("a public key");
    let wrong = ping(other);
    assert_eq!(wrong.status, Some(1), "{wrong:?}");
    assert_eq!(wrong.stdout, "");
    served.terminate();
}

#[test]
fn keys_that_cannot_be_used_end_with_2_and_say_what_to_do() {
    let folder = Folder::new("bad-keys");
    let path = folder.path("identity");
    run(&format!("keygen {path}"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
    let (empty, cut) = (folder.path("empty"), folder.path("cut"));
    fs::write(&empty, "").expect("writable");
    fs::write(&cut, "private rwsecret1AAAA\n").expect("writable");
    for file in [&empty, &cut] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("ours");
    }
    for (line, says) in [
        (format!("serve --listen 127.0.0.1:0 --identity {path}"), "chmod 600"),
        (format!("serve --listen 127.0.0.1:0 --identity {empty}"), "ringwire keygen"),
        (format!("serve --listen 127.0.0.1:0 --identity {cut}"), "copy it again"),
        (format!("serve --listen 127.0.0.1:0 --identity {}", folder.path("none")), "cannot read"),
        ("bench ping 127.0.0.1:9 --server-key rw1short".to_owned(), "copy it again"),
        ("bench ping 127.0.0.1:9 --server-key ssh-rsa".to_owned(), "rw1"),
        ("bench ping 192.0.2.1:9".to_owned(), "--server-key KEY"),
        ("bench ping 192.0.2.1:9 --insecure".to_owned(), "--insecure=anywhere"),
        ("serve --listen 0.0.0.0:0 --insecure".to_owned(), "--insecure=anywhere"),
    ] {
        let ended = run(&line);
        assert_eq!(ended.status, Some(2), "{line}: {ended:?}");
        assert!(ended.stderr.contains(says), "{line}: {ended:?}");
    }
}

#[test]
fn a_key_taken_off_the_list_is_refused_within_a_second_and_its_sessions_end() {
    let folder = Folder::new("allow");
    let (identity, list) = (folder.path("identity"), folder.path("list"));
    let key = run(&format!("keygen {identity}")).stdout.trim().to_owned();
    fs::write(&list, format!("{key} tester methods=*\n")).expect("writable");
    let served = Served::start(&format!("--allow {list}"));
    let call = |duration: &str, more: &str| {
        let address = &served.address;
        format!(
            "bench rate {address} --window 4 --duration {duration} --warmup 10ms --poll adaptive --json {more}"
        )
    };
    let listed = run(&call("100ms", &format!("--identity {identity}")));
    assert_eq!(listed.status, Some(0), "{listed:?}");
    let stranger = run(&call("100ms", ""));
    assert_eq!(stranger.status, Some(1), "{stranger:?}");
    assert!(stranger.stderr.contains("does not allow this key"), "{stranger:?}");
    let running = start(&call("20s", &format!("--identity {identity}")));
    rest_ms(500);
    fs::write(&list, "# nobody\n").expect("writable");
    let pid = nix::unistd::Pid::from_raw(served.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).expect("ours");
    let ended = end(running);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.took.as_millis() < 1_000, "its session was ended within a second: {ended:?}");
    let again = run(&call("100ms", &format!("--identity {identity}")));
    assert!(again.stderr.contains("does not allow this key"), "{again:?}");
    let ended = served.terminate();
    assert!(ended.stderr.contains("0 keys may call"), "{ended:?}");
}

#[test]
fn an_insecure_end_and_a_sealed_one_do_not_talk_and_say_why() {
    let plain = Served::start("--insecure");
    assert_eq!(plain.key, "");
    let address = &plain.address;
    let flags = "--duration 50ms --warmup 10ms --poll park --json";
    let same = run(&format!("bench ping {address} --insecure {flags}"));
    assert_eq!(same.status, Some(0), "{same:?}");
    assert_eq!(same.json()["secure"], false);
    let sealed = run(&format!("bench ping {address} {flags}"));
    assert_eq!(sealed.status, Some(1), "{sealed:?}");
    assert!(sealed.stderr.contains("--insecure"), "{sealed:?}");
    plain.terminate();
}

#[test]
fn a_pre_shared_key_lets_in_who_holds_it_too_and_nobody_else() {
    let folder = Folder::new("preshared");
    let (ours, theirs) = (folder.path("shared"), folder.path("another"));
    for path in [&ours, &theirs] {
        let made = run(&format!("keygen --preshared {path}"));
        assert_eq!((made.status, made.stdout.as_str()), (Some(0), ""), "{made:?}");
        assert_eq!(fs::metadata(path).expect("it is there").permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(run(&format!("keygen --preshared {ours}")).status, Some(2), "never over another");
    let served = Served::start(&format!("--preshared {ours}"));
    let ping = |more: &str| {
        let (address, key) = (&served.address, &served.key);
        run(&format!(
            "bench ping {address} --server-key {key} --duration 50ms --warmup 10ms --poll park --json {more}"
        ))
    };
    let right = ping(&format!("--preshared {ours}"));
    assert_eq!(right.status, Some(0), "{right:?}");
    assert_eq!(right.json()["secure"], true);
    for more in [format!("--preshared {theirs}"), String::new()] {
        let wrong = ping(&more);
        assert_eq!(wrong.status, Some(1), "{wrong:?}");
    }
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o644)).expect("ours");
    let open = ping(&format!("--preshared {theirs}"));
    assert!(open.status == Some(2) && open.stderr.contains("chmod 600"), "{open:?}");
    let identity = folder.path("identity");
    run(&format!("keygen {identity}"));
    let other = ping(&format!("--preshared {identity}"));
    assert!(other.status == Some(2) && other.stderr.contains("pre-shared key"), "{other:?}");
}

#[test]
fn either_cipher_can_be_asked_for() {
    for suite in ["aes128-gcm", "chacha20-poly1305"] {
        let ran = run(&format!(
            "bench rate --suite {suite} --duration 100ms --warmup 20ms --poll adaptive --verify --json"
        ));
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert_eq!(ran.json()["verified"], true);
    }
    let both = run("bench rate --suite aes128-gcm --insecure");
    assert_eq!(both.status, Some(2), "{both:?}");
}
