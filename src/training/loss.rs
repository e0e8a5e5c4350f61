//! Losses, each a scalar tensor with gradients to every input.

use candle::{D, DType, Device, Tensor};

use crate::nn::shared_cross_entropy;
use crate::{Error, Result};

/// CLIP's symmetric cross-entropy over an image × text similarity matrix.
///
/// Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
/// Supervision", arXiv:2103.00020. Differs in that `same` (B, T) may mark further positives off
/// the diagonal: radiology reports repeat ("normal"), and an identical text is no negative. The
/// target of a row is spread evenly over its positives, as in `UniCL` (arXiv:2204.03610); with the
/// identity matrix this is CLIP's loss exactly. More texts than images may follow, made wrong:
/// images are told from all of them, as in `NegCLIP` (arXiv:2210.01936), and those texts that
/// belong to an image after all look for it as the others do.
///
/// `logits` (B, T) are scaled similarities, images in rows; every image has a positive.
pub fn clip(logits: &Tensor, same: &Tensor) -> Result<Tensor> {
    let rows = spread_cross_entropy(logits, same)?;
    let columns = spread_cross_entropy(&logits.t()?, &same.t()?)?;
    Ok(((rows + columns)? * 0.5)?)
}

fn spread_cross_entropy(logits: &Tensor, same: &Tensor) -> Result<Tensor> {
    let positives = same.sum_keepdim(D::Minus1)?;
    let used = positives.gt(0.0)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
    let targets = same.broadcast_div(&positives.maximum(1f64)?)?;
    Ok((shared_cross_entropy(logits, &targets)? / f64::from(used))?)
}

/// SigLIP's pairwise sigmoid loss, averaged over the images of the batch.
///
/// Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343,
/// algorithm 1. Differs in that bias and scale start where CLIP's do (0 and 1/0.07), unless the
/// model's `logit_bias` and `logit_scale` are set (the paper: -10 and ln 10). `logits` (B, T) are
/// scaled and biased similarities; `same` (B, T) is 1 for positives and 0 for negatives.
pub fn siglip(logits: &Tensor, same: &Tensor) -> Result<Tensor> {
    let signs = ((same * 2.0)? - 1.0)?;
    let batch = logits.dim(0)? as f64;
    Ok((softplus(&(signs * logits)?.neg()?)?.sum_all()? / batch)?)
}

/// Supervised contrastive loss over unit vectors `z` (B, D).
///
/// Source: Khosla et al. 2020, "Supervised Contrastive Learning", arXiv:2004.11362, equation 2
/// (the sum outside the logarithm). A row of `pull` (B, B) says how much a film is drawn to each
/// of the others: it sums to one, with nothing on the diagonal, or is all zero for a film without
/// a positive, which has no term. Without a positive in the batch the loss is zero.
pub fn supcon(z: &Tensor, pull: &Tensor, temperature: f64) -> Result<Tensor> {
    let batch = z.dim(0)?;
    let used = pull.sum(D::Minus1)?.gt(0.0)?.to_dtype(DType::F32)?.sum_all()?;
    let used = used.to_scalar::<f32>()?;
    if used == 0.0 {
        // By a tensor: candle gives what is multiplied by the number 0 no gradient.
        return Ok((z * z.zeros_like()?)?.sum_all()?);
    }
    // A pair of a sample with itself leaves the sum: its logit is pushed out of reach.
    let eye = Tensor::eye(batch, DType::F32, z.device())?;
    let logits = ((z.matmul(&z.t()?)? / temperature)? - (eye * 1e9)?)?;
    Ok((shared_cross_entropy(&logits, pull)? / f64::from(used))?)
}

/// Binary cross-entropy over the labels that are known, averaged over them.
///
/// `logits` and `targets` (B, L), targets in [0, 1]; `known` (B, L) is 1 where the target counts,
/// and may hold weights.
pub fn binary(logits: &Tensor, targets: &Tensor, known: &Tensor) -> Result<Tensor> {
    // softplus(x) − x·y is the stable form of −y·log σ(x) − (1 − y)·log(1 − σ(x)).
    let each = (softplus(logits)? - (logits * targets)?)?;
    let weight = known.sum_all()?.to_scalar::<f32>()?;
    if weight == 0.0 {
        let why = "a batch has no known label; use larger batches or another label policy";
        return Err(Error::Training(why.to_owned()));
    }
    Ok(((each * known)?.sum_all()? / f64::from(weight))?)
}

/// log(1 + eˣ) without overflow: max(x, 0) + log(1 + e^(−|x|)).
fn softplus(x: &Tensor) -> Result<Tensor> {
    let tail = (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    Ok((x.relu()? + tail)?)
}

/// The (films, texts) matrix of which belong together, 1 or 0, on `device`.
pub fn pairs<A, B>(
    films: &[A],
    texts: &[B],
    belong: impl Fn(&A, &B) -> bool,
    device: &Device,
) -> Result<Tensor> {
    let row = |film| texts.iter().map(move |text| (film, text));
    let same: Vec<f32> = films
        .iter()
        .flat_map(row)
        .map(|(film, text)| f32::from(u8::from(belong(film, text))))
        .collect();
    Ok(Tensor::from_vec(same, (films.len(), texts.len()), device)?)
}

#[cfg(test)]
mod tests {
    use super::super::positives::{Positives, pull as pull_of};
    use super::*;
    use candle::Var;

    fn pull<const L: usize>(labels: &[[f32; L]], positives: Positives) -> Tensor {
        let labels = ndarray::arr2(labels);
        pull_of(labels.view(), positives, &Device::Cpu).unwrap()
    }

    fn equal_pairs<T: PartialEq>(keys: &[T]) -> Tensor {
        pairs(keys, keys, |a, b| a == b, &Device::Cpu).unwrap()
    }

    fn matrix(n: usize, m: usize, seed: u64) -> Tensor {
        let mut random = crate::random::Random::new(seed, &[]);
        let values: Vec<f32> = (0..n * m).map(|_| random.normal() as f32).collect();
        Tensor::from_vec(values, (n, m), &Device::Cpu).unwrap()
    }

    /// Compares the gradient of `loss` at `x` with central differences.
    fn check_gradient(x: &Tensor, loss: impl Fn(&Tensor) -> Result<Tensor>) {
        let var = Var::from_tensor(x).unwrap();
        let grads = loss(var.as_tensor()).unwrap().backward().unwrap();
        let gradient = grads.get(&var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let at = |i: usize, step: f32| {
            let mut moved = values.clone();
            moved[i] += step;
            let moved = Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap();
            f64::from(loss(&moved).unwrap().to_scalar::<f32>().unwrap())
        };
        for (i, analytic) in gradient.iter().enumerate() {
            let numeric = (at(i, 1e-2) - at(i, -1e-2)) / 2e-2;
            let error = (numeric - f64::from(*analytic)).abs();
            assert!(error < 2e-3, "entry {i}: analytic {analytic}, numeric {numeric}");
        }
    }

    #[test]
    fn clip_with_the_identity_is_the_mean_of_two_cross_entropies() {
        let logits = matrix(4, 4, 1);
        let same = equal_pairs(&[0, 1, 2, 3]);
        let labels = Tensor::new(&[0u32, 1, 2, 3], &Device::Cpu).unwrap();
        let rows = candle_nn::loss::cross_entropy(&logits, &labels).unwrap();
        let columns =
            candle_nn::loss::cross_entropy(&logits.t().unwrap().contiguous().unwrap(), &labels);
        let expected = (rows + columns.unwrap()).unwrap().to_scalar::<f32>().unwrap() / 2.0;
        let got = clip(&logits, &same).unwrap().to_scalar::<f32>().unwrap();
        assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    }

    #[test]
    fn films_are_told_from_more_texts_and_texts_of_no_film_look_for_none() {
        // Two films; a wrong text that is true of nobody here, and one of the second film.
        let rows = [[2f32, -1.0, 1.0, 0.3], [0.5, 3.0, -2.0, 0.7]];
        let same = [[1f32, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]];
        let [logits, same] = [rows, same].map(|rows| Tensor::new(&rows, &Device::Cpu).unwrap());
        let log_p = |of: f32, among: &[f32]| {
            f64::from(of) - among.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln()
        };
        let [first, second] = rows;
        let second_two = f64::midpoint(log_p(3.0, &second), log_p(0.7, &second));
        let films = f64::midpoint(log_p(2.0, &first), second_two);
        let texts = [(2.0, [2.0, 0.5]), (3.0, [-1.0, 3.0]), (0.7, [0.3, 0.7])];
        let texts = texts.iter().map(|(of, among)| log_p(*of, among)).sum::<f64>() / 3.0;
        let got = f64::from(clip(&logits, &same).unwrap().to_scalar::<f32>().unwrap());
        assert!((got + f64::midpoint(films, texts)).abs() < 1e-6, "{got}");
        check_gradient(&logits, |x| clip(x, &same));
        check_gradient(&logits, |x| siglip(x, &same));
    }

    #[test]
    fn siglip_matches_its_definition() {
        let logits = Tensor::new(&[[2f32, -1.0], [0.5, 3.0]], &Device::Cpu).unwrap();
        let same = equal_pairs(&["a", "b"]);
        let f = |z: f64| (1.0 + (-z).exp()).ln();
        let expected = (f(2.0) + f(1.0) + f(-0.5) + f(3.0)) / 2.0;
        let got = f64::from(siglip(&logits, &same).unwrap().to_scalar::<f32>().unwrap());
        assert!((got - expected).abs() < 1e-6);
    }

    #[test]
    fn supcon_matches_its_definition() {
        let z = Tensor::new(&[[1f32, 0.0], [0.8, 0.6], [0.0, 1.0]], &Device::Cpu).unwrap();
        let pull = pull(&[[1.0], [1.0], [0.0]], Positives::Equal);
        let e = |x: f64| (x / 0.5).exp();
        let first = -(e(0.8) / (e(0.8) + e(0.0))).ln();
        let second = -(e(0.8) / (e(0.8) + e(0.6))).ln();
        let got = supcon(&z, &pull, 0.5).unwrap().to_scalar::<f32>().unwrap();
        assert!((f64::from(got) - f64::midpoint(first, second)).abs() < 1e-5);
    }

    #[test]
    fn supcon_without_a_pair_is_nothing() {
        let pull = pull(&[[1.0], [0.0]], Positives::Shared);
        let loss = supcon(&matrix(2, 3, 0), &pull, 0.1).unwrap();
        assert!(loss.to_scalar::<f32>().unwrap() == 0.0);
    }

    #[test]
    fn unknown_labels_neither_count_nor_learn() {
        let logits = Var::from_tensor(&matrix(2, 2, 3)).unwrap();
        let targets = Tensor::new(&[[1f32, 0.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let known = Tensor::new(&[[1f32, 0.0], [1.0, 0.0]], &Device::Cpu).unwrap();
        let loss = binary(logits.as_tensor(), &targets, &known).unwrap();
        let gradient = loss.backward().unwrap();
        let gradient = gradient.get(&logits).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!((gradient[0][1], gradient[1][1]), (0.0, 0.0));
        assert!(gradient[0][0] != 0.0 && gradient[1][0] != 0.0);
    }

    #[test]
    fn every_loss_has_a_true_gradient() {
        let same = equal_pairs(&[0, 1, 1, 2]);
        let targets = equal_pairs(&[0, 0, 1, 1]);
        check_gradient(&matrix(4, 4, 5), |x| clip(x, &same));
        check_gradient(&matrix(4, 4, 6), |x| siglip(x, &same));
        let pull = pull(&[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], Positives::Shared);
        check_gradient(&matrix(4, 3, 7), |x| supcon(x, &pull, 0.7));
        check_gradient(&matrix(4, 4, 8), |x| binary(x, &targets, &same));
    }
}
