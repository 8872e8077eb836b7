//! The table of sessions: found by their id without hashing, since the id carries the index.
//!
//! ```text
//!  session id: | random tag 32 | index 24 | worker 8 |
//! ```

use crate::bounds::SESSIONS_MAX;
use crate::crypto::Csprng;
use crate::transport::connecting::Connecting;
use crate::transport::engine::closing::Closing;
use crate::transport::engine::lanes::Joining;
use crate::transport::session::{PATHS_HELD_MAX, Session};
use crate::transport::{ConnectError, PathIndex};
use crate::wire::SessionId;

/// Names a session to the application: stale once the session has ended, never another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    pub(crate) index: u32,
    pub(crate) tag: u32,
}

impl SessionKey {
    /// The id this session's peer puts into packets for it.
    pub(crate) fn id(self, worker: u8) -> SessionId {
        SessionId(u64::from(worker) | u64::from(self.index) << 8 | u64::from(self.tag) << 32)
    }

    /// A number for logs: the table index.
    #[must_use]
    pub fn number(self) -> u32 {
        self.index
    }
}

/// One place in the table.
#[derive(Debug)]
pub(super) enum Slot {
    Free,
    Connecting(Box<Connecting>),
    /// A lane that was asked for.
    Joining(Box<Joining>),
    Open(Box<Session>),
    /// Over, until the peer has heard of it.
    Closing(Box<Closing>),
}

impl Slot {
    fn paths(&self) -> [Option<PathIndex>; PATHS_HELD_MAX] {
        match self {
            Slot::Open(session) => session.held_paths(),
            Slot::Connecting(connecting) => [Some(connecting.path()), None, None],
            Slot::Closing(closing) => [Some(closing.packet.way.path), None, None],
            Slot::Joining(_) | Slot::Free => [None; PATHS_HELD_MAX],
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<(u32, Slot)>,
    free: Vec<u32>,
    open: usize,
    /// By path: slots that are in use on it.
    uses: Vec<u32>,
}

const _: () = assert!(SESSIONS_MAX < 1 << 24);

impl Table {
    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// A new key; its slot is filled by the caller.
    pub(super) fn reserve(&mut self, random: &mut Csprng) -> Result<SessionKey, ConnectError> {
        let tag = random.u64() as u32;
        if let Some(index) = self.free.pop() {
            self.slots[index as usize].0 = tag;
            return Ok(SessionKey { index, tag });
        }
        if self.slots.len() >= SESSIONS_MAX {
            return Err(ConnectError::TooManySessions { sessions_max: SESSIONS_MAX });
        }
        let index = self.slots.len() as u32;
        self.slots.push((tag, Slot::Free));
        Ok(SessionKey { index, tag })
    }

    /// Puts `slot` into its place and returns what was there.
    pub(super) fn fill(&mut self, index: u32, slot: Slot) -> Slot {
        self.open += usize::from(matches!(slot, Slot::Open(_)));
        self.hold_paths(slot.paths());
        let old = std::mem::replace(&mut self.slots[index as usize].1, slot);
        self.open -= usize::from(matches!(old, Slot::Open(_)));
        self.drop_paths(old.paths());
        old
    }

    /// A slot holds these paths from now on.
    pub(super) fn hold_paths(&mut self, paths: [Option<PathIndex>; PATHS_HELD_MAX]) {
        for path in paths.into_iter().flatten() {
            let path = path.0 as usize;
            self.uses.resize(self.uses.len().max(path + 1), 0);
            self.uses[path] += 1;
        }
    }

    /// A slot held these paths until now.
    pub(super) fn drop_paths(&mut self, paths: [Option<PathIndex>; PATHS_HELD_MAX]) {
        for path in paths.into_iter().flatten() {
            self.uses[path.0 as usize] -= 1;
        }
    }

    /// A reserved key was not used after all.
    pub(super) fn give_back(&mut self, index: u32) {
        debug_assert!(matches!(self.slots[index as usize].1, Slot::Free));
        self.free.push(index);
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<SessionKey> {
        let key = self.key_at(index)?;
        if matches!(self.slots[index as usize].1, Slot::Free) {
            return None;
        }
        self.fill(index, Slot::Free);
        self.free.push(index);
        Some(key)
    }

    #[inline]
    pub(super) fn slot(&self, index: u32) -> &Slot {
        self.slots.get(index as usize).map_or(&Slot::Free, |(_, slot)| slot)
    }

    /// The slot at an index that came from this table.
    pub(super) fn slot_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize].1
    }

    #[inline]
    pub(super) fn by_key(&mut self, key: SessionKey) -> Option<&mut Slot> {
        let (tag, slot) = self.slots.get_mut(key.index as usize)?;
        (*tag == key.tag).then_some(slot)
    }

    /// The open session a packet names.
    #[inline]
    pub(super) fn by_id(&mut self, id: SessionId) -> Option<(u32, &mut Session)> {
        let index = (id.0 >> 8) as u32 & 0x00ff_ffff;
        match self.slots.get_mut(index as usize)? {
            (tag, Slot::Open(session)) if *tag == (id.0 >> 32) as u32 && session.local == id => {
                Some((index, session))
            }
            _ => None,
        }
    }

    /// The slot whose own id is `id`, connecting or open.
    pub(super) fn index_of(&self, id: SessionId) -> Option<u32> {
        let index = (id.0 >> 8) as u32 & 0x00ff_ffff;
        let (tag, slot) = self.slots.get(index as usize)?;
        (*tag == (id.0 >> 32) as u32 && !matches!(slot, Slot::Free)).then_some(index)
    }

    pub(super) fn open(&self, key: SessionKey) -> Option<&Session> {
        match self.slots.get(key.index as usize)? {
            (tag, Slot::Open(session)) if *tag == key.tag => Some(session),
            _ => None,
        }
    }

    pub(super) fn key_at(&self, index: u32) -> Option<SessionKey> {
        let (tag, _) = self.slots.get(index as usize)?;
        Some(SessionKey { index, tag: *tag })
    }

    /// True while a slot is in use on `path`. Asked for each packet of a stranger.
    pub(super) fn uses_path(&self, path: PathIndex) -> bool {
        self.uses.get(path.0 as usize).is_some_and(|uses| *uses > 0)
    }

    pub(super) fn open_sessions(&self) -> usize {
        self.open
    }
}
