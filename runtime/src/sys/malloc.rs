//! The C library's heap, for programs that live long and have several threads. The runtime's own is
//! in [`super::heap`].

/// Lets all threads share one heap. glibc gives each its own, up to eight a processor, and what is
/// free in one is of no use to the others. Before there is a second thread; whether it took it.
#[must_use]
pub fn share_one_heap() -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes two numbers and changes a setting of the allocator's own.
        let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        taken == 1
    }
    // Others have one heap for all.
    #[cfg(not(target_env = "gnu"))]
    true
}

/// Gives pages that hold nothing back to the kernel.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `malloc_trim` takes a number, and only pages without a block in them are let go.
        let _whether_there_was_something = unsafe { libc::malloc_trim(0) };
    }
}
