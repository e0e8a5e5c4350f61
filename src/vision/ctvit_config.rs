//! The sizes of `CTViT`, and the scales that it sees volumes at.

use serde::{Deserialize, Serialize};

use crate::nn::limits::{chance, small, within};
use crate::{Error, Result};

/// The most voxels of a patch, and the most patches of a volume.
const MOST: usize = 1 << 20;

/// Volumes of one size, and how they are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CtScale {
    /// Voxels of a volume: (slices, rows, columns).
    pub size: [usize; 3],
    /// Voxels of a patch: (slices, rows, columns), divisors of the volume's.
    pub patch: [usize; 3],
}

impl CtScale {
    /// Patches along (slices, rows, columns).
    pub fn grid(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.size[axis] / self.patch[axis])
    }

    fn validate(&self, field: &str) -> Result<()> {
        let Self { size, patch } = self;
        let cut = |(size, patch): (&usize, &usize)| {
            *patch > 0 && *size > 0 && *size <= MOST && size.is_multiple_of(*patch)
        };
        let fits = size.iter().zip(patch).all(cut)
            && patch.iter().product::<usize>() <= MOST
            && self.grid().iter().product::<usize>() <= MOST;
        if fits {
            return Ok(());
        }
        let why = format!(
            "found volumes of {size:?} in patches of {patch:?}, expected divisors, and at most \
             {MOST} voxels in a patch and patches in a volume"
        );
        Err(Error::config(field, why))
    }
}

/// The published sizes, and one for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CtVitSize {
    /// Two blocks of 96 features on volumes of at most 16 × 48 × 48 voxels.
    Tiny,
    /// Twelve blocks of 768 features.
    Base,
    /// 24 blocks of 1024 features: the size of the published weights.
    Large,
    /// 32 blocks of 1280 features.
    Huge,
}

/// Sizes of a [`CtVit`](super::CtVit); the default is the large one of the release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CtVitConfig {
    /// Channels of the volume.
    pub channels: usize,
    /// What sizes of volumes are seen, each by a tokenizer of its own.
    pub scales: Vec<CtScale>,
    /// Features of a token, an even number.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads, a divisor of `dim`.
    pub heads: usize,
    /// Features inside the feed-forward branch, as a multiple of `dim`.
    pub mlp_ratio: usize,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// Probability of omitting a whole branch in the last block; grows linearly from zero.
    pub drop_path: f64,
    /// Probability of omitting single values of a branch.
    pub dropout: f64,
}

impl Default for CtVitConfig {
    fn default() -> Self {
        Self::of(CtVitSize::Large)
    }
}

impl CtVitConfig {
    /// A published size on the four scales of the release: a nodule and its surroundings, both
    /// lungs, the heart, one lung.
    pub fn of(size: CtVitSize) -> Self {
        let scales: [[usize; 3]; 4] = match size {
            CtVitSize::Tiny => [[4, 32, 32], [16, 32, 48], [16, 32, 32], [16, 48, 32]],
            _ => [[16, 448, 320], [128, 320, 448], [128, 192, 224], [128, 448, 320]],
        };
        let patch = |i: usize| if i == 0 { [4, 16, 16] } else { [16; 3] };
        let scale = |(i, size)| CtScale { size, patch: patch(i) };
        let (dim, depth, heads) = match size {
            CtVitSize::Tiny => (96, 2, 4),
            CtVitSize::Base => (768, 12, 12),
            CtVitSize::Large => (1024, 24, 16),
            CtVitSize::Huge => (1280, 32, 16),
        };
        Self {
            channels: 1,
            scales: scales.into_iter().enumerate().map(scale).collect(),
            dim,
            depth,
            heads,
            mlp_ratio: 4,
            norm_eps: 1e-6,
            drop_path: 0.0,
            dropout: 0.0,
        }
    }

    /// Features of a token.
    pub fn token_dim(&self) -> usize {
        self.dim
    }

    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("channels", self.channels, 64),
            ("scales", self.scales.len(), 64),
            ("dim", self.dim, 16_384),
            ("depth", self.depth, 256),
            ("mlp_ratio", self.mlp_ratio, 64),
        ];
        for (field, found, most) in counts {
            within(format!("image.{field}"), found, most)?;
        }
        for (i, scale) in self.scales.iter().enumerate() {
            scale.validate(&format!("image.scales[{i}]"))?;
            if self.scales[..i].iter().any(|other| other.size == scale.size) {
                let why = format!("found {:?} twice, expected each size once", scale.size);
                return Err(Error::config(format!("image.scales[{i}]"), why));
            }
        }
        if !self.dim.is_multiple_of(2) {
            let why = format!("found {}, expected an even number", self.dim);
            return Err(Error::config("image.dim", why));
        }
        if self.heads == 0 || !self.dim.is_multiple_of(self.heads) {
            let why = format!("found {}, expected a divisor of dim {}", self.heads, self.dim);
            return Err(Error::config("image.heads", why));
        }
        small("image.norm_eps", self.norm_eps)?;
        for (field, p) in [("drop_path", self.drop_path), ("dropout", self.dropout)] {
            chance(format!("image.{field}"), p)?;
        }
        Ok(())
    }

    /// The scale that sees volumes of `size` voxels.
    pub(super) fn scale(&self, size: [usize; 3]) -> Option<usize> {
        self.scales.iter().position(|scale| scale.size == size)
    }

    /// The sizes of volumes that are seen, for messages.
    pub(super) fn sizes(&self) -> String {
        let size = |scale: &CtScale| {
            let [slices, rows, columns] = scale.size;
            format!("(B, {}, {slices}, {rows}, {columns})", self.channels)
        };
        self.scales.iter().map(size).collect::<Vec<_>>().join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_scale_has_the_published_number_of_tokens() {
        let config = CtVitConfig::default();
        let tokens: Vec<usize> =
            config.scales.iter().map(|scale| scale.grid().iter().product()).collect();
        assert_eq!(tokens, [2240, 4480, 1344, 4480]);
    }

    #[test]
    fn sizes_that_no_model_can_have_are_refused_by_name() {
        let says = |config: CtVitConfig| config.validate().unwrap_err().to_string();
        let tiny = || CtVitConfig::of(CtVitSize::Tiny);
        for size in [CtVitSize::Tiny, CtVitSize::Base, CtVitSize::Large, CtVitSize::Huge] {
            CtVitConfig::of(size).validate().unwrap();
        }
        assert_eq!(
            says(CtVitConfig { scales: Vec::new(), ..tiny() }),
            "config field `image.scales`: found 0, expected 1 to 64"
        );
        let scales = |size, patch| vec![CtScale { size, patch }];
        let wrong = [
            scales([16, 32, 33], [16; 3]),
            scales([16, 32, 32], [0, 16, 16]),
            scales([usize::MAX; 3], [1; 3]),
            scales([MOST; 3], [MOST; 3]),
        ];
        for scales in wrong {
            let said = says(CtVitConfig { scales, ..tiny() });
            assert!(
                said.starts_with("config field `image.scales[0]`: found volumes of "),
                "{said}"
            );
        }
        let twice = CtVitConfig {
            scales: [scales([16; 3], [16; 3]), scales([16; 3], [8; 3])].concat(),
            ..tiny()
        };
        assert_eq!(
            says(twice),
            "config field `image.scales[1]`: found [16, 16, 16] twice, expected each size once"
        );
        assert_eq!(
            says(CtVitConfig { heads: 7, ..tiny() }),
            "config field `image.heads`: found 7, expected a divisor of dim 96"
        );
        assert_eq!(
            says(CtVitConfig { dim: 97, heads: 97, ..tiny() }),
            "config field `image.dim`: found 97, expected an even number"
        );
        assert_eq!(
            says(CtVitConfig { norm_eps: f64::NAN, ..tiny() }),
            "config field `image.norm_eps`: found NaN, expected a small positive number"
        );
    }
}
