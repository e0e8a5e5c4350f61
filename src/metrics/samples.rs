//! The rows of one finding whose truth is known, sorted by score.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What an uncertain label (−1) counts as. An unknown label (NaN) is always left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Unknown.
    #[default]
    Ignore,
    /// Absent.
    Zeros,
    /// Present.
    Ones,
}

impl Policy {
    /// The policy called `name`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "ignore" => Ok(Self::Ignore),
            "zeros" => Ok(Self::Zeros),
            "ones" => Ok(Self::Ones),
            other => {
                let why = format!("found {other:?}, expected \"ignore\", \"zeros\" or \"ones\"");
                Err(Error::value("policy", why))
            }
        }
    }

    /// The target that `label` stands for: 1, 0 or NaN.
    pub fn apply(self, label: f32) -> f32 {
        match self {
            _ if label >= 0.0 || label.is_nan() => label,
            Self::Ignore => f32::NAN,
            Self::Zeros => 0.0,
            Self::Ones => 1.0,
        }
    }

    /// The truth that `label` stands for; `None` leaves the row out.
    pub fn truth(self, label: f64) -> Result<Option<bool>> {
        match label {
            1.0 => Ok(Some(true)),
            0.0 => Ok(Some(false)),
            -1.0 => Ok(match self {
                Self::Ignore => None,
                Self::Zeros => Some(false),
                Self::Ones => Some(true),
            }),
            other if other.is_nan() => Ok(None),
            other => {
                let why = format!(
                    "found {other}, expected 0 (absent), 1 (present), -1 (uncertain) or NaN"
                );
                Err(Error::value("y_true", why))
            }
        }
    }
}

/// One finding: known truth and score of each row, the highest score first.
#[derive(Clone, Debug)]
pub struct Samples {
    rows: Vec<u32>,
    truth: Vec<bool>,
    scores: Vec<f64>,
    /// Where each run of equal scores ends.
    ends: Vec<u32>,
    total: usize,
}

impl Samples {
    /// Keeps the rows of `labels` and `scores` whose truth is known under `policy`.
    pub fn new(labels: &[f64], scores: &[f64], policy: Policy) -> Result<Self> {
        if labels.len() != scores.len() {
            let expected = format!("({},), as many as y_true", labels.len());
            return Err(Error::shape("y_score", expected, &[scores.len()]));
        }
        let mut kept = Vec::with_capacity(labels.len());
        for (row, (&label, &score)) in labels.iter().zip(scores).enumerate() {
            if let Some(truth) = policy.truth(label)? {
                if score.is_nan() {
                    let why = format!("row {row} is NaN, expected a number");
                    return Err(Error::value("y_score", why));
                }
                kept.push((score, truth, row as u32));
            }
        }
        kept.sort_unstable_by(|a, b| falling(a.0, b.0).then(a.2.cmp(&b.2)));
        let ends = (1..=kept.len())
            .filter(|&i| i == kept.len() || falling(kept[i - 1].0, kept[i].0).is_ne())
            .map(|i| i as u32)
            .collect();
        Ok(Self {
            rows: kept.iter().map(|k| k.2).collect(),
            truth: kept.iter().map(|k| k.1).collect(),
            scores: kept.iter().map(|k| k.0).collect(),
            ends,
            total: labels.len(),
        })
    }

    /// How many rows have known truth.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when no row has known truth.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many of them are positive.
    pub fn positives(&self) -> usize {
        self.truth.iter().filter(|&&t| t).count()
    }

    /// A weight of one for every row given to [`Samples::new`].
    pub fn ones(&self) -> Vec<f64> {
        vec![1.0; self.total]
    }

    /// Why nothing can be ranked, if so.
    pub fn single_class(&self) -> Option<&'static str> {
        match (self.len(), self.positives()) {
            (0, _) => Some("no row has known truth"),
            (_, 0) => Some("no positive row"),
            (n, p) if n == p => Some("no negative row"),
            _ => None,
        }
    }

    /// Truth, score and weight of each row, the highest score first.
    pub fn weighted<'a>(
        &'a self,
        weights: &'a [f64],
    ) -> impl Iterator<Item = (bool, f64, f64)> + 'a {
        let weights = self.rows.iter().map(|&row| weights[row as usize]);
        self.truth.iter().zip(&self.scores).zip(weights).map(|((&t, &s), w)| (t, s, w))
    }

    /// Score, weight of positives and weight of negatives for each run of equal scores, falling.
    pub fn runs<'a>(&'a self, weights: &'a [f64]) -> impl Iterator<Item = Run> + 'a {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let end = end as usize;
            let mut run = Run { score: self.scores[start], positive: 0.0, negative: 0.0 };
            for i in start..end {
                let weight = weights[self.rows[i] as usize];
                if self.truth[i] {
                    run.positive += weight;
                } else {
                    run.negative += weight;
                }
            }
            start = end;
            run
        })
    }
}

/// The order of scores, highest first; zeros of both signs are one score.
pub(super) fn falling(a: f64, b: f64) -> Ordering {
    (b + 0.0).total_cmp(&(a + 0.0))
}

/// All rows of one score.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The score they share.
    pub score: f64,
    /// Weight of the positive ones.
    pub positive: f64,
    /// Weight of the negative ones.
    pub negative: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_reads_minus_one_its_own_way() {
        let labels = [1.0, 0.0, -1.0, f64::NAN];
        let scores = [0.9, 0.1, 0.5, f64::NAN];
        let count = |policy| {
            let samples = Samples::new(&labels, &scores, policy).unwrap();
            (samples.len(), samples.positives())
        };
        assert_eq!(count(Policy::Ignore), (2, 1));
        assert_eq!(count(Policy::Zeros), (3, 1));
        assert_eq!(count(Policy::Ones), (3, 2));
    }

    #[test]
    fn a_strange_label_names_itself() {
        let error = Samples::new(&[2.0], &[0.5], Policy::Ignore).unwrap_err().to_string();
        assert!(error.starts_with("y_true: found 2, expected 0"), "{error}");
    }

    #[test]
    fn both_zeros_are_one_score() {
        let samples = Samples::new(&[1.0, 0.0], &[0.0, -0.0], Policy::Ignore).unwrap();
        assert_eq!(samples.runs(&[1.0, 1.0]).count(), 1);
    }
}
