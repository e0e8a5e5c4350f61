//! The kernels on slices that end where memory ends: reading one number too far is a crash.

#![allow(unsafe_code, clippy::unwrap_used)]

use std::ops::Deref;

use candle::Shape;
use proptest::prelude::*;

use super::attention::{Heads, Plan, forward as attend};
use super::conv::Geometry;
use super::lines::Lines;
use super::naive::numbers;
use super::packed::{self, Packed, Precision};
use super::panels::Columns;
use super::product::{Finish, product};
use super::{Scores, conv_gradient, conv_product, depthwise, planes};

/// Numbers whose last one lies right before a page that must not be touched.
struct Guarded {
    map: *mut libc::c_void,
    bytes: usize,
    start: *const f32,
    len: usize,
}

impl Guarded {
    fn noise(len: usize, seed: u64) -> Self {
        let values = numbers(len, seed);
        // SAFETY: asks for pages of our own, writes inside them, and closes the last.
        unsafe {
            let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap();
            let used = (4 * len).next_multiple_of(page);
            let bytes = used + page;
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(std::ptr::null_mut(), bytes, rights, flags, -1, 0);
            assert!(map != libc::MAP_FAILED);
            let end = map.cast::<f32>().add(used / 4);
            assert_eq!(libc::mprotect(end.cast(), page, libc::PROT_NONE), 0);
            let start = end.sub(len);
            start.copy_from_nonoverlapping(values.as_ptr(), len);
            Self { map, bytes, start, len }
        }
    }
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `noise` wrote these numbers, and the map lives as long as we do.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the map is ours, and nothing borrows from it any more.
        unsafe { libc::munmap(self.map, self.bytes) };
    }
}

proptest! {
    #[test]
    fn products_stay_inside(rows in 1usize..40, columns in 1usize..80, depth in 1usize..90) {
        let (a, w) = (Guarded::noise(rows * depth, 1), Guarded::noise(columns * depth, 2));
        let (bias, residual) = (Guarded::noise(columns, 3), Guarded::noise(rows * columns, 4));
        let map: super::Forward = super::gelu_forward;
        let finish = Finish { bias: Some(&bias), map: Some(map), residual: Some(&residual) };
        for (a, w) in [
            (Lines::rows(&a, rows, depth), Lines::rows(&w, columns, depth)),
            (Lines::columns(&a, depth, rows), Lines::columns(&w, depth, columns)),
        ] {
            let panels = Columns::of(super::simd::level(), w);
            prop_assert!(product(a, panels.view(), finish).iter().all(|x| x.is_finite()));
            for precision in [Precision::F32, Precision::Bf16] {
                let out = packed::product(a, &Packed::of(w, precision), finish);
                prop_assert!(out.iter().all(|x| x.is_finite()));
            }
        }
    }

    #[test]
    fn convolutions_stay_inside(
        inputs in 1usize..20, outputs in 1usize..40, height in 1usize..9, width in 1usize..40,
        kernel in 1usize..4, stride in 1usize..3, padding in 0usize..2,
    ) {
        prop_assume!(height.min(width) + 2 * padding >= kernel);
        let geometry = Geometry { kernel, stride, padding, groups: 1 };
        let shapes = [Shape::from((1, inputs, height, width)), Shape::from((outputs, inputs, kernel, kernel))];
        let sizes = super::conv::Sizes::new(&shapes[0], &shapes[1], geometry).unwrap();
        let (x, w) = (Guarded::noise(shapes[0].elem_count(), 1), Guarded::noise(shapes[1].elem_count(), 2));
        let out = conv_product::forward(&x, &w, sizes, conv_product::Finish::default());
        let g = Guarded::noise(out.len(), 3);
        let planes = planes::Planes::new(&x, sizes);
        let some = 0..sizes.taps();
        let dw = conv_gradient::weight_gradient(&planes, &g, 0..1, &some, (sizes, super::simd::level()));
        prop_assert!(out.iter().chain(&dw).all(|x| x.is_finite()));
    }

    #[test]
    fn depthwise_convolutions_stay_inside(
        channels in 2usize..4, height in 1usize..20, width in 1usize..40, kernel in 1usize..6,
        stride in 1usize..4, padding in 0usize..3,
    ) {
        prop_assume!(height.min(width) + 2 * padding >= kernel);
        let geometry = Geometry { kernel, stride, padding, groups: channels };
        let shapes = [Shape::from((2, channels, height, width)), Shape::from((channels, 1, kernel, kernel))];
        let sizes = super::conv::Sizes::new(&shapes[0], &shapes[1], geometry).unwrap();
        let (x, w) = (Guarded::noise(shapes[0].elem_count(), 1), Guarded::noise(shapes[1].elem_count(), 2));
        let out = depthwise::forward(&x, &w, sizes, depthwise::Finish::default()).0;
        let g = Guarded::noise(out.len(), 3);
        let (dx, dw) = (depthwise::input_gradient(&w, &g, sizes), depthwise::weight_gradient(&x, &g, sizes));
        prop_assert!(out.iter().chain(&dx).chain(&dw).all(|x| x.is_finite()));
    }

    #[test]
    fn attention_stays_inside(queries in 1usize..70, keys in 1usize..70, dim in 1usize..40) {
        let heads = |rows: usize, seed| Guarded::noise(2 * rows * dim, seed);
        let (q, k, v) = (heads(queries, 1), heads(keys, 2), heads(keys, 3));
        let view = |data| Heads { data, batch: 0, head: dim, row: 2 * dim };
        let scores = Scores::new([1, 2, queries, keys], 0.3, false, None, None).unwrap();
        let plan = Plan {
            batch: 1, heads: 2, kv_heads: 2, queries, keys, dim, value_dim: dim, scores,
        };
        let out = attend(&plan, view(&q), view(&k), view(&v));
        prop_assert!(out.iter().all(|x| x.is_finite()));
    }
}
