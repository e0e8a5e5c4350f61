//! CSV and JSON Lines files, read row by row in bounded memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::{Arrays, Builder, LONGEST_ROW, Options};
use crate::data::Dataset;
use crate::data::dataset::first_twice;
use crate::progress::Progress;
use crate::{Error, Result, files};

/// Opens a manifest: `.csv`, `.tsv`, or JSON Lines (`.jsonl`, `.ndjson`, `.json`).
pub fn open(path: &Path, options: Options, progress: &Progress) -> Result<Dataset> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let separator = match extension.as_str() {
        "csv" => Some(b','),
        "tsv" => Some(b'\t'),
        "jsonl" | "ndjson" | "json" => None,
        _ => {
            let why = format!("found extension {extension:?}, expected .csv, .tsv or .jsonl");
            return Err(Error::format(path, why));
        }
    };
    let file = files::open(path)?;
    let mut builder = Builder::new(&name, "line", options)?;
    match separator {
        Some(separator) => separated(file, &name, separator, &mut builder, progress)?,
        None => json_lines(BufReader::new(file), &name, &mut builder, progress)?,
    }
    builder.finish()
}

/// Adds every line of JSON Lines to `builder`.
fn json_lines(
    mut file: impl BufRead,
    name: &str,
    builder: &mut Builder,
    progress: &Progress,
) -> Result<()> {
    let arrays = Arrays::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let place = || format!("{name}, line {number}");
        let mut bounded = file.by_ref().take(LONGEST_ROW as u64 + 1);
        let length = bounded.read_until(b'\n', &mut line).map_err(|why| Error::io(place(), why))?;
        if length == 0 {
            break;
        }
        let fail = |why: String| Err(Error::Manifest { place: place(), why });
        if length > LONGEST_ROW {
            return fail(format!("found a line of over {LONGEST_ROW} bytes, expected a row"));
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let row: Map<String, Json> = match serde_json::from_slice(text) {
            Ok(row) => row,
            Err(why) => return fail(format!("{why}; expected one JSON object in each line")),
        };
        builder.push(number, &row, &arrays)?;
        progress.tick(1)?;
    }
    Ok(())
}

/// Adds every record of a CSV or TSV file to `builder`.
fn separated(
    file: File,
    name: &str,
    separator: u8,
    builder: &mut Builder,
    progress: &Progress,
) -> Result<()> {
    let since = Rc::new(Cell::new(0));
    let bounded = Bounded { inner: file, since: Rc::clone(&since) };
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(bounded);
    let broken = |line: u64, why: csv::Error| Error::Manifest {
        place: format!("{name}, line {line}"),
        why: spoken(&why),
    };
    let header = reader.headers().map_err(|why| broken(1, why))?;
    let header: Vec<String> =
        header.iter().map(|c| c.trim_start_matches('\u{feff}').to_owned()).collect();
    if let Some(twice) = first_twice(header.iter().map(String::as_str)) {
        let place = format!("{name}, line 1");
        let why = format!("found the column `{twice}` twice, expected unique columns");
        return Err(Error::Manifest { place, why });
    }
    builder.header(&header)?;
    let arrays = Arrays::default();
    let mut record = csv::StringRecord::new();
    loop {
        since.set(0);
        let line = reader.position().line();
        if !reader.read_record(&mut record).map_err(|why| broken(line, why))? {
            return Ok(());
        }
        let line = record.position().map_or(line, csv::Position::line) as usize;
        let values = header.iter().cloned().zip(record.iter().map(|v| Json::String(v.to_owned())));
        builder.push(line, &values.collect(), &arrays)?;
        progress.tick(1)?;
    }
}

/// What is wrong with a record, with its own place left to the caller.
fn spoken(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("found {len} fields, expected {expected_len} as in the header")
        }
        csv::ErrorKind::Utf8 { err, .. } => {
            format!("found bytes that are not UTF-8 in field {}, expected UTF-8", err.field() + 1)
        }
        csv::ErrorKind::Io(source) => source.to_string(),
        _ => error.to_string(),
    }
}

/// A reader that stops when more than [`LONGEST_ROW`] bytes came since the counter was set to 0.
struct Bounded<R> {
    inner: R,
    since: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.since.set(self.since.get() + count);
        if self.since.get() > LONGEST_ROW + buffer.len() {
            let why = format!("found a record of over {LONGEST_ROW} bytes, expected a row");
            return Err(std::io::Error::other(why));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Value;

    fn csv(text: &[u8]) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("films.csv");
        std::fs::write(&path, text).unwrap();
        let findings = Some(vec!["Edema".to_owned()]);
        let options = Options { findings, ..Options::new(folder.path()) };
        open(&path, options, &Progress::silent())
    }

    #[test]
    fn csv_with_lists_and_records_is_read() {
        let ds = csv(b"\xef\xbb\xbfstudy,patient,image,Edema,boxes,record.age,record.sex\n\
            1,a,\"[\"\"x.png\"\", \"\"y.png\"\"]\",-1,\
            \"[{\"\"finding\"\":\"\"Edema\"\",\"\"corners\"\":[1,2,3,4]}]\",50,F\n\
            2,b,z.png,,,,\n")
        .unwrap();
        assert_eq!((ds.len(), ds.studies[0].films.len()), (2, 2));
        assert_eq!(ds.studies[0].record["age"], Value::Number(50.0));
        assert_eq!(ds.studies[0].record["sex"], Value::Text("F".to_owned()));
        assert!(ds.studies[1].labels[0].is_nan() && ds.studies[1].record.is_empty());
    }

    #[test]
    fn broken_tables_name_line_and_column() {
        let cases: &[(&[u8], &str)] = &[
            (b"study,patient,image\n", "films.csv: found columns"),
            (b"study,patient,image,Edema\n", "films.csv: found no rows, expected at least one"),
            (b"", "films.csv: found columns"),
            (
                b"study,patient,image,Edema\n1,a,x.png,yes\n",
                "films.csv, line 2, column `Edema`: found \"yes\", expected 1, 0, -1 or blank",
            ),
            (
                b"study,patient,image,Edema\n1,a,x.png,1\n2,a,x.png\n",
                "films.csv, line 3: found 3 fields, expected 4 as in the header",
            ),
            (
                b"study,patient,image,Edema\n1,a,x\xff.png,1\n",
                "films.csv, line 2: found bytes that are not UTF-8 in field 3, expected UTF-8",
            ),
            (
                b"study,patient,image,Edema,Edema\n1,a,x.png,1,1\n",
                "films.csv, line 1: found the column `Edema` twice, expected unique columns",
            ),
            (
                b"study,patient,image,Edema\n1,a,,1\n",
                "films.csv, line 2, column `image`: found no image",
            ),
            (
                b"study,patient,image,Edema\n1,a,[x,1\n",
                "films.csv, line 2, column `image`: found broken JSON",
            ),
            (
                b"study,patient,image,Edema,split\n1,a,x,1,train\n2,a,y,1,test\n",
                "films.csv: column `split`: lines 2 and 3 are of one patient",
            ),
        ];
        for (text, expected) in cases {
            let error = csv(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_open_quote_does_not_swallow_memory() {
        let mut text = b"study,patient,image,Edema\n1,a,\"x.png,1\n".to_vec();
        text.resize(LONGEST_ROW * 2, b'x');
        let error = csv(&text).unwrap_err().to_string();
        assert!(error.contains("found a record of over"), "{error}");
    }

    #[test]
    fn a_json_line_must_be_an_object_of_bounded_length() {
        let read = |text: &[u8]| {
            let mut builder = Builder::new("a.jsonl", "line", Options::default()).unwrap();
            json_lines(text, "a.jsonl", &mut builder, &Progress::silent())?;
            builder.finish()
        };
        let good = b"{\"study\": 1, \"patient\": 2.0, \"image\": \"x\"}\n\n";
        assert_eq!(read(good).unwrap().studies[0].patient, "2");
        let error = read(b"\n[1]\n").unwrap_err().to_string();
        assert!(error.starts_with("a.jsonl, line 2: "), "{error}");
        let long = vec![b' '; LONGEST_ROW + 5];
        assert!(read(&long).unwrap_err().to_string().contains("found a line of over"));
    }
}
