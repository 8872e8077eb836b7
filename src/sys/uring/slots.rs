//! Memory that requests point to while they are in flight.

use std::ptr::NonNull;

use super::RingSend;
use super::buffers::{CONTROL_SIZE, NAME_SIZE};
use crate::rings::PacketMemory;
use crate::sys::address::RawAddress;
use crate::sys::control::Control;

/// What one send in flight points to.
struct Slot {
    header: libc::msghdr,
    iovec: libc::iovec,
    control: Control,
    name: RawAddress,
    token: u64,
    /// The bytes being sent; `None` while the slot is free.
    bytes: Option<PacketMemory>,
}

/// The sends in flight.
pub(super) struct SendSlots {
    slots: NonNull<[Slot]>,
    free: Vec<u16>,
    leaked: bool,
}

impl SendSlots {
    pub fn new(count: u16) -> Self {
        let slots: Vec<Slot> = (0..count)
            .map(|_| Slot {
                // SAFETY: all-zero is a valid msghdr and a valid iovec.
                header: unsafe { std::mem::zeroed() },
                // SAFETY: as above.
                iovec: unsafe { std::mem::zeroed() },
                control: Control::EMPTY,
                name: RawAddress::EMPTY,
                token: 0,
                bytes: None,
            })
            .collect();
        let slots = NonNull::from(Box::leak(slots.into_boxed_slice()));
        Self { slots, free: (0..count).rev().collect(), leaked: false }
    }

    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts a send into a free slot; its number, and the header to hand to the kernel.
    pub fn take(&mut self, send: RingSend) -> Result<(u16, *const libc::msghdr), RingSend> {
        let Some(index) = self.free.pop() else { return Err(send) };
        let slot = self.slot(index);
        // SAFETY: the slot is free, so the kernel knows nothing of it and no other reference exists.
        let filled = unsafe { &mut *slot };
        filled.token = send.token;
        filled.iovec.iov_base = filled.bytes.insert(send.bytes).as_mut_ptr().cast();
        filled.iovec.iov_len = send.length;
        filled.header.msg_iov = &raw mut filled.iovec;
        filled.header.msg_iovlen = 1;
        filled.header.msg_controllen = filled.control.write(send.segment_size, send.class);
        filled.header.msg_control = filled.control.0.as_mut_ptr().cast();
        match send.to {
            Some(to) => {
                filled.name = to;
                filled.header.msg_name = filled.name.as_mut_ptr();
                filled.header.msg_namelen = to.size();
            }
            None => {
                filled.header.msg_name = std::ptr::null_mut();
                filled.header.msg_namelen = 0;
            }
        }
        Ok((index, &raw const filled.header))
    }

    /// Takes back what a finished send carried.
    ///
    /// # Safety
    /// The kernel completed the send in slot `index` and no longer reads what it points to.
    pub unsafe fn release(&mut self, index: u16) -> (u64, PacketMemory) {
        let slot = self.slot(index);
        // SAFETY: the caller's promise makes this the only reference to the slot.
        let slot = unsafe { &mut *slot };
        let bytes = slot.bytes.take().expect("a send completes once");
        self.free.push(index);
        (slot.token, bytes)
    }

    pub fn leak(&mut self) {
        self.leaked = true;
    }

    fn slot(&self, index: u16) -> *mut Slot {
        assert!(usize::from(index) < self.slots.len());
        // SAFETY: the index was just checked against the length of the allocation.
        unsafe { self.slots.cast::<Slot>().add(usize::from(index)) }.as_ptr()
    }
}

impl Drop for SendSlots {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        debug_assert_eq!(self.in_flight(), 0, "the ring drains before its slots drop");
        // SAFETY: leaked in `new`, freed here only; nothing is in flight.
        drop(unsafe { Box::from_raw(self.slots.as_ptr()) });
    }
}

/// The header that the multishot receive keeps: only its sizes matter, the bytes go to provided buffers.
pub(super) struct Receiving {
    header: NonNull<libc::msghdr>,
    leaked: bool,
}

impl Receiving {
    pub fn new() -> Self {
        // SAFETY: all-zero is a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_namelen = NAME_SIZE as libc::socklen_t;
        header.msg_controllen = CONTROL_SIZE;
        Self { header: NonNull::from(Box::leak(Box::new(header))), leaked: false }
    }

    pub fn header(&self) -> *const libc::msghdr {
        self.header.as_ptr()
    }

    pub fn leak(&mut self) {
        self.leaked = true;
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: leaked in `new`, freed here only; the receive that read it is over.
            drop(unsafe { Box::from_raw(self.header.as_ptr()) });
        }
    }
}
