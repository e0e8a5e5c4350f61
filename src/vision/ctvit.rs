//! `CTViT`: volumes of several sizes, one transformer.
//!
//! Source: Niu et al. 2025, "Medical multimodal multitask foundation model for lung cancer
//! screening", Nature Communications 16:1523 (M3FM); a `ViT` without a pre-norm before its blocks,
//! whose tokens also carry the size of a patch in mm. Parameters are named as in the release, so
//! that the name of a tokenizer has parentheses. Differs in that a volume of unknown size is
//! refused, where the release goes on with a zero, and in that the sizes are computed in float64.
//! The release's windows, which none of its models use, are left out.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::ct_tokenizer::CtTokenizer;
use super::encoder::check_voxels;
use super::{CtVitConfig, TokenGrid, VisionEncoder};
use crate::nn::{
    AttentionConfig, AttentionInput, AttentionLayout, Block, BlockConfig, LayerNorm, Linear, Pass,
    Shadow,
};
use crate::{Error, Result};

/// A vision transformer on volumes.
#[derive(Clone, Debug)]
pub struct CtVit {
    img_tokenizer: CtTokenizer,
    blocks: Vec<Block>,
    norm: LayerNorm,
    dim: usize,
}

impl CtVit {
    /// Reads `img_tokenizer` and `encoder_img.{blocks,norm}` under `vb`.
    pub fn new(config: &CtVitConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let (dim, encoder) = (config.dim, vb.pp("encoder_img"));
        let last = (config.depth.max(2) - 1) as f64;
        let block = |i: usize| {
            let block = BlockConfig {
                attention: AttentionConfig {
                    layout: AttentionLayout::split("q", "k", "v", "proj"),
                    ..AttentionConfig::new(dim, config.heads)
                },
                mlp_dim: config.mlp_ratio * dim,
                norm_eps: config.norm_eps,
                dropout: config.dropout,
                drop_path: config.drop_path * i as f64 / last,
                ..BlockConfig::new(dim, config.heads)
            };
            Block::new(&block, encoder.pp(format!("blocks.{i}")))
        };
        Ok(Self {
            img_tokenizer: CtTokenizer::new(config, &vb.pp("img_tokenizer"))?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            norm: LayerNorm::new(dim, config.norm_eps, encoder.pp("norm"))?,
            dim,
        })
    }

    /// The class token and the patches (B, 1 + N, D) of `pixels` (B, C, S, H, W) whose size is that
    /// of a scale, and the grid of the patches; `voxels` as in [`VisionEncoder::forward_sized`].
    ///
    /// Masked training drops some of the patches before [`Self::encode`].
    pub fn embed(
        &self,
        pixels: &Tensor,
        voxels: Option<&[[f64; 3]]>,
    ) -> Result<(Tensor, [usize; 3])> {
        voxels.map_or(Ok(()), |voxels| check_voxels(pixels, voxels))?;
        self.img_tokenizer.forward(pixels, voxels)
    }

    /// All tokens after the last block, for `tokens` (B, N, D) from [`Self::embed`]. `bias` is
    /// added to the scores and learns nothing, broadcastable to (B, H, N, N).
    pub fn encode(&self, tokens: &Tensor, bias: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        if !matches!(tokens.dims(), [_, _, dim] if *dim == self.dim) {
            return Err(Error::shape("tokens", format!("(B, N, {})", self.dim), tokens.dims()));
        }
        self.run(tokens.clone(), bias, pass)
    }

    /// As [`Self::encode`], which lets go of the tokens after the first block.
    fn run(&self, mut x: Tensor, bias: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let bias = bias.map(Tensor::detach);
        for block in &self.blocks {
            let (block, bias) = (block.clone(), bias.clone());
            x = pass.block(&x, move |x, pass| {
                let input = AttentionInput { bias: bias.as_ref(), ..AttentionInput::default() };
                block.forward(x, &input, pass)
            })?;
        }
        self.norm.forward(&x)
    }

    /// Every linear map of the blocks, for adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.blocks.iter_mut().flat_map(Block::linears_mut).collect()
    }

    fn grid(&self, tokens: Tensor, grid: [usize; 3], pass: &Pass) -> Result<TokenGrid> {
        let all = self.run(tokens, None, pass)?; // (B, 1 + N, D)
        let pooled = Some(all.narrow(1, 0, 1)?.squeeze(1)?);
        let tokens = all.narrow(1, 1, grid.iter().product())?;
        Ok(TokenGrid { tokens, grid, spacing: None, pooled })
    }
}

impl VisionEncoder for CtVit {
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        let (tokens, grid) = self.embed(pixels, None)?;
        self.grid(tokens, grid, pass)
    }

    fn forward_sized(
        &self,
        pixels: &Tensor,
        voxels: &[[f64; 3]],
        pass: &Pass,
    ) -> Result<TokenGrid> {
        let (tokens, grid) = self.embed(pixels, Some(voxels))?;
        Ok(self.grid(tokens, grid, pass)?.spaced(pixels, voxels))
    }

    fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        let mut x = self.img_tokenizer.trace(pixels)?;
        for block in &self.blocks {
            let block = block.clone();
            x = x.block(pass, move |x, pass| Ok(block.trace(x, pass)))?;
        }
        let all = self.norm.trace(&x);
        let &[batch, count, dim] = all.dims() else { return Ok(all) };
        Ok(all.view(&[batch, count - 1, dim]))
    }

    fn dim(&self) -> usize {
        self.dim
    }
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device};

    use super::*;
    use crate::nn::testing::trained;
    use crate::nn::{Outline, Parameters, Precision};
    use crate::random::Random;
    use crate::vision::{CtScale, CtVitSize};

    fn small() -> CtVitConfig {
        let scale = |size, patch| CtScale { size, patch };
        CtVitConfig {
            dim: 12,
            depth: 3,
            heads: 2,
            scales: vec![scale([4, 8, 6], [2, 4, 3]), scale([6, 4, 4], [2, 2, 4])],
            ..CtVitConfig::of(CtVitSize::Tiny)
        }
    }

    fn pixels(batch: usize, [s, h, w]: [usize; 3]) -> Tensor {
        let mut random = Random::new(5, &[]);
        let values: Vec<f32> = (0..batch * s * h * w).map(|_| random.normal() as f32).collect();
        Tensor::from_vec(values, (batch, 1, s, h, w), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_large_model_has_the_parameters_of_the_released_one() {
        let outline = Outline::default();
        CtVit::new(&CtVitConfig::default(), outline.builder(false, Precision::F32)).unwrap();
        assert_eq!(outline.count(|name| name.starts_with("img_tokenizer.")), 15_564_800);
        assert_eq!(outline.count(|name| name.starts_with("encoder_img.")), 302_311_424);
        let name = "img_tokenizer.tokenizer_(128, 448, 320).pos_embed_spatial";
        assert_eq!(outline.count(|known| known == name), 560 * 1024);
    }

    #[test]
    fn every_parameter_of_the_scales_that_were_seen_gets_a_gradient_and_no_other() {
        let config = CtVitConfig { drop_path: 0.2, dropout: 0.1, ..small() };
        let parameters = Parameters::new(0, &Device::Cpu);
        let model = CtVit::new(&config, parameters.builder()).unwrap();
        let loss = |recompute: bool| {
            let pass = Pass::training(0, 0);
            let pass = if recompute { pass.recomputing() } else { pass };
            let work = || {
                let out = model.forward_sized(&pixels(2, [4, 8, 6]), &[[1.0; 3]; 2], &pass)?;
                Ok(((), (out.tokens.sqr()?.mean_all()? + out.pooled.unwrap().sum_all()?)?))
            };
            trained(work).1
        };
        let (kept, again) = (loss(false), loss(true));
        for (name, var) in parameters.trainable() {
            let other = ["conv2", "tokenizer_(6, 4, 4)"].iter().any(|part| name.contains(part));
            let values = |gradients: &crate::nn::Gradients| {
                let gradient = gradients.get(&var)?;
                Some(gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            };
            let gradient = values(&kept);
            assert_eq!(gradient.is_none(), other, "{name}");
            assert!(gradient.iter().flatten().all(|x| x.is_finite()), "{name}");
            for (a, b) in gradient.iter().flatten().zip(values(&again).iter().flatten()) {
                assert!((a - b).abs() < 1e-5, "{name}: {a} kept, {b} again");
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let parameters = Parameters::new(0, &Device::Cpu);
        CtVit::new(&small(), parameters.builder()).unwrap();
        let model = CtVit::new(&small(), parameters.frozen()).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let out = pool.install(|| model.forward(&pixels(3, [6, 4, 4]), &Pass::inference()));
            let bits = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            bits(&out.unwrap().tokens).into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
    }

    #[test]
    fn volumes_and_voxels_that_no_scale_sees_are_refused_with_the_sizes_that_are() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let model = CtVit::new(&small(), parameters.builder()).unwrap();
        let pass = Pass::inference();
        let says = |result: Result<TokenGrid>| result.unwrap_err().to_string();
        let expected = "pixels: expected shape (B, 1, 4, 8, 6) or (B, 1, 6, 4, 4), got ";
        let empty = Tensor::zeros((0, 1, 0, 0, 0), DType::F32, &Device::Cpu).unwrap();
        for (wrong, got) in [
            (pixels(1, [4, 8, 3]), "[1, 1, 4, 8, 3]"),
            (pixels(1, [4, 8, 6]).squeeze(1).unwrap(), "[1, 4, 8, 6]"),
            (pixels(2, [4, 8, 6]).reshape((1, 2, 4, 8, 6)).unwrap(), "[1, 2, 4, 8, 6]"),
            (empty, "[0, 1, 0, 0, 0]"),
        ] {
            assert_eq!(says(model.forward(&wrong, &pass)), format!("{expected}{got}"));
        }
        let known = pixels(2, [4, 8, 6]);
        assert_eq!(
            says(model.forward_sized(&known, &[[1.0; 3]], &pass)),
            "voxel sizes: found 1 triples, expected one for each of 2"
        );
        for wrong in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            let voxels = [[1.0; 3], [1.0, wrong, 1.0]];
            let said = says(model.forward_sized(&known, &voxels, &pass));
            let why = "expected mm along (slices, rows, columns)";
            assert_eq!(said, format!("voxel sizes: found [1.0, {wrong:?}, 1.0], {why}"));
        }
        let none = Tensor::zeros((0, 1, 4, 8, 6), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(model.forward(&none, &pass).unwrap().tokens.dims(), [0, 8, 12]);
        let said = model.encode(&known, None, &pass).unwrap_err().to_string();
        assert_eq!(said, "tokens: expected shape (B, N, 12), got [2, 1, 4, 8, 6]");
    }
}
