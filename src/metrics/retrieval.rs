//! Measures of a ranked list: NDCG, precision, recall and average precision at k.
//!
//! Source: Järvelin & Kekäläinen, ACM TOIS 20, 2002, for the discounted gain; items of equal
//! score share their gains (`McSherry` & Najork, ECIR 2008), so the order given does not matter.

use super::samples::falling;
use crate::{Error, Result};

/// What a relevance grade is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gain {
    /// The grade itself.
    Linear,
    /// 2^grade − 1, which makes the best grade count most.
    #[default]
    Exponential,
}

impl Gain {
    /// The gain called `name`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "linear" => Ok(Self::Linear),
            "exponential" => Ok(Self::Exponential),
            other => {
                let why = format!("got {other:?}, expected \"linear\" or \"exponential\"");
                Err(Error::value("gain", why))
            }
        }
    }

    fn of(self, grade: f64) -> f64 {
        match self {
            Self::Linear => grade,
            Self::Exponential => grade.exp2() - 1.0,
        }
    }
}

/// Discounted cumulative gain of the first `k` items by falling `scores`.
pub fn dcg(grades: &[f64], scores: &[f64], k: usize, gain: Gain) -> Result<f64> {
    check(grades, scores, k)?;
    let gains: Vec<f64> = grades.iter().map(|&g| gain.of(g)).collect();
    Ok(discounted(&expected(&gains, scores), k))
}

/// The best discounted cumulative gain that the graded `pool` allows at `k`.
pub fn ideal_dcg(pool: &[f64], k: usize, gain: Gain) -> Result<f64> {
    check(pool, pool, k)?;
    let mut gains: Vec<f64> = pool.iter().map(|&g| gain.of(g)).collect();
    gains.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(discounted(&gains, k))
}

/// Share of relevant items (grade > 0) among the first `k`; a list shorter than k counts as misses.
pub fn precision_at(grades: &[f64], scores: &[f64], k: usize) -> Result<f64> {
    Ok(hits(grades, scores, k)? / k as f64)
}

/// Share of the `relevant` items in all that are among the first `k`; NaN when there are none.
pub fn recall_at(grades: &[f64], scores: &[f64], k: usize, relevant: usize) -> Result<f64> {
    Ok(hits(grades, scores, k)? / relevant as f64)
}

/// Mean precision at the ranks of relevant items among the first `k`; NaN when there are none.
///
/// The divisor is min(k, `relevant`), so that a perfect list scores one. Items of equal score
/// keep the order given.
pub fn average_precision_at(
    grades: &[f64],
    scores: &[f64],
    k: usize,
    relevant: usize,
) -> Result<f64> {
    check(grades, scores, k)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| falling(scores[a], scores[b]));
    let (mut found, mut sum) = (0.0, 0.0);
    for (rank, &item) in order.iter().take(k).enumerate() {
        if grades[item] > 0.0 {
            found += 1.0;
            sum += found / (rank + 1) as f64;
        }
    }
    Ok(sum / relevant.min(k) as f64)
}

fn hits(grades: &[f64], scores: &[f64], k: usize) -> Result<f64> {
    check(grades, scores, k)?;
    let relevant: Vec<f64> = grades.iter().map(|&g| f64::from(u8::from(g > 0.0))).collect();
    Ok(expected(&relevant, scores).iter().take(k).sum())
}

fn check(grades: &[f64], scores: &[f64], k: usize) -> Result<()> {
    if grades.len() != scores.len() {
        let expected = format!("({},), as many as y_true", grades.len());
        return Err(Error::shape("y_score", expected, &[scores.len()]));
    }
    if k == 0 {
        return Err(Error::value("k", "got 0, expected at least 1"));
    }
    // 2^64 is far beyond any grading scale and still finite when summed.
    if let Some(grade) = grades.iter().find(|g| !(0.0..=64.0).contains(*g)) {
        return Err(Error::value("y_true", format!("grade {grade}, expected 0 to 64")));
    }
    if scores.iter().any(|s| s.is_nan()) {
        return Err(Error::value("y_score", "found NaN, expected numbers"));
    }
    Ok(())
}

/// The gain expected at each rank when items of equal score come in random order.
fn expected(gains: &[f64], scores: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..gains.len()).collect();
    order.sort_unstable_by(|&a, &b| {
        falling(scores[a], scores[b]).then(gains[b].total_cmp(&gains[a]))
    });
    let mut ranked = Vec::with_capacity(gains.len());
    for run in order.chunk_by(|&a, &b| falling(scores[a], scores[b]).is_eq()) {
        let mean = run.iter().map(|&i| gains[i]).sum::<f64>() / run.len() as f64;
        ranked.extend(std::iter::repeat_n(mean, run.len()));
    }
    ranked
}

fn discounted(gains: &[f64], k: usize) -> f64 {
    gains.iter().take(k).enumerate().map(|(rank, gain)| gain / ((rank + 2) as f64).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_list_reaches_the_ideal() {
        let grades = [2.0, 1.0, 0.0];
        for gain in [Gain::Linear, Gain::Exponential] {
            let reached = dcg(&grades, &[3.0, 2.0, 1.0], 3, gain).unwrap();
            assert_eq!(reached, ideal_dcg(&grades, 3, gain).unwrap());
        }
        let exponential = dcg(&grades, &[3.0, 2.0, 1.0], 3, Gain::Exponential).unwrap();
        assert!((exponential - (3.0 + 1.0 / 3f64.log2())).abs() < 1e-12);
    }

    #[test]
    fn short_lists_count_as_misses_in_precision() {
        assert_eq!(precision_at(&[1.0, 1.0], &[2.0, 1.0], 4).unwrap(), 0.5);
        assert_eq!(recall_at(&[1.0, 0.0], &[2.0, 1.0], 1, 2).unwrap(), 0.5);
    }

    #[test]
    fn average_precision_of_a_perfect_list_is_one() {
        assert_eq!(average_precision_at(&[1.0, 1.0, 0.0], &[3.0, 2.0, 1.0], 3, 2).unwrap(), 1.0);
        let late = average_precision_at(&[0.0, 1.0], &[2.0, 1.0], 2, 1).unwrap();
        assert_eq!(late, 0.5);
    }

    #[test]
    fn a_grade_below_zero_names_itself() {
        let error = dcg(&[-1.0], &[0.0], 1, Gain::Linear).unwrap_err().to_string();
        assert_eq!(error, "y_true: grade -1, expected 0 to 64");
    }
}
