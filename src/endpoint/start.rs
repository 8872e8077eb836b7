//! Starting the threads of an endpoint, in an order that lets the kernel number their sockets.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::app::HandleApp;
use super::builder::Builder;
use super::drive::{EndGuard, drive};
use super::link::{Hub, Link};
use super::trust::entropy;
use super::{Endpoint, EndpointError, Handler};
use crate::bounds::WORKERS_MAX;
use crate::io::select::{self, Selection};
use crate::io::{Backend, Config as IoConfig};
use crate::sys::cores;
use crate::time::MonotonicClock;
use crate::transport::security::Security;
use crate::worker::front_door::{Doorkeeper, FrontDoor};
use crate::worker::mailbox::SteeredBackend;
use crate::worker::{Worker, WorkerConfig};

/// What one worker's thread needs to start.
pub(super) struct Setup {
    index: usize,
    core: Option<usize>,
    config: WorkerConfig,
    io: IoConfig,
    backend: Selection,
    hub: Arc<Hub>,
    link: Arc<Link>,
    ready: Sender<Result<Ready, EndpointError>>,
}

struct Ready {
    local: SocketAddr,
    backend_why: String,
}

/// The threads of an endpoint that runs.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) local: SocketAddr,
    pub(super) backend_why: String,
    hub: Arc<Hub>,
    workers: Vec<JoinHandle<()>>,
    doorkeeper: Option<Doorkeeper>,
}

impl Threads {
    /// Waits until every thread has ended; each was told to.
    pub(super) fn join(&mut self) {
        // The workers first: the last handshakes' answers still come by the front door.
        for worker in self.workers.drain(..) {
            // A worker's panic was printed when it happened, and its handles were told.
            let _ = worker.join();
        }
        self.doorkeeper = None;
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.hub.links.iter().for_each(|link| link.mailbox.stop());
        self.join();
    }
}

impl Builder {
    /// Binds the port and starts the workers.
    ///
    /// # Errors
    /// [`EndpointError`]; nothing is left behind.
    pub fn start(self) -> Result<Endpoint, EndpointError> {
        let workers = self.workers;
        if workers == 0 || workers > WORKERS_MAX {
            return Err(EndpointError::Workers { workers, workers_max: WORKERS_MAX });
        }
        if !self.cores.is_empty() && self.cores.len() != workers {
            return Err(EndpointError::Cores { cores: self.cores.len(), workers });
        }
        let mut bind = self.bind;
        let security = self.trust.clone().security(self.bind)?;
        let has_door = workers > 1;
        let front_door = has_door.then(|| FrontDoor::open(bind)).transpose();
        let front_door = front_door.map_err(|error| EndpointError::FrontDoor { bind, error })?;
        if let Some(door) = &front_door {
            bind = door.local_addr();
        }
        let hub = Arc::new(Hub::new(workers));
        let mut threads = Threads {
            local: bind,
            backend_why: String::new(),
            hub: hub.clone(),
            workers: Vec::new(),
            doorkeeper: None,
        };
        let public_key = security.provider.public_key();
        let boot_id = getrandom::u64().map_err(EndpointError::Randomness)?;
        for index in 0..workers {
            // One after the other: the kernel numbers the group's sockets in the order they are bound.
            let ready = self.start_worker(index, (bind, has_door), (boot_id, &security), &mut threads)?;
            threads.local = ready.local;
            threads.backend_why = ready.backend_why;
        }
        if let Some(door) = front_door {
            let started = door.start(hub.exchange.clone());
            threads.doorkeeper = Some(started.map_err(EndpointError::Thread)?);
        }
        Ok(Endpoint { hub, threads, public_key, boot_id })
    }

    fn start_worker(
        &self,
        index: usize,
        (bind, has_door): (SocketAddr, bool),
        (boot_id, security): (u64, &Security),
        threads: &mut Threads,
    ) -> Result<Ready, EndpointError> {
        let (sender, receiver) = channel();
        let hub = threads.hub.clone();
        let mut config = WorkerConfig { transport: self.transport.clone(), idle: self.idle };
        config.transport.worker_index = index as u8;
        config.transport.boot_id = boot_id;
        config.transport.entropy = entropy()?;
        config.transport.security = security.clone();
        let io = IoConfig { reuse_port: has_door, socket_buffer: self.socket_buffer, ..IoConfig::new(bind) };
        let setup = Setup {
            index,
            core: self.cores.get(index).copied(),
            config,
            io,
            backend: self.backend.clone(),
            link: hub.links[index].clone(),
            hub,
            ready: sender,
        };
        let run = self.run.clone();
        let name = format!("ringwire-{index}");
        let thread = thread::Builder::new().name(name).spawn(move || run(setup));
        threads.workers.push(thread.map_err(EndpointError::Thread)?);
        await_ready(index, &receiver)
    }
}

fn await_ready(
    worker: usize,
    receiver: &Receiver<Result<Ready, EndpointError>>,
) -> Result<Ready, EndpointError> {
    receiver.recv().unwrap_or(Err(EndpointError::Died { worker }))
}

/// The body of a worker's thread: everything the worker owns is made here.
pub(super) fn run<H: Handler>(setup: Setup, handler: impl FnOnce(usize) -> H) {
    let _guard = EndGuard(setup.link.clone());
    let (backend, backend_why) = match open(&setup) {
        Ok(opened) => opened,
        Err(error) => {
            // Nobody listens only when the start was given up.
            let _ = setup.ready.send(Err(error));
            return;
        }
    };
    let Setup { index, config, hub, link, ready, .. } = setup;
    let drain_timeout = config.transport.drain_timeout;
    let app = HandleApp::new(handler(index), link.clone(), hub.clone());
    let mut worker = Worker::new(config, backend, Rc::new(MonotonicClock), app);
    worker.join(hub.exchange.clone());
    link.sleep.install(worker.doorbell());
    if ready.send(Ok(Ready { local: worker.local_addr(), backend_why })).is_ok() {
        drop(ready);
        drive(&mut worker, &hub, &link, drain_timeout);
    }
}

fn open(setup: &Setup) -> Result<(Box<dyn Backend>, String), EndpointError> {
    if let Some(core) = setup.core
        && !cores::pin_current(core)
    {
        return Err(EndpointError::Pin { core });
    }
    let worker = setup.index;
    let (backend, why) =
        select::open(&setup.io, &setup.backend).map_err(|error| EndpointError::Backend { worker, error })?;
    if !setup.io.reuse_port {
        return Ok((backend, why));
    }
    let steered = SteeredBackend::new(backend, setup.hub.exchange.clone(), worker as u8);
    Ok((Box::new(steered), why))
}
