//! Order, bounds, failures and resumption of the loader.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ndarray::Array2;
use proptest::prelude::*;

use super::*;
use crate::data::{Film, Pixels, Study};
use crate::imaging::View;
use crate::progress::Progress;

/// Studies whose film `i` is 4×4 and has the value `i` / 100 everywhere.
fn films(count: usize) -> Arc<Dataset> {
    let study = |index: usize| {
        let image = Image::from_pixels(Array2::from_elem((4, 4), index as f32 / 100.0));
        let film = Film { pixels: Pixels::Memory(Arc::new(image)), view: View::Unknown };
        let name = index.to_string();
        Arc::new(Study { id: name.clone(), patient: name, films: vec![film], ..Study::default() })
    };
    Arc::new(Dataset { findings: vec![], studies: (0..count).map(study).collect() })
}

#[allow(clippy::unnecessary_wraps)] // the signature of a preparation
fn plain(image: &Image) -> Result<Array3<f32>> {
    Ok(image.pixels.clone().insert_axis(ndarray::Axis(0)))
}

fn loader(dataset: Arc<Dataset>, options: LoaderOptions) -> Loader {
    let cache = Arc::new(Cache::none());
    Loader::new(dataset, Prepare::new("plain", plain), cache, options).unwrap()
}

fn all(epoch: Epoch) -> Vec<Batch> {
    epoch.map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn threads_decide_nothing(
        count in 1usize..60, batch_size in 1usize..9, seed in 0u64..9, epoch in 0u64..4,
        prefetch in 1usize..4,
    ) {
        let run = |workers| {
            let augment = Augment::film();
            let options =
                LoaderOptions { batch_size, seed, workers, prefetch, augment, ..Default::default() };
            all(loader(films(count), options).epoch(epoch).unwrap())
        };
        let one = run(1);
        prop_assert_eq!(&one, &run(2));
        prop_assert_eq!(&one, &run(5));
        let mut seen: Vec<usize> = one.iter().flat_map(|b| b.indices.clone()).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn a_resumed_epoch_goes_on_as_the_unbroken_one(
        count in 1usize..40, batch_size in 1usize..9, start in 0usize..9,
    ) {
        let augment = Augment::film();
        let options = LoaderOptions { batch_size, seed: 5, augment, ..Default::default() };
        let loader = loader(films(count), options);
        let whole = all(loader.epoch(3).unwrap());
        let rest = all(loader.epoch_from(3, start).unwrap());
        prop_assert_eq!(&whole[start.min(whole.len())..], &rest[..]);
    }
}

#[test]
fn epochs_differ_and_a_sequential_loader_keeps_the_order() {
    let loader_ = loader(films(50), LoaderOptions::default());
    assert_ne!(loader_.plan(0), loader_.plan(1));
    let batches = all(loader(films(7), LoaderOptions::sequential(3)).epoch(0).unwrap());
    let indices: Vec<_> = batches.iter().map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    assert_eq!((batches[0].shape, batches[2].number), ([3, 1, 4, 4], 2));
    assert!((batches[1].pixels[17] - 0.04).abs() < 1e-6);
    let options = LoaderOptions { drop_last: true, ..LoaderOptions::sequential(3) };
    assert_eq!(loader(films(7), options).batches_per_epoch(), 2);
}

#[test]
fn a_bad_film_costs_its_row_only() {
    let mut dataset = Dataset::clone(&films(6));
    let spoil = |study: &mut Arc<Study>, pixels| Arc::make_mut(study).films[0].pixels = pixels;
    spoil(&mut dataset.studies[1], Pixels::File(Path::new("gone.png").to_owned()));
    let nan = Image::from_pixels(Array2::from_elem((4, 4), f32::NAN));
    spoil(&mut dataset.studies[2], Pixels::Memory(Arc::new(nan)));
    let odd = Image::from_pixels(Array2::zeros((3, 4)));
    spoil(&mut dataset.studies[4], Pixels::Memory(Arc::new(odd)));
    let batches = all(loader(Arc::new(dataset), LoaderOptions::sequential(6)).epoch(0).unwrap());
    assert_eq!((batches[0].indices.as_slice(), batches[0].shape), (&[0, 3, 5][..], [3, 1, 4, 4]));
    let failures = &batches[0].failures;
    assert_eq!(failures.iter().map(|f| f.index).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(failures[0].message.starts_with("gone.png: "), "{}", failures[0].message);
    assert_eq!(
        failures[1].message,
        "pixels: found NaN in channel 0, row 0, column 0, expected finite values"
    );
    assert_eq!(
        failures[2].message,
        "prepared film: expected shape (1, 4, 4) as in the first film of the batch, got [1, 3, 4]"
    );
}

#[test]
fn a_panic_in_a_reader_costs_its_row_only() {
    let prepare = Prepare::new("panics", |image| {
        assert!(image.pixels[[0, 0]] < 0.005 || image.pixels[[0, 0]] > 0.015);
        plain(image)
    });
    let cache = Arc::new(Cache::none());
    let loader = Loader::new(films(4), prepare, cache, LoaderOptions::sequential(4)).unwrap();
    let batches = all(loader.epoch(0).unwrap());
    assert_eq!(batches[0].indices, [0, 2, 3]);
    assert_eq!(batches[0].failures[0].index, 1);
}

#[test]
fn films_ahead_of_the_consumer_are_bounded() {
    let options =
        LoaderOptions { batch_size: 4, prefetch: 2, workers: 8, ..LoaderOptions::default() };
    let mut epoch = loader(films(100), options).epoch(0).unwrap();
    let mut batches = 0;
    while epoch.next().is_some() {
        batches += 1;
        std::thread::sleep(Duration::from_millis(2)); // a slow consumer lets the readers run ahead
    }
    assert_eq!(batches, 25);
    assert!(epoch.peak() <= 8, "{}", epoch.peak());
}

#[test]
fn a_stop_is_heard_while_waiting_and_dropping_ends_the_threads() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static OPEN: AtomicBool = AtomicBool::new(false);
    let prepare = Prepare::new("slow", |image| {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        while !OPEN.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        plain(image)
    });
    let options = LoaderOptions { workers: 2, ..LoaderOptions::sequential(4) };
    let loader = Loader::new(films(9), prepare, Arc::new(Cache::none()), options).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    let progress = Progress::silent();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            progress.stop();
        });
        assert!(matches!(epoch.next_batch(&progress), Err(Error::Interrupted)));
    });
    assert!(start.elapsed() < Duration::from_millis(900));
    OPEN.store(true, Ordering::SeqCst);
    drop(epoch);
    assert_eq!(RUNNING.load(Ordering::SeqCst), 0);
}

#[test]
fn a_study_that_comes_twice_is_augmented_otherwise() {
    let options = LoaderOptions { augment: Augment::film(), ..LoaderOptions::default() };
    let loader = loader(films(30), options);
    let batch = loader.run(vec![vec![29, 29]], 0, 0).unwrap().next().unwrap().unwrap();
    assert_ne!(batch.pixels[..16], batch.pixels[16..]);
    let error = loader.run(vec![vec![30]], 0, 0).unwrap_err().to_string();
    assert_eq!(error, "index: found 30, expected below 30 studies");
}

#[test]
fn one_of_several_films_is_drawn_in_every_epoch() {
    let mut dataset = Dataset::clone(&films(40));
    let second = dataset.studies[39].films[0].clone();
    for study in &mut dataset.studies {
        Arc::make_mut(study).films.push(second.clone());
    }
    let options = LoaderOptions { film: FilmChoice::Random, ..LoaderOptions::sequential(40) };
    let loader = loader(Arc::new(dataset), options);
    let first = loader.epoch(0).unwrap().next().unwrap().unwrap();
    let drawn = first.pixels.chunks(16).filter(|film| (film[0] - 0.39).abs() < 1e-6).count();
    assert!((8..33).contains(&drawn), "{drawn}");
    assert_ne!(first, loader.epoch(1).unwrap().next().unwrap().unwrap());
}

#[test]
fn a_recipe_tells_augmentation_where_black_and_white_are() {
    let prepare = Prepare::from_recipe(Recipe::preset("imagenet-224").unwrap());
    assert_eq!(prepare.ranges.len(), 3);
    let [black, white] = prepare.ranges[1];
    assert!((black + 0.456 / 0.224).abs() < 1e-5 && (white - 0.544 / 0.224).abs() < 1e-5);
    assert_eq!(Prepare::from_recipe(Recipe::film(8)).ranges.len(), 1);
}

#[test]
fn an_empty_data_set_and_senseless_options_are_refused() {
    let make = |dataset, options| {
        let cache = Arc::new(Cache::none());
        Loader::new(dataset, Prepare::new("plain", plain), cache, options).map(|_| ())
    };
    let error = make(films(0), LoaderOptions::default()).unwrap_err().to_string();
    assert_eq!(error, "dataset: found no studies, expected at least one");
    let error = make(films(1), LoaderOptions::sequential(0)).unwrap_err().to_string();
    assert_eq!(error, "config field `batch_size`: found 0, expected at least 1");
}
