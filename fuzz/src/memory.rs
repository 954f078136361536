//! A meter of what a case allocates: the global allocator of whoever links this crate.
//!
//! Counts are per thread, so that tests side by side don't see each other; a case runs on one
//! thread. What C code allocates (zstd's window) does not pass here and is not counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// Runs `act` and fails if it had more than `limit` bytes at a time.
///
/// # Errors
/// The peak was above `limit`.
pub fn bounded<T>(what: &str, limit: usize, act: impl FnOnce() -> T) -> Result<T, String> {
    let before = NOW.get();
    PEAK.set(before);
    let result = act();
    let peak = PEAK.get() - before;
    if peak > limit as i64 {
        return Err(format!("{what} took {peak} bytes of memory, allowed are {limit}"));
    }
    Ok(result)
}

/// What a decoder may take for so many bytes.
pub fn decoder_limit(input_bytes: usize) -> usize {
    64 * input_bytes + (1 << 20)
}

fn count(bytes: i64) {
    // A thread that is being torn down has no counters any more, and no case either.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call is handed to `System` unchanged, which keeps the contract of the trait; the
// counters are thread-local cells without destructors and allocate nothing themselves.
#[allow(unsafe_code)] // The only way to see each allocation on stable.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's block and layout, unchanged.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's block, layout and size, unchanged.
        unsafe { System.realloc(at, layout, size) }
    }
}
