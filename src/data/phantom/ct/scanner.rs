//! The scanner: where the slices lie, how sharp and how noisy they are, and contrast medium.

use super::CtOptions;
use super::body::Body;
use crate::random::Random;

/// How one scan was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner {
    /// Slices, rows, columns.
    pub(super) shape: [usize; 3],
    /// mm, as (z, y, x).
    pub(super) spacing: [f64; 3],
    /// Centre of the first voxel (x, y, z), mm.
    pub(super) origin: [f64; 3],
    /// Blur in the slice (standard deviation), mm.
    pub(super) blur: f32,
    /// How much the kernel overdoes edges; 0 for a soft one.
    pub(super) edge: f32,
    /// Noise in the middle of the body (standard deviation), HU.
    pub(super) noise: f32,
    /// Grain of the noise in pixels: 0 is the finest.
    pub(super) grain: f32,
    pub(super) contrast: bool,
    /// CT number of healthy lung.
    pub(super) inflation: f32,
}

impl Scanner {
    pub(super) fn draw(options: &CtOptions, body: &Body, random: &mut Random) -> Self {
        let mut range = |low: f64, high: f64| random.range(low, high);
        let tall = f64::from(body.scale[2]);
        let (low, high) = (range(-160.0, -148.0) * tall, range(134.0, 144.0) * tall);
        let width = 2.0 * (f64::from(body.fat) * 0.8 + 152.0) * f64::from(body.scale[0]);
        let field = (width + range(-24.0, 45.0)).clamp(300.0, 500.0);
        let (shift, drop) = (range(-6.0, 6.0), range(-8.0, 8.0));
        let dose = range(0.6, 1.5);
        let sharpness = range(0.0, 1.0);
        let inflation = range(-885.0, -845.0) as f32;
        let sharp = random.chance(0.4);
        let contrast = random.chance(options.contrast);
        let native = *random.choose(&[0.625, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0]);
        let (slices, thick) = match options.slices {
            Some(slices) => (slices, (high - low) / slices as f64),
            None => (((high - low) / native).ceil() as usize, native),
        };
        let pixel = field / options.size as f64;
        let middle = 10.0 * f64::from(body.scale[1]) + drop;
        let first = |middle: f64| middle - 0.5 * field + 0.5 * pixel;
        // Quanta are shared among the voxels, and stout patients leave fewer.
        let quanta = (thick / 2.5 * (pixel / 0.7)).sqrt() * dose;
        let stout = (f64::from(body.fat) / 12.0).clamp(0.7, 2.5).sqrt();
        Self {
            shape: [slices, options.size, options.size],
            spacing: [thick, pixel, pixel],
            origin: [first(shift), first(middle), low + 0.5 * thick],
            blur: if sharp { 0.32 } else { 0.55 + 0.25 * sharpness as f32 },
            edge: if sharp { 0.5 + 0.4 * sharpness as f32 } else { 0.0 },
            noise: (options.noise
                * (15.0 * stout / quanta * if sharp { 2.2 } else { 1.0 }).min(70.0))
                as f32,
            grain: if sharp { 0.0 } else { 0.75 },
            contrast,
            inflation,
        }
    }
}

/// Blurs the rows and then the columns of a slice by a Gaussian of `sigma` pixels.
pub(super) fn blur(slice: &mut [f32], columns: usize, sigma: f32) {
    if sigma < 0.15 {
        return;
    }
    let reach = (3.0 * sigma).ceil() as usize;
    let mut weights: Vec<f32> =
        (0..=reach).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    let total = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    for weight in &mut weights {
        *weight /= total;
    }
    let rows = slice.len() / columns;
    let mut line = vec![0.0f32; rows.max(columns)];
    let mut pass = |start: usize, step: usize, count: usize| {
        for (i, cell) in line[..count].iter_mut().enumerate() {
            *cell = slice[start + i * step];
        }
        for i in 0..count {
            let mut sum = weights[0] * line[i];
            for (k, w) in weights.iter().enumerate().skip(1) {
                sum += w * (line[i.saturating_sub(k)] + line[(i + k).min(count - 1)]);
            }
            slice[start + i * step] = sum;
        }
    };
    (0..rows).for_each(|row| pass(row * columns, 1, columns));
    (0..columns).for_each(|column| pass(column, columns, rows));
}

/// Makes a clean slice one that a scanner would give.
pub(super) fn expose(slice: &mut [f32], columns: usize, scanner: &Scanner, random: &mut Random) {
    let pixel = scanner.spacing[2] as f32;
    blur(slice, columns, scanner.blur / pixel);
    if scanner.edge > 0.0 {
        let mut soft = slice.to_vec();
        blur(&mut soft, columns, 0.9 / pixel);
        slice.iter_mut().zip(&soft).for_each(|(v, s)| *v += scanner.edge * (*v - s));
    }
    if scanner.noise > 0.0 {
        let mut noise: Vec<f32> = slice.iter().map(|_| quick_normal(random)).collect();
        blur(&mut noise, columns, scanner.grain);
        let power = noise.iter().map(|v| v * v).sum::<f32>() / noise.len().max(1) as f32;
        let strength = scanner.noise / power.sqrt().max(1e-6);
        slice.iter_mut().zip(&noise).for_each(|(v, n)| {
            // Air beside the patient has less.
            let share = if *v < -960.0 { 0.55 } else { 1.0 };
            *v += share * strength * n;
        });
    }
    for v in slice.iter_mut() {
        *v = v.clamp(-1024.0, 3071.0);
    }
}

/// Nearly normal, from one draw: the sum of four parts of it.
fn quick_normal(random: &mut Random) -> f32 {
    let bits = random.bits();
    let sum: u32 = (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xffff).sum();
    // Four uniforms have a variance of a third together.
    (sum as f32 / 65536.0 - 2.0) * 1.732_05
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_keeps_a_flat_slice_and_the_sum_of_a_point() {
        let mut flat = vec![3.0; 12 * 10];
        blur(&mut flat, 12, 1.5);
        assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-5));
        let mut point = vec![0.0; 21 * 21];
        point[10 * 21 + 10] = 1.0;
        blur(&mut point, 21, 1.2);
        assert!((point.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn quick_noise_has_zero_mean_and_unit_variance() {
        let mut random = Random::new(3, &[]);
        let draws: Vec<f32> = (0..20_000).map(|_| quick_normal(&mut random)).collect();
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let variance = draws.iter().map(|v| v * v).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
