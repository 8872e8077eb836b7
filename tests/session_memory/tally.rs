//! An allocator that knows whose each piece of memory is: it notes before each piece who took it, so that a
//! piece counts for its owner until it is given back, whoever does that.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Who takes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The test, and the network between the ends.
    Test = 0,
    Client = 1,
    Server = 2,
}

const OWNERS: usize = 3;
/// Pieces of at least this many bytes are tables and buffers of a worker, not a session's: counted as one size.
const SIZES: usize = 1 << 14;

thread_local! {
    static OWNER: Cell<Owner> = const { Cell::new(Owner::Test) };
}

/// By owner and size: pieces that are held.
static HELD: [[AtomicI64; SIZES]; OWNERS] = [const { [const { AtomicI64::new(0) }; SIZES] }; OWNERS];
/// By owner: bytes in pieces of [`SIZES`] bytes and more.
static LARGE: [AtomicI64; OWNERS] = [const { AtomicI64::new(0) }; OWNERS];

/// What `owner` holds, by the size of the pieces.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub pieces: BTreeMap<usize, i64>,
    large: i64,
}

impl Tally {
    pub fn of(owner: Owner) -> Self {
        let held = HELD[owner as usize].iter().enumerate().map(|(size, held)| (size, held.load(Relaxed)));
        Self {
            pieces: held.filter(|(_, held)| *held != 0).collect(),
            large: LARGE[owner as usize].load(Relaxed),
        }
    }

    /// Bytes that the C library's allocator takes for all of it.
    pub fn size(&self) -> i64 {
        let pieces = self.pieces.iter().map(|(size, held)| chunk_size(*size) as i64 * held);
        pieces.sum::<i64>() + self.large
    }
}

/// What glibc takes for a piece: its own word before it, all in steps of 16 bytes, and never less than 32.
fn chunk_size(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

/// Runs `run`; what it allocates is `owner`'s.
pub fn owned_by<R>(owner: Owner, run: impl FnOnce() -> R) -> R {
    let before = OWNER.replace(owner);
    let result = run();
    OWNER.set(before);
    result
}

struct Tallying;

impl Tallying {
    /// Room for the owner before a piece, as much as keeps the piece aligned.
    fn with_head(layout: Layout) -> Option<(Layout, usize)> {
        let head = layout.align().max(HEAD_SIZE);
        let size = layout.size().checked_add(head)?;
        Some((Layout::from_size_align(size, head).ok()?, head))
    }

    fn count(owner: usize, size: usize, change: i64) {
        HELD[owner][size.min(SIZES - 1)].fetch_add(if size < SIZES { change } else { 0 }, Relaxed);
        LARGE[owner].fetch_add(if size < SIZES { 0 } else { change * size as i64 }, Relaxed);
    }
}

const HEAD_SIZE: usize = 16;

// SAFETY: every piece comes from the system's allocator with room for an aligned head in front, and goes back to it by
// the same layout; counters and the owner are atomics and a thread-local cell that need no allocation.
unsafe impl GlobalAlloc for Tallying {
    /// # Safety
    /// As `GlobalAlloc` has it: passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, head)) = Self::with_head(layout) else { return std::ptr::null_mut() };
        // SAFETY: the layout is not empty, since it has a head.
        let start = unsafe { System.alloc(whole) };
        if start.is_null() {
            return start;
        }
        let owner = OWNER.get() as usize;
        Self::count(owner, layout.size(), 1);
        // SAFETY: `head` bytes, at least eight and aligned so, lie at `start`, and the piece behind them.
        unsafe {
            start.cast::<usize>().write(owner);
            start.add(head)
        }
    }

    /// # Safety
    /// As `GlobalAlloc` has it: `pointer` came from `alloc` with this layout.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((whole, head)) = Self::with_head(layout) else { return };
        // SAFETY: `alloc` put the head before the piece, by the same layout.
        unsafe {
            let start = pointer.sub(head);
            Self::count(start.cast::<usize>().read(), layout.size(), -1);
            System.dealloc(start, whole);
        }
    }
}

#[global_allocator]
static TALLYING: Tallying = Tallying;
