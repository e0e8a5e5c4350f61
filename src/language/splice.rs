//! Words and images in one row of vectors, as a decoder reads them.

use candle::Tensor;

use super::Llama;
use crate::nn::join;
use crate::{Error, Result};

/// A text, and where images stand in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The tokens of the text.
    pub words: Vec<u32>,
    /// Places, each the word that an image stands before, and which image; in their order.
    pub images: Vec<(usize, usize)>,
}

/// On which side short lines are filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Before a line, so that all end together: for writing on.
    Before,
    /// Behind it, where no token sees it: for learning.
    Behind,
}

/// Lines as vectors.
#[derive(Clone, Debug)]
pub struct Spliced {
    /// The vectors (B, T, D).
    pub vectors: Tensor,
    /// Which are real (B, T); all when absent.
    pub mask: Option<Tensor>,
    /// For each line, the place of every word.
    pub places: Vec<Vec<usize>>,
}

/// What stands at a place of a row.
#[derive(Clone, Copy)]
enum Slot {
    Word(usize),
    /// The query of an image.
    Query(usize),
}

impl Llama {
    /// The vectors of `lines`, in which `images` (I, Q, D) stand.
    pub fn splice(&self, lines: &[Line], images: Option<&Tensor>, fill: Fill) -> Result<Spliced> {
        let queries = match images {
            Some(images) => images.dims3()?.1,
            None => 0,
        };
        let count = images.map_or(Ok(0), |images| images.dim(0))?;
        let rows: Vec<Vec<Slot>> =
            lines.iter().map(|line| slots(line, count, queries)).collect::<Result<_>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        if rows.iter().any(Vec::is_empty) {
            return Err(Error::value("lines", "found an empty one, expected a token in each"));
        }
        let words: Vec<u32> = lines.iter().flat_map(|line| line.words.iter().copied()).collect();
        let total = words.len();
        let (mut index, mut mask, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0; // of this line's words among all
        for (row, line) in rows.iter().zip(lines) {
            let fills = longest - row.len();
            let before = if fill == Fill::Before { fills } else { 0 };
            let number = |slot: &Slot| match slot {
                Slot::Word(word) => (first + word) as u32,
                Slot::Query(query) => (total + query) as u32,
            };
            index.extend(std::iter::repeat_n(0, before));
            index.extend(row.iter().map(number));
            index.extend(std::iter::repeat_n(0, fills - before));
            mask.extend(
                (0..longest).map(|at| u8::from((before..before + row.len()).contains(&at))),
            );
            let own = row.iter().enumerate().filter(|(_, slot)| matches!(slot, Slot::Word(_)));
            places.push(own.map(|(at, _)| before + at).collect());
            first += line.words.len();
        }
        let (shape, dim) = ((lines.len(), longest), self.config().dim);
        let words = self.embed(&Tensor::from_vec(words, (1, total), self.device())?)?; // (1, M, D)
        let table = match images {
            Some(images) => join(&words, &images.reshape((1, count * queries, dim))?)?,
            None => words,
        };
        let index = Tensor::from_vec(index, lines.len() * longest, self.device())?;
        let vectors = table.squeeze(0)?.index_select(&index, 0)?;
        let even = mask.iter().all(|real| *real == 1);
        let mask = Tensor::from_vec(mask, shape, self.device())?;
        Ok(Spliced {
            vectors: vectors.reshape((lines.len(), longest, dim))?, // (B, T, D)
            mask: (!even).then_some(mask),
            places,
        })
    }
}

/// The row of a line; images stand before the word at their place, or behind the last.
fn slots(line: &Line, images: usize, queries: usize) -> Result<Vec<Slot>> {
    let mut row = Vec::with_capacity(line.words.len() + queries * line.images.len());
    let mut next = 0;
    for &(place, image) in &line.images {
        if image >= images || !(next..=line.words.len()).contains(&place) {
            let why = format!(
                "found image {image} at {place}, expected one of {images} at {next} to {}",
                line.words.len()
            );
            return Err(Error::value("image in a line", why));
        }
        row.extend((next..place).map(Slot::Word));
        row.extend((image * queries..(image + 1) * queries).map(Slot::Query));
        next = place;
    }
    row.extend((next..line.words.len()).map(Slot::Word));
    Ok(row)
}

#[cfg(test)]
mod tests {
    use candle::{Device, Var};

    use super::*;
    use crate::language::LlamaConfig;
    use crate::nn::Parameters;

    fn decoder() -> Llama {
        let config = LlamaConfig {
            vocab_size: 9,
            dim: 4,
            depth: 1,
            heads: 2,
            kv_heads: 1,
            mlp_dim: 8,
            max_positions: 16,
            ..LlamaConfig::default()
        };
        let parameters = Parameters::new(0, &Device::Cpu);
        Llama::new(&config, parameters.builder()).unwrap();
        Llama::new(&config, parameters.frozen()).unwrap()
    }

    fn line(words: &[u32], images: &[(usize, usize)]) -> Line {
        Line { words: words.to_vec(), images: images.to_vec() }
    }

    #[test]
    fn images_stand_where_they_are_asked_to_on_either_side_of_filling() {
        let decoder = decoder();
        let values: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let images = Tensor::from_vec(values, (2, 2, 4), &Device::Cpu).unwrap();
        let lines = [line(&[1, 2, 3], &[(1, 1), (3, 0)]), line(&[4], &[(0, 0)])];
        let words = decoder.embed(&Tensor::new(&[[1u32, 2, 3, 4]], &Device::Cpu).unwrap());
        let words = words.unwrap().squeeze(0).unwrap();
        let image = |i: usize, q: usize| images.get(i).unwrap().get(q).unwrap();
        for (fill, second) in [(Fill::Behind, 0), (Fill::Before, 4)] {
            let spliced = decoder.splice(&lines, Some(&images), fill).unwrap();
            assert_eq!(spliced.vectors.dims(), [2, 7, 4]);
            assert_eq!(spliced.places, vec![vec![0, 3, 4], vec![second + 2]]);
            let at = |row: usize, place: usize| {
                let row = spliced.vectors.get(row).unwrap().get(place).unwrap();
                row.to_vec1::<f32>().unwrap()
            };
            let first = [words.get(0), Ok(image(1, 0)), Ok(image(1, 1)), words.get(1)];
            for (place, expected) in first.into_iter().enumerate() {
                assert_eq!(at(0, place), expected.unwrap().to_vec1::<f32>().unwrap(), "{place}");
            }
            assert_eq!(at(0, 6), image(0, 1).to_vec1::<f32>().unwrap());
            assert_eq!(at(1, second), image(0, 0).to_vec1::<f32>().unwrap());
            assert_eq!(at(1, second + 2), words.get(3).unwrap().to_vec1::<f32>().unwrap());
            let mask = spliced.mask.unwrap().to_vec2::<u8>().unwrap();
            assert_eq!(mask[0], [1; 7]);
            let real: Vec<u8> =
                (0..7).map(|at| u8::from((second..second + 3).contains(&at))).collect();
            assert_eq!(mask[1], real);
        }
    }

    #[test]
    fn an_image_that_is_not_there_is_refused() {
        let decoder = decoder();
        let error =
            |line: Line| decoder.splice(&[line], None, Fill::Behind).unwrap_err().to_string();
        assert!(error(line(&[1], &[(0, 0)])).contains("expected one of 0 at 0 to 1"));
        assert!(error(line(&[], &[])).contains("expected a token in each"));
    }

    #[test]
    fn gradients_of_images_pass_a_frozen_decoder_as_finite_differences_say() {
        let decoder = decoder();
        let lines = [line(&[1, 2, 3, 4], &[(1, 0)]), line(&[5, 6], &[(1, 1)])];
        let targets = Tensor::new(
            &[[-100i64, -100, -100, -100, 3, 4], [-100, -100, -100, 6, -100, -100]],
            &Device::Cpu,
        );
        let targets = targets.unwrap();
        let loss = |images: &Tensor| {
            let spliced = decoder.splice(&lines, Some(images), Fill::Behind).unwrap();
            let states = decoder.forward(&spliced.vectors, None, &crate::nn::Pass::inference());
            decoder.loss(&states.unwrap(), &targets).unwrap()
        };
        let values: Vec<f32> = (0..16).map(|i| ((i * 37 % 23) as f32 - 11.0) / 9.0).collect();
        let tensor = |x: &[f32]| Tensor::from_slice(x, (2, 2, 4), &Device::Cpu).unwrap();
        let var = Var::from_tensor(&tensor(&values)).unwrap();
        let (taped, tape) = crate::nn::record(|| Ok::<_, Error>(loss(var.as_tensor()))).unwrap();
        let mut found = tape.backward(&taped).unwrap();
        let gradient = found.take(&var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(found.is_empty(), "the decoder learns nothing");
        for i in 0..values.len() {
            let at = |by: f32| {
                let mut moved = values.clone();
                moved[i] += by;
                f64::from(loss(&tensor(&moved)).to_scalar::<f32>().unwrap())
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[i])).abs() < 2e-3, "{i}: {slope} {}", gradient[i]);
        }
    }
}
