//! The echo server: one pinned worker a core, all on one port.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::echo::{Board, Echo};
use super::host::{Host, HostError, Place, random_u64};
use crate::crypto::PublicKey;
use crate::io::Config as SocketConfig;
use crate::io::Doorbell;
use crate::time::{Clock, MonotonicClock, Timestamp};
use crate::transport::Counters;
use crate::worker::front_door::{Doorkeeper, FrontDoor};
use crate::worker::mailbox::{Exchange, Sleep};
use crate::worker::{IdlePolicy, LossCounters, SessionKey, Worker};

/// A server that runs until it is told to stop.
pub struct Server {
    address: SocketAddr,
    backend: String,
    backend_why: String,
    public_key: Option<PublicKey>,
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    bells: Vec<Doorbell>,
    threads: Vec<JoinHandle<()>>,
    /// Of a server of several workers, until they have ended.
    doorkeeper: Option<Doorkeeper>,
}

/// What the workers of one port share.
#[derive(Clone)]
struct Shared {
    exchange: Arc<Exchange>,
    sleep: Arc<Sleep>,
}

/// What a worker thread tells once it is up.
struct Up {
    address: SocketAddr,
    backend: String,
    backend_why: String,
    bell: Doorbell,
}

impl Server {
    /// Starts one worker on each of `cores`, all bound to `listen`. Returns once all are up.
    pub fn start(host: &Host, listen: SocketAddr, cores: &[usize]) -> Result<Server, HostError> {
        let board = Board::new(cores.to_vec());
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Server {
            address: listen,
            backend: String::new(),
            backend_why: String::new(),
            public_key: host.security.provider.public_key(),
            board,
            stop,
            bells: Vec::new(),
            threads: Vec::new(),
            doorkeeper: None,
        };
        let boot_id = random_u64()?;
        // Several workers: handshakes have a socket of their own, and packets are steered to their worker.
        let door = (cores.len() > 1).then(|| FrontDoor::open(listen)).transpose().map_err(HostError::Bind)?;
        if let Some(door) = &door {
            server.address = door.local_addr();
        }
        let sleeps: Vec<Arc<Sleep>> = cores.iter().map(|_| Arc::default()).collect();
        let exchange = Arc::new(Exchange::new(sleeps.iter().cloned()));
        for (index, core) in cores.iter().enumerate() {
            let place = Place { index: index as u8, core: Some(*core), boot_id };
            // The first worker learns the port; the others share it.
            let bind = server.address;
            let shared = Shared { exchange: exchange.clone(), sleep: sleeps[index].clone() };
            let up = server.start_worker(host, place, bind, door.is_some().then_some(shared))?;
            server.address = up.address;
            server.backend = up.backend;
            server.backend_why = up.backend_why;
            server.bells.push(up.bell);
        }
        if let Some(door) = door {
            server.doorkeeper = Some(door.start(exchange).map_err(HostError::Thread)?);
        }
        Ok(server)
    }

    fn start_worker(
        &mut self,
        host: &Host,
        place: Place,
        bind: SocketAddr,
        shared: Option<Shared>,
    ) -> Result<Up, HostError> {
        let (sender, receiver): (Sender<Result<Up, HostError>>, Receiver<_>) = mpsc::channel();
        let (host, board, stop) = (host.clone(), self.board.clone(), self.stop.clone());
        let socket = SocketConfig { reuse_port: shared.is_some(), ..SocketConfig::new(bind) };
        let thread = std::thread::Builder::new().name(format!("worker{}", place.index)).spawn(move || {
            let clock: Rc<dyn Clock> = Rc::new(MonotonicClock);
            let exchange = shared.as_ref().map(|shared| &shared.exchange);
            let made = host.make(place, socket, exchange, clock.clone(), Echo::new(board.clone(), clock));
            let made = match made {
                Ok(made) => made,
                Err(error) => return drop(sender.send(Err(error))),
            };
            let mut worker = made.worker;
            let up = Up {
                address: worker.local_addr(),
                backend: worker.backend_name().to_owned(),
                backend_why: made.backend_why,
                bell: worker.doorbell(),
            };
            if let Some(shared) = &shared {
                shared.sleep.install(worker.doorbell());
            }
            let sleeps = matches!(host.idle, IdlePolicy::Adaptive | IdlePolicy::Park);
            if sender.send(Ok(up)).is_ok() {
                serve(&mut worker, &board, place.index, (&stop, shared.as_ref()), sleeps);
            }
        });
        self.threads.push(thread.map_err(HostError::Thread)?);
        receiver.recv().map_err(|_| HostError::Died)?
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What moves its packets.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// What it is known by; `None` without sealing.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.public_key
    }

    /// Why that backend.
    #[must_use]
    pub fn backend_why(&self) -> &str {
        &self.backend_why
    }

    /// True while every worker runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Has every worker finish its turn and end, and returns what they counted together.
    #[must_use]
    pub fn stop(mut self) -> (Counters, LossCounters) {
        self.end();
        self.board.total()
    }

    /// What the workers have counted by now: a millisecond old, the kernel's drops up to ten.
    #[must_use]
    pub fn counted(&self) -> (Counters, LossCounters) {
        self.board.total()
    }

    fn end(&mut self) {
        // Relaxed: the flag guards no other memory; the board has its locks.
        self.stop.store(true, Ordering::Relaxed);
        self.bells.iter().for_each(Doorbell::ring);
        for thread in self.threads.drain(..) {
            // A worker that panicked said so on stderr itself.
            let _ = thread.join();
        }
        self.doorkeeper = None;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// How old the counts on the board may be.
const POST_INTERVAL_NS: u64 = 1_000_000;
/// A server that stops gives what it accepted this long to arrive.
const CLOSE_TIME_MAX: Duration = Duration::from_millis(500);

fn serve(
    worker: &mut Worker<Echo>,
    board: &Board,
    index: u8,
    (stop, shared): (&AtomicBool, Option<&Shared>),
    sleeps: bool,
) {
    let (mut posted, mut unposted) = (Timestamp(0), false);
    while !stop.load(Ordering::Relaxed) {
        let idle = worker.turn().idle;
        unposted |= !idle;
        // Who sleeps next would leave old counts for as long as nobody calls.
        let before_sleep = idle && sleeps && unposted;
        if before_sleep || worker.now().since_ns(posted) >= POST_INTERVAL_NS {
            (posted, unposted) = (worker.now(), false);
            board.post(usize::from(index), worker.counters(), worker.loss_counters_as_seen());
        }
        if idle {
            idle_until_called(worker, index, (stop, shared));
        }
    }
    close_all(worker);
    board.post(usize::from(index), worker.counters(), worker.loss_counters());
}

/// A worker that shares its port does not sleep over what another has handed to it.
fn idle_until_called(worker: &mut Worker<Echo>, index: u8, (stop, shared): (&AtomicBool, Option<&Shared>)) {
    let Some(Shared { exchange, sleep }) = shared else { return worker.idle() };
    worker.idle_unless(|| sleep.fall_asleep(|| exchange.has_mail(index) || stop.load(Ordering::Relaxed)));
    sleep.wake_up();
}

/// Says goodbye: a client whose server stops learns it now, not at its deadlines.
fn close_all(worker: &mut Worker<Echo>) {
    let open: Vec<SessionKey> = worker.app().sessions().collect();
    open.into_iter().for_each(|session| worker.close(session, CLOSE_CODE_STOPPED));
    let end = worker.clock_now().after(CLOSE_TIME_MAX);
    while worker.app().sessions().next().is_some() && worker.clock_now() < end {
        if worker.turn().idle {
            worker.idle();
        }
    }
}

/// The code a client's session is closed with when its server stops.
pub const CLOSE_CODE_STOPPED: u16 = 1;
