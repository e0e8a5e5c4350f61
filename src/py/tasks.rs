//! Reports made wrong, graded answers and graded searches for Python.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use super::call::{long, quick};
use super::data::Dataset;
use crate::progress::Progress;
use crate::random::Random;
use crate::tasks::report::{
    self, Belief, Corruption, CorruptionKind, Donors, claims, corrupt, finding_called, judgement,
};
use crate::tasks::{self, Described, Query, Tolerance};
use crate::{Error, Result, data};

/// Sections, finding, detail, changed sentences (before, after) and the answer that names them.
type Made = (Vec<String>, String, &'static str, Vec<(String, String)>, String);
/// Kind, what was made of it, and else why not.
type Row = (&'static str, Option<Made>, &'static str);
/// Finding; present, absent or in doubt; left, right; level.
type ClaimRow = (&'static str, Option<bool>, (bool, bool), Option<usize>);

/// A sentence; left, right or neither; level.
type PhraseRow = (String, Option<bool>, Option<usize>);

/// A report and what is known of its study.
struct Source {
    sections: Vec<String>,
    facts: Vec<(String, f32)>,
}

impl Source {
    fn of(study: &data::Study, findings: &[String]) -> Self {
        let sections = study.report.sections().map(str::to_owned).to_vec();
        Self { sections, facts: study.facts(findings) }
    }
}

/// How reports can be made wrong.
#[pyfunction]
pub(super) fn corruption_kinds() -> Vec<&'static str> {
    CorruptionKind::ALL.map(CorruptionKind::name).to_vec()
}

/// The plainest sentences that state and that deny something.
#[pyfunction]
pub(super) fn plain_wordings() -> [Vec<String>; 2] {
    report::plain_wordings().map(<[String]>::to_vec)
}

/// Makes each text wrong in its kind; without one, in a kind drawn from those that fit.
#[pyfunction]
pub(super) fn corrupt_texts(
    py: Python<'_>,
    texts: Vec<String>,
    kinds: Vec<Option<String>>,
    seed: u64,
    watch: Option<Py<PyAny>>,
) -> PyResult<Vec<Row>> {
    let source = |text| Source { sections: vec![text], facts: Vec::new() };
    let sources: Vec<Source> = texts.into_iter().map(source).collect();
    long(py, watch, |progress| corrupt_all(&sources, &kinds, seed, progress))
}

/// Makes the report of each study wrong in its kind; labels and attributes say what is there.
#[pyfunction]
pub(super) fn corrupt_reports(
    py: Python<'_>,
    dataset: &Dataset,
    kinds: Vec<Option<String>>,
    seed: u64,
    watch: Option<Py<PyAny>>,
) -> PyResult<Vec<Row>> {
    let dataset = &dataset.0;
    long(py, watch, |progress| {
        let of = |study: &std::sync::Arc<data::Study>| Source::of(study, &dataset.findings);
        let sources: Vec<Source> = dataset.studies.iter().map(of).collect();
        corrupt_all(&sources, &kinds, seed, progress)
    })
}

fn corrupt_all(
    sources: &[Source],
    kinds: &[Option<String>],
    seed: u64,
    progress: &Progress,
) -> Result<Vec<Row>> {
    if kinds.len() != sources.len() {
        let expected = format!("({},), one for each report", sources.len());
        return Err(Error::shape("kinds", expected, &[kinds.len()]));
    }
    let kinds: Vec<Option<CorruptionKind>> = kinds
        .iter()
        .map(|kind| kind.as_deref().map(CorruptionKind::parse).transpose())
        .collect::<Result<_>>()?;
    let donors = Donors::of(sources.iter().flat_map(|s| s.sections.iter().map(String::as_str)));
    progress.set_total(sources.len());
    let mut rows = Vec::with_capacity(sources.len());
    for (number, (source, kind)) in sources.iter().zip(kinds).enumerate() {
        progress.tick(1)?;
        let one = |kind: CorruptionKind| {
            let mut random = Random::new(seed, &[number as u64, kind as u64]);
            corrupt(&source.sections, &source.facts, kind, &donors, &mut random)
        };
        rows.push(if let Some(kind) = kind {
            row(kind, one(kind))
        } else {
            let mut order = CorruptionKind::ALL;
            Random::new(seed, &[number as u64]).shuffle(&mut order);
            let mut made = order.into_iter().map(|kind| (kind, one(kind)));
            // The report as it is always fits.
            let drawn = made.find(|(_, made)| made.is_ok());
            drawn.map_or(row(CorruptionKind::None, Err("")), |(kind, made)| row(kind, made))
        });
    }
    Ok(rows)
}

fn row(kind: CorruptionKind, made: std::result::Result<Corruption, &'static str>) -> Row {
    match made {
        Ok(made) => {
            let answer = made.answer();
            let changes = made.changes.into_iter().map(|c| (c.before, c.after)).collect();
            (kind.name(), Some((made.sections, made.finding, made.detail, changes, answer)), "")
        }
        Err(why) => (kind.name(), None, why),
    }
}

/// The kind that an answer names, if it can be read, and its correction.
#[pyfunction]
pub(super) fn read_judgement(answer: &str) -> (Option<&'static str>, String) {
    let read = judgement(answer);
    (read.kind.map(CorruptionKind::name), read.correction)
}

/// Whether a correction of a report with an error makes of it what the report said before.
#[pyfunction]
pub(super) fn corrects(
    py: Python<'_>,
    wrong: &str,
    correction: &str,
    answer: &str,
    report: &str,
) -> PyResult<bool> {
    quick(py, || Ok(report::corrects(wrong, correction, answer, report)))
}

/// The answer to a report with an error of this kind about a finding, by what is held to be so of
/// it; None if no sentence can have it.
#[pyfunction]
pub(super) fn mend_report(
    py: Python<'_>,
    report: &str,
    kind: &str,
    finding: &str,
    left: Option<bool>,
    level: Option<usize>,
) -> PyResult<Option<String>> {
    quick(py, || {
        report::mend(report, CorruptionKind::parse(kind)?, Belief { finding, left, level })
    })
}

/// What a report claims: finding, presence (None in doubt), sides (left, right), level 0 to 2.
#[pyfunction]
pub(super) fn report_claims(text: &str) -> Vec<ClaimRow> {
    let row = |c: report::Claim| (c.finding, c.present, (c.sides.left, c.sides.right), c.level);
    claims(text).into_iter().map(row).collect()
}

/// Sentences that state a finding or device (text, whether of left or else right, level 0 to 2),
/// the one that denies it, and whether it is a device.
#[pyfunction]
pub(super) fn report_phrases(
    py: Python<'_>,
    name: &str,
) -> PyResult<(Vec<PhraseRow>, String, bool)> {
    quick(py, || {
        let report::Phrases { stated, denied, device } = report::phrases(name)?;
        let rows = stated.into_iter().map(|phrase| (phrase.text, phrase.left, phrase.level));
        Ok((rows.collect(), denied, device))
    })
}

/// The name that the word lists give to a label, if they know it.
#[pyfunction]
pub(super) fn finding_name(label: &str) -> Option<&'static str> {
    finding_called(label)
}

/// Grades 1, ½ or 0 of answers; None where the truth is open.
#[pyfunction]
pub(super) fn grade_answers(
    py: Python<'_>,
    questions: Vec<String>,
    truths: Vec<String>,
    answers: Vec<String>,
    right: f64,
    partly: f64,
) -> PyResult<Vec<Option<f64>>> {
    quick(py, || {
        for (what, found) in [("truths", truths.len()), ("answers", answers.len())] {
            if found != questions.len() {
                let expected = format!("({},), one for each question", questions.len());
                return Err(Error::shape(what, expected, &[found]));
            }
        }
        let rows = questions.iter().zip(&truths).zip(&answers);
        rows.map(|((question, truth), answer)| {
            tasks::grade_answer(question, truth, answer, Tolerance { right, partly })
        })
        .collect()
    })
}

/// The names of the query sets compiled in.
#[pyfunction]
pub(super) fn query_sets() -> Vec<&'static str> {
    tasks::query_sets()
}

/// The queries of a set, each as JSON.
#[pyfunction]
pub(super) fn query_set(name: &str) -> PyResult<Vec<String>> {
    let json = |query: &Query| {
        serde_json::to_string(query).map_err(|why| Error::Internal(why.to_string()))
    };
    Ok(tasks::queries(name)?.iter().map(json).collect::<Result<Vec<_>>>()?)
}

/// The grade of every study for a query (JSON), and whether attributes tell what it asks for.
#[pyfunction]
pub(super) fn grade_query<'py>(
    py: Python<'py>,
    query: &str,
    dataset: &Dataset,
) -> PyResult<(Bound<'py, PyArray1<f64>>, bool)> {
    let dataset = &dataset.0;
    let (grades, told) = quick(py, || {
        let query: Query =
            serde_json::from_str(query).map_err(|why| Error::value("query", why.to_string()))?;
        query.check(&dataset.findings)?;
        let grade = |study: &std::sync::Arc<data::Study>| {
            let about: Vec<Described<'_>> = study
                .attributes
                .iter()
                .map(|a| Described { finding: &a.finding, side: &a.side, severity: &a.severity })
                .collect();
            query.grade(&dataset.findings, &study.labels, &about)
        };
        let grades: Vec<f64> = dataset.studies.iter().map(grade).collect();
        let told = dataset.studies.iter().any(|study| !study.attributes.is_empty());
        Ok((grades, told || !query.needs_attributes()))
    })?;
    Ok((grades.into_pyarray(py), told))
}
