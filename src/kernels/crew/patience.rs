//! How long a thread looks for what it waits for before it sleeps.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

/// A thread that has waited in vain looks half as long next time, one that has not twice as long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(Duration);

impl Patience {
    /// About what it costs to sleep and be woken, twice.
    const MOST: Duration = Duration::from_micros(100);
    /// Between two kernels of one layer.
    const LEAST: Duration = Duration::from_micros(6);
    /// A look at the clock that comes this late was held up: another thread had the core.
    const HELD_UP: Duration = Duration::from_micros(500);
    /// Looks between two looks at the clock.
    const LOOKS: usize = 16;

    pub(super) const fn new() -> Self {
        Self(Self::MOST)
    }

    /// Whether `found` became true in time.
    pub(super) fn wait(&mut self, found: impl Fn() -> bool) -> bool {
        if found() {
            return true;
        }
        let start = Instant::now();
        let mut last = start;
        loop {
            for _ in 0..Self::LOOKS {
                spin_loop();
                if found() {
                    self.0 = (2 * self.0).min(Self::MOST);
                    return true;
                }
            }
            let now = Instant::now();
            if now - last > Self::HELD_UP {
                self.0 = Self::LEAST; // more threads than cores: leave the core to the others
                return found();
            }
            if now - start > self.0 {
                self.0 = (self.0 / 2).max(Self::LEAST);
                return false;
            }
            last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_shrinks_in_vain_and_grows_again() {
        let mut patience = Patience::new();
        for _ in 0..10 {
            assert!(!patience.wait(|| false));
        }
        assert_eq!(patience.0, Patience::LEAST);
        let looks = std::cell::Cell::new(0);
        for _ in 0..10 {
            looks.set(0);
            assert!(patience.wait(|| looks.replace(looks.get() + 1) > 0));
        }
        assert_eq!(patience.0, Patience::MOST);
    }
}
