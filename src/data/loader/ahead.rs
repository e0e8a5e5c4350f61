//! Batches as tensors on a device, each copied there while the one before is in use.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use candle::{Device, Tensor};

use super::{Batch, Epoch};
use crate::device::Copies;
use crate::{Error, Result};

/// A batch whose pixels are a tensor (B, C, H, W); `None` when every film failed.
pub type OnDevice = (Batch, Option<Tensor>);

/// The batches of an epoch on a device. Dropping it ends the epoch.
#[derive(Debug)]
pub struct Ahead(Source);

#[derive(Debug)]
enum Source {
    /// On the CPU nothing is copied.
    Here(Epoch),
    /// A GPU's copies are made by a thread, which waits for them in place of the caller.
    Thread(Option<Receiver<Result<OnDevice>>>, Option<JoinHandle<()>>),
}

impl Epoch {
    /// The batches from here on, on `device`; on a GPU one is copied ahead.
    pub fn onto(self, device: &Device) -> Result<Ahead> {
        if device.is_cpu() {
            return Ok(Ahead(Source::Here(self)));
        }
        copied_ahead(self, Copies::to(device))
    }
}

fn copied_ahead(epoch: Epoch, mut copies: Copies) -> Result<Ahead> {
    // None waits beside the one that the thread holds out.
    let (sender, receiver) = sync_channel(0);
    let copy = move || {
        for batch in epoch {
            let batch = batch.and_then(|batch| on_device(batch, &mut copies));
            if sender.send(batch).is_err() {
                return; // nobody asks any more
            }
        }
    };
    let thread = std::thread::Builder::new().name("carina-copies".to_owned()).spawn(copy);
    let thread = thread.map_err(|source| Error::io("a thread for copies", source))?;
    Ok(Ahead(Source::Thread(Some(receiver), Some(thread))))
}

fn on_device(mut batch: Batch, copies: &mut Copies) -> Result<OnDevice> {
    if batch.indices.is_empty() {
        return Ok((batch, None));
    }
    let pixels = std::mem::take(&mut batch.pixels);
    let pixels = copies.tensor(pixels, &batch.shape)?;
    Ok((batch, Some(pixels)))
}

impl Iterator for Ahead {
    type Item = Result<OnDevice>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Here(epoch) => {
                let mut copies = Copies::to(&Device::Cpu);
                Some(epoch.next()?.and_then(|batch| on_device(batch, &mut copies)))
            }
            Source::Thread(receiver, _) => receiver.as_ref()?.recv().ok(),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Thread(receiver, thread) = self {
            drop(receiver.take()); // the thread's next batch finds nobody
            if let Some(thread) = thread.take() {
                let _ = thread.join(); // it has nothing to say
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::{Array2, Axis};

    use super::*;
    use crate::data::{Dataset, Film, Loader, LoaderOptions, Pixels, Prepare, Study};
    use crate::imaging::{Image, View};

    fn epoch() -> Epoch {
        let study = |index: usize| {
            let image = Image::from_pixels(Array2::from_elem((2, 2), index as f32));
            let film = Film { pixels: Pixels::Memory(Arc::new(image)), view: View::Unknown };
            Arc::new(Study { id: index.to_string(), films: vec![film], ..Study::default() })
        };
        let dataset = Dataset { findings: vec![], studies: (0..7).map(study).collect() };
        let prepare = Prepare::new("plain", |image| {
            if image.pixels[[0, 0]] >= 6.0 {
                return Err(Error::value("film", "the last one breaks"));
            }
            Ok(image.pixels.clone().insert_axis(Axis(0)))
        });
        let options = LoaderOptions::sequential(2);
        let loader = Loader::new(Arc::new(dataset), prepare, Arc::default(), options).unwrap();
        loader.epoch(0).unwrap()
    }

    #[test]
    fn copies_ahead_are_the_batches_in_their_order() {
        let read = |ahead: Ahead| -> Vec<_> {
            let one = |item: Result<OnDevice>| {
                let (batch, pixels) = item.unwrap();
                let pixels = pixels.map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                (batch.number, batch.indices, batch.failures.len(), pixels)
            };
            ahead.map(one).collect()
        };
        let here = read(epoch().onto(&Device::Cpu).unwrap());
        assert_eq!(here, read(copied_ahead(epoch(), Copies::to(&Device::Cpu)).unwrap()));
        assert_eq!(here.len(), 4);
        assert_eq!(here[3], (3, vec![], 1, None));
    }

    #[test]
    fn an_epoch_that_is_left_early_ends_its_thread() {
        let mut ahead = copied_ahead(epoch(), Copies::to(&Device::Cpu)).unwrap();
        assert_eq!(ahead.next().unwrap().unwrap().0.indices, [0, 1]);
        drop(ahead); // joins the thread, or hangs
    }
}
