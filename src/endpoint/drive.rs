//! A worker's thread: turns, intake, sleep, and the end.

use std::time::Duration;

use super::Handler;
use super::app::HandleApp;
use super::intake::{Intake, refuse_rest};
use super::link::{Hub, Link};
use crate::time::saturating_ns;
use crate::worker::Worker;

/// What sessions may take to close beyond their own drain time.
const END_GRACE: Duration = Duration::from_millis(200);

/// Turns `worker` until its mailbox says stop, and then until its sessions have closed.
pub(super) fn drive<H: Handler>(
    worker: &mut Worker<HandleApp<H>>,
    hub: &Hub,
    link: &std::sync::Arc<Link>,
    drain_timeout: Duration,
) {
    let mut intake = Intake::new(link.clone());
    while !link.mailbox.is_stopping() {
        if step(worker, &mut intake) {
            let exchange = &hub.exchange;
            worker.idle_unless(|| {
                link.sleep.fall_asleep(|| {
                    !link.mailbox.is_empty() || link.mailbox.is_stopping() || exchange.has_mail(link.index)
                })
            });
            link.sleep.wake_up();
        }
    }
    // What was put in before the stop is still carried out.
    step(worker, &mut intake);
    intake.end(worker);
    worker.app().sessions().into_iter().for_each(|session| worker.close(session, 0));
    let until = worker.clock_now().after_ns(saturating_ns(drain_timeout.saturating_add(END_GRACE)));
    while !worker.app().sessions().is_empty() && worker.clock_now() < until {
        if step(worker, &mut intake) {
            worker.wait(Duration::from_millis(1));
        }
    }
    worker.app_mut().end();
}

/// One turn and what handles asked for; true when there was nothing to do.
fn step<H: Handler>(worker: &mut Worker<HandleApp<H>>, intake: &mut Intake) -> bool {
    // The turn reads the clock, so it comes first: commands are then carried out at a time that is true.
    let idle = worker.turn().idle;
    for (session, size) in worker.app_mut().after_turn() {
        worker.release(session, size);
    }
    intake.drain(worker) == 0 && idle
}

/// Ends a link whatever ends its thread, a panic included: nobody is left waiting.
pub(super) struct EndGuard(pub(super) std::sync::Arc<Link>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.mailbox.end();
        refuse_rest(&self.0);
        self.0.slots.end();
    }
}
