//! Batch norm of feature maps with its backward, through the statistics or past them.

use candle::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::buffer::{filled, read, slice, tensor};
use super::crew::map;
use super::simd::{fma, kernel, sum, sum_pairs};
use super::tape::apply3;

/// Mean and biased variance of each channel.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    pub(crate) mean: Vec<f32>,
    pub(crate) variance: Vec<f32>,
}

kernel! {
    fn plane_sum(x: &[f32]) -> f32 {
        sum(x, |x| x)
    }
}

kernel! {
    fn plane_deviation(x: &[f32], mean: f32) -> f32 {
        sum(x, |x| (x - mean) * (x - mean))
    }
}

kernel! {
    fn plane_product(x: &[f32], g: &[f32], mean: f32) -> f32 {
        sum_pairs(x, g, |x, g| (x - mean) * g)
    }
}

kernel! {
    fn plane_forward(x: &[f32], mean: f32, scale: f32, shift: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = fma::<FMA>(x - mean, scale, shift);
        }
    }
}

kernel! {
    /// Writes `scale (g − level − (x − mean) tilt)`.
    fn plane_backward(
        x: &[f32], g: &[f32], mean: f32, scale: f32, level: f32, tilt: f32, out: &mut [f32],
    ) {
        for ((out, x), g) in out.iter_mut().zip(x).zip(g) {
            *out = scale * fma::<FMA>(-(x - mean), tilt, g - level);
        }
    }
}

/// Feature maps in memory, plane after plane.
#[derive(Clone, Copy, Debug)]
struct Maps {
    channels: usize,
    area: usize,
}

impl Maps {
    fn of(shape: &Shape) -> Result<Self> {
        let (_, channels, height, width) = shape.dims4()?;
        Ok(Self { channels, area: height * width })
    }

    /// The planes of one channel in every image.
    fn planes(self, x: &[f32], channel: usize) -> impl Iterator<Item = &[f32]> {
        x.chunks_exact(self.area.max(1)).skip(channel).step_by(self.channels.max(1))
    }
}

/// The statistics of `x` (B, C, H, W).
pub(crate) fn batch_statistics(x: &Tensor) -> Result<Statistics> {
    let maps = Maps::of(x.shape())?;
    let count = (x.elem_count() / maps.channels.max(1)) as f32;
    let (mean, variance) = read(x, |x| {
        let one = |channel| {
            let mean = maps.planes(x, channel).map(plane_sum).sum::<f32>() / count;
            let deviations = maps.planes(x, channel).map(|plane| plane_deviation(plane, mean));
            (mean, deviations.sum::<f32>() / count)
        };
        map(maps.channels, one).into_iter().unzip()
    })?;
    Ok(Statistics { mean, variance })
}

/// Normalises `x` (B, C, H, W), then `weight` and `bias` (C); `through` says whether gradients
/// pass through the statistics, which then must be those of `x`.
pub(crate) fn batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    statistics: &Statistics,
    eps: f64,
    through: bool,
) -> Result<Tensor> {
    let scale = |variance: &f32| (1.0 / (f64::from(*variance) + eps).sqrt()) as f32;
    let op = BatchNorm {
        mean: statistics.mean.clone(),
        scale: statistics.variance.iter().map(scale).collect(),
        through,
    };
    apply3(&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, op)
}

struct BatchNorm {
    mean: Vec<f32>,
    /// 1 / standard deviation.
    scale: Vec<f32>,
    through: bool,
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, x_layout)?;
        let (weight, bias) = (slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let maps = Maps::of(x_layout.shape())?;
        let out = filled(x.len(), maps.area, |i, out| {
            let (c, x) = (i % maps.channels, &x[i * maps.area..][..out.len()]);
            plane_forward(x, self.mean[c], self.scale[c] * weight[c], bias[c], out);
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let maps = Maps::of(x.shape())?;
        let run = |x: &[f32], g: &[f32], weight: &[f32]| self.gradients(maps, x, g, weight);
        let all = read(x, |x| read(grad, |g| read(weight, |weight| run(x, g, weight))))???;
        let [dx, dw, db] = all;
        Ok((Some(tensor(dx, x)?), Some(tensor(dw, weight)?), Some(tensor(db, bias)?)))
    }
}

impl BatchNorm {
    fn gradients(&self, maps: Maps, x: &[f32], g: &[f32], weight: &[f32]) -> [Vec<f32>; 3] {
        let one = |c: usize| {
            let pairs = maps.planes(x, c).zip(maps.planes(g, c));
            let product = pairs.map(|(x, g)| plane_product(x, g, self.mean[c])).sum::<f32>();
            (product * self.scale[c], maps.planes(g, c).map(plane_sum).sum::<f32>())
        };
        let (dw, db): (Vec<f32>, Vec<f32>) = map(maps.channels, one).into_iter().unzip();
        let share = if self.through { maps.channels as f32 / x.len() as f32 } else { 0.0 };
        let dx = filled(x.len(), maps.area, |i, out| {
            let (c, place) = (i % maps.channels, i * maps.area..i * maps.area + out.len());
            let (level, tilt) = (db[c] * share, dw[c] * share * self.scale[c]);
            let scale = self.scale[c] * weight[c];
            plane_backward(&x[place.clone()], &g[place], self.mean[c], scale, level, tilt, out);
        });
        [dx, dw, db]
    }
}
