//! The extension's allocator: a process holds little more than the most that was in use at once.
//!
//! Small blocks are mimalloc's. Big ones (tensors) are cut from stretches of addresses of our own,
//! the tightest that fits; freed neighbours become one again. A freed block keeps its pages, since
//! new ones cost a page fault each, but only as long as pages in use and pages kept stay within a
//! sixteenth above the peak of what was in use. So the peak of the process is near what
//! `Model.plan` counts; mimalloc's own big blocks took up to twice that.

mod spans;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use spans::Spans;

/// Blocks from this size on are ours.
const BIG: usize = 32 << 10;
/// Blocks start and end at multiples of this; where the system's pages are larger, none is ours.
const PAGE: usize = 4 << 10;
/// Addresses are asked for in this size at least. They cost nothing until they are written to.
const REGION: usize = 1 << 30;
/// What may be kept beside the peak at least.
const SLACK: usize = 1 << 20;

/// What is in use and what is free.
struct Book {
    used: BTreeMap<usize, usize>,
    free: Spans,
    in_use: usize,
    peak: usize,
    /// The process was forked while another thread wrote here: older blocks are not known.
    torn: bool,
}

impl Book {
    const fn new() -> Self {
        Self { used: BTreeMap::new(), free: Spans::new(), in_use: 0, peak: 0, torn: false }
    }

    /// A block of `len` bytes, and whether it is all zeros.
    fn take(&mut self, len: usize, system: &impl Pages) -> Option<(usize, bool)> {
        if !self.free.fits(len) {
            let map = |size| Some((system.map(size)?, size));
            let (at, got) = [REGION.max(len), len].into_iter().find_map(map)?;
            self.free.grow(at, got);
        }
        let (at, clean) = self.free.take(len)?;
        self.used.insert(at, len);
        self.in_use += len;
        self.peak = self.peak.max(self.in_use);
        let most = (self.peak + self.peak / 16).max(self.in_use + SLACK);
        self.keep(most - self.in_use, system);
        Some((at, clean))
    }

    /// Frees the block at `at`; false when it is none of ours.
    fn give(&mut self, at: usize) -> bool {
        let Some(len) = self.used.remove(&at) else { return false };
        self.in_use -= len;
        self.free.put(at, len);
        true
    }

    /// Gives pages of free stretches back until at most `most` bytes are kept.
    fn keep(&mut self, most: usize, system: &impl Pages) {
        while self.free.dirty() > most {
            let excess = (self.free.dirty() - most).next_multiple_of(PAGE);
            let Some((at, len)) = self.free.wash(excess) else { return };
            if !system.give_back(at, len) {
                return self.free.soil(at, len);
            }
        }
    }
}

/// Where pages come from.
trait Pages {
    /// `len` bytes of new addresses, all zeros.
    fn map(&self, len: usize) -> Option<usize>;

    /// Lets go of the pages of a stretch, which is all zeros then; false when it could not.
    fn give_back(&self, at: usize, len: usize) -> bool;
}

/// The system's pages.
struct System;

#[allow(unsafe_code)]
impl Pages for System {
    fn map(&self, len: usize) -> Option<usize> {
        // SAFETY: asks for new addresses; nothing that exists is touched.
        unsafe {
            if libc::sysconf(libc::_SC_PAGESIZE) != PAGE as libc::c_long {
                return None;
            }
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let manner = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let at = libc::mmap(ptr::null_mut(), len, access, manner, -1, 0);
            // Huge pages: fewer faults, fewer look-ups of addresses. A refusal changes nothing.
            libc::madvise(at, len, libc::MADV_HUGEPAGE);
            (at != libc::MAP_FAILED).then_some(at as usize)
        }
    }

    fn give_back(&self, at: usize, len: usize) -> bool {
        // SAFETY: the stretch is ours and free; `MADV_DONTNEED` on private memory without a file
        // makes it read as zeros.
        unsafe { libc::madvise(at as *mut libc::c_void, len, libc::MADV_DONTNEED) == 0 }
    }
}

/// The allocator: big blocks from stretches of our own, the rest from `A`.
pub(super) struct Blocks<A> {
    small: A,
    /// The process whose thread is at the book; 0 when none is. A child that was forked meanwhile
    /// finds its parent here, and that nobody will come back.
    holder: AtomicU32,
    book: UnsafeCell<Book>,
}

// SAFETY: the book is reached through `with` only, by one thread at a time.
#[allow(unsafe_code)]
unsafe impl<A: Sync> Sync for Blocks<A> {}

impl<A> Blocks<A> {
    /// An allocator that leaves small blocks to `small`.
    pub(super) const fn new(small: A) -> Self {
        Self { small, holder: AtomicU32::new(0), book: UnsafeCell::new(Book::new()) }
    }

    /// Gives all pages back that no block holds.
    pub(super) fn give_back(&self) {
        self.with(|book| {
            book.keep(0, &System);
            book.peak = book.in_use;
        });
    }

    /// Does something with the book, alone. Nothing in here takes a big block.
    fn with<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        let me = std::process::id();
        let mut free = 0;
        while let Err(found) =
            self.holder.compare_exchange_weak(free, me, Ordering::Acquire, Ordering::Relaxed)
        {
            free = if found == 0 || found == me { 0 } else { found };
            std::thread::yield_now();
        }
        let book = self.book.get();
        // SAFETY: only who has put its number into `holder` is here.
        #[allow(unsafe_code)]
        let done = unsafe {
            if free != 0 {
                // Half written: neither read nor dropped.
                ptr::write(book, Book { torn: true, ..Book::new() });
            }
            act(&mut *book)
        };
        self.holder.store(0, Ordering::Release);
        done
    }

    fn take(&self, layout: Layout) -> Option<(*mut u8, bool)> {
        if !ours(layout) {
            return None;
        }
        let len = layout.size().checked_next_multiple_of(PAGE)?;
        let (at, clean) = self.with(|book| book.take(len, &System))?;
        Some((at as *mut u8, clean))
    }
}

fn ours(layout: Layout) -> bool {
    layout.size() >= BIG && layout.align() <= PAGE
}

// SAFETY: a block is free addresses of the size asked for, aligned to pages, given to nobody else
// until it is freed (`Spans` has the proof by test); all else is passed on as it came.
#[allow(unsafe_code)]
unsafe impl<A: GlobalAlloc> GlobalAlloc for Blocks<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some((block, _)) => block,
            None => unsafe { self.small.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some((block, true)) => block,
            Some((block, false)) => {
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            None => unsafe { self.small.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if ours(layout) {
            let (known, torn) = self.with(|book| (book.give(block as usize), book.torn));
            if known || torn {
                return; // after a fork in the wrong moment, rather kept than freed twice
            }
        }
        unsafe { self.small.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: `size` is not zero and does not overflow when rounded up.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !ours(layout) && !ours(new) {
            return unsafe { self.small.realloc(block, layout, size) };
        }
        let room = self.with(|book| book.used.get(&(block as usize)).copied().unwrap_or(0));
        if ours(new) && (room / 2..=room).contains(&size) {
            return block; // one that shrinks to a small block must move: who frees it will not know
        }
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests;
