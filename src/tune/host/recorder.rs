//! Keeps all that is read, for `--record`.

use std::cell::RefCell;

use super::recorded::{FORMAT, Recorded, Refused};
use super::{Address, Host, Refusal};

/// A host beside a record of what was read from it.
pub struct Recorder<'a> {
    host: &'a mut dyn Host,
    seen: RefCell<Recorded>,
}

impl<'a> Recorder<'a> {
    /// Records what is read from `host`.
    pub fn new(host: &'a mut dyn Host) -> Recorder<'a> {
        let seen = Recorded { ringwire_host: FORMAT, ..Recorded::default() };
        Recorder { host, seen: RefCell::new(seen) }
    }

    /// What was read so far.
    #[must_use]
    pub fn into_record(self) -> Recorded {
        self.seen.into_inner()
    }

    fn note_refusal(&self, address: &Address, refusal: &Refusal) {
        let refused = Refused { why: refusal.why, text: refusal.text.clone() };
        self.seen.borrow_mut().refused.insert(address.as_str().into(), refused);
    }
}

impl Host for Recorder<'_> {
    fn read(&self, address: &Address) -> Result<String, Refusal> {
        let read = self.host.read(address);
        match &read {
            Ok(value) => {
                self.seen.borrow_mut().facts.insert(address.as_str().into(), value.clone());
            }
            Err(refusal) => self.note_refusal(address, refusal),
        }
        read
    }

    fn list(&self, address: &Address) -> Result<Vec<String>, Refusal> {
        let listed = self.host.list(address);
        match &listed {
            // The folder itself: what is in it stands under names of its own once it is read.
            Ok(names) => {
                let mut seen = self.seen.borrow_mut();
                seen.facts.insert(format!("{address}/"), String::new());
                for name in names {
                    seen.facts.entry(format!("{address}/{name}/")).or_default();
                }
            }
            Err(refusal) => self.note_refusal(address, refusal),
        }
        listed
    }

    fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal> {
        self.host.write(address, value)
    }

    fn read_only(&self, address: &Address) -> Option<Refusal> {
        let refusal = self.host.read_only(address)?;
        let mut seen = self.seen.borrow_mut();
        let text = address.as_str().to_owned();
        if !seen.read_only.contains(&text) {
            seen.read_only.push(text);
        }
        Some(refusal)
    }
}
