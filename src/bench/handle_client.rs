//! One client thread that calls through handles: its endpoint's worker is another thread, and this one sleeps
//! while it waits for an outcome.

use std::sync::mpsc::Sender;

use super::caller::Caller;
use super::client::{Client, LOOK_INTERVAL_NS, Measured, Note, RunError, START_LOOK, SilenceWatch};
use super::connected::OUTCOME_GRACE;
use super::desk::{Desk, seen};
use super::handles::Handled;
use super::line::Line;
use super::one_way;
use super::plan::{Over, Scenario};
use super::recorder::Window;
use crate::time::{Clock, Timestamp};

/// Runs one thread's share of the load.
pub fn measure(client: &Client<'_>, notes: &Sender<Note>) -> Result<Measured, RunError> {
    let mut handled = Handled::open(client)?;
    client.shared.wakes_me();
    notes.send(Note::Connected).map_err(|_| RunError::Interrupted)?;
    let window = client.await_window(|| std::thread::park_timeout(START_LOOK))?;
    Ok(match client.plan.over {
        Over::Call => measure_calls(client, &mut handled, window),
        Over::Message => one_way::measure(client, &mut handled, window),
    })
}

fn measure_calls(client: &Client<'_>, handled: &mut Handled<'_>, window: Window) -> Measured {
    let sessions = handled.peers.iter().map(|peer| peer.session()).collect();
    let mut load = Load {
        client,
        caller: client.caller(sessions, window),
        desk: Desk::new(&handled.peers),
        watch: SilenceWatch::default(),
    };
    let mut cut_short = load.run_until(handled, window.start);
    let books = handled.open_books(client.plan.deadline);
    if cut_short.is_none() {
        cut_short = load.run_until(handled, window.end);
    }
    let ended = client.clock.now().min(window.end);
    load.drain();
    let finished = load.caller.finish(ended);
    let without = (finished.without_outcome > 0)
        .then(|| format!("{} calls never got an outcome", finished.without_outcome));
    Measured {
        recorder: finished.recorder,
        skipped: finished.skipped,
        balance: handled.close_books(books, client.plan.deadline),
        delivered: None,
        backend: handled.backend(),
        packet_size: handled.packet_size(),
        cut_short: cut_short.or(without),
    }
}

/// Calls being made.
struct Load<'a> {
    client: &'a Client<'a>,
    caller: Caller,
    desk: Desk,
    watch: SilenceWatch,
}

impl Load<'_> {
    /// Issues and takes outcomes until `end`. Says why when the load broke off before.
    fn run_until(&mut self, handled: &Handled<'_>, end: Timestamp) -> Option<String> {
        let mut looked = Timestamp(0);
        loop {
            self.caller.issue_due(&mut self.desk);
            if let Some(error) = self.caller.refused() {
                return Some(handled.broken().unwrap_or_else(|| error.to_string()));
            }
            self.caller.begin_turn();
            let now = self.take_outcomes();
            if now >= end {
                return None;
            }
            if now.since_ns(looked) >= LOOK_INTERVAL_NS {
                looked = now;
                if let Some(why) = self.look_around(handled, now) {
                    return Some(why);
                }
            }
        }
    }

    /// Takes every outcome that is there, and waits for one where none is. Returns the time.
    fn take_outcomes(&mut self) -> Timestamp {
        let Self { client, caller, desk, .. } = self;
        let first = match client.plan.scenario {
            // The next send may be due before the next outcome comes: whoever shares this core goes first, and
            // then the clock is looked at again.
            Scenario::Load => {
                let first = desk.next_ready();
                if first.is_none() {
                    std::thread::yield_now();
                    return client.clock.now();
                }
                first
            }
            _ => desk.wait_next(|| client.shared.is_stopped()),
        };
        let Some((token, outcome)) = first else { return client.clock.now() };
        caller.on_outcome(token, seen(&outcome));
        caller.issue_next(desk);
        while let Some((token, outcome)) = desk.next_ready() {
            caller.on_outcome(token, seen(&outcome));
            caller.issue_next(desk);
        }
        caller.reading()
    }

    /// The rare things. Says why when the load is to break off.
    #[cold]
    fn look_around(&mut self, handled: &Handled<'_>, now: Timestamp) -> Option<String> {
        if self.client.shared.is_stopped() {
            return Some("interrupted".into());
        }
        handled.broken().or_else(|| self.watch.look(self.client, &self.caller, now))
    }

    /// Takes the outcomes of what is in flight: at the latest when the last one's deadline is over.
    fn drain(&mut self) {
        self.caller.stop();
        let end = self.client.clock.now().after(self.client.plan.deadline).after(OUTCOME_GRACE);
        while let Some((token, outcome)) = self.desk.next_before(end) {
            self.caller.begin_turn();
            self.caller.on_outcome(token, seen(&outcome));
        }
    }
}
