//! An INVENTED irqbalance: a server of its socket's protocol as irqbalance(1), section API, describes it, in a mount
//! namespace of its own. Nobody's daemon is told anything.
#![cfg(feature = "cli")]

mod live_support;
mod tune_support;

use std::io::{IoSliceMut, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use live_support::{Namespace, order, profile, texts};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::PassCred};
use ringwire::tune::host::live::Live;
use ringwire::tune::host::{Address, Host, Why};
use tune_support::Folder;

#[test]
fn live_support_reads_the_driver_by_ioctl() {
    live_support::read_by_ioctl();
}

/// What it was told to leave alone, and whom it answers.
struct Balancer {
    banned: Mutex<Vec<u32>>,
    user: u32,
}

impl Balancer {
    /// Answers on `listener` until the process ends.
    fn serve(self: Arc<Balancer>, listener: UnixListener) {
        setsockopt(&listener, PassCred, &true).expect("a socket of this host");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                self.answer(&mut stream.expect("a connection"));
            }
        });
    }

    fn answer(&self, stream: &mut UnixStream) {
        let mut bytes = [0u8; 16_384];
        let mut control = nix::cmsg_space!(libc::ucred);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let got = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty());
        let got = got.expect("a message");
        let (length, mut messages) = (got.bytes, got.cmsgs().expect("room for them"));
        let is_ours = messages.any(
            |message| matches!(message, ControlMessageOwned::ScmCredentials(who) if who.uid() == self.user),
        );
        if !is_ours {
            return;
        }
        let command = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let mut banned = self.banned.lock().expect("nobody panics with it");
        if command == "setup" {
            let each = |irq: &u32| format!("IRQ {irq} LOAD 0 DIFF 0 CLASS 5 ");
            let all: String = banned.iter().map(each).collect();
            write!(stream, "SLEEP 10 {all}BANNED 00000000").expect("it waits");
        } else if let Some(list) = command.strip_prefix("settings ban irqs ") {
            *banned = list.split(' ').filter_map(|word| word.parse().ok()).collect();
        }
    }
}

fn address() -> Address {
    Address::parse("irqbalance:banned-irqs")
}

/// The plan, the apply and the undo of a user, against a daemon at its usual place.
#[test]
fn irqbalance_is_told_what_to_leave_alone_and_told_back_by_undo() {
    let test = "irqbalance_is_told_what_to_leave_alone_and_told_back_by_undo";
    if let Some(folder) = order() {
        return go_round(Path::new(&folder));
    }
    let Some(net) = Namespace::for_test(test) else { return };
    let folder = Folder::new("irqbalance");
    // Its folder is in a /run of the namespace's own.
    let run = format!(
        "mount -t tmpfs tmpfs /run && mkdir /run/irqbalance && mkdir -p {}",
        folder.path("s").display()
    );
    net.well(&["sh", "-c", &run]);
    let (status, out, err) = texts(&net.rerun(test, folder.path("").to_str().expect("plain")));
    assert_eq!(status, Some(0), "{out} {err}");
}

fn go_round(folder: &Path) {
    let mut host = Live::new();
    let refusal = host.read(&address()).expect_err("it does not run yet");
    assert_eq!(refusal.why, Why::Absent);
    let path = |name: &str| folder.join(name).to_str().expect("plain").to_owned();
    let [file, plan, state] = ["own.toml", "plan.toml", "s"].map(path);
    let [file, plan, state] = [&file, &plan, &state].map(String::as_str);
    std::fs::write(file, profile(&[("irq.balance", "61-63,70")])).expect("writable");
    let making = ["plan", "--profile", file, "--nic", "tune0", "--state", state, "--output", plan];
    let said = tune_support::tune_well(&making);
    assert!(said.contains("irq.balance: irqbalance does not run here"), "{said}");

    // One that was killed left its socket behind: nobody listens there.
    drop(UnixListener::bind("/run/irqbalance/irqbalance7.sock").expect("a folder of our own"));
    assert_eq!(host.read(&address()).expect_err("nobody listens").why, Why::Absent);
    let user = nix::unistd::getuid().as_raw();
    let balancer = Arc::new(Balancer { banned: Mutex::new(vec![9]), user });
    let listener = UnixListener::bind("/run/irqbalance/irqbalance8.sock").expect("a folder of our own");
    Arc::clone(&balancer).serve(listener);
    let banned = || balancer.banned.lock().expect("nobody panics with it").clone();

    let said = tune_support::tune_well(&making);
    assert!(said.contains("irqbalance:banned-irqs: 9 → 61-63,70"), "{said}");
    assert_eq!(banned(), [9], "a plan changes nothing");
    tune_support::tune_well(&["apply", plan, "--yes", "--state", state]);
    assert_eq!(banned(), [61, 62, 63, 70]);
    assert!(tune_support::tune_well(&["status", "--state", state]).contains("holds"));
    tune_support::tune_well(&["undo", "--state", state]);
    assert_eq!(banned(), [9], "who banned it before keeps it");

    // From none, and to none.
    host.write(&address(), "none").expect("it runs");
    assert_eq!((host.read(&address()).as_deref(), banned().as_slice()), (Ok("none"), &[][..]));
    host.write(&address(), "5").expect("it runs");
    assert_eq!(banned(), [5]);
    another_user_is_not_answered(&host);
}

/// An older one has an abstract socket, which belongs to the network namespace; this one answers nobody here.
fn another_user_is_not_answered(host: &Live) {
    for entry in std::fs::read_dir("/run/irqbalance").expect("ours") {
        std::fs::remove_file(entry.expect("ours").path()).expect("ours");
    }
    assert_eq!(host.read(&address()).expect_err("it is gone").why, Why::Absent);
    let name = SocketAddr::from_abstract_name(b"irqbalance9.sock").expect("short");
    let listener = UnixListener::bind_addr(&name).expect("a namespace of our own");
    let strict = Arc::new(Balancer { banned: Mutex::new(vec![4]), user: 4_242 });
    strict.serve(listener);
    let refusal = host.read(&address()).expect_err("it answers another user alone");
    assert_eq!(refusal.why, Why::Denied, "{refusal}");
    assert!(refusal.to_string().contains("root"), "{refusal}");
}

/// On invented hosts: two run it, and the NIC's interrupts are banned before they are placed.
#[test]
fn a_profile_has_irqbalance_leave_the_interrupts_alone_before_it_places_them() {
    let folder = Folder::new("irqbalance-invented");
    for (name, nic, bans) in [("ena", "ens5", "none → 61-68"), ("mlx5", "eth2", "none → 61-92")] {
        let host = folder.host(name, |_| ());
        let host = host.to_str().expect("plain");
        let said = tune_support::tune_well(&["plan", "--host", host, "--nic", nic, "--profile", "balanced"]);
        let told = said.find(&format!("irqbalance:banned-irqs: {bans}")).unwrap_or_else(|| panic!("{said}"));
        assert!(told < said.find("smp_affinity_list").expect("they are placed"), "{said}");
        let audit = tune_support::tune_well(&["audit", "--host", host, "--nic", nic]);
        assert!(audit.contains("seen.irqbalance"), "{audit}");
    }
    let host = folder.host("ice", |_| ());
    let host = host.to_str().expect("plain");
    let said = tune_support::tune_well(&["plan", "--host", host, "--nic", "ens1f0", "--profile", "balanced"]);
    assert!(said.contains("left out: irq.balance: irqbalance does not run here"), "{said}");
}

/// At boot it may not run yet, or no more: the rest of the plan is applied all the same.
#[test]
fn a_boot_without_irqbalance_leaves_its_setting_out_and_says_so() {
    let folder = Folder::new("irqbalance-boot");
    let path = folder.host("ena", |_| ());
    let (host, plan) = (path.to_str().expect("plain"), folder.path("plan.toml"));
    let plan = plan.to_str().expect("plain");
    tune_support::tune_well(&["plan", "--host", host, "--profile", "balanced", "--output", plan]);
    let mut fresh = tune_support::shipped("ena");
    fresh.facts.remove("irqbalance:banned-irqs");
    fresh.save(&path).expect("writable");
    let apply = ["apply", plan, "--host", host, "--yes", "--allow-mgmt"];
    let (status, _, err) = tune_support::tune(&apply);
    assert!(
        status == Some(1) && err.contains("irqbalance:banned-irqs is absent"),
        "by hand it is drift: {err}"
    );
    let said = tune_support::tune_well(&[&apply[..], &["--at-boot"]].concat());
    assert!(said.contains("left out: irq.balance: irqbalance does not run here"), "{said}");
    tune_support::tune_well(&["undo", "--host", host]);
    assert_eq!(ringwire::tune::host::recorded::Recorded::load(&path).expect("a host"), fresh);
}

/// Interrupts are numbered by each boot: those of a plan from before it may be another device's now.
#[test]
fn a_boot_that_numbers_interrupts_otherwise_places_none_of_them_and_says_so() {
    let folder = Folder::new("irqbalance-numbers");
    let path = folder.host("ena", |_| ());
    let (host, plan) = (path.to_str().expect("plain"), folder.path("plan.toml"));
    let plan = plan.to_str().expect("plain");
    tune_support::tune_well(&["plan", "--host", host, "--profile", "balanced", "--output", plan]);
    let mut fresh = tune_support::shipped("ena");
    let renumber = |key: String| key.replace("/proc/irq/6", "/proc/irq/16");
    fresh.facts = fresh.facts.into_iter().map(|(key, value)| (renumber(key), value)).collect();
    let table = fresh.facts.get_mut("file:/proc/interrupts").expect("it has one");
    *table = table.replace("\n  6", "\n 16");
    fresh.save(&path).expect("writable");
    let apply = ["apply", plan, "--host", host, "--yes", "--allow-mgmt"];
    let (status, _, err) = tune_support::tune(&apply);
    assert!(status == Some(1) && err.contains("is no interrupt of ens5"), "by hand it is refused: {err}");
    let said = tune_support::tune_well(&[&apply[..], &["--at-boot"]].concat());
    for knob in ["irq.affinity", "irq.balance"] {
        assert_eq!(said.matches(&format!("left out: {knob}: this boot numbered")).count(), 1, "{said}");
    }
    let now = ringwire::tune::host::recorded::Recorded::load(&path).expect("a host");
    assert_eq!(now.facts["irqbalance:banned-irqs"], "none");
    assert_ne!(now, fresh, "the rest is applied");
    tune_support::tune_well(&["undo", "--host", host]);
    assert_eq!(ringwire::tune::host::recorded::Recorded::load(&path).expect("a host"), fresh);
}
