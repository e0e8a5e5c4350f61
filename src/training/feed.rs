//! The batches of an epoch: with their films, or of texts alone.

use candle::{DType, Device, Tensor};

use super::Stage;
use crate::Result;
use crate::data::{Ahead, Batch, Loader, OnDevice};

/// Batches in their order.
#[derive(Debug)]
pub(super) enum Feed {
    /// Films, as the loader prepares them.
    Films(Ahead),
    /// Which studies; no film is read.
    Blind(std::iter::Enumerate<std::vec::IntoIter<Vec<usize>>>, Device),
}

impl Feed {
    /// The batches of `plan` from number `first` on, for `stage`.
    pub(super) fn new(
        loader: &Loader,
        stage: &Stage,
        mut plan: Vec<Vec<usize>>,
        (epoch, first): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        if stage.blind() {
            let left = plan.split_off(first.min(plan.len()));
            return Ok(Self::Blind(left.into_iter().enumerate(), device.clone()));
        }
        Ok(Self::Films(loader.run(plan, epoch as u64, first)?.onto(device)?))
    }
}

impl Iterator for Feed {
    type Item = Result<OnDevice>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Films(films) => films.next(),
            Self::Blind(plan, device) => {
                let (number, indices) = plan.next()?;
                let (pixels, failures) = (Vec::new(), Vec::new());
                let shape = [indices.len(), 0, 0, 0];
                let none = Tensor::zeros(&shape, DType::F32, device);
                let batch = Batch { number, indices, pixels, shape, failures };
                Some(none.map(|none| (batch, Some(none))).map_err(Into::into))
            }
        }
    }
}
