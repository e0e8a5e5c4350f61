//! Learned places of the cells of a grid, from one table for each axis.
//!
//! Source: Wu et al. 2023, "Towards Generalist Foundation Model for Radiology" (`RadFM`),
//! arXiv:2308.02463, whose spread of a grid over the tables is kept.

use candle::Tensor;
use candle_nn::{Init, VarBuilder};

use super::Shadow;
use crate::{Error, Result};

/// Places (d·h·w, D), a third of whose features says the row, a third the column, a third the
/// slice; parameters `row_embed.weight`, `col_embed.weight` and `dep_embed.weight`.
#[derive(Clone, Debug)]
pub struct AxialPlaces {
    row: Tensor,
    column: Tensor,
    slice: Tensor,
}

impl AxialPlaces {
    /// Tables of `rows` rows along (slices, rows, columns) for `dim` features, three times a
    /// number.
    pub fn new(dim: usize, rows: [usize; 3], vb: &VarBuilder) -> Result<Self> {
        if dim == 0 || !dim.is_multiple_of(3) {
            let why = format!("found {dim}, expected a multiple of 3");
            return Err(Error::value("position features", why));
        }
        let init = Init::Uniform { lo: 0.0, up: 1.0 };
        let table = |axis: usize, name: &str| {
            vb.pp(name).get_with_hints((rows[axis], dim / 3), "weight", init)
        };
        Ok(Self {
            row: table(1, "row_embed")?,
            column: table(2, "col_embed")?,
            slice: table(0, "dep_embed")?,
        })
    }

    /// The places of a `grid` of (slices, rows, columns), slice by slice and row by row: (N, D).
    pub fn forward(&self, grid: [usize; 3]) -> Result<Tensor> {
        let [d, h, w] = grid;
        let third = self.row.dim(1)?;
        let along = |table: &Tensor, count: usize, shape: [usize; 3]| {
            let [d_, h_, w_] = shape;
            let some = table.index_select(&spread(table, count)?, 0)?; // (n, D / 3)
            Ok::<_, Error>(some.reshape((d_, h_, w_, third))?.broadcast_as((d, h, w, third))?)
        };
        let parts = [
            along(&self.row, h, [1, h, 1])?,
            along(&self.column, w, [1, 1, w])?,
            along(&self.slice, d, [d, 1, 1])?,
        ];
        Ok(Tensor::cat(&parts, 3)?.reshape((d * h * w, 3 * third))?)
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, grid: [usize; 3], like: &Shadow) -> Shadow {
        let (cells, third) = (grid.iter().product::<usize>(), self.row.dims()[1]);
        let tables = [&self.row, &self.column, &self.slice];
        let parts = tables.map(|table| like.account().weight(table).view(&[cells, third]));
        Shadow::shared(&[cells, 3 * third], &parts.each_ref())
    }
}

/// Which rows of `table` stand for `count` places: the last of as many equal runs, what is left
/// over unused.
fn spread(table: &Tensor, count: usize) -> Result<Tensor> {
    let rows = table.dim(0)?;
    if count == 0 || count > rows {
        let why = format!("found {count} patches along an axis, expected 1 to {rows}");
        return Err(Error::value("position table", why));
    }
    let run = rows / count;
    let places = (1..=count).map(|i| (i * run - 1) as u32).collect::<Vec<_>>();
    Ok(Tensor::from_vec(places, count, table.device())?)
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;
    use crate::nn::Parameters;
    use crate::nn::testing::check_gradients;

    #[test]
    fn places_have_true_gradients() {
        check_gradients(&[], |_, vb| AxialPlaces::new(6, [5, 3, 4], &vb)?.forward([2, 3, 2]));
    }

    #[test]
    fn a_grid_is_spread_over_its_tables_and_a_larger_one_is_refused() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let places = AxialPlaces::new(6, [128, 16, 16], &parameters.builder()).unwrap();
        let rows = |count| spread(&places.row, count).unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(rows(3), [4, 9, 14]);
        assert_eq!(rows(1), [15]);
        assert_eq!(rows(16), (0..16).collect::<Vec<_>>());
        let error = places.forward([1, 17, 1]).unwrap_err().to_string();
        assert_eq!(error, "position table: found 17 patches along an axis, expected 1 to 16");
    }
}
