//! Which unit of the processor multiplies bfloat16, if one does.

#[cfg(target_os = "linux")]
use std::arch::asm;
use std::sync::OnceLock;

use super::simd::{Level, level};

/// What multiplies bfloat16 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Tiles of 16 rows of 64 bytes: sixteen times as fast as float32 in registers.
    Amx,
    /// Dot products of pairs in registers: twice as fast on some processors.
    Dot,
}

/// The unit of this processor, if the system lets this process use it.
pub(super) fn unit() -> Option<Unit> {
    static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
    *UNIT.get_or_init(|| {
        if level() != Level::Avx512 || !std::arch::is_x86_feature_detected!("avx512bf16") {
            return None;
        }
        Some(if tiles() { Unit::Amx } else { Unit::Dot })
    })
}

/// Whether the processor has tiles for bfloat16 and the system saves them between threads.
#[allow(unsafe_code)]
fn tiles() -> bool {
    const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
    const SAVED: u64 = 1 << 17 | 1 << 18;
    let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
    // SAFETY: a processor with AVX-512 whose features the standard library found has XGETBV.
    let saved = unsafe { saved_state() };
    features & BF16_AND_TILES == BF16_AND_TILES && saved & SAVED == SAVED && permitted()
}

#[target_feature(enable = "xsave")]
#[allow(unsafe_code)]
fn saved_state() -> u64 {
    // SAFETY: register 0 exists wherever XGETBV does.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// Asks the kernel for the tiles' state, which it gives to a process on demand only.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the call changes nothing but what this process may use; an old kernel refuses it.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
