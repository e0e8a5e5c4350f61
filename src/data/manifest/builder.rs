//! Rows in, a data set out: labels, studies of several rows, and what can only be checked at the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::cell::{Cell, Place};
use super::join::join;
use super::row::{Row, listed};
use super::{Arrays, COLUMNS, Options};
use crate::data::dataset::first_twice;
use crate::data::split::split_conflict;
use crate::data::{Dataset, Study};
use crate::{Error, Result};

/// Builds a [`Dataset`] from the rows of a manifest, one by one.
#[derive(Debug)]
pub struct Builder {
    source: Arc<str>,
    unit: &'static str,
    options: Arc<Options>,
    findings: Vec<String>,
    positions: HashMap<String, usize>,
    labelled: Vec<bool>,
    studies: Vec<Study>,
    places: Vec<usize>,
    rows: HashMap<String, usize>,
    seen: BTreeSet<String>,
}

impl Builder {
    /// A builder whose errors call the manifest `source` and its rows `unit` (`line`, `row`).
    pub fn new(source: &str, unit: &'static str, options: Options) -> Result<Self> {
        let findings = options.findings.clone().unwrap_or_default();
        if let Some(twice) = first_twice(findings.iter().map(String::as_str)) {
            let why = format!("found {twice:?} twice, expected every finding once");
            return Err(Error::value("findings", why));
        }
        for ours in options.columns.keys() {
            let known = COLUMNS.contains(&ours.as_str()) || ours.starts_with("record.");
            if !known && !findings.contains(ours) {
                let why = format!(
                    "found {ours:?}, expected a finding, `record.*` or one of {}",
                    listed(COLUMNS)
                );
                return Err(Error::value("columns", why));
            }
        }
        let positions = findings.iter().enumerate().map(|(i, f)| (f.clone(), i)).collect();
        Ok(Self {
            source: source.into(),
            unit,
            labelled: vec![false; findings.len()],
            options: Arc::new(options),
            findings,
            positions,
            studies: Vec::new(),
            places: Vec::new(),
            rows: HashMap::new(),
            seen: BTreeSet::new(),
        })
    }

    /// Tells the columns of a table ahead of its rows, so that a wrong one fails at once.
    pub fn header(&mut self, columns: &[String]) -> Result<()> {
        self.seen.extend(columns.iter().cloned());
        for required in ["study", "patient", "image"] {
            let column = self.options.theirs(required).unwrap_or(required);
            if !self.seen.contains(column) {
                return Err(self.no_column(required, column));
            }
        }
        if !self.seen.contains(self.options.theirs("labels").unwrap_or("labels")) {
            for finding in self.options.findings.iter().flatten() {
                let column = self.options.theirs(finding).unwrap_or(finding);
                if !self.seen.contains(column) {
                    return Err(self.no_column(finding, column));
                }
            }
        }
        self.check_columns()
    }

    /// Adds the row at line or row `number`.
    pub fn push(
        &mut self,
        number: usize,
        values: &Map<String, Json>,
        arrays: &Arrays,
    ) -> Result<()> {
        for column in values.keys() {
            // A manifest has tens of columns; thousands mean that it is not one.
            if self.seen.len() >= 10_000 {
                return Err(self.whole("found more than 10,000 columns, expected a manifest"));
            }
            if !self.seen.contains(column) {
                self.seen.insert(column.clone());
            }
        }
        let (source, options) = (Arc::clone(&self.source), Arc::clone(&self.options));
        let place = Place { source: &source, unit: self.unit, number };
        let row = Row { place, options: &options, arrays, values };
        let mut study = row.study()?;
        study.labels = self.labels(&row)?;
        if let Some(&first) = self.rows.get(&study.id) {
            let before = self.places[first];
            let why = join(&mut self.studies[first], study);
            return why.map_err(|what| {
                let unit = self.unit;
                place.error(format!(
                    "found the study of {unit} {before} again with {what}, expected another image \
                     of it and everything else equal or blank"
                ))
            });
        }
        self.rows.insert(study.id.clone(), self.studies.len());
        self.places.push(number);
        self.studies.push(study);
        Ok(())
    }

    /// The data set, once every row is in.
    pub fn finish(self) -> Result<Dataset> {
        if self.studies.is_empty() {
            return Err(self.whole("found no rows, expected at least one study"));
        }
        self.check_columns()?;
        if let Some(absent) = self.labelled.iter().position(|labelled| !labelled) {
            let finding = &self.findings[absent];
            let column = self.options.theirs(finding).unwrap_or(finding);
            return Err(self.no_column(finding, column));
        }
        let width = self.findings.len();
        if let Some((one, two)) = split_conflict(self.studies.iter()) {
            let (unit, a, b) = (self.unit, self.places[one], self.places[two]);
            let (one, two) = (&self.studies[one].split, &self.studies[two].split);
            return Err(self.whole(&format!(
                "column `split`: {unit}s {a} and {b} are of one patient, found in {one:?} and in \
                 {two:?}, expected one split for each patient; columns={{\"split\": None}} leaves \
                 the column unread"
            )));
        }
        let studies = self.studies.into_iter().map(|mut study| {
            study.labels.resize(width, f32::NAN);
            Arc::new(study)
        });
        Dataset::new(self.findings, studies.collect())
    }

    /// The labels of a row, one for each finding known so far.
    fn labels(&mut self, row: &Row<'_>) -> Result<Vec<f32>> {
        let mut labels = vec![f32::NAN; self.findings.len()];
        let open = self.options.findings.is_none();
        if let Some(cell) = row.cell("labels") {
            match cell.structure()? {
                None => {}
                Some(Json::Object(given)) => {
                    for (finding, value) in &given {
                        let label = Cell { column: finding, value, ..cell }.label()?;
                        match self.positions.get(finding) {
                            Some(&position) => {
                                labels[position] = label;
                                self.labelled[position] = true;
                            }
                            None if open => {
                                self.positions.insert(finding.clone(), self.findings.len());
                                self.findings.push(finding.clone());
                                self.labelled.push(true);
                                labels.push(label);
                            }
                            None => {}
                        }
                    }
                }
                Some(Json::Array(given)) if !open && given.len() == labels.len() => {
                    for (position, value) in given.iter().enumerate() {
                        let finding = self.findings[position].as_str();
                        labels[position] = Cell { column: finding, value, ..cell }.label()?;
                        self.labelled[position] = true;
                    }
                }
                Some(Json::Array(_)) => {
                    let count = self.findings.len();
                    let why = format!("a list of {count} labels in the order of `findings`");
                    return Err(cell.unexpected(&why));
                }
                Some(_) => return Err(cell.unexpected("{finding: 1, 0, -1 or null}")),
            }
        }
        if !open {
            for (position, finding) in self.findings.iter().enumerate() {
                if let Some(cell) = row.cell(finding) {
                    labels[position] = cell.label()?;
                    self.labelled[position] = true;
                }
            }
        }
        Ok(labels)
    }

    fn whole(&self, why: &str) -> Error {
        Error::Manifest { place: self.source.to_string(), why: why.to_owned() }
    }

    fn no_column(&self, ours: &str, column: &str) -> Error {
        let found: Vec<&str> = self.seen.iter().map(String::as_str).collect();
        let cure = if ours == column {
            format!("; name yours with columns={{\"{ours}\": …}}")
        } else {
            String::new()
        };
        let found = listed(&found);
        self.whole(&format!("found columns {found}, expected a column `{column}`{cure}"))
    }

    /// Fails on a mapped column that is not there, and on one that is nearly ours.
    fn check_columns(&self) -> Result<()> {
        for (ours, theirs) in &self.options.columns {
            if let Some(column) = theirs.as_ref().filter(|column| !self.seen.contains(*column)) {
                return Err(self.no_column(ours, column));
            }
        }
        let mapped = |column: &String| {
            self.options.columns.values().flatten().any(|theirs| theirs == column)
                || self.options.columns.contains_key(column)
        };
        for column in &self.seen {
            if COLUMNS.contains(&column.as_str())
                || self.findings.contains(column)
                || mapped(column)
            {
                continue;
            }
            let meant = COLUMNS.iter().find(|ours| {
                !self.seen.contains(**ours)
                    && !self.options.columns.contains_key(**ours)
                    && nearly(column, ours)
            });
            if let Some(ours) = meant {
                return Err(self.whole(&format!(
                    "found a column `{column}`, expected `{ours}` if that is meant; name it with \
                     columns={{\"{ours}\": \"{column}\"}}, or say columns={{\"{ours}\": None}}"
                )));
            }
        }
        Ok(())
    }
}

/// Whether a column was probably meant to be `ours`: another case, or one letter off.
fn nearly(column: &str, ours: &str) -> bool {
    let (a, b) = (column.to_lowercase().into_bytes(), ours.as_bytes());
    if a == b {
        return true;
    }
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (longer, shorter) = (a.len().max(b.len()), a.len().min(b.len()));
    let swapped = a.len() == b.len()
        && head + tail + 2 == longer
        && a[head] == b[head + 1]
        && a[head + 1] == b[head];
    swapped || (longer - shorter <= 1 && head + tail + 1 >= longer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::View;

    fn build(rows: &[Json], options: Options) -> Result<Dataset> {
        let mut builder = Builder::new("rows", "row", options)?;
        for (number, row) in rows.iter().enumerate() {
            builder.push(number, row.as_object().unwrap(), &Arrays::default())?;
        }
        builder.finish()
    }

    fn row(study: &str, image: &str) -> Json {
        serde_json::json!({"study": study, "patient": "p", "image": image})
    }

    #[test]
    fn findings_are_gathered_over_the_rows() {
        let (mut a, mut b) = (row("1", "a.png"), row("2", "b.png"));
        a["labels"] = serde_json::json!({"edema": 1});
        b["labels"] = serde_json::json!({"mass": -1, "edema": null});
        let ds = build(&[a, b], Options::default()).unwrap();
        assert_eq!(ds.findings, ["edema", "mass"]);
        assert!(ds.studies[0].labels[1].is_nan() && ds.studies[1].labels[0].is_nan());
        assert!((ds.studies[1].labels[1] + 1.0).abs() < 1e-9);
    }

    #[test]
    fn several_rows_of_a_study_become_its_films_with_the_frontal_first() {
        let (mut a, mut b) = (row("1", "a.png"), row("1", "b.png"));
        a["view"] = "LATERAL".into();
        b["view"] = "PA".into();
        b["record.age"] = 50.into();
        b["boxes"] = serde_json::json!([{"finding": "mass", "corners": [0, 0, 5, 5]}]);
        let ds = build(&[a, b], Options::default()).unwrap();
        assert_eq!(ds.len(), 1);
        let views: Vec<View> = ds.studies[0].films.iter().map(|film| film.view).collect();
        assert_eq!(views, [View::Pa, View::Lateral]);
        assert_eq!((ds.studies[0].boxes.len(), ds.studies[0].record.len()), (1, 1));
        let error = build(&[row("1", "a.png"), row("1", "a.png")], Options::default());
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("rows, row 1: found the study of row 0 again with the same image"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_column_is_answered_with_those_found() {
        let mut a = row("1", "a.png");
        let findings = Some(vec!["edma".to_owned()]);
        let error = build(&[a.clone()], Options { findings, ..Options::default() });
        assert_eq!(
            error.unwrap_err().to_string(),
            "rows: found columns `image`, `patient`, `study`, expected a column `edma`; \
             name yours with columns={\"edma\": …}"
        );
        a["reprot"] = "fine".into();
        let error = build(&[a], Options::default()).unwrap_err().to_string();
        assert!(error.contains("found a column `reprot`, expected `report` if"), "{error}");
    }

    #[test]
    fn near_names_are_one_letter_off() {
        for (column, ours) in
            [("Label", "labels"), ("mask", "masks"), ("images", "image"), ("SPLIT", "split")]
        {
            assert!(nearly(column, ours), "{column}");
        }
        for (column, ours) in [("age", "image"), ("sex", "study"), ("path", "patient")] {
            assert!(!nearly(column, ours), "{column}");
        }
    }
}
