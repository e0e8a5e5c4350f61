//! Percentile intervals from resampled patients.
//!
//! Rows of one patient are not independent, so whole patients are drawn with replacement
//! (Field & Welsh, J R Stat Soc B 69, 2007). The statistic sees how often each row was drawn;
//! a resample on which it is undefined is skipped and counted. Resample i has a random stream
//! of its own, so the thread count changes nothing.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::progress::Progress;
use crate::random::Random;
use crate::{Error, Result};

/// Which rows belong together, and which patients may replace each other.
#[derive(Clone, Debug)]
pub struct Clusters {
    /// The cluster of each row.
    of_row: Vec<u32>,
    /// The clusters of each stratum.
    strata: Vec<Vec<u32>>,
    count: usize,
}

impl Clusters {
    /// Clusters rows by equal values of `groups`.
    pub fn new(groups: &[i64]) -> Self {
        let mut numbers = HashMap::new();
        let of_row: Vec<u32> = groups
            .iter()
            .map(|group| {
                let next = numbers.len() as u32;
                *numbers.entry(group).or_insert(next)
            })
            .collect();
        let count = numbers.len();
        Self { of_row, strata: vec![(0..count as u32).collect()], count }
    }

    /// As [`Clusters::new`], drawing clusters with a `marked` row apart from those without.
    pub fn stratified(groups: &[i64], marked: &[bool]) -> Result<Self> {
        if groups.len() != marked.len() {
            return Err(Error::shape("groups", format!("({},)", marked.len()), &[groups.len()]));
        }
        let mut clusters = Self::new(groups);
        let mut has_mark = vec![false; clusters.count];
        for (&cluster, &mark) in clusters.of_row.iter().zip(marked) {
            has_mark[cluster as usize] |= mark;
        }
        let (with, without) =
            (0..clusters.count as u32).partition(|&cluster| has_mark[cluster as usize]);
        clusters.strata = vec![with, without];
        Ok(clusters)
    }

    /// How many clusters there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.of_row.len()
    }

    /// How often each row is drawn in resample `number` of `seed`.
    pub fn draw(&self, seed: u64, number: usize) -> Vec<f64> {
        let mut random = Random::new(seed, &[number as u64]);
        let mut drawn = vec![0.0; self.count];
        for stratum in self.strata.iter().filter(|stratum| !stratum.is_empty()) {
            for _ in 0..stratum.len() {
                drawn[*random.choose(stratum) as usize] += 1.0;
            }
        }
        self.of_row.iter().map(|&cluster| drawn[cluster as usize]).collect()
    }
}

/// How to resample.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many resamples.
    pub resamples: usize,
    /// What names the random streams.
    pub seed: u64,
    /// The share of resamples between the two ends, 0.95 say.
    pub level: f64,
}

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The statistic on all rows.
    pub value: f64,
    /// Lower end; NaN when no resample could be used.
    pub low: f64,
    /// Upper end; NaN when no resample could be used.
    pub high: f64,
    /// Resamples on which the statistic was undefined.
    pub skipped: usize,
}

/// Intervals of all numbers that `statistic` makes from row weights, from the same resamples.
pub fn bootstrap(
    clusters: &Clusters,
    plan: &Plan,
    progress: &Progress,
    statistic: impl Fn(&[f64]) -> Vec<f64> + Sync,
) -> Result<Vec<Interval>> {
    if plan.resamples == 0 {
        return Err(Error::value("n", "got 0 resamples, expected at least 1"));
    }
    if !(plan.level > 0.0 && plan.level < 1.0) {
        let why = format!("got {}, expected a share between 0 and 1", plan.level);
        return Err(Error::value("level", why));
    }
    progress.set_total(plan.resamples);
    let values = statistic(&vec![1.0; clusters.rows()]);
    let draws = (0..plan.resamples)
        .into_par_iter()
        .map(|number| {
            let drawn = statistic(&clusters.draw(plan.seed, number));
            progress.tick(1)?;
            Ok(drawn)
        })
        .collect::<Result<Vec<Vec<f64>>>>()?;
    Ok(values
        .iter()
        .enumerate()
        .map(|(column, &value)| {
            let mut column: Vec<f64> =
                draws.iter().map(|draw| draw[column]).filter(|v| !v.is_nan()).collect();
            column.sort_unstable_by(f64::total_cmp);
            let tail = (1.0 - plan.level) / 2.0;
            let (low, high) = (quantile(&column, tail), quantile(&column, 1.0 - tail));
            Interval { value, low, high, skipped: plan.resamples - column.len() }
        })
        .collect())
}

/// The quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (sorted[place as usize], sorted[(place as usize + 1).min(last)]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { resamples: 400, seed: 7, level: 0.95 };

    #[test]
    fn rows_of_a_patient_are_drawn_together() {
        let clusters = Clusters::new(&[5, 5, 9, 9, 9, 1]);
        for number in 0..20 {
            let drawn = clusters.draw(0, number);
            assert!(drawn[0] == drawn[1] && drawn[2] == drawn[4]);
            assert_eq!(drawn[0] + drawn[2] + drawn[5], 3.0);
        }
    }

    #[test]
    fn strata_keep_their_size() {
        let marked = [true, false, false, false, true];
        let clusters = Clusters::stratified(&[0, 1, 2, 3, 4], &marked).unwrap();
        for number in 0..20 {
            let drawn = clusters.draw(3, number);
            assert_eq!(drawn[0] + drawn[4], 2.0);
        }
    }

    #[test]
    fn clustered_intervals_are_wider_than_naive_ones() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i / 10 % 2)).collect();
        let mean = |w: &[f64]| {
            vec![w.iter().zip(&values).map(|(w, v)| w * v).sum::<f64>() / w.iter().sum::<f64>()]
        };
        let width = |groups: Vec<i64>| {
            let clusters = Clusters::new(&groups);
            let found = bootstrap(&clusters, &PLAN, &Progress::silent(), mean).unwrap()[0];
            assert_eq!((found.value, found.skipped), (0.5, 0));
            assert!(found.low <= found.value && found.value <= found.high);
            found.high - found.low
        };
        assert!(width((0..200).map(|i| i / 10).collect()) > 2.0 * width((0..200).collect()));
    }

    #[test]
    fn undefined_resamples_are_counted() {
        let clusters = Clusters::new(&[0, 1]);
        let first_drawn = |w: &[f64]| vec![if w[0] > 0.0 { 1.0 } else { f64::NAN }];
        let found = bootstrap(&clusters, &PLAN, &Progress::silent(), first_drawn).unwrap()[0];
        assert!((60..140).contains(&found.skipped), "{}", found.skipped);
        assert_eq!((found.low, found.high), (1.0, 1.0));
    }
}
