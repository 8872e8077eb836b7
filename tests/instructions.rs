//! How many instructions a call costs both ends together, counted by valgrind and held against
//! `docs/figures/instructions.json`: what makes the datapath longer shows here, however busy the machine is.
//!
//! Two workers are joined by memory, under a virtual clock and from fixed seeds; this program runs itself under
//! `valgrind --tool=callgrind`, once for each load. Only the calls are counted, not the handshake and the first ones.
//!
//! - More than a tenth above the table fails. More than a tenth below it asks for a new table.
//! - A function of the table fails only if its load as a whole grew too: the compiler moves code between functions.
//! - The table is of the release profile that Cargo.toml has. With opt-level 2 and 64 codegen units the same calls cost
//!   14 to 54 % more, as functions of one line are called and not inlined: no tolerance spans that. So where cargo's
//!   environment overrides the profile nothing is compared, and no table is written.
//! - The processor that is counted on is valgrind's, a Haswell with AES, carry-less multiplication of 128 bits and
//!   AVX2, whatever lies below; only a host without AVX2 shows. The C library is kept from `rep movsb`, which would
//!   count each byte as one instruction.
//!
//! A new table, from a quiet or a busy machine alike:
//!
//! ```text
//! RINGWIRE_WRITE=1 cargo test --release --locked --test instructions
//! ```
//!
//! And where they go, line by line:
//!
//! ```text
//! RINGWIRE_COUNT='256 64 10000' valgrind --tool=callgrind --toggle-collect='instructions::counted*' \
//!     target/release/deps/instructions-* --exact a_call_costs_no_more_instructions_than_it_did
//! callgrind_annotate --auto=yes callgrind.out.*
//! ```

#[path = "instructions/callgrind.rs"]
mod callgrind;
#[allow(dead_code, reason = "other tests use more of it")]
mod pair_support;
#[path = "instructions/table.rs"]
mod table;

use pair_support::{Echo, Pair};
use ringwire::io::memory::Switch;
use table::{Row, Table};

/// Calls of one kind.
#[derive(Clone, Copy, Debug)]
struct Load {
    window: u64,
    size: usize,
    calls: u64,
}

const LOADS: [Load; 4] = [
    Load { window: 1, size: 64, calls: 1_000 },
    Load { window: 256, size: 64, calls: 256 * 40 },
    Load { window: 64, size: 1_024, calls: 64 * 20 },
    Load { window: 16, size: 65_536, calls: 16 * 8 },
];

impl Load {
    fn name(self) -> String {
        match self.size {
            size @ ..1_024 => format!("window {}, {size} B", self.window),
            size => format!("window {}, {} KiB", self.window, size / 1_024),
        }
    }
}

const WARM_UP_ROUNDS: u64 = 20;

/// Set for the runs that are counted: window, size and calls.
const COUNT: &str = "RINGWIRE_COUNT";
const WRITE: &str = "RINGWIRE_WRITE";

#[test]
fn a_call_costs_no_more_instructions_than_it_did() {
    let test = "a_call_costs_no_more_instructions_than_it_did";
    if let Ok(order) = std::env::var(COUNT) {
        return run(&order);
    }
    if let Some(why) = callgrind::obstacle() {
        // RINGWIRE_STRICT=1 lets this pass: it asks for what the kernel has, and valgrind is a developer's tool.
        println!("SKIPPED {test}: {why}");
        assert!(std::env::var_os(WRITE).is_none(), "no table can be written here: {why}");
        return;
    }
    let rows = LOADS.iter().map(|load| {
        let order = format!("{} {} {}", load.window, load.size, load.calls);
        let counted = callgrind::count(test, (COUNT, &order), COUNTED);
        (load.name(), Row::new(&counted, load.calls))
    });
    let now = Table { rustc: callgrind::rustc(), rows: rows.collect() };
    if std::env::var_os(WRITE).is_some() {
        return now.write();
    }
    let verdict = Table::read().compare(&now);
    verdict.notes.iter().for_each(|note| println!("{note}"));
    assert!(verdict.faults.is_empty(), "\n{}\n\n=> {}\n", verdict.faults.join("\n"), table::CURE);
}

/// Runs the load that `order` names.
fn run(order: &str) {
    let numbers: Vec<u64> = order.split(' ').map(|word| word.parse().expect("three numbers")).collect();
    let [window, size, calls] = numbers[..] else { panic!("three numbers: {order}") };
    let mut pair = Pair::new(Switch::default(), Echo::default());
    let payload = vec![0x5a; size as usize];
    // Until tables and buffers have grown, and the congestion window does not hold the calls back.
    for _ in 0..WARM_UP_ROUNDS {
        pair.echo(window, &payload);
    }
    counted(&mut pair, window, &payload, calls / window);
}

/// The function whose name turns the count on, while it runs.
const COUNTED: &str = "instructions::counted";

#[inline(never)]
fn counted(pair: &mut Pair, window: u64, payload: &[u8], rounds: u64) {
    for _ in 0..rounds {
        pair.echo(window, payload);
    }
}
