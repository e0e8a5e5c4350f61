//! From attenuation to a film: transmission, scatter, quanta, sharpness and the display curve.

use super::canvas::Frame;
use crate::random::Random;

/// How the exposure was made and shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposure {
    /// Scattered over primary radiation behind the patient.
    pub(super) scatter: f32,
    /// Photons that make up the noise, per pixel without a patient.
    pub(super) photons: f32,
    /// Attenuation shown as middle grey.
    pub(super) centre: f32,
    /// Attenuation from middle grey to three quarters.
    pub(super) width: f32,
    /// Edge enhancement of the display, 0 none.
    pub(super) edge: f32,
    /// Unsharpness in pixels (standard deviation).
    pub(super) blur: f32,
    /// Slope of the exposure across the film, in attenuation per film edge.
    pub(super) heel: f32,
}

impl Exposure {
    /// An exposure as made at the bedside (`portable`) or on the stand.
    pub(super) fn draw(portable: bool, size: usize, random: &mut Random) -> Self {
        let mut range = |low: f64, high: f64| random.range(low, high) as f32;
        // Larger films have smaller pixels: the blur keeps its width in mm, within reason.
        let scale = (size as f32 / 128.0).max(1.0).sqrt();
        if portable {
            Self {
                scatter: range(0.7, 1.3),
                photons: range(8e3, 2e4),
                centre: range(-0.22, 0.22),
                width: range(0.78, 1.05),
                edge: range(0.2, 0.6),
                blur: range(0.35, 0.6) * scale,
                heel: range(-0.35, 0.35),
            }
        } else {
            Self {
                scatter: range(0.3, 0.6),
                photons: range(2e4, 6e4),
                centre: range(-0.2, 0.2),
                width: range(0.66, 0.95),
                edge: range(0.3, 0.9),
                blur: range(0.25, 0.45) * scale,
                heel: range(-0.12, 0.12),
            }
        }
    }
}

/// The film (display grey 0 … 1, bone white) of a layer of attenuation.
pub(super) fn expose(
    attenuation: &[f32],
    frame: Frame,
    exposure: Exposure,
    random: &mut Random,
) -> Vec<f32> {
    let size = frame.size;
    let primary: Vec<f32> = attenuation.iter().map(|a| (-a).exp()).collect();
    // Scatter starts where rays and tissue meet; air beside the patient makes none.
    let source: Vec<f32> = attenuation.iter().zip(&primary).map(|(a, p)| 0.5 * a * p).collect();
    let veil = blurred(&source, size, 3.2 / frame.pixel);
    let heel = |index: usize| exposure.heel * ((index % size) as f32 / size as f32 - 0.5);
    let mut signal: Vec<f32> = (primary.iter().zip(&veil).enumerate())
        .map(|(i, (p, v))| {
            let dose = p + 0.5 * exposure.scatter * v + 2e-4;
            // Quanta are counted; a normal deviate stands for their Poisson noise.
            let noise = random.normal() as f32 / (exposure.photons * dose).sqrt();
            -dose.ln() + noise.clamp(-0.6, 0.6) + heel(i)
        })
        .collect();
    signal = blurred(&signal, size, exposure.blur);
    let soft = blurred(&signal, size, 0.7 / frame.pixel);
    let (low, high) = anchors(&signal);
    let centre = low + 0.42 * (high - low) + exposure.centre;
    let width = exposure.width * (high - low).clamp(1.4, 3.0) / 2.9;
    signal
        .iter()
        .zip(&soft)
        .map(|(value, soft)| {
            let value = value + exposure.edge * (value - soft);
            1.0 / (1.0 + (-(value - centre) / width).exp())
        })
        .collect()
}

/// Typical attenuations of lung and of mediastinum, as an automatic exposure finds them.
fn anchors(signal: &[f32]) -> (f32, f32) {
    let mut body: Vec<f32> = signal.iter().copied().filter(|v| *v > 0.9).collect();
    if body.len() < 16 {
        return (1.5, 3.5);
    }
    let mut at = |share: f32| {
        let rank = ((body.len() - 1) as f32 * share) as usize;
        *body.select_nth_unstable_by(rank, f32::total_cmp).1
    };
    (at(0.12), at(0.85))
}

/// Blurs rows, then columns, with three box passes: close to a Gaussian of `sigma` pixels.
fn blurred(values: &[f32], size: usize, sigma: f32) -> Vec<f32> {
    let mut image = values.to_vec();
    if sigma < 1.2 {
        three_taps(&mut image, size, sigma);
        return image;
    }
    let radius =
        (((12.0 * sigma * sigma / 3.0 + 1.0).sqrt() - 1.0) / 2.0).round().max(1.0) as usize;
    let mut line = vec![0.0f32; size];
    for _ in 0..3 {
        for row in 0..size {
            box_pass(&mut image, row * size, 1, size, radius, &mut line);
        }
        for column in 0..size {
            box_pass(&mut image, column, size, size, radius, &mut line);
        }
    }
    image
}

fn three_taps(image: &mut [f32], size: usize, sigma: f32) {
    // Variance of the kernel [w, 1 − 2w, w] is 2w.
    let side = (sigma * sigma / 2.0).min(0.3);
    let mut pass = |start: usize, step: usize| {
        let mut before = image[start];
        for i in 0..size {
            let here = image[start + i * step];
            let after = image[start + (i + 1).min(size - 1) * step];
            image[start + i * step] = (1.0 - 2.0 * side) * here + side * (before + after);
            before = here;
        }
    };
    (0..size).for_each(|row| pass(row * size, 1));
    (0..size).for_each(|column| pass(column, size));
}

fn box_pass(
    image: &mut [f32],
    start: usize,
    step: usize,
    size: usize,
    radius: usize,
    line: &mut [f32],
) {
    let at = |image: &[f32], i: isize| image[start + i.clamp(0, size as isize - 1) as usize * step];
    let r = radius as isize;
    let mut sum: f64 = (-r..=r).map(|i| f64::from(at(image, i))).sum();
    for (i, cell) in line.iter_mut().enumerate() {
        *cell = (sum / (2 * radius + 1) as f64) as f32;
        let i = i as isize;
        sum += f64::from(at(image, i + r + 1) - at(image, i - r));
    }
    for (i, value) in line.iter().enumerate() {
        image[start + i * step] = *value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_keeps_a_flat_image_and_the_sum_of_a_point() {
        assert!(blurred(&[2.0; 64], 8, 3.0).iter().all(|v| (v - 2.0).abs() < 1e-5));
        for sigma in [0.5, 2.0] {
            let mut point = vec![0.0; 33 * 33];
            point[16 * 33 + 16] = 1.0;
            let sum: f32 = blurred(&point, 33, sigma).iter().sum();
            assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        }
    }

    #[test]
    fn more_tissue_is_whiter() {
        let frame = Frame { size: 32, pixel: 1.0, centre: [0.0, 0.0], roll: [0.0, 1.0] };
        let ramp: Vec<f32> = (0..1024).map(|i| 1.0 + (i % 32) as f32 * 0.1).collect();
        let mut random = Random::new(0, &[]);
        let mut exposure = Exposure::draw(false, 32, &mut random);
        exposure.photons = 1e9;
        let film = expose(&ramp, frame, exposure, &mut random);
        assert!(film.iter().all(|v| (0.0..=1.0).contains(v)));
        assert!(film[..32].windows(2).all(|pair| pair[0] <= pair[1] + 1e-3));
    }
}
