//! Two hosts on one machine: network namespaces that the test makes itself, joined by a veth pair, with
//! nothing but each other. No root is needed where the kernel lets users make namespaces.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Two namespaces and the link between them. They end with the test.
pub struct Net {
    hosts: [Holder; 2],
}

/// A process that does nothing but keep a namespace alive, until its stdin closes.
struct Holder(Child);

/// Which of the two.
#[derive(Clone, Copy, Debug)]
pub enum Host {
    Server = 0,
    Client = 1,
}

pub const SERVER_V4: &str = "10.77.0.1";
pub const SERVER_V6: &str = "fd77::1";

impl Net {
    /// Makes both, with links of `mtu` bytes; why not, where this host does not let it.
    pub fn new(mtu: u32) -> Result<Net, String> {
        let server = Holder::start(Command::new("unshare").args(["-Urn", "cat"]))?;
        let client = Holder::start(inside(server.0.id(), &["unshare", "-n", "cat"]))?;
        let net = Net { hosts: [server, client] };
        let (near, far) = (net.hosts[0].0.id(), net.hosts[1].0.id());
        let mtu = mtu.to_string();
        let link =
            ["ip", "link", "add", "link0", "mtu", &mtu, "type", "veth", "peer", "name", "link0", "mtu", &mtu];
        let peer = far.to_string();
        quiet(inside(near, &[&link[..], &["netns", &peer]].concat()))?;
        for (host, number) in [(near, "1"), (far, "2")] {
            quiet(inside(host, &["ip", "addr", "add", &format!("10.77.0.{number}/24"), "dev", "link0"]))?;
            let v6 = format!("fd77::{number}/64");
            quiet(inside(host, &["ip", "addr", "add", &v6, "dev", "link0", "nodad"]))?;
            for link in ["lo", "link0"] {
                quiet(inside(host, &["ip", "link", "set", link, "up"]))?;
            }
        }
        Ok(net)
    }

    /// `ringwire LINE` on one of the hosts.
    pub fn start(&self, host: Host, line: &str) -> Running {
        let words: Vec<&str> =
            [env!("CARGO_BIN_EXE_ringwire")].into_iter().chain(line.split_whitespace()).collect();
        self.run(host, &words)
    }

    /// Any command on one of the hosts.
    pub fn run(&self, host: Host, words: &[&str]) -> Running {
        let mut command = inside(self.hosts[host as usize].0.id(), words);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("nsenter made both hosts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Running { child, out }
    }

    /// Lets packets of any source address come to `host`, and be answered over the link.
    pub fn accept_any_source(&self, host: Host) -> Result<(), String> {
        let id = self.hosts[host as usize].0.id();
        let off = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done";
        quiet(inside(id, &["sh", "-c", off]))?;
        quiet(inside(id, &["ip", "route", "add", "default", "via", "10.77.0.2"]))
    }

    /// Lets the kernel join no packets on the link, so that each is held against the far side's size.
    pub fn carry_single_packets(&self) {
        for host in &self.hosts {
            let single = ["ip", "link", "set", "dev", "link0", "gso_max_segs", "1"];
            quiet(inside(host.0.id(), &single)).expect("the link is ours");
        }
    }

    /// From here on `host` takes packets of `mtu` bytes at most: what is larger vanishes on its way there.
    pub fn set_mtu(&self, host: Host, mtu: u32) {
        let id = self.hosts[host as usize].0.id();
        let set = ["ip", "link", "set", "dev", "link0", "mtu", &mtu.to_string()];
        quiet(inside(id, &set)).expect("the link is ours");
    }

    /// Gives the client other addresses, and takes those it had.
    pub fn renumber_client(&self) {
        self.exchange("10.77.0.22/24", "10.77.0.2/24");
        self.exchange("fd77::22/64", "fd77::2/64");
    }

    /// And back.
    pub fn renumber_client_back(&self) {
        self.exchange("10.77.0.2/24", "10.77.0.22/24");
        self.exchange("fd77::2/64", "fd77::22/64");
    }

    fn exchange(&self, new: &str, old: &str) {
        let client = self.hosts[Host::Client as usize].0.id();
        let add = ["ip", "addr", "add", new, "dev", "link0"];
        let at_once: &[&str] = if new.contains(':') { &["nodad"] } else { &[] };
        // In this order: a second address of one network goes with the first.
        quiet(inside(client, &["ip", "addr", "del", old, "dev", "link0"])).expect("the link is ours");
        quiet(inside(client, &[&add, at_once].concat())).expect("the link is ours");
    }

    /// Takes the link down or up, at the server's end.
    pub fn set_link(&self, state: &str) {
        let server = self.hosts[Host::Server as usize].0.id();
        quiet(inside(server, &["ip", "link", "set", "link0", state])).expect("the link is ours");
    }
}

/// A command that runs on one of the hosts. Dropping it kills it.
pub struct Running {
    child: Child,
    // One reader for its whole life: what it read ahead of one line is the next.
    out: BufReader<ChildStdout>,
}

impl Running {
    /// The next line on its stdout, without the line's end; empty once it is closed.
    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it speaks");
        line.trim_end().to_owned()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let mut kill = Command::new("kill");
        kill.arg(self.id().to_string());
        quiet(kill).expect("it is ours");
    }

    /// Waits for its end: exit status, what is left of stdout, and stderr.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).expect("it is text");
        self.child.stderr.take().expect("piped").read_to_string(&mut err).expect("it is text");
        (self.child.wait().expect("ours").code(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Holder {
    /// Starts `command`, which runs `cat` in a new namespace, and waits until it does.
    fn start(mut command: impl std::borrow::BorrowMut<Command>) -> Result<Holder, String> {
        let command = command.borrow_mut();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut holder = Holder(child.map_err(|error| format!("cannot run {command:?}: {error}"))?);
        // `cat` answers only once `unshare` has become it.
        let echoed = holder.0.stdin.as_mut().map(|stdin| std::io::Write::write_all(stdin, b"up\n"));
        let mut line = String::new();
        let read = holder.0.stdout.as_mut().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        if line == "up\n" {
            return Ok(holder);
        }
        let mut why = String::new();
        let _ = holder.0.stderr.take().map(|mut stderr| stderr.read_to_string(&mut why));
        Err(format!("{command:?}: {echoed:?}, {read:?}: {}", why.trim()))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `words` as a command in the namespaces of process `id`.
fn inside(id: u32, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &id.to_string(), "-U", "-n", "--preserve-credentials"]).args(words);
    command
}

fn quiet(mut command: Command) -> Result<(), String> {
    let ran = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&ran.stderr).trim())),
    }
}
