//! Which films belong together, by their labels.

use candle::{Device, Tensor};
use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::Result;

/// When two studies pull together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positives {
    /// All their labels are equal. With many findings that is seldom so but for normal films.
    #[default]
    Equal,
    /// They share a finding; each finding of a study pulls as much as any other, however rare it
    /// is, and studies without findings pull together. Zhang and Wu 2024, "Multi-Label Supervised
    /// Contrastive Learning", AAAI.
    Shared,
}

/// How much each study of a batch is drawn to the others (B, B), by `labels` (B, L) of 1, 0 and
/// NaN: rows sum to one, or to nothing for a study without a positive.
pub(super) fn pull(
    labels: ArrayView2<'_, f32>,
    positives: Positives,
    device: &Device,
) -> Result<Tensor> {
    let batch = labels.nrows();
    let mut all = vec![0f32; batch * batch];
    for (i, row) in all.chunks_exact_mut(batch.max(1)).enumerate() {
        match positives {
            Positives::Equal => share(row, i, |k| key(labels.row(k)) == key(labels.row(i))),
            Positives::Shared if normal(labels.row(i)) => share(row, i, |k| normal(labels.row(k))),
            Positives::Shared => {
                for finding in (0..labels.ncols()).filter(|&l| present(labels[[i, l]])) {
                    share(row, i, |k| present(labels[[k, finding]]));
                }
            }
        }
        let sum: f32 = row.iter().sum();
        for weight in row {
            *weight /= sum.max(f32::MIN_POSITIVE);
        }
    }
    Ok(Tensor::from_vec(all, (batch, batch), device)?)
}

/// Spreads one evenly over the others of `row` that `belong`.
fn share(row: &mut [f32], own: usize, belong: impl Fn(usize) -> bool) {
    let others: Vec<usize> = (0..row.len()).filter(|&k| k != own && belong(k)).collect();
    for &other in &others {
        row[other] += 1.0 / others.len() as f32;
    }
}

/// Labels by their bits: what is unknown equals itself.
fn key(labels: ArrayView1<'_, f32>) -> Vec<u32> {
    labels.iter().map(|label| label.to_bits()).collect()
}

fn normal(labels: ArrayView1<'_, f32>) -> bool {
    !labels.iter().any(|&label| present(label))
}

/// Whether a label is 1; what is unknown is not.
fn present(label: f32) -> bool {
    label > 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(labels: &[[f32; 2]], positives: Positives) -> Vec<Vec<f32>> {
        let labels = ndarray::arr2(labels);
        pull(labels.view(), positives, &Device::Cpu).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn equal_labels_pull_alike_and_others_do_not() {
        let unknown = f32::NAN;
        let labels = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [unknown, 0.0]];
        let expected = [0.0, 0.5, 0.5, 0.0, 0.0];
        assert_eq!(rows(&labels, Positives::Equal)[0], expected);
        assert_eq!(rows(&labels, Positives::Equal)[3], [0.0; 5]);
    }

    #[test]
    fn each_shared_finding_pulls_as_much_as_another() {
        let labels = [[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, f32::NAN]];
        let found = rows(&labels, Positives::Shared);
        let third = 1.0 / 6.0; // half of one third
        let expected = [0.0, third, third, third + 0.5, 0.0, 0.0];
        assert!(found[0].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        assert_eq!(found[4], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}
