//! Tickets instead of addresses: what the host holds is looked up, never followed.
//!
//! A ticket is a number the size of a pointer: what kind of object, which process made it, which slot, and which
//! generation of that slot. A slot whose generations are used up is not used again, so a freed ticket is known as
//! freed for as long as the process lives. The table's lock is held for the lookup only; a caller works with its own
//! reference.
#![expect(
    unsafe_code,
    reason = "one table for each process, reached without a lock that a fork may have left held; taking back a host's handle"
)]

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::engine::{EngineSlot, PalisadeEngine};
use super::fence::Fault;
use super::memory;
use super::request::{PalisadeRequest, RequestSlot};
use super::session::{PalisadeSession, SessionSlot};
use super::status::{PALISADE_ARG, PALISADE_CLOSED, PALISADE_FORKED, PALISADE_LIMIT};

#[cfg(target_pointer_width = "64")]
mod bits {
    pub(super) const SLOT: u32 = 20;
    pub(super) const GENERATION: u32 = 28;
    pub(super) const PROCESS: u32 = 8;
    pub(super) const ENGINE: usize = 0xE1;
    pub(super) const SESSION: usize = 0x5E;
    pub(super) const REQUEST: usize = 0x9A;
}
#[cfg(target_pointer_width = "32")]
mod bits {
    pub(super) const SLOT: u32 = 12;
    pub(super) const GENERATION: u32 = 14;
    pub(super) const PROCESS: u32 = 2;
    pub(super) const ENGINE: usize = 0x9;
    pub(super) const SESSION: usize = 0xA;
    pub(super) const REQUEST: usize = 0xD;
}

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Engine,
    Session,
    Request,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Engine, Kind::Session, Kind::Request];

    fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Session => "session",
            Self::Request => "request",
        }
    }

    fn bits(self) -> usize {
        match self {
            Self::Engine => bits::ENGINE,
            Self::Session => bits::SESSION,
            Self::Request => bits::REQUEST,
        }
    }

    fn of(bits: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.bits() == bits)
    }
}

/// A ticket taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticket {
    kind: Kind,
    process: usize,
    generation: usize,
    slot: usize,
}

impl Ticket {
    fn pack(self) -> usize {
        let high = (self.kind.bits() << bits::PROCESS) | self.process;
        (((high << bits::GENERATION) | self.generation) << bits::SLOT) | self.slot
    }

    fn unpack(value: usize) -> Option<Self> {
        let low = |shift: u32, width: u32| (value >> shift) & ((1 << width) - 1);
        Some(Self {
            kind: Kind::of(value >> (bits::SLOT + bits::GENERATION + bits::PROCESS))?,
            process: low(bits::SLOT + bits::GENERATION, bits::PROCESS),
            generation: low(bits::SLOT, bits::GENERATION),
            slot: low(0, bits::SLOT),
        })
    }
}

/// The slots of one process. `O` is what they hold.
struct Table<O> {
    pid: u32,
    process: usize,
    slots: RwLock<Slots<O>>,
}

struct Slots<O> {
    all: Vec<Slot<O>>,
    /// Slots that may be used again.
    free: Vec<usize>,
}

struct Slot<O> {
    generation: usize,
    object: Option<O>,
}

impl<O: Clone> Table<O> {
    fn new(pid: u32, process: usize) -> Self {
        let slots = RwLock::new(Slots { all: Vec::new(), free: Vec::new() });
        Self { pid, process: process % (1 << bits::PROCESS), slots }
    }

    fn insert(&self, kind: Kind, object: O) -> Result<usize, Fault> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None if slots.all.len() >> bits::SLOT != 0 => {
                return Err(Fault::new(PALISADE_LIMIT, "this process has used up its handles"));
            }
            None => {
                slots.all.push(Slot { generation: 0, object: None });
                slots.all.len() - 1
            }
        };
        let place = slots.all.get_mut(slot).ok_or_else(|| Fault::new(PALISADE_LIMIT, "no slot for a handle"))?;
        place.object = Some(object);
        Ok(Ticket { kind, process: self.process, generation: place.generation, slot }.pack())
    }

    fn find(&self, ticket: Ticket) -> Result<O, Fault> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        match slots.all.get(ticket.slot) {
            Some(slot) if slot.generation == ticket.generation => slot.object.clone().ok_or_else(|| closed(ticket)),
            Some(slot) if slot.generation > ticket.generation => Err(closed(ticket)),
            _ => Err(foreign(ticket.kind)),
        }
    }

    fn remove(&self, ticket: Ticket) -> Result<O, Fault> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let place = match slots.all.get_mut(ticket.slot) {
            Some(place) if place.generation == ticket.generation => place,
            _ => return Err(closed(ticket)),
        };
        let object = place.object.take().ok_or_else(|| closed(ticket))?;
        if place.generation + 1 < 1 << bits::GENERATION {
            place.generation += 1;
            slots.free.push(ticket.slot);
        }
        Ok(object)
    }
}

fn closed(ticket: Ticket) -> Fault {
    Fault::new(PALISADE_CLOSED, format!("the {} was freed", ticket.kind.name()))
}

fn foreign(kind: Kind) -> Fault {
    Fault::new(PALISADE_ARG, format!("the {} handle was not made by this library", kind.name()))
}

/// What the table holds.
#[derive(Clone)]
pub(super) enum Object {
    Engine(Arc<EngineSlot>),
    Session(Arc<SessionSlot>),
    Request(Arc<RequestSlot>),
}

/// The type a host sees, and what stands behind it.
pub(super) trait Opaque {
    const KIND: Kind;
    type Slot;
    fn wrap(slot: Arc<Self::Slot>) -> Object;
    fn unwrap(object: Object) -> Option<Arc<Self::Slot>>;
}

macro_rules! opaque {
    ($type:ty, $kind:ident, $slot:ty) => {
        impl Opaque for $type {
            const KIND: Kind = Kind::$kind;
            type Slot = $slot;
            fn wrap(slot: Arc<$slot>) -> Object {
                Object::$kind(slot)
            }
            fn unwrap(object: Object) -> Option<Arc<$slot>> {
                if let Object::$kind(slot) = object { Some(slot) } else { None }
            }
        }
    };
}

opaque!(PalisadeEngine, Engine, EngineSlot);
opaque!(PalisadeSession, Session, SessionSlot);
opaque!(PalisadeRequest, Request, RequestSlot);

/// The table of this process. A forked child begins its own: the parent's may have been locked at the fork by a thread
/// that does not exist in the child.
fn table() -> &'static Table<Object> {
    static CURRENT: AtomicPtr<Table<Object>> = AtomicPtr::new(std::ptr::null_mut());
    let pid = std::process::id();
    loop {
        let current = CURRENT.load(Ordering::Acquire);
        // SAFETY: what is stored below is never freed.
        let known = unsafe { current.as_ref() };
        if let Some(table) = known.filter(|table| table.pid == pid) {
            return table;
        }
        let process = known.map_or(0, |table| table.process + 1);
        let next = Box::into_raw(Box::new(Table::new(pid, process)));
        if CURRENT.compare_exchange(current, next, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: it was made just above and stored nowhere.
            drop(unsafe { Box::from_raw(next) });
        }
    }
}

fn ticket<H: Opaque>(handle: *const H, name: &str) -> Result<Ticket, Fault> {
    if handle.is_null() {
        return Err(Fault::new(PALISADE_ARG, format!("{name} is NULL")));
    }
    let ticket = Ticket::unpack(handle.addr()).ok_or_else(|| foreign(H::KIND))?;
    if ticket.kind != H::KIND {
        let message = format!("{name} is the handle of another kind of object: {}", ticket.kind.name());
        return Err(Fault::new(PALISADE_ARG, message));
    }
    Ok(ticket)
}

/// Hands out a ticket for an object.
pub(super) fn hand_out<H: Opaque>(slot: Arc<H::Slot>) -> Result<*mut H, Fault> {
    table().insert(H::KIND, H::wrap(slot)).map(std::ptr::without_provenance_mut)
}

/// The object of a ticket.
pub(super) fn borrow<H: Opaque>(handle: *const H, name: &str) -> Result<Arc<H::Slot>, Fault> {
    let ticket = ticket(handle, name)?;
    let table = table();
    if ticket.process != table.process {
        let message = format!("the {} was made before a fork, by the parent process", H::KIND.name());
        return Err(Fault::new(PALISADE_FORKED, message));
    }
    H::unwrap(table.find(ticket)?).ok_or_else(|| foreign(H::KIND))
}

/// Takes a ticket back and returns the object.
fn take_back<H: Opaque>(handle: *const H, name: &str) -> Result<Arc<H::Slot>, Fault> {
    H::unwrap(table().remove(ticket(handle, name)?)?).ok_or_else(|| foreign(H::KIND))
}

/// What the free functions share: NULL is nothing to do, a handle of the parent process is only forgotten, the object
/// is let go once `ready` says so.
///
/// # Safety
/// `handle` is NULL, or points to a handle that may be written.
pub(super) unsafe fn free<H: Opaque>(
    handle: *mut *mut H,
    name: &str,
    ready: impl FnOnce(&H::Slot) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if handle.is_null() {
        return Ok(());
    }
    // SAFETY: as this function asks.
    let (out, ticket) = unsafe { (memory::out(handle, name)?, handle.read()) };
    if ticket.is_null() {
        return Ok(());
    }
    match borrow(ticket, name) {
        Ok(slot) => {
            ready(&slot)?;
            take_back(ticket, name)?;
        }
        Err(fault) if fault.status == PALISADE_FORKED => {}
        Err(fault) => return Err(fault),
    }
    out.set(std::ptr::null_mut());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn parts(value: usize) -> Ticket {
        Ticket::unpack(value).unwrap()
    }

    #[test]
    fn tickets_come_apart_as_they_were_put_together() {
        let most = |width: u32| (1 << width) - 1;
        for kind in Kind::ALL {
            for generation in [0, 1, most(bits::GENERATION)] {
                for slot in [0, 1, most(bits::SLOT)] {
                    let ticket = Ticket { kind, process: most(bits::PROCESS), generation, slot };
                    assert_ne!(ticket.pack(), 0);
                    assert_eq!(Ticket::unpack(ticket.pack()), Some(ticket));
                }
            }
        }
    }

    #[test]
    fn a_freed_ticket_stays_freed_over_a_million_reuses() {
        let table = Table::new(1, 0);
        let first = parts(table.insert(Kind::Session, 0_u32).unwrap());
        table.remove(first).unwrap();
        for round in 0..1 << 20 {
            let value = table.insert(Kind::Session, round).unwrap();
            assert_ne!(parts(value), first);
            assert_eq!(parts(value).slot, 0, "the slot is used again");
            assert_eq!(table.remove(parts(value)).unwrap(), round);
        }
        assert_eq!(table.find(first).unwrap_err().status, PALISADE_CLOSED);
        assert_eq!(table.remove(first).unwrap_err().status, PALISADE_CLOSED);
    }

    #[test]
    fn a_slot_with_no_generation_left_is_not_used_again() {
        let table = Table::new(1, 0);
        let first = table.insert(Kind::Engine, ()).unwrap();
        let last = (1 << bits::GENERATION) - 1;
        table.slots.write().unwrap().all[0].generation = last;
        let worn = Ticket { generation: last, ..parts(first) };
        table.remove(worn).unwrap();
        assert_eq!(parts(table.insert(Kind::Engine, ()).unwrap()).slot, 1);
        assert_eq!(table.find(worn).unwrap_err().status, PALISADE_CLOSED);
    }

    #[test]
    fn tickets_never_handed_out_are_foreign() {
        let table = Table::new(1, 0);
        let live = parts(table.insert(Kind::Engine, ()).unwrap());
        for odd in [Ticket { slot: 1, ..live }, Ticket { generation: 1, ..live }] {
            assert_eq!(table.find(odd).unwrap_err().status, PALISADE_ARG);
        }
    }

    #[test]
    fn addresses_and_other_kinds_are_refused() {
        let here = 0_u64;
        let address = std::ptr::from_ref(&here).cast::<PalisadeEngine>();
        assert_eq!(borrow(address, "engine").err().unwrap().status, PALISADE_ARG);
        assert_eq!(borrow(std::ptr::null::<PalisadeEngine>(), "engine").err().unwrap().message, "engine is NULL");
        let session = Ticket { kind: Kind::Session, process: 0, generation: 0, slot: 0 }.pack();
        let fault = borrow(std::ptr::without_provenance::<PalisadeEngine>(session), "engine").err().unwrap();
        assert_eq!(fault.message, "engine is the handle of another kind of object: session");
    }

    #[test]
    fn many_threads_get_tickets_of_their_own() {
        let table = Table::new(1, 0);
        std::thread::scope(|s| {
            for thread in 0..4 {
                let table = &table;
                s.spawn(move || {
                    for round in 0..2000 {
                        let ticket = parts(table.insert(Kind::Session, (thread, round)).unwrap());
                        assert_eq!(table.find(ticket).unwrap(), (thread, round));
                        assert_eq!(table.remove(ticket).unwrap(), (thread, round));
                        assert!(table.find(ticket).is_err());
                    }
                });
            }
        });
    }
}
