//! What a profile wants of a knob, in words that do not depend on the host: `workers`, `max`, `>=4096`.

use thiserror::Error;

use super::cpus::{Cpus, show_list, show_mask};
use super::knob::Knob;
use super::scope::Scope;
use super::value::Form;

/// The place a value belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spot {
    /// The queue, where there is one per queue.
    pub queue: usize,
    /// What the knob reads now.
    pub limit: Option<u64>,
    /// Queues there will be.
    pub queues: usize,
}

/// A want that means nothing for its knob.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("knob {knob} cannot be set to '{want}': write {example}")]
pub struct WantError {
    /// Which knob.
    pub knob: String,
    /// What was wanted.
    pub want: String,
    /// What can be.
    pub example: &'static str,
}

/// The value that `want` means at `spot`, or `None` where `current` is good enough.
///
/// # Errors
/// The want means nothing for this knob.
pub fn resolve(
    knob: &Knob,
    want: &str,
    scope: &Scope,
    spot: &Spot,
    current: &str,
) -> Result<Option<String>, WantError> {
    let wanted = match knob.form {
        Form::Number => number(want, scope, spot, current),
        Form::Numbers => numbers(want, scope, spot, current),
        Form::Mask => cpus(want, scope, spot).map(|cpus| Some(show_mask(&cpus))),
        Form::List => cpus(want, scope, spot).map(|cpus| Some(show_list(&cpus))),
        Form::Interrupts => match want {
            // Beside those that somebody else banned.
            "interrupts" => Some(Some(interrupts(scope, current))),
            _ => knob.form.canonical(want).map(Some),
        },
        Form::Queue => match want {
            "worker" => Some(Some(format!("queue {}", spot.queue))),
            _ => knob.form.canonical(want).map(Some),
        },
        Form::Partition => match want {
            "workers" => Some(Some(format!("{} isolated", show_list(&workers(scope))))),
            _ => knob.form.canonical(want).map(Some),
        },
        Form::Switch | Form::Word | Form::Fields => knob.form.canonical(want).map(Some),
    };
    let wanted = wanted.ok_or_else(|| WantError {
        knob: knob.id.clone(),
        want: want.to_owned(),
        example: example(knob.form),
    })?;
    Ok(wanted.filter(|wanted| !knob.form.same(wanted, current)))
}

/// The outer `None`: means nothing; the inner: nothing to do.
#[expect(clippy::option_option, reason = "meaningless and unneeded are two answers")]
fn number(want: &str, scope: &Scope, spot: &Spot, current: &str) -> Option<Option<String>> {
    let limited = |number: u64| spot.limit.map_or(number, |limit| number.min(limit));
    let now = current.parse::<u64>().ok();
    let fixed = |number: u64| Some(Some(limited(number).to_string()));
    if let Some(least) = want.strip_prefix(">=") {
        let least = limited(least.trim().parse().ok()?);
        return Some((now.is_none_or(|now| now < least)).then(|| least.to_string()));
    }
    if let Some(most) = want.strip_prefix("<=") {
        let most: u64 = most.trim().parse().ok()?;
        return Some((now.is_none_or(|now| now > most)).then(|| most.to_string()));
    }
    match want {
        "workers" => fixed(scope.workers.len() as u64),
        "max" => Some(spot.limit.map(|limit| limit.to_string())),
        "max/2" => Some(spot.limit.map(|limit| (limit / 2).max(1).to_string())),
        _ => fixed(want.parse().ok()?),
    }
}

#[expect(clippy::option_option, reason = "meaningless and unneeded are two answers")]
fn numbers(want: &str, scope: &Scope, spot: &Spot, current: &str) -> Option<Option<String>> {
    match want {
        "even" => {
            let length = current.split_whitespace().count();
            let queues = spot.queues.min(scope.workers.len()).max(1);
            let table: Vec<String> = (0..length).map(|bucket| (bucket % queues).to_string()).collect();
            // An RSS table of no length: nothing to spread.
            Some((length > 0).then(|| table.join(" ")))
        }
        _ => {
            // Item by item, each may be raised only.
            let mut wanted = Vec::new();
            let mut now = current.split_whitespace();
            for item in want.split_whitespace() {
                let now: Option<u64> = now.next().and_then(|now| now.parse().ok());
                let number: u64 = item.trim_start_matches(">=").parse().ok()?;
                let kept = now.filter(|now| item.starts_with(">=") && *now > number);
                wanted.push(kept.unwrap_or(number).to_string());
            }
            (!wanted.is_empty()).then(|| Some(wanted.join(" ")))
        }
    }
}

fn cpus(want: &str, scope: &Scope, spot: &Spot) -> Option<Cpus> {
    let worker = scope.worker_of(spot.queue);
    match want {
        "none" => Some(Cpus::new()),
        "all" => Some(scope.cpus.clone()),
        "workers" => Some(workers(scope)),
        "worker" => Some(worker.into_iter().collect()),
        "beside" => Some(worker.map(|worker| scope.beside(worker)).into_iter().collect()),
        "housekeeping" => Some(scope.housekeeping()).filter(|cpus| !cpus.is_empty()).or(Some(workers(scope))),
        _ => super::cpus::parse_list(want),
    }
}

/// Those of the NIC's queues and those in `current`, as a list.
fn interrupts(scope: &Scope, current: &str) -> String {
    let mut all = super::cpus::parse_list(current).unwrap_or_default();
    all.extend(scope.interrupts.iter().map(|interrupt| interrupt.number as usize));
    if all.is_empty() { "none".into() } else { show_list(&all) }
}

fn workers(scope: &Scope) -> Cpus {
    scope.workers.iter().copied().collect()
}

fn example(form: Form) -> &'static str {
    match form {
        Form::Number => "a number, >=N, <=N, max, max/2 or workers",
        Form::Numbers => "numbers apart by blanks, each with >= if it is only to be raised, or even",
        Form::Mask | Form::List => "none, all, worker, workers, beside, housekeeping or CPUs such as 2-3",
        Form::Interrupts => "interrupts, none or numbers such as 61-64",
        Form::Switch => "on or off",
        Form::Word => "a word",
        Form::Fields => "letters out of sdfn",
        Form::Queue => "worker, queue N or absent",
        Form::Partition => "workers, or CPUs and isolated, or absent",
    }
}

#[cfg(test)]
mod tests {
    use super::super::knob::find;
    use super::*;

    fn scope() -> Scope {
        let cpus: Cpus = (0..8).collect();
        let siblings = cpus.iter().map(|&cpu| (cpu, Cpus::from([cpu % 4, cpu % 4 + 4]))).collect();
        Scope { local: cpus.clone(), cpus, siblings, workers: vec![2, 3], ..Scope::default() }
    }

    fn want(id: &str, want: &str, current: &str, spot: Spot) -> Option<String> {
        resolve(find(id).expect(id), want, &scope(), &spot, current).expect(want)
    }

    #[test]
    fn numbers_are_raised_lowered_and_clipped() {
        let spot = Spot { limit: Some(4_096), ..Spot::default() };
        assert_eq!(want("rings.rx", "max", "512", spot).as_deref(), Some("4096"));
        assert_eq!(want("rings.rx", "8192", "512", spot).as_deref(), Some("4096"));
        assert_eq!(want("rings.rx", ">=1024", "2048", spot), None);
        assert_eq!(want("rings.rx", "<=1024", "2048", spot).as_deref(), Some("1024"));
        assert_eq!(want("rings.rx", "max/2", "4096", spot).as_deref(), Some("2048"));
        assert_eq!(want("rings.rx", "max", "512", Spot::default()), None, "no limit is known");
    }

    #[test]
    fn cpus_are_those_of_the_queues_worker_or_beside_it() {
        let queue = |queue| Spot { queue, ..Spot::default() };
        assert_eq!(want("xps.cpus", "worker", "0", queue(0)).as_deref(), Some("4"));
        assert_eq!(want("xps.cpus", "worker", "0", queue(1)).as_deref(), Some("8"));
        assert_eq!(want("irq.affinity", "beside", "0-7", queue(0)).as_deref(), Some("6"), "the sibling");
        assert_eq!(want("rps.cpus", "none", "00", queue(0)), None);
        assert_eq!(want("cpu.isolation", "workers", "absent", queue(0)).as_deref(), Some("2-3 isolated"));
    }

    #[test]
    fn a_table_is_spread_over_the_workers_queues() {
        let spot = Spot { queues: 4, ..Spot::default() };
        assert_eq!(want("rss.table", "even", "0 1 2 3", spot).as_deref(), Some("0 1 0 1"));
        assert_eq!(want("memory.udp-mem", ">=10 >=20 30", "15 16 17", spot).as_deref(), Some("15 20 30"));
    }

    #[test]
    fn what_means_nothing_says_what_to_write() {
        let error = resolve(find("rings.rx").expect("it is"), "lots", &scope(), &Spot::default(), "1");
        assert!(error.expect_err("no number").to_string().contains("max/2"));
    }
}
