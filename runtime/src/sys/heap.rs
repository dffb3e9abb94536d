//! The program's heap: one arena that grows and is never tidied, because the program is gone after
//! milliseconds.
//!
//! An allocator for programs that live long returns memory to the kernel and fetches it again, at a
//! system call and a page fault each. Here a block is the next bytes of one mapping; only the last
//! block is ever given back or grown in place. What the arena can't hold goes to the C library's
//! allocator, so verbs that stay (`run` with a terminal, `events`) do not grow without bound.
//!
//! Not in the program's own data: the last instructions before an exec unmap that (see `seal`),
//! and what is executed is on the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Relaxed},
};

/// Every block begins at a multiple of this, as every block of a C library does: buffers of bytes
/// are used for structures, those of control messages by nix for one.
const ALIGN_MIN: usize = 8;

/// Size of the arena. Pages that are never touched cost nothing.
const ARENA_BYTES: usize = 1024 * 1024;
/// What is touched at once, in place of a fault for each page: less than the least verb uses.
const POPULATED_BYTES: usize = 64 * 1024;
/// Larger blocks would fill the arena with buffers that live for a moment.
const BLOCK_BYTES_MAX: usize = 128 * 1024;
const PAGE_BYTES: usize = 4096;
/// Where the program's arena begins; 0 before the first block.
static START: AtomicUsize = AtomicUsize::new(0);
/// `start` of an arena that could not be mapped: everything goes to the C library.
const NONE: usize = usize::MAX;

/// The allocator.
#[derive(Debug)]
pub struct Arena {
    /// Where the mapping begins; 0 before the first block.
    start: AtomicUsize,
    /// Where the next block begins.
    next: AtomicUsize,
}

impl Arena {
    /// An arena without memory.
    pub const fn new() -> Arena {
        Arena { start: AtomicUsize::new(0), next: AtomicUsize::new(0) }
    }

    fn holds(&self, block: *mut u8) -> bool {
        let start = self.start.load(Relaxed);
        start != NONE && (block as usize).wrapping_sub(start) < ARENA_BYTES
    }

    fn start(&self) -> usize {
        match self.start.load(Relaxed) {
            0 => self.map(),
            start => start,
        }
    }

    #[cold]
    fn map(&self) -> usize {
        let start = map_arena().unwrap_or(NONE);
        // Of two threads that come first, one has mapped for nothing.
        match self.start.compare_exchange(0, start, Relaxed, Relaxed) {
            Ok(_) => {
                self.next.store(start, Relaxed);
                start
            }
            Err(other) => other,
        }
    }

    /// The next bytes; `None` where they are not in the arena.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let start = self.start();
        if start == NONE || layout.size() > BLOCK_BYTES_MAX {
            return None;
        }
        let end = start + ARENA_BYTES;
        let mut next = self.next.load(Relaxed);
        loop {
            // Another thread maps at this moment.
            if next == 0 {
                return None;
            }
            let block = next.next_multiple_of(layout.align().max(ALIGN_MIN));
            let after = block.checked_add(layout.size()).filter(|after| *after <= end)?;
            // What another thread did with a block that it gave back is done before this.
            match self.next.compare_exchange(next, after, AcqRel, Relaxed) {
                Ok(_) => return Some(ptr::with_exposed_provenance_mut(block)),
                Err(other) => next = other,
            }
        }
    }

    /// Moves the end of the block that ends at `old`, if that is the last one.
    fn move_end(&self, old: usize, new: usize) -> bool {
        let end = self.start.load(Relaxed) + ARENA_BYTES;
        new <= end && self.next.compare_exchange(old, new, AcqRel, Relaxed).is_ok()
    }
}

impl Default for Arena {
    fn default() -> Arena {
        Arena::new()
    }
}

// SAFETY: blocks of the arena are disjoint, because each is taken by moving `next` over it, and
// are as large and as aligned as asked; all other blocks are the C library's.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(block) => block,
            // SAFETY: the caller's layout is valid, as the C library's allocator wants it.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(block) => {
                // A block may have been given back, so it need not be zero.
                // SAFETY: the block was just taken and has this size.
                unsafe { ptr::write_bytes(block, 0, layout.size()) };
                block
            }
            // SAFETY: the caller's layout is valid.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.holds(block) {
            self.move_end(block as usize + layout.size(), block as usize);
            return;
        }
        // SAFETY: the block is not the arena's, so it came from there with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.holds(block) {
            // SAFETY: the block is not the arena's, so it came from there with this layout.
            return unsafe { System.realloc(block, layout, size) };
        }
        let start = block as usize;
        if size <= BLOCK_BYTES_MAX && self.move_end(start + layout.size(), start + size) {
            return block;
        }
        if size <= layout.size() {
            return block;
        }
        // SAFETY: the alignment was valid before, and the caller checked the size with it.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the layout is valid and not empty, because it is larger than the old one.
        let new = unsafe { self.alloc(larger) };
        if !new.is_null() {
            // SAFETY: both blocks have that many bytes, and the new one was not in use.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size()) };
        }
        new
    }
}

/// The arena's memory. Not by the C library, which the allocator may not call back.
fn map_arena() -> Option<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let none = ptr::null_mut();
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other.
    let start = unsafe { libc::mmap(none, ARENA_BYTES, access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.expose_provenance();
    populate(start, POPULATED_BYTES);
    START.store(start, Relaxed);
    Some(start)
}

/// Gives this process pages of its own where it shares some with a child since a clone: those of
/// the heap and of the stack that are in use. One call for each in place of a fault for each page
/// that is written to; and while a thread runs on another processor, each such fault would wait for
/// that processor.
pub fn take_own_pages() {
    /// Of the stack: below the caller, for what it will call, and above it.
    const BELOW_BYTES: usize = 8 * 1024;
    const ABOVE_BYTES: usize = 32 * 1024;
    let start = START.load(Relaxed);
    if start != 0 {
        populate(start, POPULATED_BYTES + BELOW_BYTES);
    }
    let on_stack = 0u8;
    let here = ((&raw const on_stack) as usize) & !(PAGE_BYTES - 1);
    populate(here - BELOW_BYTES, BELOW_BYTES + ABOVE_BYTES);
}

/// Makes pages before they are used. A kernel before 5.14 does not know it, and makes each at its
/// first use.
fn populate(start: usize, bytes: usize) {
    let start = ptr::with_exposed_provenance_mut(start);
    // SAFETY: the contents of memory do not change, whatever is there or not.
    let _ = unsafe { libc::madvise(start, bytes, libc::MADV_POPULATE_WRITE) };
}

#[cfg(test)]
mod tests {
    use super::{ARENA_BYTES, Arena, BLOCK_BYTES_MAX};
    use std::alloc::{GlobalAlloc, Layout};

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    /// A block of `size` bytes, which are all `byte`.
    fn block(arena: &Arena, size: usize, byte: u8) -> *mut u8 {
        // SAFETY: the size is not zero.
        let block = unsafe { arena.alloc(layout(size)) };
        // SAFETY: the block is new and has that many bytes.
        unsafe { block.write_bytes(byte, size) };
        block
    }

    fn resize(arena: &Arena, block: *mut u8, old: usize, new: usize) -> *mut u8 {
        // SAFETY: tests give a live block with its size, and use it no more.
        unsafe { arena.realloc(block, layout(old), new) }
    }

    fn give_back(arena: &Arena, block: *mut u8, size: usize) {
        // SAFETY: tests give a live block with its size, and use it no more.
        unsafe { arena.dealloc(block, layout(size)) }
    }

    fn is_all(block: *mut u8, size: usize, byte: u8) -> bool {
        // SAFETY: tests give a live block of that many bytes.
        unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|b| *b == byte)
    }

    #[test]
    fn the_last_block_grows_in_place_and_is_given_back() {
        let arena = Arena::new();
        let a = block(&arena, 10, 7);
        assert_eq!(resize(&arena, a, 10, 100), a);
        let b = block(&arena, 16, 1);
        assert_eq!(b as usize, (a as usize + 100).next_multiple_of(8));
        let c = resize(&arena, a, 100, 200);
        assert!(c != a && is_all(c, 10, 7) && is_all(b, 16, 1));
        give_back(&arena, c, 200);
        assert_eq!(block(&arena, 8, 0), c);
    }

    #[test]
    fn a_buffer_of_bytes_can_hold_a_structure() {
        let arena = Arena::new();
        let bytes = Layout::from_size_align(5, 1).unwrap();
        // SAFETY: the size is not zero.
        let blocks = [(); 3].map(|()| unsafe { arena.alloc(bytes) } as usize);
        assert!(blocks.iter().all(|block| block.is_multiple_of(8)), "{blocks:x?}");
    }

    #[test]
    fn what_was_given_back_is_zero_when_that_is_asked() {
        let arena = Arena::new();
        let a = block(&arena, 64, 1);
        give_back(&arena, a, 64);
        // SAFETY: the size is not zero.
        let b = unsafe { arena.alloc_zeroed(layout(64)) };
        assert!(a == b && is_all(b, 64, 0));
    }

    #[test]
    fn what_does_not_fit_is_the_c_library_s() {
        let arena = Arena::new();
        let large = block(&arena, BLOCK_BYTES_MAX + 1, 1);
        assert!(!arena.holds(large));
        give_back(&arena, large, BLOCK_BYTES_MAX + 1);
        let blocks = ARENA_BYTES / BLOCK_BYTES_MAX;
        assert!((0..blocks).all(|_| arena.holds(block(&arena, BLOCK_BYTES_MAX, 1))));
        let beyond = block(&arena, 1, 1);
        assert!(!arena.holds(beyond));
        give_back(&arena, beyond, 1);
    }
}
