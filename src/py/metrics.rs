//! Metrics for Python: arrays in, numbers out.

use ndarray::{ArrayView1, ArrayView2};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, ToPyArray};
use pyo3::prelude::*;

use super::call;
use crate::metrics::{self, Clusters, Gain, Measure, Plan, Policy, Samples, Setting};
use crate::{Error, Result};

type Vector<'py> = PyReadonlyArray1<'py, f64>;
type Matrix<'py> = PyReadonlyArray2<'py, f64>;

fn samples(
    y: ArrayView1<'_, f64>,
    scores: ArrayView1<'_, f64>,
    policy: &str,
    measure: Measure,
    setting: &Setting,
) -> Result<Samples> {
    let samples = Samples::new(&y.to_vec(), &scores.to_vec(), Policy::parse(policy)?)?;
    measure.check(&samples, setting)?;
    Ok(samples)
}

/// A measure of scores (N,) against truth (N,), and why it is NaN if it is.
#[pyfunction]
#[pyo3(signature = (name, y_true, y_score, *, policy="ignore", threshold=0.5, bins=15))]
pub(super) fn measure(
    py: Python<'_>,
    name: &str,
    y_true: Vector<'_>,
    y_score: Vector<'_>,
    policy: &str,
    threshold: f64,
    bins: usize,
) -> PyResult<(f64, Option<&'static str>)> {
    let (y, scores) = (y_true.as_array(), y_score.as_array());
    call::quick(py, || {
        let (measure, setting) = (Measure::parse(name)?, Setting { threshold, bins });
        let samples = samples(y, scores, policy, measure, &setting)?;
        let value = measure.value(&samples, &samples.ones(), &setting);
        Ok((value, value.is_nan().then(|| measure.reason(&samples))))
    })
}

/// What a model without knowledge scores when a share `prevalence` is positive; NaN if arbitrary.
#[pyfunction]
pub(super) fn measure_baseline(name: &str, prevalence: f64) -> PyResult<f64> {
    Ok(Measure::parse(name)?.baseline(prevalence))
}

/// Value, low, high and skipped resamples of each column of `y_true` (N, L), then of their mean.
///
/// `groups` (N,) names the patient of each row. The mean is over columns that have a value.
#[pyfunction]
#[pyo3(signature = (
    name, y_true, y_score, groups, *, policy="ignore", threshold=0.5, bins=15, stratify=false,
    n=1000, seed=0, level=0.95, watch=None
))]
#[allow(clippy::too_many_arguments)] // keywords, all of them
pub(super) fn bootstrap_measure(
    py: Python<'_>,
    name: &str,
    y_true: Matrix<'_>,
    y_score: Matrix<'_>,
    groups: PyReadonlyArray1<'_, i64>,
    policy: &str,
    threshold: f64,
    bins: usize,
    stratify: bool,
    n: usize,
    seed: u64,
    level: f64,
    watch: Option<Py<PyAny>>,
) -> PyResult<Vec<(f64, f64, f64, usize)>> {
    let (y, scores, groups) = (y_true.as_array(), y_score.as_array(), groups.as_array().to_vec());
    call::long(py, watch, |progress| {
        let (measure, setting) = (Measure::parse(name)?, Setting { threshold, bins });
        if y.dim() != scores.dim() {
            let expected = format!("({}, {}), as y_true", y.nrows(), y.ncols());
            return Err(Error::shape("y_score", expected, scores.shape()));
        }
        let columns = (0..y.ncols())
            .map(|i| samples(y.column(i), scores.column(i), policy, measure, &setting))
            .collect::<Result<Vec<Samples>>>()?;
        let clusters = clusters(y, &groups, stratify)?;
        let ones = vec![1.0; y.nrows()];
        let defined: Vec<bool> =
            columns.iter().map(|c| !measure.value(c, &ones, &setting).is_nan()).collect();
        let count = defined.iter().filter(|&&d| d).count() as f64;
        let plan = Plan { resamples: n, seed, level };
        let found = metrics::bootstrap(&clusters, &plan, progress, |weights| {
            let mut values: Vec<f64> =
                columns.iter().map(|c| measure.value(c, weights, &setting)).collect();
            let sum: f64 = values.iter().zip(&defined).filter(|v| *v.1).map(|v| v.0).sum();
            values.push(sum / count);
            values
        })?;
        Ok(found.iter().map(|i| (i.value, i.low, i.high, i.skipped)).collect())
    })
}

fn clusters(y: ArrayView2<'_, f64>, groups: &[i64], stratify: bool) -> Result<Clusters> {
    if groups.len() != y.nrows() {
        let expected = format!("({},), as many as y_true", y.nrows());
        return Err(Error::shape("groups", expected, &[groups.len()]));
    }
    if !stratify {
        return Ok(Clusters::new(groups));
    }
    if y.ncols() != 1 {
        let why = "needs a single finding: several have no common classes to draw from";
        return Err(Error::value("stratify", why));
    }
    let marked: Vec<bool> = y.column(0).iter().map(|&label| label > 0.5).collect();
    Clusters::stratified(groups, &marked)
}

/// How often each row (N,) is drawn in resample `number`: whole patients, with replacement.
#[pyfunction]
pub(super) fn resample<'py>(
    py: Python<'py>,
    groups: PyReadonlyArray1<'py, i64>,
    seed: u64,
    number: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let groups = groups.as_array().to_vec();
    let drawn = call::quick(py, || Ok(Clusters::new(&groups).draw(seed, number)))?;
    Ok(drawn.to_pyarray(py))
}

/// A threshold: `youden`, or the one for a `sensitivity` or `specificity` of `wish`.
#[pyfunction]
#[pyo3(signature = (kind, y_true, y_score, *, wish=0.0, policy="ignore"))]
pub(super) fn find_threshold(
    py: Python<'_>,
    kind: &str,
    y_true: Vector<'_>,
    y_score: Vector<'_>,
    wish: f64,
    policy: &str,
) -> PyResult<f64> {
    let (y, scores) = (y_true.as_array().to_vec(), y_score.as_array().to_vec());
    call::quick(py, || {
        let samples = Samples::new(&y, &scores, Policy::parse(policy)?)?;
        match kind {
            "sensitivity" => metrics::threshold_at_sensitivity(&samples, wish),
            "specificity" => metrics::threshold_at_specificity(&samples, wish),
            _ => metrics::youden(&samples),
        }
    })
}

/// AUROC, its variance, and the ends of its interval after `DeLong`.
#[pyfunction]
#[pyo3(signature = (y_true, y_score, *, policy="ignore", level=0.95))]
pub(super) fn delong(
    py: Python<'_>,
    y_true: Vector<'_>,
    y_score: Vector<'_>,
    policy: &str,
    level: f64,
) -> PyResult<(f64, f64, f64, f64)> {
    let (y, scores) = (y_true.as_array().to_vec(), y_score.as_array().to_vec());
    call::quick(py, || {
        if !(level > 0.0 && level < 1.0) {
            let why = format!("got {level}, expected a share between 0 and 1");
            return Err(Error::value("level", why));
        }
        let found = metrics::delong(&y, &scores, Policy::parse(policy)?)?;
        let [low, high] = found.interval(level);
        Ok((found.auroc, found.variance, low, high))
    })
}

/// AUROCs of two scores of the same rows, the standardised difference and its p.
#[pyfunction]
#[pyo3(signature = (y_true, y_score_a, y_score_b, *, policy="ignore"))]
pub(super) fn delong_test(
    py: Python<'_>,
    y_true: Vector<'_>,
    y_score_a: Vector<'_>,
    y_score_b: Vector<'_>,
    policy: &str,
) -> PyResult<(f64, f64, f64, f64)> {
    let y = y_true.as_array().to_vec();
    let (a, b) = (y_score_a.as_array().to_vec(), y_score_b.as_array().to_vec());
    call::quick(py, || {
        let test = metrics::delong_test(&y, &a, &b, Policy::parse(policy)?)?;
        Ok((test.first.auroc, test.second.auroc, test.z, test.p))
    })
}

/// NDCG of one list at `k`, with the ideal from the graded `pool`; NaN when nothing is relevant.
#[pyfunction]
pub(super) fn ndcg(
    grades: Vector<'_>,
    scores: Vector<'_>,
    pool: Vector<'_>,
    k: usize,
    gain: &str,
) -> PyResult<f64> {
    let gain = Gain::parse(gain)?;
    let reached = metrics::dcg(&grades.as_array().to_vec(), &scores.as_array().to_vec(), k, gain)?;
    let ideal = metrics::ideal_dcg(&pool.as_array().to_vec(), k, gain)?;
    Ok(if ideal > 0.0 { reached / ideal } else { f64::NAN })
}

/// `precision`, `recall` or `average_precision` of one list at `k`, with `relevant` items in all.
#[pyfunction]
pub(super) fn hits_at(
    kind: &str,
    grades: Vector<'_>,
    scores: Vector<'_>,
    k: usize,
    relevant: usize,
) -> PyResult<f64> {
    let (grades, scores) = (grades.as_array().to_vec(), scores.as_array().to_vec());
    Ok(match kind {
        "precision" => metrics::precision_at(&grades, &scores, k)?,
        "recall" => metrics::recall_at(&grades, &scores, k, relevant)?,
        _ => metrics::average_precision_at(&grades, &scores, k, relevant)?,
    })
}

/// `dice` or `iou` of two flat masks; `empty` when both are.
#[pyfunction]
pub(super) fn mask_overlap(
    py: Python<'_>,
    kind: &str,
    a: PyReadonlyArray1<'_, bool>,
    b: PyReadonlyArray1<'_, bool>,
    empty: f64,
) -> PyResult<f64> {
    let (a, b) = (a.as_array().to_vec(), b.as_array().to_vec());
    call::quick(py, || match kind {
        "dice" => metrics::dice(&a, &b, empty),
        _ => metrics::iou(&a, &b, empty),
    })
}

/// Intersection over union (N, M) of boxes (N, 4) and (M, 4): left, top, right, bottom.
#[pyfunction]
pub(super) fn box_iou<'py>(
    py: Python<'py>,
    a: Matrix<'py>,
    b: Matrix<'py>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let (a, b) = (a.as_array(), b.as_array());
    let table = call::quick(py, || {
        for (what, boxes) in [("a", a), ("b", b)] {
            if boxes.ncols() != 4 {
                return Err(Error::shape(what, "(n, 4)", boxes.shape()));
            }
        }
        let corners = |row: ArrayView1<'_, f64>| [row[0], row[1], row[2], row[3]];
        let mut table = ndarray::Array2::zeros((a.nrows(), b.nrows()));
        for ((i, j), cell) in table.indexed_iter_mut() {
            *cell = metrics::box_iou(corners(a.row(i)), corners(b.row(j)))?;
        }
        Ok(table)
    })?;
    Ok(table.to_pyarray(py))
}
