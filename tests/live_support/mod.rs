//! A veth pair in a network namespace that the test makes, with a sysfs of its own. Nothing outside of it is
//! written. As root all knobs of a veth are turned; an unprivileged user's namespace lets only some be
//! written, and only those are.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod ethtool;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

/// A namespace with `tune0`, whose other end is `peer0`. It ends with the test.
pub struct Namespace {
    pub holder: Child,
    pub is_root: bool,
}

const QUEUES: &str = "numrxqueues 4 numtxqueues 4";

impl Namespace {
    fn new() -> Result<Namespace, String> {
        let is_root = nix::unistd::geteuid().is_root();
        // A mount namespace too: sysfs shows the network namespace in which it was mounted.
        let script = format!(
            "mount -t sysfs sysfs /sys && ip link add tune0 {QUEUES} type veth peer name peer0 {QUEUES} && \
             ip link set tune0 up && ip link set peer0 up && echo up && exec cat"
        );
        let flags = if is_root { "-nm" } else { "-Urnm" };
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", &script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| format!("cannot run unshare: {error}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.as_mut().expect("piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        if line == "up\n" {
            return Ok(Namespace { holder, is_root });
        }
        let output = holder.wait_with_output().map_err(|error| error.to_string())?;
        Err(format!("{read:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// For `test`; `None`, said aloud, where this host does not let it.
    pub fn for_test(test: &str) -> Option<Namespace> {
        match Namespace::new() {
            Ok(namespace) => Some(namespace),
            Err(why) => {
                println!("SKIPPED {test}: {why}");
                assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "a skip fails here: {why}");
                None
            }
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let id = self.holder.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &id, "-n", "-m"]);
        if !self.is_root {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(words).stdin(Stdio::null()).env_remove("SSH_CONNECTION");
        command
    }

    pub fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        texts(&self.command(words).output().expect("nsenter made it"))
    }

    pub fn well(&self, words: &[&str]) -> String {
        let (status, out, err) = self.run(words);
        assert_eq!(status, Some(0), "{words:?}: {out} {err}");
        out
    }

    pub fn tune(&self, words: &[&str]) -> (Option<i32>, String, String) {
        self.run(&[&[env!("CARGO_BIN_EXE_ringwire"), "tune"], words].concat())
    }

    pub fn tune_well(&self, words: &[&str]) -> String {
        self.well(&[&[env!("CARGO_BIN_EXE_ringwire"), "tune"], words].concat())
    }

    /// This test program inside of the namespace, to do what `order` names as `test`: the same function, told by a
    /// variable that it is the one inside.
    pub fn rerun(&self, test: &str, order: &str) -> Output {
        let program = std::env::current_exe().expect("it runs");
        let mut command = self.command(&[program.to_str().expect("plain"), "--exact", test, "--nocapture"]);
        command.env(ORDER, order).output().expect("nsenter made it")
    }

    /// All that others see of the pair and of the namespace. None of them shares a line with the product: `ip`,
    /// `tc` and `sysctl`, the files of sysfs as `grep` reads them, a reader of the driver's words by ioctl
    /// (the product asks netlink), and the command ethtool where there is one.
    pub fn seen_from_outside(&self) -> String {
        let mut seen = self.seen_quickly();
        let sysctl = "sysctl -a 2>/dev/null | grep ^net | grep -v -e random -e nf_conntrack_count | sort";
        seen.push_str(&self.well(&["sh", "-c", sysctl]));
        for flag in ["-k", "-l", "-g", "-c", "-a", "-x", "-i"] {
            let command =
                format!("command -v ethtool >/dev/null || exit 0; ethtool {flag} tune0 2>&1 || true");
            seen.push_str(&self.well(&["sh", "-c", &command]));
        }
        seen
    }

    /// The part that a change of a NIC's setting shows in.
    pub fn seen_quickly(&self) -> String {
        let script = "ip -j -d link show tune0 && tc qdisc show dev tune0 && cd /sys/class/net/tune0 && \
            grep -r . mtu tx_queue_len gro_flush_timeout napi_defer_hard_irqs threaded queues | sort";
        let told = self.driver_by_ioctl("tune0");
        format!("{}{told}", self.well(&["sh", "-c", script]))
    }

    /// What the driver of `nic` tells by ioctl.
    pub fn driver_by_ioctl(&self, nic: &str) -> String {
        let output = self.rerun("live_support_reads_the_driver_by_ioctl", &format!("read {nic}"));
        let (status, out, err) = texts(&output);
        assert_eq!(status, Some(0), "{out} {err}");
        let told = out.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(told, _)| told);
        told.unwrap_or_else(|| panic!("the reader says: {out} {err}")).to_owned()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.stdin.take().map(|mut stdin| stdin.flush());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Says that `test` stops here: not for want of a facility, but because the kernel does not have or allow it so.
pub fn leave_out(test: &str, why: &str) {
    println!("LEFT OUT {test}: {why}");
}

/// What this process was told to do inside of a namespace; `None` in the test itself.
pub fn order() -> Option<String> {
    std::env::var(ORDER).ok()
}

pub fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const ORDER: &str = "RINGWIRE_TEST_ORDER";
const BEGIN: &str = "<<<read\n";
const END: &str = "read>>>";

/// Prints what the driver tells by ioctl, for the process outside. Told nothing, it reads the loopback: that every
/// host has.
pub fn read_by_ioctl() {
    let order = order().unwrap_or_else(|| "read lo".into());
    let nic = order.strip_prefix("read ").expect("it only reads");
    let told = ethtool::tell(nic);
    assert!(told.contains("feature tx-generic-segmentation"), "{told}");
    println!("{BEGIN}{told}{END}");
}

/// The other end of the pair in a namespace of its own, with a server in it.
pub struct Peer {
    holder: Child,
    server: Child,
    pub address: String,
    pub key: String,
}

impl Peer {
    pub fn new(net: &Namespace) -> Peer {
        let mut holder = net.command(&["unshare", "-n", "sh", "-c", "echo up && exec cat"]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("as the first");
        first_line(&mut holder);
        let id = holder.id().to_string();
        let inside = |words: &[&str]| {
            let mut command = Command::new("nsenter");
            command.args(["-t", &id, "-n"]);
            if !net.is_root {
                command.args(["-U", "--preserve-credentials"]);
            }
            command.args(words);
            command
        };
        net.well(&["ip", "link", "set", "peer0", "netns", &id]);
        net.well(&["ip", "addr", "add", "10.78.0.1/24", "dev", "tune0"]);
        for words in [
            &["ip", "addr", "add", "10.78.0.2/24", "dev", "peer0"][..],
            &["ip", "link", "set", "peer0", "up"],
        ] {
            assert!(inside(words).status().is_ok_and(|status| status.success()), "{words:?}");
        }
        let line = ["serve", "--listen", "10.78.0.2:0", "--poll", "adaptive", "--quiet"];
        let mut server = inside(&[&[env!("CARGO_BIN_EXE_ringwire")], &line[..]].concat());
        let mut server = server.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it was built");
        let said = first_line(&mut server);
        let said = said.strip_prefix("listening on ").unwrap_or_else(|| panic!("said {said:?}"));
        let (address, key) = said.split_once(" key ").expect("a key");
        Peer { address: address.into(), key: key.into(), holder, server }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.holder] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it speaks");
    line.trim_end().to_owned()
}

/// What a veth has, each turned to another value than it has.
pub const ALL: &[(&str, &str)] = &[
    ("channels.rx", "2"),
    ("channels.tx", "2"),
    ("mtu", "1400"),
    ("qdisc", "pfifo"),
    ("tx-queue-len", "500"),
    ("offload.gro", "on"),
    ("offload.gso-udp", "off"),
    ("offload.gso", "off"),
    ("rps.cpus", "0"),
    ("rfs.flows", "256"),
    ("xps.cpus", "0"),
    ("napi.gro-flush-timeout", "20000"),
    ("napi.defer-hard-irqs", "2"),
];

/// What a user's own namespace lets its root write.
pub const UNPRIVILEGED: &[(&str, &str)] = &[
    ("channels.rx", "2"),
    ("mtu", "1400"),
    ("qdisc", "pfifo"),
    ("tx-queue-len", "500"),
    ("offload.gro", "on"),
    ("offload.gso-udp", "off"),
];

impl Namespace {
    /// The knobs that can be turned here.
    pub fn knobs(&self) -> &'static [(&'static str, &'static str)] {
        if self.is_root { ALL } else { UNPRIVILEGED }
    }
}

pub fn profile(knobs: &[(&str, &str)]) -> String {
    let entry =
        |(id, want): &(&str, &str)| format!("[[knob]]\nid = \"{id}\"\nwant = \"{want}\"\nwhy = \"a test\"\n");
    let entries: String = knobs.iter().map(entry).collect();
    format!("name = \"live\"\nabout = \"what a veth has\"\n{entries}")
}
