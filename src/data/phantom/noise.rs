//! Smooth random textures: the same value for the same place, seed and scale.

/// Value noise in [-1, 1] over the plane, smooth, with features of about one unit.
pub(super) fn smooth(seed: u32, x: f32, y: f32) -> f32 {
    let (column, row) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - column), ease(y - row));
    let (i, j) = (column as i32, row as i32);
    let top = lerp(lattice(seed, i, j), lattice(seed, i + 1, j), u);
    let bottom = lerp(lattice(seed, i, j + 1), lattice(seed, i + 1, j + 1), u);
    lerp(top, bottom, v)
}

/// [`smooth`] in space.
pub(super) fn smooth3(seed: u32, place: [f32; 3]) -> f32 {
    let floor = place.map(f32::floor);
    let [u, v, w]: [f32; 3] = std::array::from_fn(|i| {
        let t = place[i] - floor[i];
        t * t * (3.0 - 2.0 * t)
    });
    let [i, j, k] = floor.map(|f| f as i32);
    let sheet = |k: i32| {
        let seed = seed ^ (k as u32).wrapping_mul(0x9e37_79b1);
        let top = lerp(lattice(seed, i, j), lattice(seed, i + 1, j), u);
        let bottom = lerp(lattice(seed, i, j + 1), lattice(seed, i + 1, j + 1), u);
        lerp(top, bottom, v)
    };
    lerp(sheet(k), sheet(k + 1), w)
}

/// Noise of several scales: each octave twice as fine and half as strong; about [-1, 1].
pub(super) fn cloud(seed: u32, x: f32, y: f32, octaves: u32) -> f32 {
    let (mut sum, mut scale, mut strength) = (0.0, 1.0, 0.6);
    for octave in 0..octaves {
        sum += strength * smooth(seed.wrapping_add(octave * 7919), x * scale, y * scale);
        scale *= 2.03;
        strength *= 0.55;
    }
    sum
}

fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

pub(super) fn lattice(seed: u32, i: i32, j: i32) -> f32 {
    let mut h = seed ^ (i as u32).wrapping_mul(0x85eb_ca6b) ^ (j as u32).wrapping_mul(0xc2b2_ae35);
    h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
    h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
    h ^= h >> 16;
    h as f32 / (u32::MAX as f32 / 2.0) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_bounded_smooth_and_named_by_its_seed() {
        let mut largest = 0.0f32;
        for step in 0..2000 {
            let x = step as f32 * 0.013 - 9.0;
            largest = largest.max((smooth(1, x, 0.3) - smooth(1, x + 0.001, 0.3)).abs());
            assert!(cloud(1, x, 2.0, 4).abs() <= 1.5);
        }
        assert!(largest < 0.01, "{largest}");
        assert!((smooth(1, 0.5, 0.5) - smooth(2, 0.5, 0.5)).abs() > 1e-6);
    }
}
