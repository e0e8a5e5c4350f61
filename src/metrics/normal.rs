//! The standard normal distribution, to about 14 digits.

use std::f64::consts::{PI, SQRT_2};

/// Probability of a normal value at least as far from zero as `z`.
pub fn two_sided_p(z: f64) -> f64 {
    erfc(z.abs() / SQRT_2)
}

/// The z below which a share `p` of the normal distribution lies, for p in (0, 1).
pub fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-39.0, 39.0);
    // Halving 78 a hundred times ends at neighbouring numbers.
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if 0.5 * erfc(-middle / SQRT_2) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// 1 − erf(x): a series near zero, a continued fraction (Lentz) in the tail.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
            if term.abs() < 1e-18 {
                break;
            }
        }
        return 1.0 - 2.0 / PI.sqrt() * sum;
    }
    let mut fraction = x;
    for n in (1..200).rev() {
        fraction = x + f64::from(n) / 2.0 / fraction;
    }
    (-x * x).exp() / (PI.sqrt() * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_and_quantile_agree_with_tables() {
        assert!((two_sided_p(1.959_963_984_540_054) - 0.05).abs() < 1e-13);
        assert!((two_sided_p(5.0) / 5.733_031_437_583_878e-7 - 1.0).abs() < 1e-10);
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
        assert!(normal_quantile(0.5).abs() < 1e-12);
    }
}
