//! The loss ledger in a report, and in what a server tells about itself.

use serde_json::{Value, json};

use crate::worker::{Ledger, LossCounters};

/// One end's counts, as a server tells them.
#[must_use]
pub fn to_json(losses: &LossCounters) -> Value {
    json!({
        "sent": losses.sent, "taken_in": losses.taken_in, "own_queue": losses.own_queue,
        "offload": losses.offload, "refused": losses.refused, "socket_buffer": losses.socket_buffer,
        "ring": losses.ring, "damaged": losses.damaged, "no_session": losses.no_session,
    })
}

/// Reads that object; `None` when a count is missing.
#[must_use]
pub fn from_json(object: &Value) -> Option<LossCounters> {
    let count = |name: &str| object.get(name).and_then(Value::as_u64);
    Some(LossCounters {
        sent: count("sent")?,
        taken_in: count("taken_in")?,
        own_queue: count("own_queue")?,
        offload: count("offload")?,
        refused: count("refused")?,
        socket_buffer: count("socket_buffer")?,
        ring: count("ring")?,
        damaged: count("damaged")?,
        no_session: count("no_session")?,
    })
}

/// The ledger of a run: what was lost in all, and where.
#[must_use]
pub fn ledger_json(ledger: &Ledger) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("lost".to_owned(), json!(ledger.lost()));
    for (place, count) in ledger.places() {
        object.insert(place.to_owned(), json!(count));
    }
    Value::Object(object)
}

/// The ledger in one line: every place where something was lost.
#[must_use]
pub fn ledger_line(ledger: &Ledger) -> String {
    if ledger.lost() == 0 {
        return "  lost: nothing, at either end or between".into();
    }
    let places: Vec<String> = ledger
        .places()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(place, count)| format!("{count} {}", spoken(place)))
        .collect();
    format!("  lost: {} packets, {}", ledger.lost(), places.join(", "))
}

fn spoken(place: &str) -> &'static str {
    match place {
        "own_queue" => "for want of room in the sender's queue",
        "offload" => "by segmentation offload",
        "refused" => "refused by the sender's kernel",
        "network" => "in the network",
        "socket_buffer" => "at a full socket buffer (--socket-buffer, or more cores)",
        "ring" => "at a full ring of the receiver",
        "no_session" => "for a session that was not there",
        _ => "damaged on the way",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let counted =
            LossCounters { sent: 100, taken_in: 90, socket_buffer: 4, damaged: 1, ..LossCounters::default() };
        Ledger { counted }
    }

    #[test]
    fn counts_survive_the_wire_and_a_missing_one_is_no_ledger() {
        let counted = ledger().counted;
        assert_eq!(from_json(&to_json(&counted)), Some(counted));
        let mut object = to_json(&counted);
        object.as_object_mut().expect("an object").remove("ring");
        assert_eq!(from_json(&object), None);
    }

    #[test]
    fn the_line_names_the_places_that_lost_something() {
        let line = ledger_line(&ledger());
        assert_eq!(
            line,
            "  lost: 10 packets, 5 in the network, 4 at a full socket buffer (--socket-buffer, or more cores), 1 damaged on the way"
        );
        assert!(ledger_line(&Ledger::default()).contains("nothing"));
    }

    #[test]
    fn the_object_adds_up() {
        let object = ledger_json(&ledger());
        let places: u64 = object
            .as_object()
            .expect("an object")
            .iter()
            .filter(|(name, _)| *name != "lost")
            .filter_map(|(_, count)| count.as_u64())
            .sum();
        assert_eq!(Some(places), object["lost"].as_u64());
    }
}
