//! A counter that is exact though its server is killed again and again: each increment takes effect once,
//! and its reply says what it made the counter.
//!
//! Alone, it starts its own server as a process, calls it from several tasks at once, kills it with
//! `kill -9` at random instants, and starts it again. At the end the counter is the number of increments.
//!
//! ```text
//!  this process                         server process, killed and started again
//!  durable::Client --increment--> endpoint's queue --> durable::Server --> counter.store
//! ```
//!
//! `cargo run --example durable_counter [INCREMENTS] [KILLS] [SEED]`

use std::error::Error;
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringwire::crypto::Csprng;
use ringwire::endpoint::{Endpoint, Identity, block_on};
use ringwire::rng::Rng;
use ringwire::rpc::durable::{self, Call, DiskStore, Failure, Server, Transaction};
use ringwire::rpc::{Router, Service, method_id};
use ringwire::sys::process::random_bytes;

const INCREMENT: u32 = method_id("Counter/Increment");
const CALLERS: u64 = 4;
const LIMIT: Duration = Duration::from_secs(60);

/// The handler: what it writes and what it replies become durable together or not at all.
fn increment(_call: Call<'_>, tx: &mut Transaction<'_>) -> Result<bytes::Bytes, Failure> {
    let count = match tx.read("counters", b"the one")? {
        Some(stored) => u64::from_le_bytes(stored.try_into().expect("it was stored as 8 bytes")) + 1,
        None => 1,
    };
    tx.put("counters", "the one", count.to_le_bytes());
    Ok(count.to_le_bytes().to_vec().into())
}

/// The server: runs until it is killed.
fn serve(folder: &Path, at: &str) -> Result<(), Box<dyn Error>> {
    let store = DiskStore::open(folder.join("counter.store"))?;
    // One identity for all its lives: clients know it again, and are told at once that it is another life.
    let endpoint = Endpoint::builder()
        .bind(at.parse()?)
        .identity(Identity::from_file(&std::fs::read_to_string(folder.join("identity"))?)?)
        .handler(|_worker| Router::new().queue("Counter/Increment"))
        .start()?;
    let _server = Server::builder(store).serve("Counter/Increment", increment).start(endpoint.requests())?;
    println!("{}", endpoint.local_addr());
    std::io::stdout().flush()?;
    // The end of whoever started this one is the end of its input.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// The server's process.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn spawn(folder: &Path, at: &str) -> std::io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg(folder).arg(at).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    }

    fn start(folder: &Path, at: &str) -> Result<Self, Box<dyn Error>> {
        let mut child = Self::spawn(folder, at)?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("it is piped")?).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| "the server did not start: see above")?;
        Ok(Self { child, address })
    }

    /// `kill -9`: the process gets no chance to tidy up.
    fn kill(&mut self) -> std::io::Result<()> {
        kill(&mut self.child)
    }
}

fn kill(child: &mut Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

fn run(folder: &Path, increments: u64, kills: u64, seed: u64) -> Result<(), Box<dyn Error>> {
    let mut entropy = [0; 32];
    random_bytes(&mut entropy)?;
    std::fs::write(folder.join("identity"), Identity::generate(&mut Csprng::new(entropy)).to_file())?;
    let mut served = Served::start(folder, "127.0.0.1:0")?;
    let address = served.address;

    let endpoint = Arc::new(Endpoint::builder().bind("127.0.0.1:0".parse()?).start()?);
    let client = durable::Client::new(Service::new(endpoint, address, None))?;
    let (started, finished) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut seen = std::thread::scope(|scope| -> Result<Vec<u64>, Box<dyn Error>> {
        let call = || {
            let mut seen = Vec::new();
            while started.fetch_add(1, Ordering::Relaxed) < increments {
                let reply =
                    block_on(client.call(INCREMENT, "", LIMIT)).expect("an increment ends in a reply");
                seen.push(u64::from_le_bytes(reply[..].try_into().expect("8 bytes")));
                finished.fetch_add(1, Ordering::Relaxed);
            }
            seen
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        let mut rng = Rng::new(seed);
        for number in 1..=kills {
            let due = increments * number / (kills + 1);
            while finished.load(Ordering::Relaxed) < due && callers.iter().any(|caller| !caller.is_finished())
            {
                std::thread::park_timeout(Duration::from_micros(rng.between(50, 500)));
            }
            // Wherever it then is: in a handler, in a commit, or between commit and reply…
            std::thread::park_timeout(Duration::from_micros(rng.below(3_000)));
            served.kill()?;
            if rng.chance(0.25) {
                // …and the next one while it starts: opening, checking or repairing its store.
                let mut early = Served::spawn(folder, &address.to_string())?;
                std::thread::park_timeout(Duration::from_micros(rng.below(20_000)));
                kill(&mut early)?;
            }
            served = Served::start(folder, &address.to_string())?;
        }
        Ok(callers.into_iter().flat_map(|caller| caller.join().expect("it only calls")).collect())
    })?;

    // Every number from 1 to the last was given out once.
    seen.sort_unstable();
    let exact = seen.iter().copied().eq(1..=increments);
    let last = seen.last().copied().unwrap_or(0);
    println!("durable_counter: {increments} increments, {kills} kills (seed {seed}): the counter is {last}");
    served.kill()?;
    if exact { Ok(()) } else { Err("an increment was lost or counted twice".into()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, folder, at] = &arguments[..]
        && verb == "serve"
    {
        return serve(Path::new(folder), at);
    }
    let number = |index: usize, default: u64| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let (increments, kills, seed) = (number(0, 300)?, number(1, 5)?, number(2, 1)?);
    let folder = std::env::temp_dir().join(format!("durable-counter-{}", std::process::id()));
    // A private key lies in it: for this user alone.
    DirBuilder::new().mode(0o700).create(&folder)?;
    let result = run(&folder, increments, kills, seed);
    std::fs::remove_dir_all(&folder)?;
    result
}
