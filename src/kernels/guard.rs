//! The kernels on slices that end where memory ends: reading one number too far is a crash.

#![allow(unsafe_code, clippy::unwrap_used)]

use std::ops::Deref;

use candle::Shape;
use proptest::prelude::*;

use super::buffer::Blank;
use super::conv::Geometry;
use super::cross_entropy::Compared;
use super::lines::Lines;
use super::naive::numbers;
use super::packed::{self, Packed, Precision};
use super::panels::Columns;
use super::product::{Finish, product};
use super::q8::{self, Q8};
use super::runs::Runs;
use super::simd::forced::on_every_path;
use super::{
    Classes, Targets, conv_gradient, conv_product, depthwise, few, norm, planes, q8_sums, rope,
};

/// Numbers whose last one lies right before a page that must not be touched.
pub(super) struct Guarded {
    map: *mut libc::c_void,
    bytes: usize,
    start: *const f32,
    len: usize,
}

impl Guarded {
    pub(super) fn noise(len: usize, seed: u64) -> Self {
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
        let map: super::Forward = super::GELU.forward;
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
        let eighths = Q8::new(Lines::rows(&w, columns, depth));
        for path in q8_sums::paths() {
            let out = q8::product_on(path, Lines::rows(&a, rows, depth), &eighths, finish);
            prop_assert!(out.iter().all(|x| x.is_finite()));
        }
        prop_assert!(few::product(&a, &w, depth, finish).iter().all(|x| x.is_finite()));
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
    fn rows_stay_inside(rows in 1usize..40, half in 1usize..45, rest in 0usize..3) {
        let width = 2 * half + rest;
        let (x, g) = (Guarded::noise(rows * width, 1), Guarded::noise(rows * width, 2));
        let (weight, bias) = (Guarded::noise(width, 3), Guarded::noise(width, 4));
        let (cos, sin) = (Guarded::noise(rows * half, 5), Guarded::noise(rows * half, 6));
        let mut part = vec![0.0; 2 * width];
        let mut outs = vec![vec![Blank::new(f32::NAN); rows * width]; 6];
        norm::layer_norm_rows(&x, &weight, &bias, 1e-5, &mut outs[0]);
        norm::layer_norm_backward_rows(&x, &g, &weight, 1e-5, &mut outs[1], &mut part);
        norm::rms_norm_rows(&x, &weight, 1e-5, &mut outs[2]);
        norm::rms_norm_backward_rows(&x, &g, &weight, 1e-5, &mut outs[3], &mut part[..width]);
        rope::turn_halves(&x, width, &cos, &sin, half, width, &mut outs[4]);
        rope::turn_interleaved(&x, width, &cos, &sin, half, width, &mut outs[5]);
        // SAFETY: all are numbers from the start; NaN where a kernel did not write.
        let all = outs.iter().flatten().map(|x| unsafe { x.assume_init() });
        prop_assert!(all.chain(part).all(f32::is_finite));
    }

    #[test]
    fn gates_and_losses_stay_inside(rows in 1usize..20, classes in 1usize..90) {
        let n = rows * classes;
        let (x, up, g) = (Guarded::noise(n, 1), Guarded::noise(n, 2), Guarded::noise(n, 3));
        let (mut dx, mut dup) = (vec![f32::NAN; n], vec![f32::NAN; n]);
        for function in [&super::RELU, &super::GELU, &super::SILU] {
            (function.gate)(&x, &up, &mut dx);
            prop_assert!(dx.iter().all(|x| x.is_finite()));
            (function.gate_backward)(&x, &up, &g, &mut dx, &mut dup);
            prop_assert!(dx.iter().chain(&dup).all(|x| x.is_finite()));
        }
        let targets = (0..rows).map(|row| Some((row % classes) as u32)).collect();
        let weights = Some(Guarded::noise(classes, 4).iter().map(|x| x.abs()).collect());
        let targets = Targets::Classes(Classes::new(targets, classes, 0.1, weights));
        let mut compared = Compared::new(rows, classes, targets);
        compared.absorb(0, &x);
        dx.copy_from_slice(&x);
        dx.chunks_exact_mut(classes).enumerate().for_each(|(row, x)| compared.slope(row, 0, 1.0, x));
        prop_assert!(dx.iter().all(|x| x.is_finite()));
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
        let out = depthwise::forward(&x, &w, sizes, depthwise::Finish::default());
        let g = Guarded::noise(out.len(), 3);
        let (dx, dw) = (depthwise::input_gradient(&w, &g, sizes), depthwise::weight_gradient(&x, &g, sizes));
        prop_assert!(out.iter().chain(&dx).chain(&dw).all(|x| x.is_finite()));
    }

    #[test]
    fn windows_of_one_plane_stay_inside(
        height in 1usize..20, width in 1usize..40, kernel in 1usize..8,
    ) {
        let column = |x| (x, (0..kernel).map(|y| y * kernel + x).collect());
        let columns: Vec<(usize, Vec<usize>)> = (0..kernel).map(column).collect();
        let every = on_every_path(|| {
            let runs = Runs::new(width + kernel - 1, [height, width], &columns);
            let (source, weight) = (Guarded::noise(runs.reach(), 1), Guarded::noise(kernel * kernel, 2));
            runs.correlate(&source, &weight, 0.5, &mut Vec::new()).to_vec()
        });
        prop_assert!(every.iter().flatten().all(|x| x.is_finite()));
    }
}
