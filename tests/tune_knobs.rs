//! Every knob, one by one and on invented hosts only: planned, applied, read back, undone; and every
//! instant at which an apply or an undo can die.
#![cfg(feature = "cli")]

mod tune_support;

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::rc::Rc;

use ringwire::tune::apply::{Applied, Occasion, apply};
use ringwire::tune::guard::{Drift, check};
use ringwire::tune::host::recorded::Recorded;
use ringwire::tune::host::{Address, Host, Refusal};
use ringwire::tune::journal::{Fact, Store};
use ringwire::tune::knob::{self, Knob};
use ringwire::tune::plan::{Plan, Settled, make};
use ringwire::tune::scope::{Request, Scope};
use ringwire::tune::status::{Standing, reports, settled};
use ringwire::tune::undo::undo;
use ringwire::tune::value::Form;
use tune_support::{Folder, shipped};

const NIC: &str = "eth2";

/// The mlx5 host with what else a host can have, so that every knob has a place on it.
fn rich() -> Recorded {
    let mut host = shipped("mlx5");
    // It takes what the driver of the shipped one does not.
    host.writes.clear();
    for (key, value) in [
        ("channels/rx-max", "8"),
        ("channels/tx-max", "8"),
        ("eee/enabled", "1"),
        ("rings/rx-buf-len", "2048"),
        ("rings/tx-push", "0"),
        ("rings/rx-push", "0"),
        ("rings/cqe-size", "64"),
    ] {
        host.facts.insert(format!("ethtool:{NIC}/{key}"), value.into());
        host.refused.remove(&format!("ethtool:{NIC}/{key}"));
    }
    host
}

/// A value that is not the present one.
fn other_than_now(knob: &Knob, host: &Recorded) -> String {
    let address = knob.address.replace("{nic}", NIC).replace("{worker}", "9").replace("{irq}", "61");
    let address = address.replace("{rx}", "0").replace("{tx}", "0").replace("{napi}", "8193");
    let address = address.replace("{node}", "1");
    let now = host.value(&Address::parse(&address)).unwrap_or_default();
    match (knob.id.as_str(), knob.form) {
        ("channels.combined", _) => "4".into(),
        ("channels.rx" | "channels.tx", _) => "2".into(),
        ("rss.table", _) => "even".into(),
        ("memory.transparent-huge-pages", _) => "never".into(),
        ("cpu.resume-latency", _) => "n/a".into(),
        ("qdisc", _) => "fq".into(),
        (_, Form::Number) => match now.parse::<u64>() {
            Ok(number) => (number + 1).to_string(),
            Err(_) => panic!("{}: {address} is '{now}'", knob.id),
        },
        (_, Form::Numbers) => "1 2 3".into(),
        (_, Form::Switch) => if now == "on" { "off" } else { "on" }.into(),
        (_, Form::Mask | Form::List) => "3".into(),
        (_, Form::Interrupts) => "interrupts".into(),
        (_, Form::Word) => "performance".into(),
        (_, Form::Fields) => "sd".into(),
        (_, Form::Queue) => "worker".into(),
        (_, Form::Partition) => "workers".into(),
    }
}

fn request() -> Request {
    Request { nic: Some(NIC.into()), cores: None, port: Some(7405) }
}

fn occasion() -> Occasion {
    Occasion { boot: "recorded".into(), at: 1, confirm_until: None }
}

fn plan_for(host: &dyn Host, profile: &Path, settled: &Settled) -> Plan {
    let scope = Scope::look(host, &request()).expect("the NIC is there");
    let planned = make(host, &scope, profile.to_str().expect("plain"), settled).expect("a good profile");
    // As a user's goes: through its file.
    Plan::parse(&planned.plan.to_text()).unwrap_or_else(|why| panic!("{why}: {}", planned.plan.to_text()))
}

fn apply_to(host: &mut dyn Host, store: &Store, plan: &Plan) -> Applied {
    check(host, plan, Drift::Refuse).expect("nothing changed since");
    apply(host, store, plan, &occasion(), &mut |_| Ok(())).expect("the host takes it")
}

#[test]
fn every_knob_goes_round() {
    let folder = Folder::new("knobs");
    let profile = folder.path("one.toml");
    for knob in knob::all().iter().filter(|knob| knob.is_writable()) {
        let mut host = rich();
        let before = host.clone();
        let want = other_than_now(knob, &host);
        let text = format!(
            "name = \"one\"\nabout = \"one knob\"\n[[knob]]\nid = \"{}\"\nwant = \"{want}\"\nwhy = \"a test\"\n",
            knob.id
        );
        fs::write(&profile, text).expect("writable");
        let store = Store::lock(&folder.path(&knob.id)).expect("free");
        let plan = plan_for(&host, &profile, &Settled::new());
        assert!(!plan.settings.is_empty(), "{} to {want}: nothing planned", knob.id);
        let applied = apply_to(&mut host, &store, &plan);
        assert_eq!(applied.written, plan.settings.len(), "{}", knob.id);
        assert_ne!(host, before, "{}: nothing was written", knob.id);
        let journals = store.journals().expect("readable");
        let again = plan_for(&host, &profile, &settled(&journals));
        assert_eq!(again.settings, [], "{}: a second plan", knob.id);
        for line in &reports(&host, &journals, "recorded")[0].lines {
            assert_eq!(line.standing, Standing::Holds, "{line:?}");
        }
        let mut writer = store.append(applied.id).expect("ours");
        let undone = undo(&mut host, &journals[0], &mut writer).expect("room");
        assert!(undone.is_whole() && undone.left.is_empty(), "{}: {undone}", knob.id);
        assert_eq!(host, before, "{}", knob.id);
    }
}

/// A host whose process dies at one write: before the kernel has it, or after.
struct Dying<'a> {
    host: &'a mut Recorded,
    writes_left: Rc<Cell<usize>>,
    after: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    BeforeTheWrite,
    AfterTheWrite,
}

impl Host for Dying<'_> {
    fn read(&self, address: &Address) -> Result<String, Refusal> {
        self.host.read(address)
    }

    fn list(&self, address: &Address) -> Result<Vec<String>, Refusal> {
        self.host.list(address)
    }

    fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal> {
        let left = self.writes_left.get();
        if left == 0 {
            if self.after == Moment::AfterTheWrite {
                self.host.write(address, value)?;
            }
            // As a kill: nothing runs after it but what the kernel does.
            resume_unwind(Box::new("killed"));
        }
        self.writes_left.set(left - 1);
        self.host.write(address, value)
    }

    fn read_only(&self, address: &Address) -> Option<Refusal> {
        self.host.read_only(address)
    }
}

/// Applies `plan` and dies at write `at`; false if it ended before.
fn die_in_apply(host: &mut Recorded, folder: &Path, plan: &Plan, at: usize, after: Moment) -> bool {
    let store = Store::lock(folder).expect("free");
    let mut dying = Dying { host, writes_left: Rc::new(Cell::new(at)), after };
    catch_unwind(AssertUnwindSafe(|| apply_to(&mut dying, &store, plan))).is_err()
}

/// Undoes the last apply and dies at write `at`; false if it ended before.
fn die_in_undo(host: &mut Recorded, folder: &Path, at: usize, after: Moment) -> bool {
    let store = Store::lock(folder).expect("the dead hold no lock");
    let journal = store.journals().expect("readable").pop().expect("begun");
    let mut writer = store.append(journal.id).expect("ours");
    let mut dying = Dying { host, writes_left: Rc::new(Cell::new(at)), after };
    let outcome = catch_unwind(AssertUnwindSafe(|| undo(&mut dying, &journal, &mut writer)));
    match outcome {
        Err(_) => true,
        Ok(undone) => {
            let undone = undone.expect("room");
            assert!(undone.is_whole() && undone.left.is_empty(), "{undone}");
            false
        }
    }
}

/// Every write of the apply is its last once, before the kernel has it and after.
fn restored_after_every_death(name: &str, nic: &str, profile: &str) {
    let folder = Folder::new(&format!("death-{name}"));
    let original = shipped(name);
    let scope =
        Scope::look(&original, &Request { nic: Some(nic.into()), ..Request::default() }).expect("there");
    let plan = make(&original, &scope, profile, &Settled::new()).expect("a good profile").plan;
    assert!(plan.settings.len() > 5, "{name}: {} settings", plan.settings.len());
    // Some settings come about by others: a table is spread anew with the channels.
    let store = Store::lock(&folder.path("whole")).expect("free");
    let writes = apply_to(&mut original.clone(), &store, &plan).written;
    let mut deaths = 0;
    for after in [Moment::BeforeTheWrite, Moment::AfterTheWrite] {
        for at in 0.. {
            let mut host = original.clone();
            let state = folder.path(&format!("{after:?}-{at}"));
            let died = die_in_apply(&mut host, &state, &plan, at, after);
            // Then the undo dies at its third write, and the next one ends.
            die_in_undo(&mut host, &state, at % 3, after);
            die_in_undo(&mut host, &state, usize::MAX, after);
            assert_eq!(host, original, "{name}: died {after:?} {at}");
            deaths += usize::from(died);
            if !died {
                break;
            }
        }
    }
    assert!(writes > 5);
    assert_eq!(deaths, 2 * writes, "{name}: every write was the last one, before and after");
}

#[test]
fn killed_at_any_write_undo_restores_exactly() {
    // A thread each: the largest host takes as long as the other four.
    let hosts = [("mlx5", "eth2"), ("ice", "ens1f0"), ("ena", "ens5"), ("gve", "ens4"), ("virtio", "eth0")];
    std::thread::scope(|scope| {
        for (name, nic) in hosts {
            let profile = if name == "virtio" { "cloud-vm" } else { "latency" };
            scope.spawn(move || restored_after_every_death(name, nic, profile));
        }
    });
}

/// A host that looks, at every write, whether the journal on the disk already says what is written and what was there.
struct Witness<'a> {
    host: &'a mut Recorded,
    journal: std::path::PathBuf,
    writes: usize,
}

impl Host for Witness<'_> {
    fn read(&self, address: &Address) -> Result<String, Refusal> {
        self.host.read(address)
    }

    fn list(&self, address: &Address) -> Result<Vec<String>, Refusal> {
        self.host.list(address)
    }

    fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal> {
        let text = fs::read_to_string(&self.journal).expect("begun before the first write");
        let last = text.lines().last().expect("begun");
        let fact = last.split_once(' ').map(|(_, json)| serde_json::from_str::<serde_json::Value>(json));
        let fact = fact.expect("a digest and a fact").expect("JSON");
        let before = self.host.read(address).unwrap_or_else(|_| "absent".into());
        assert_eq!(fact["fact"], "intent", "{last}");
        assert_eq!(fact["address"], address.as_str(), "{last}");
        assert_eq!(fact["wanted"], value, "{last}");
        assert!(before.contains(fact["before"].as_str().expect("text")), "{before}: {last}");
        self.writes += 1;
        self.host.write(address, value)
    }

    fn read_only(&self, address: &Address) -> Option<Refusal> {
        self.host.read_only(address)
    }
}

#[test]
fn the_journal_has_what_was_there_before_every_write() {
    let folder = Folder::new("witness");
    for (name, nic) in [("mlx5", "eth2"), ("gve", "ens4")] {
        let mut host = shipped(name);
        let scope =
            Scope::look(&host, &Request { nic: Some(nic.into()), ..Request::default() }).expect("there");
        let plan = make(&host, &scope, "latency", &Settled::new()).expect("a good profile").plan;
        let state = folder.path(name);
        let store = Store::lock(&state).expect("free");
        let mut witness = Witness { host: &mut host, journal: state.join("1.journal"), writes: 0 };
        let applied = apply_to(&mut witness, &store, &plan);
        assert_eq!(witness.writes, applied.written, "{name}");
        assert!(applied.written > 5, "{name}");
    }
}

/// What the kernel holds when a change of several calls is cut between two of them.
#[test]
fn a_change_cut_between_its_steps_is_undone() {
    let folder = Folder::new("between");
    let rule = format!("ethtool:{NIC}/ntuple/udp4-7405");
    for (knob, address, before, wanted, between) in [
        ("ntuple.udp4", rule.as_str(), "queue 3", "queue 1", "absent"),
        ("cpu.isolation", "cpuset:ringwire", "absent", "9-12 isolated", "member"),
        ("cpu.isolation", "cpuset:ringwire", "absent", "9-12 isolated", "9-12 member"),
    ] {
        let mut host = rich();
        let address = Address::parse(address);
        if before != "absent" {
            host.write(&address, before).expect("it may appear");
        }
        let original = host.clone();
        let state = folder.path(&format!("{knob}-{between}"));
        let plan = Plan::parse(
            "ringwire_plan = 1\nprofile = \"p\"\nnic = \"eth2\"\ncores = \"9\"\n[host]\nname = \"\"\nmachine = \"\"\ndriver = \"\"\nmac = \"\"\n",
        );
        let store = Store::lock(&state).expect("free");
        let begin = Fact::Begin {
            nic: NIC.into(),
            profile: "p".into(),
            boot: "recorded".into(),
            at: 1,
            confirm_until: None,
        };
        let (id, mut writer) = store.begin(&begin, &plan.expect("a plan of nothing")).expect("the first");
        let (before, wanted) = (before.to_owned(), wanted.to_owned());
        let intent =
            Fact::Intent { knob: knob.into(), address: address.clone(), before, wanted, disturbs: vec![] };
        writer.write(&intent).expect("room");
        host.write(&address, between).expect("the first step was made");
        let journal = store.read(id).expect("there");
        let undone = undo(&mut host, &journal, &mut writer).expect("room");
        assert!(undone.is_whole() && undone.left.is_empty(), "{knob} at {between}: {undone}");
        assert_eq!(host, original, "{knob} at {between}");
    }
}

#[test]
fn an_undo_that_dies_at_any_write_is_finished_by_the_next() {
    let folder = Folder::new("undo-dies");
    let original = shipped("gve");
    let scope =
        Scope::look(&original, &Request { nic: Some("ens4".into()), ..Request::default() }).expect("there");
    let plan = make(&original, &scope, "latency", &Settled::new()).expect("a good profile").plan;
    for after in [Moment::BeforeTheWrite, Moment::AfterTheWrite] {
        for at in 0.. {
            let mut host = original.clone();
            let state = folder.path(&format!("{after:?}-{at}"));
            assert!(!die_in_apply(&mut host, &state, &plan, usize::MAX, after));
            let died = die_in_undo(&mut host, &state, at, after);
            if !died {
                assert!(at >= plan.settings.len());
                break;
            }
            die_in_undo(&mut host, &state, usize::MAX, after);
            assert_eq!(host, original, "died {after:?} {at}");
        }
    }
}
