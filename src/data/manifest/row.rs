//! One row of a manifest as a study.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::cell::{Cell, Place};
use super::{Arrays, Options};
use crate::data::phantom::ct::{CtOptions, Scan};
use crate::data::{
    Film, FindingBox, FindingMask, MaskPixels, Pixels, Record, Report, Study, Value,
};
use crate::imaging::View;
use crate::{Error, Result};

/// A row with what is needed to read it.
pub(super) struct Row<'a> {
    pub(super) place: Place<'a>,
    pub(super) options: &'a Options,
    pub(super) arrays: &'a Arrays,
    pub(super) values: &'a Map<String, Json>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBox {
    finding: String,
    corners: [f32; 4],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMask {
    finding: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    array: Option<usize>,
}

impl<'a> Row<'a> {
    /// The value of our column `ours`; `None` when the row has none or it is not to be read.
    pub(super) fn cell(&self, ours: &'a str) -> Option<Cell<'a>> {
        let column = self.options.theirs(ours)?;
        self.values.get(column).map(|value| Cell { place: self.place, column, value })
    }

    fn required(&self, ours: &'a str) -> Result<Cell<'a>> {
        self.cell(ours).ok_or_else(|| {
            let found: Vec<&str> = self.values.keys().map(String::as_str).collect();
            let column = self.options.theirs(ours).unwrap_or(ours);
            let cure = if column == ours {
                format!("; name yours with columns={{\"{ours}\": …}}")
            } else {
                String::new()
            };
            self.place.error(format!(
                "found columns {}, expected a column `{column}`{cure}",
                listed(&found)
            ))
        })
    }

    fn list<T: serde::de::DeserializeOwned>(&self, ours: &'a str, like: &str) -> Result<Vec<T>> {
        self.cell(ours).map_or_else(|| Ok(Vec::new()), |cell| cell.list(like))
    }

    /// The study, without its labels.
    pub(super) fn study(&self) -> Result<Study> {
        Ok(Study {
            id: self.required("study")?.id()?,
            patient: self.required("patient")?.id()?,
            films: self.films()?,
            report: self.report()?,
            labels: Vec::new(),
            boxes: self.boxes()?,
            masks: self.masks()?,
            attributes: self.list("attributes", "[{finding, side, zone, severity}]")?,
            questions: self.list("questions", "[{question, answer, form, topic}]")?,
            record: self.record()?,
            follow_up: self.list("follow_up", "[{outcome, years, event}]")?,
            scans: self.scans()?,
            split: self.text("split")?.trim().to_owned(),
        })
    }

    fn text(&self, ours: &'a str) -> Result<String> {
        self.cell(ours).map_or_else(|| Ok(String::new()), |cell| cell.text())
    }

    /// Volumes of phantoms, which are made anew from their options.
    fn scans(&self) -> Result<Vec<Arc<Scan>>> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Recipe {
            options: CtOptions,
            number: u64,
        }
        let recipes: Vec<Recipe> = self.list("phantom", "[{options, number}]")?;
        recipes
            .iter()
            .map(|recipe| Ok(Arc::new(Scan::reopen(&recipe.options, recipe.number)?)))
            .collect()
    }

    fn films(&self) -> Result<Vec<Film>> {
        if self.cell("image").is_none() && self.cell("phantom").is_some() {
            return Ok(Vec::new());
        }
        let cell = self.required("image")?;
        let sources = match cell.structure()? {
            None => Vec::new(),
            Some(Json::Array(items)) => items,
            Some(one) => vec![one],
        };
        if sources.is_empty() {
            return Err(cell.error("found no image, expected a path or a list of paths"));
        }
        let views = self.views(sources.len())?;
        let films = sources.iter().zip(views).map(|(source, view)| {
            let expected = "a path or a list of paths";
            let pixels = match source {
                Json::String(path) if !path.trim().is_empty() => {
                    Pixels::File(self.path(path.trim()))
                }
                Json::Object(reference) => {
                    let number = reference.get("array").and_then(Json::as_u64);
                    let image = number.and_then(|n| self.arrays.images.get(n as usize));
                    Pixels::Memory(Arc::clone(image.ok_or_else(|| cell.unexpected(expected))?))
                }
                _ => return Err(cell.unexpected(expected)),
            };
            Ok(Film { pixels, view })
        });
        let mut films: Vec<Film> = films.collect::<Result<_>>()?;
        films.sort_by_key(|film| film.view == View::Lateral);
        Ok(films)
    }

    fn views(&self, count: usize) -> Result<Vec<View>> {
        let Some(cell) = self.cell("view") else { return Ok(vec![View::Unknown; count]) };
        match cell.structure()? {
            None => Ok(vec![View::Unknown; count]),
            Some(Json::String(view)) => Ok(vec![view_named(&view); count]),
            Some(Json::Array(views)) if views.len() == count => {
                Ok(views.iter().map(|view| view_named(view.as_str().unwrap_or(""))).collect())
            }
            Some(_) => {
                Err(cell.unexpected(&format!("one view, or one for each of {count} images")))
            }
        }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.options.root.join(Path::new(path))
    }

    fn report(&self) -> Result<Report> {
        let sections = Report {
            indication: self.text("indication")?,
            findings: self.text("findings_text")?,
            impression: self.text("impression")?,
        };
        let Some(cell) = self.cell("report").filter(|cell| !cell.is_blank()) else {
            return Ok(sections);
        };
        if sections != Report::default() {
            return Err(cell.error("found sections in columns of their own too, expected one way"));
        }
        match cell.structure()? {
            Some(json @ Json::Object(_)) => serde_json::from_value(json).map_err(|why| {
                cell.error(format!("{why}; expected {{indication, findings, impression}}"))
            }),
            _ => Ok(Report::parse(&cell.text()?)),
        }
    }

    fn boxes(&self) -> Result<Vec<FindingBox>> {
        let Some(cell) = self.cell("boxes") else { return Ok(Vec::new()) };
        let raw: Vec<RawBox> = cell.list("[{finding, corners: [x0, y0, x1, y1]}]")?;
        let check = |RawBox { finding, corners }| {
            let [x0, y0, x1, y1] = corners;
            if corners.iter().all(|c: &f32| c.is_finite()) && x0 < x1 && y0 < y1 {
                return Ok(FindingBox { finding, corners });
            }
            Err(cell.error(format!("found corners {corners:?}, expected x0 < x1 and y0 < y1")))
        };
        raw.into_iter().map(check).collect()
    }

    fn masks(&self) -> Result<Vec<FindingMask>> {
        let Some(cell) = self.cell("masks") else { return Ok(Vec::new()) };
        let raw: Vec<RawMask> = cell.list("[{finding, path}]")?;
        let resolve = |raw: RawMask| {
            let mask = match (raw.path, raw.array) {
                (Some(path), None) => MaskPixels::File(self.path(path.trim())),
                (None, Some(number)) if number < self.arrays.masks.len() => {
                    MaskPixels::Memory(Arc::clone(&self.arrays.masks[number]))
                }
                _ => return Err(cell.unexpected("[{finding, path}]")),
            };
            Ok(FindingMask { finding: raw.finding, mask })
        };
        raw.into_iter().map(resolve).collect()
    }

    fn record(&self) -> Result<Record> {
        let mut record = Record::new();
        let mut put = |name: &str, cell: Cell<'_>| -> Result<()> {
            if let Some(value) = record_value(&cell)? {
                record.insert(name.to_owned(), value);
            }
            Ok(())
        };
        if let Some(cell) = self.cell("record") {
            match cell.structure()? {
                None => {}
                Some(Json::Object(fields)) => {
                    for (name, value) in &fields {
                        put(name, Cell { value, ..cell })?;
                    }
                }
                Some(_) => return Err(cell.unexpected("{name: number or text}")),
            }
        }
        for (column, value) in self.values {
            let name = column.strip_prefix("record.");
            if let Some(name) = name.filter(|_| !self.options.columns.contains_key(column)) {
                put(name, Cell { place: self.place, column, value })?;
            }
        }
        for ours in self.options.columns.keys() {
            if let (Some(name), Some(cell)) = (ours.strip_prefix("record."), self.cell(ours)) {
                put(name, cell)?;
            }
        }
        Ok(record)
    }
}

fn record_value(cell: &Cell<'_>) -> Result<Option<Value>> {
    let wrong = || -> Error { cell.unexpected("a finite number or text") };
    match cell.value {
        _ if cell.is_blank() => Ok(None),
        Json::Bool(yes) => Ok(Some(Value::Number(f64::from(u8::from(*yes))))),
        Json::Number(number) => Ok(Some(Value::Number(number.as_f64().ok_or_else(wrong)?))),
        Json::String(text) => {
            let text = text.trim();
            if text.eq_ignore_ascii_case("nan") {
                return Ok(None);
            }
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
            Ok(Some(number.map_or_else(|| Value::Text(text.to_owned()), Value::Number)))
        }
        _ => Err(wrong()),
    }
}

/// The view that a manifest or DICOM code names; what is not one of ours is unknown.
fn view_named(code: &str) -> View {
    match code.trim().to_ascii_uppercase().as_str() {
        "PA" => View::Pa,
        "AP" => View::Ap,
        "LATERAL" | "LAT" | "L" | "LL" | "RL" => View::Lateral,
        _ => View::Unknown,
    }
}

/// Names for an error: at most twenty.
pub(super) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(20);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}
