//! The index as its user sees it, and as a crash leaves it.

use std::fs;
use std::path::Path;

use ndarray::{Array2, Array3, Axis};
use serde_json::json;

use super::*;
use crate::progress::Progress;
use crate::random::Random;

const LAYOUT: Layout =
    Layout { dimension: 6, vectors: 1, metric: Metric::Cosine, precision: Precision::Float32 };

fn vectors(n: usize, v: usize, seed: u64) -> Array3<f32> {
    let mut random = Random::new(seed, &[]);
    Array3::from_shape_simple_fn((n, v, LAYOUT.dimension), || random.normal() as f32)
}

fn items(names: impl Iterator<Item = usize>) -> Vec<Item> {
    let metadata = |i: usize| {
        let view = if i.is_multiple_of(2) { "PA" } else { "AP" };
        json!({"view": view, "age": i}).as_object().unwrap().clone()
    };
    names.map(|i| Item { key: format!("k{i:03}"), metadata: metadata(i) }).collect()
}

fn filled(folder: &Path, layout: Layout) -> (Index, Array3<f32>) {
    let mut index = Index::create(folder, layout, Some("m1".to_owned())).unwrap();
    let all = vectors(300, layout.vectors, 1);
    index.add(all.slice(ndarray::s![..200, .., ..]), &items(0..200)).unwrap();
    index.add(all.slice(ndarray::s![200.., .., ..]), &items(200..300)).unwrap();
    (index, all)
}

fn keys(index: &Index, query: &Array3<f32>, k: usize, filter: Option<&str>) -> Vec<String> {
    let filter = filter.map(|text| Filter::parse(text).unwrap());
    let found = index.search(query.view(), k, filter.as_ref(), &Progress::silent()).unwrap();
    found[0].iter().map(|hit| hit.key.clone()).collect()
}

/// Keys by falling best cosine, the plain way.
fn slow(all: &Array3<f32>, query: &Array3<f32>, k: usize) -> Vec<String> {
    let unit = |x: Array2<f32>| {
        let length = x.mapv(|v| v * v).sum_axis(Axis(1)).mapv(f32::sqrt).insert_axis(Axis(1));
        x / length
    };
    let query = unit(query.index_axis(Axis(0), 0).to_owned());
    let mut scored: Vec<(f32, String)> = all
        .outer_iter()
        .enumerate()
        .map(|(i, row)| {
            let best = unit(row.to_owned()).dot(&query.t()).fold(-2f32, |a, &b| a.max(b));
            (best, format!("k{i:03}"))
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().take(k).map(|s| s.1).collect()
}

#[test]
fn search_finds_what_a_full_sort_finds() {
    for (v, q) in [(1, 1), (1, 4), (3, 1), (3, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let (index, all) = filled(folder.path(), Layout { vectors: v, ..LAYOUT });
        let query = vectors(1, q, 9);
        assert_eq!(keys(&index, &query, 20, None), slow(&all, &query, 20), "V={v} Q={q}");
    }
}

#[test]
fn halves_rank_almost_as_floats() {
    let folder = tempfile::tempdir().unwrap();
    let (index, all) = filled(folder.path(), Layout { precision: Precision::Float16, ..LAYOUT });
    let query = vectors(1, 1, 9);
    let (found, exact) = (keys(&index, &query, 10, None), slow(&all, &query, 10));
    assert!(found.iter().filter(|key| exact.contains(key)).count() >= 9);
}

#[test]
fn batches_find_what_single_queries_find() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = filled(folder.path(), LAYOUT);
    let queries = vectors(600, 1, 5); // more than one sweep
    let together = index.search(queries.view(), 3, None, &Progress::silent()).unwrap();
    for number in [0, 255, 256, 599] {
        let one = queries.slice(ndarray::s![number..=number, .., ..]).to_owned();
        let together: Vec<String> = together[number].iter().map(|h| h.key.clone()).collect();
        assert_eq!(together, keys(&index, &one, 3, None));
    }
}

#[test]
fn equal_scores_come_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::create(folder.path(), LAYOUT, None).unwrap();
    let same = Array3::ones((300, 1, 6));
    let backwards: Vec<Item> = items(0..300).into_iter().rev().collect();
    index.add(same.view(), &backwards).unwrap();
    let query = Array3::ones((1, 1, 6));
    assert_eq!(keys(&index, &query, 3, None), ["k000", "k001", "k002"]);
}

#[test]
fn filters_deletes_and_compaction_agree_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (mut index, _) = filled(folder.path(), LAYOUT);
    let query = vectors(1, 1, 9);
    let filter = Some("view == 'PA' and age >= 100");
    let before = keys(&index, &query, 400, filter);
    assert_eq!(before.len(), 100);
    index.delete_keys(&before[..10]).unwrap();
    let old = Filter::parse("age < 100").unwrap();
    assert_eq!(index.delete_where(&old).unwrap(), 100);
    assert_eq!((index.len(), index.waste()), (190, (2, 110)));
    let after = keys(&index, &query, 400, None);
    assert_eq!(keys(&index, &query, 400, filter), before[10..]);
    let reopened = Index::open(folder.path(), true).unwrap();
    assert_eq!(keys(&reopened, &query, 400, None), after);
    index.compact().unwrap();
    assert_eq!(index.waste(), (1, 0));
    let reopened = Index::open(folder.path(), true).unwrap();
    assert_eq!(keys(&reopened, &query, 400, None), after);
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 4, "manifest, lock, vectors and items");
}

#[test]
fn a_handle_sees_another_writers_rows_before_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut index, _) = filled(folder.path(), LAYOUT);
    let mut other = Index::open(folder.path(), true).unwrap();
    other.add(vectors(1, 1, 3).view(), &items(300..301)).unwrap();
    let error = index.add(vectors(1, 1, 4).view(), &items(300..301)).unwrap_err();
    assert!(error.to_string().contains("row 0 is already in the index"), "{error}");
    index.add(vectors(1, 1, 4).view(), &items(301..302)).unwrap();
    assert_eq!(Index::open(folder.path(), true).unwrap().len(), 302);
}

#[test]
fn files_of_a_crashed_writer_do_not_count_and_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let (mut index, _) = filled(folder.path(), LAYOUT);
    for rubbish in ["00000099.vectors", "00000099.items.jsonl", ".index.json.1.1.tmp"] {
        fs::write(folder.path().join(rubbish), b"half").unwrap();
    }
    assert_eq!(Index::open(folder.path(), true).unwrap().len(), 300);
    index.add(vectors(1, 1, 3).view(), &items(300..301)).unwrap();
    assert!(!folder.path().join("00000099.vectors").exists());
    assert!(!folder.path().join(".index.json.1.1.tmp").exists());
}

#[test]
fn damage_is_named_by_file() {
    type Case = (&'static str, fn(&mut Vec<u8>), &'static str);
    let cases: [Case; 4] = [
        ("00000001.vectors", |b| b[40] ^= 1, "damaged: checksum"),
        ("00000001.vectors", |b| b.truncate(40), "40 bytes, expected 200 rows of 6 numbers"),
        ("00000001.items.jsonl", |b| b[10] ^= 1, "damaged: checksum"),
        ("index.json", |b| b.truncate(50), "not the manifest of an index"),
    ];
    for (file, damage, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        drop(filled(folder.path(), LAYOUT));
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let error = Index::open(folder.path(), true).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(expected), "{error}");
    }
}

#[test]
fn what_cannot_be_stored_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (mut index, _) = filled(folder.path(), LAYOUT);
    let mut add = |vectors: Array3<f32>, items: Vec<Item>| {
        index.add(vectors.view(), &items).unwrap_err().to_string()
    };
    let wrong_width = add(Array3::ones((1, 1, 5)), items(900..901));
    assert_eq!(wrong_width, "vectors: expected shape (n, 1, 6), got [1, 1, 5]");
    let nan = add(Array3::from_elem((2, 1, 6), f32::NAN), items(900..902));
    assert_eq!(nan, "vectors: row 0 holds NaN or infinity, expected finite numbers");
    let zero = add(Array3::zeros((1, 1, 6)), items(900..901));
    assert_eq!(zero, "vectors: row 0 is all zeros, which has no cosine");
    let twice = add(Array3::ones((2, 1, 6)), [items(900..901), items(900..901)].concat());
    assert_eq!(twice, "keys: row 1 is given twice, expected unique keys");
    let count = add(Array3::ones((2, 1, 6)), items(900..901));
    assert_eq!(count, "keys: 1 for 2 vectors, expected one each");
    assert_eq!(index.len(), 300);
}

#[test]
fn vectors_of_another_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = filled(folder.path(), LAYOUT);
    assert!(index.check_model(Some("m1")).is_ok() && index.check_model(None).is_ok());
    let error = index.check_model(Some("m2")).unwrap_err().to_string();
    assert!(
        error.starts_with("model: its fingerprint is \"m2\", but the index was made with \"m1\"")
    );
}

#[test]
fn a_folder_without_an_index_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = Index::open(folder.path(), true).unwrap_err().to_string();
    assert!(error.ends_with("no index.json there, expected the folder of an index"), "{error}");
    drop(filled(folder.path(), LAYOUT));
    let again = Index::create(folder.path(), LAYOUT, None).unwrap_err().to_string();
    assert!(again.contains("an index is already there"), "{again}");
}
