use std::alloc;
use std::cell::{Cell, RefCell};

use super::*;

/// Hands out made-up addresses and notes what comes back.
#[derive(Default)]
struct Paper {
    mapped: Cell<usize>,
    /// Whether nothing is taken back.
    holds: Cell<bool>,
    back: RefCell<Vec<(usize, usize)>>,
}

impl Pages for Paper {
    fn map(&self, len: usize) -> Option<usize> {
        let at = self.mapped.get() + PAGE;
        self.mapped.set(at + len);
        Some(at)
    }

    fn give_back(&self, at: usize, len: usize) -> bool {
        assert!(at.is_multiple_of(PAGE) && len.is_multiple_of(PAGE), "whole pages only");
        self.back.borrow_mut().push((at, len));
        !self.holds.get()
    }
}

const MIB: usize = 1 << 20;

#[test]
fn pages_in_use_and_kept_stay_near_the_peak() {
    let (mut book, paper) = (Book::new(), Paper::default());
    let (first, clean) = book.take(100 * MIB, &paper).unwrap();
    assert!(clean && book.give(first));
    let (second, clean) = book.take(60 * MIB, &paper).unwrap();
    assert!(second == first && !clean, "pages that are kept serve again");
    book.take(20 * MIB, &paper).unwrap();
    assert!(paper.back.borrow().is_empty(), "no more than the peak is held");
    book.give(second);
    book.take(70 * MIB, &paper).unwrap();
    assert_eq!(
        *paper.back.borrow(),
        [(second + 16 * MIB + 256 * 1024, 44 * MIB - 256 * 1024)],
        "60 MiB would be kept beside 90, where 106.25 are the most"
    );
    assert_eq!((book.in_use, book.peak), (90 * MIB, 100 * MIB));
}

#[test]
fn what_the_system_does_not_take_back_is_not_called_zero() {
    let (mut book, paper) = (Book::new(), Paper::default());
    let (first, _) = book.take(10 * MIB, &paper).unwrap();
    book.give(first);
    paper.holds.set(true);
    book.keep(MIB + 1, &paper);
    assert_eq!((book.free.dirty(), paper.back.borrow().len()), (10 * MIB, 1));
    assert_eq!(book.take(10 * MIB, &paper), Some((first, false)));
    book.give(first);
    paper.holds.set(false);
    book.keep(MIB + 1, &paper);
    assert_eq!(book.free.dirty(), MIB);
}

#[test]
fn what_is_not_ours_is_not_freed_here() {
    let (mut book, paper) = (Book::new(), Paper::default());
    assert!(!book.give(4096));
    let (at, _) = book.take(PAGE, &paper).unwrap();
    assert!(book.give(at) && !book.give(at));
}

#[test]
#[allow(unsafe_code)]
fn blocks_keep_their_content_and_zeroed_ones_are_zero() {
    let blocks = Blocks::new(alloc::System);
    let [small, nearly, big, huge] =
        [1000, BIG - 1, BIG, 64 * MIB].map(|size| Layout::from_size_align(size, 64).unwrap());
    // SAFETY: each block is written within its size and freed once with its last layout.
    unsafe {
        let mut block = blocks.alloc(small);
        let mut layout = small;
        for i in 0..small.size() {
            block.add(i).write(i as u8);
        }
        for next in [big, huge, big, nearly, small, huge] {
            block = blocks.realloc(block, layout, next.size());
            layout = next;
            block.add(next.size() - 1).write(1);
        }
        assert!((0..small.size() - 1).all(|i| block.add(i).read() == i as u8));
        blocks.dealloc(block, layout);
        let zeroed = blocks.alloc_zeroed(huge);
        assert!((0..huge.size()).all(|i| zeroed.add(i).read() == 0));
        blocks.dealloc(zeroed, huge);
    }
    assert_eq!(blocks.with(|book| book.in_use), 0);
    blocks.give_back();
    assert_eq!(blocks.with(|book| book.free.dirty()), 0);
}

#[test]
#[allow(unsafe_code)]
fn what_was_given_back_is_zero_again() {
    let blocks = Blocks::new(alloc::System);
    let mut random = crate::random::Random::new(0, &[]);
    let mut held: Vec<(*mut u8, Layout)> = Vec::new();
    for round in 0..400 {
        let layout = Layout::from_size_align(BIG + random.below(40 * BIG), 64).unwrap();
        // SAFETY: written within its size, freed once.
        unsafe {
            let block = blocks.alloc_zeroed(layout);
            let bytes = std::slice::from_raw_parts_mut(block, layout.size());
            assert!(bytes.iter().all(|byte| *byte == 0), "round {round}");
            bytes.fill(0xff);
            held.push((block, layout));
            while held.len() > 1 + round % 7 {
                let (block, layout) = held.swap_remove(random.below(held.len()));
                blocks.dealloc(block, layout);
            }
        }
    }
    for (block, layout) in held {
        // SAFETY: freed once.
        unsafe { blocks.dealloc(block, layout) };
    }
}

#[test]
#[allow(unsafe_code)]
fn threads_do_not_share_a_block() {
    let blocks = Blocks::new(alloc::System);
    let work = |seed: usize| {
        let mut mine = Vec::new();
        for round in 0..200 {
            let layout = Layout::from_size_align(BIG * (1 + (seed + round) % 5), 64).unwrap();
            // SAFETY: written at its ends, freed once.
            unsafe {
                let block = blocks.alloc(layout);
                block.write(seed as u8);
                block.add(layout.size() - 1).write(seed as u8);
                mine.push((block, layout));
                if round % 3 > 0 {
                    let (block, layout) = mine.swap_remove(round % mine.len());
                    assert_eq!((block.read(), block.add(layout.size() - 1).read()), {
                        (seed as u8, seed as u8)
                    });
                    blocks.dealloc(block, layout);
                }
            }
        }
        for (block, layout) in mine {
            // SAFETY: freed once.
            unsafe { blocks.dealloc(block, layout) };
        }
    };
    std::thread::scope(|scope| (1..5).for_each(|seed| drop(scope.spawn(move || work(seed)))));
    assert_eq!(blocks.with(|book| book.in_use), 0);
}

#[test]
fn a_child_forked_in_the_middle_starts_a_book_of_its_own() {
    let blocks = Blocks::new(alloc::System);
    blocks.with(|book| book.take(BIG, &System));
    blocks.holder.store(u32::MAX, Ordering::Relaxed); // a process that is not this one
    assert!(blocks.with(|book| book.torn && book.in_use == 0));
    assert!(!blocks.with(|book| book.used.contains_key(&0)), "and goes on");
}
