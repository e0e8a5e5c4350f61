//! Batches on a device are those that were made: on a GPU they go through one place in locked
//! memory, one after the other, while nobody waits for them.
//!
//! `CARINA_TEST_DEVICE` names the device; `tests/gpu` runs this on a GPU and on a stand-in for one.

use std::sync::Arc;

use carina::data::{Dataset, Film, Loader, LoaderOptions, Pixels, Prepare, Study};
use carina::imaging::{Image, View};
use ndarray::{Array2, Axis};

/// The films of an epoch are numbered by their pixels; the last batch is a short one.
const FILMS: usize = 23;

#[test]
fn batches_that_nobody_has_read_yet_are_not_overwritten() {
    let name = std::env::var("CARINA_TEST_DEVICE").unwrap_or("cpu".to_owned());
    let device = carina::device::open(&name).unwrap();
    let study = |index: usize| {
        let image = Image::from_pixels(Array2::from_elem((3, 5), index as f32));
        let film = Film { pixels: Pixels::Memory(Arc::new(image)), view: View::Unknown };
        Arc::new(Study { id: index.to_string(), films: vec![film], ..Study::default() })
    };
    let dataset = Dataset { findings: vec![], studies: (0..FILMS).map(study).collect() };
    let prepare = Prepare::new("plain", |image| Ok(image.pixels.clone().insert_axis(Axis(0))));
    let options = LoaderOptions::sequential(4);
    let loader = Loader::new(Arc::new(dataset), prepare, Arc::default(), options).unwrap();
    // None is read before all are there.
    let batches: Vec<_> = loader.epoch(0).unwrap().onto(&device).unwrap().collect();
    let mut seen = 0;
    for batch in batches {
        let (batch, pixels) = batch.unwrap();
        let pixels = pixels.unwrap();
        assert_eq!(carina::device::name(pixels.device()), carina::device::name(&device));
        assert_eq!(pixels.dims(), [batch.indices.len(), 1, 3, 5]);
        for (film, &index) in batch.indices.iter().enumerate() {
            let film = pixels.get(film).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(film, [index as f32; 15]);
            seen += 1;
        }
    }
    assert_eq!(seen, FILMS);
}
