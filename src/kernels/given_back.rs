//! Freed memory, back to the system.

/// Page faults of the system's allocator cost a fifth to a third of candle's time on a CPU.
/// In the Python extension it serves that only; the host process keeps its own.
#[cfg(all(feature = "allocator", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: super::blocks::Blocks<mimalloc::MiMalloc> =
    super::blocks::Blocks::new(mimalloc::MiMalloc);
#[cfg(all(feature = "allocator", not(target_os = "linux")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives the pages of freed memory back to the system at once. The extension's allocator keeps
/// them for a while otherwise, because taking them anew costs a page fault each.
///
/// Without the feature `allocator` the system's allocator serves, which is left as it is.
#[allow(unsafe_code)]
pub fn give_back_freed_memory() {
    #[cfg(feature = "allocator")]
    {
        // SAFETY: touches nothing but what the allocator holds free; callable at any time, from
        // any thread.
        let collect = || unsafe { libmimalloc_sys::mi_collect(true) };
        collect();
        // Each worker has a heap of its own; nobody waits for those that are busy.
        super::crew::on_each_worker(collect);
        rayon::spawn_broadcast(move |_| collect());
        #[cfg(target_os = "linux")]
        ALLOCATOR.give_back();
    }
}
