//! Which stretches of addresses are free, and which of them hold pages.

use std::collections::{BTreeMap, BTreeSet};

/// Stretches of addresses; neighbours are one.
#[derive(Debug, Default)]
struct Stretches {
    lens: BTreeMap<usize, usize>,
    by_len: BTreeSet<(usize, usize)>,
    total: usize,
}

impl Stretches {
    const fn new() -> Self {
        Self { lens: BTreeMap::new(), by_len: BTreeSet::new(), total: 0 }
    }

    /// Adds `len` bytes from `at`, none of which is here.
    fn add(&mut self, mut at: usize, mut len: usize) {
        if let Some((&before, &longer)) = self.lens.range(..at).next_back()
            && before + longer == at
        {
            self.drop_at(before, longer);
            (at, len) = (before, longer + len);
        }
        if let Some(&after) = self.lens.get(&(at + len)) {
            self.drop_at(at + len, after);
            len += after;
        }
        self.insert(at, len);
    }

    /// Takes out what is here of `len` bytes from `at`; how much that was.
    fn cut(&mut self, at: usize, len: usize) -> usize {
        let (end, before) = (at + len, self.total);
        while let Some((&start, &size)) = self.lens.range(..end).next_back()
            && start + size > at
        {
            self.drop_at(start, size);
            if start + size > end {
                self.insert(end, start + size - end);
            }
            if start < at {
                self.insert(start, at - start);
            }
        }
        before - self.total
    }

    /// The shortest stretch of at least `len` bytes.
    fn fitting(&self, len: usize) -> Option<usize> {
        self.by_len.range((len, 0)..).next().map(|&(_, at)| at)
    }

    fn insert(&mut self, at: usize, len: usize) {
        self.lens.insert(at, len);
        self.by_len.insert((len, at));
        self.total += len;
    }

    fn drop_at(&mut self, at: usize, len: usize) {
        self.lens.remove(&at);
        self.by_len.remove(&(len, at));
        self.total -= len;
    }
}

/// Free stretches of addresses, and which parts of them hold pages.
#[derive(Debug, Default)]
pub(super) struct Spans {
    free: Stretches,
    /// Parts of what is free that their last owner may have written to.
    dirty: Stretches,
}

impl Spans {
    /// No address.
    pub(super) const fn new() -> Self {
        Self { free: Stretches::new(), dirty: Stretches::new() }
    }

    /// Free bytes that hold pages.
    pub(super) fn dirty(&self) -> usize {
        self.dirty.total
    }

    /// `len` bytes of the shortest stretch that has them, and whether none was written to.
    pub(super) fn take(&mut self, len: usize) -> Option<(usize, bool)> {
        let at = self.free.fitting(len)?;
        self.free.cut(at, len);
        Some((at, self.dirty.cut(at, len) == 0))
    }

    /// Whether a stretch has `len` bytes.
    pub(super) fn fits(&self, len: usize) -> bool {
        self.free.fitting(len).is_some()
    }

    /// New addresses, never written to.
    pub(super) fn grow(&mut self, at: usize, len: usize) {
        self.free.add(at, len);
    }

    /// Frees `len` bytes from `at` that were taken.
    pub(super) fn put(&mut self, at: usize, len: usize) {
        self.free.add(at, len);
        self.dirty.add(at, len);
    }

    /// Takes back that a stretch was clean.
    pub(super) fn soil(&mut self, at: usize, len: usize) {
        self.dirty.add(at, len);
    }

    /// Declares the last `excess` bytes of the longest written stretch clean, or all of it when
    /// that is less; tells where they are.
    pub(super) fn wash(&mut self, excess: usize) -> Option<(usize, usize)> {
        let &(len, at) = self.dirty.by_len.last()?;
        let washed = excess.min(len);
        self.dirty.cut(at + len - washed, washed);
        Some((at + len - washed, washed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_tightest_stretch_is_cut_and_neighbours_are_joined() {
        let mut spans = Spans::new();
        spans.grow(0, 100);
        spans.put(200, 30);
        assert_eq!(spans.take(20), Some((200, false)));
        assert_eq!(spans.dirty(), 10);
        assert_eq!(spans.take(90), Some((0, true)));
        assert_eq!(spans.take(11), None);
        spans.put(0, 90);
        assert_eq!((spans.take(100), spans.dirty()), (Some((0, false)), 10));
        assert_eq!(spans.take(10), Some((220, false)));
        assert_eq!((spans.take(1), spans.dirty()), (None, 0));
    }

    #[test]
    fn no_more_is_washed_than_must_be() {
        let mut spans = Spans::new();
        for (at, len) in [(0, 50), (100, 20), (200, 90)] {
            spans.put(at, len);
        }
        assert_eq!(spans.wash(30), Some((260, 30)));
        assert_eq!(spans.wash(100), Some((200, 60)));
        assert_eq!(spans.take(90), Some((200, true)));
        assert_eq!(spans.dirty(), 70);
        assert_eq!((spans.wash(80), spans.wash(80), spans.wash(1)), {
            (Some((0, 50)), Some((100, 20)), None)
        });
    }

    proptest! {
        /// Against a map of single bytes.
        #[test]
        fn nothing_is_given_twice_and_nothing_is_lost(
            steps in prop::collection::vec((1usize..40, any::<prop::sample::Index>(), 0..4u8), 1..200),
        ) {
            let (mut spans, total) = (Spans::new(), 500);
            spans.grow(0, total);
            let (mut used, mut written) = (Vec::new(), vec![false; total]);
            for (len, which, what) in steps {
                match what {
                    0 if !used.is_empty() => {
                        let (at, len) = used.swap_remove(which.index(used.len()));
                        spans.put(at, len);
                    }
                    1 => {
                        if let Some((at, len)) = spans.wash(len) {
                            written[at..at + len].fill(false);
                        }
                    }
                    _ => {
                        if let Some((at, clean)) = spans.take(len) {
                            let mine = at..at + len;
                            prop_assert_eq!(clean, !written[mine.clone()].contains(&true));
                            for &(other, len) in &used {
                                prop_assert!(mine.end <= other || other + len <= mine.start);
                            }
                            written[mine].fill(true);
                            used.push((at, len));
                        }
                    }
                }
                let held: usize = used.iter().map(|(_, len)| len).sum();
                let truly = written.iter().filter(|&&w| w).count();
                prop_assert_eq!(held + spans.free.total, total);
                prop_assert_eq!(held + spans.dirty(), truly);
                prop_assert_eq!(spans.free.by_len.len(), spans.free.lens.len());
            }
        }
    }
}
