//! A data set as JSON Lines, and its in-memory pixels as files beside them.

use std::collections::HashMap;
use std::io::{BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array2;
use serde_json::{Map, Value as Json, json};

use super::Arrays;
use crate::data::dataset::first_twice;
use crate::data::{Dataset, Film, MaskPixels, Pixels, Report, Study, Value};
use crate::imaging::{self, Image, View};
use crate::progress::Progress;
use crate::{Error, Result, files};

/// Where the pixels of a film or mask are, as a row refers to them.
#[derive(Debug)]
enum Stored<'a> {
    /// In a file.
    File(&'a Path),
    /// A film in memory.
    Image(&'a Arc<Image>),
    /// A mask in memory.
    Mask(&'a Arc<Array2<bool>>),
}

/// Writes `dataset` as JSON Lines to `path`, atomically.
///
/// Paths below the folder of `path` become relative to it. Films in memory are written as PNG in
/// a folder beside the manifest (`NAME_images`), their display range (or extremes) spread over 16
/// bits; spacing and units are not kept. Masks become 0/255 PNG.
pub fn write(dataset: &Dataset, path: &Path, progress: &Progress) -> Result<()> {
    progress.set_total(dataset.len());
    if first_twice(dataset.studies.iter().map(|study| study.id.as_str())).is_some() {
        return Err(Error::value("dataset", "found a study twice, expected every study once"));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let pixels = format!("{stem}_images");
    let mut number = 0;
    let mut made = false;
    let mut lines = Vec::with_capacity(dataset.len());
    for study in &dataset.studies {
        let mut store = |stored: Stored<'_>| -> Result<Json> {
            if let Stored::File(file) = stored {
                return Ok(json!(relative(file, &folder)?));
            }
            if !made {
                files::create_folder(&folder.join(&pixels))?;
                made = true;
            }
            let name = format!("{pixels}/{number:07}.png");
            number += 1;
            match stored {
                Stored::Image(image) => imaging::write_png(image, &folder.join(&name))?,
                Stored::Mask(mask) => files::write_atomic(&folder.join(&name), &mask_png(mask)?)?,
                Stored::File(_) => {}
            }
            Ok(json!(name))
        };
        lines.push(Json::Object(row(study, &dataset.findings, &mut store)?).to_string());
        progress.tick(1)?;
    }
    files::write_atomic_with(path, |file| {
        let mut file = BufWriter::new(file);
        for line in &lines {
            writeln!(file, "{line}")?;
        }
        file.flush()
    })
}

/// A data set as text, to be sent to another process.
#[derive(Debug)]
pub struct Rows {
    /// A line of a manifest with absolute paths for each study, none twice.
    pub lines: Vec<String>,
    /// For each place in the data set, the number of its line.
    pub order: Vec<usize>,
    /// The pixels that the lines refer to.
    pub arrays: Arrays,
}

/// `dataset` as text and arrays.
pub fn rows(dataset: &Dataset) -> Result<Rows> {
    let mut unique = Vec::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let order = dataset.studies.iter().map(|study| {
        *numbers.entry(&study.id).or_insert_with(|| {
            unique.push(study);
            unique.len() - 1
        })
    });
    let order = order.collect();
    let mut arrays = Arrays::default();
    let mut known: HashMap<*const (), usize> = HashMap::new();
    let lines = unique.iter().map(|study| {
        let mut store = |stored: Stored<'_>| match stored {
            Stored::File(file) => std::path::absolute(file)
                .map(|path| json!(path.to_string_lossy()))
                .map_err(|source| Error::io(file, source)),
            Stored::Image(image) => Ok(json!({"array": *known
            .entry(Arc::as_ptr(image).cast())
            .or_insert_with(|| {
                arrays.images.push(Arc::clone(image));
                arrays.images.len() - 1
            })})),
            Stored::Mask(mask) => Ok(json!({"array": *known
            .entry(Arc::as_ptr(mask).cast())
            .or_insert_with(|| {
                arrays.masks.push(Arc::clone(mask));
                arrays.masks.len() - 1
            })})),
        };
        Ok(Json::Object(row(study, &dataset.findings, &mut store)?).to_string())
    });
    let lines = lines.collect::<Result<_>>()?;
    Ok(Rows { lines, order, arrays })
}

fn row(
    study: &Study,
    findings: &[String],
    store: &mut dyn FnMut(Stored<'_>) -> Result<Json>,
) -> Result<Map<String, Json>> {
    let mut row = Map::new();
    let mut put = |name: &str, value: Json| row.insert(name.to_owned(), value);
    put("study", json!(study.id));
    put("patient", json!(study.patient));
    let films = study.films.iter().map(|film| match &film.pixels {
        Pixels::File(path) => store(Stored::File(path)),
        Pixels::Memory(image) => store(Stored::Image(image)),
    });
    let films: Vec<Json> = films.collect::<Result<_>>()?;
    if !films.is_empty() || study.scans.is_empty() {
        put("image", Json::Array(films));
    }
    if !study.scans.is_empty() {
        let recipes = study.scans.iter().map(|scan| {
            let (options, number) = scan.recipe();
            json!({"options": options, "number": number})
        });
        put("phantom", recipes.collect());
    }
    let views: Vec<View> = study.films.iter().map(Film::view).collect();
    if views.iter().any(|view| *view != View::Unknown) {
        put("view", json!(views));
    }
    if study.report != Report::default() {
        put("report", json!(study.report));
    }
    let labels = findings.iter().zip(&study.labels).map(|(finding, label)| {
        let label = if label.is_nan() { Json::Null } else { json!(*label as i8) };
        (finding.clone(), label)
    });
    put("labels", Json::Object(labels.collect()));
    if !study.boxes.is_empty() {
        put("boxes", json!(study.boxes));
    }
    if !study.masks.is_empty() {
        let masks = study.masks.iter().map(|mask| {
            let stored = match &mask.mask {
                MaskPixels::File(path) => store(Stored::File(path))?,
                MaskPixels::Memory(mask) => store(Stored::Mask(mask))?,
            };
            let key = if stored.is_object() { "array" } else { "path" };
            let value = stored.get("array").cloned().unwrap_or(stored);
            Ok(json!({"finding": mask.finding, key: value}))
        });
        put("masks", Json::Array(masks.collect::<Result<_>>()?));
    }
    if !study.attributes.is_empty() {
        put("attributes", json!(study.attributes));
    }
    if !study.questions.is_empty() {
        put("questions", json!(study.questions));
    }
    if !study.follow_up.is_empty() {
        put("follow_up", json!(study.follow_up));
    }
    if !study.split.is_empty() {
        put("split", json!(study.split));
    }
    if !study.record.is_empty() {
        let record = study.record.iter().map(|(name, value)| match value {
            Value::Number(number) => (name.clone(), json!(number)),
            Value::Text(text) => (name.clone(), json!(text)),
        });
        put("record", Json::Object(record.collect()));
    }
    Ok(row)
}

/// `file` relative to `folder` when it lies below, else absolute.
fn relative(file: &Path, folder: &Path) -> Result<String> {
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|source| Error::io(path, source));
    let (file, folder) = (absolute(file)?, absolute(folder)?);
    Ok(file.strip_prefix(&folder).unwrap_or(&file).to_string_lossy().into_owned())
}

/// A mask as PNG of 0 and 255.
fn mask_png(mask: &Array2<bool>) -> Result<Vec<u8>> {
    let mut png = Cursor::new(Vec::new());
    let bytes = mask.iter().map(|&inside| if inside { 255 } else { 0 }).collect();
    let written = image::GrayImage::from_raw(mask.ncols() as u32, mask.nrows() as u32, bytes)
        .map(|film| film.write_to(&mut png, image::ImageFormat::Png));
    match written {
        Some(Ok(())) => Ok(png.into_inner()),
        Some(Err(why)) => Err(Error::value("mask", format!("cannot be written as PNG: {why}"))),
        None => Err(Error::value("mask", "cannot be written as PNG: too large")),
    }
}
