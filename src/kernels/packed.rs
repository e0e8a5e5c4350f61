//! The right side of a product, laid out for the unit that serves its precision.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::MappedFile;
use super::buffer::{block_of_rows, filled, read};
#[cfg(target_arch = "x86_64")]
use super::few::FEW;
use super::gemm::{Into, Matrix, Threads, multiply};
use super::held::{Held, Plain};
use super::lines::Lines;
use super::panels::Columns;
#[cfg(target_arch = "x86_64")]
use super::parts::Parts;
use super::product::{self, Finish};
use super::q8::{self, Q8};
use super::simd::level;
#[cfg(target_arch = "x86_64")]
use super::unit::{Unit, unit};

static PREPARING: AtomicBool = AtomicBool::new(true);

/// Whether layers that do not learn keep their weights laid out for products.
pub(crate) fn preparing() -> bool {
    PREPARING.load(Ordering::Relaxed)
}

/// Switches [`preparing`]; what was laid out before stays until its layer goes.
pub fn prepare_weights(prepare: bool) {
    PREPARING.store(prepare, Ordering::Relaxed);
}

/// What matrices are multiplied in. Sums, norms, softmax and losses are always float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    F32,
    /// bfloat16: several times faster on GPUs and on processors with units for it; on others
    /// linear maps stay in float32.
    Bf16,
    /// Weights of eight bits, 32 of which share a factor, times numbers rounded likewise: for
    /// decoders in use. Nothing learns in it.
    #[serde(rename = "q8_0")]
    Q8_0,
}

impl Precision {
    /// Whether this is float32.
    pub fn is_single(&self) -> bool {
        *self == Self::F32
    }
}

/// The right side (K, N) of products.
#[derive(Debug)]
pub(crate) struct Packed(Layout);

#[derive(Debug)]
enum Layout {
    Panels(Columns),
    Bytes(Q8),
    #[cfg(target_arch = "x86_64")]
    Parts(Unit, Parts),
}

impl Packed {
    /// Lays out `weight` (N, K), as linear layers keep it.
    pub(crate) fn new(weight: &Tensor, precision: Precision) -> Result<Self> {
        let (columns, depth) = weight.dims2()?;
        read(weight, |weight| Self::of(Lines::rows(weight, columns, depth), precision))
    }

    /// Lays out the columns.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] // float32 only
    pub(super) fn of(columns: Lines, precision: Precision) -> Self {
        if precision == Precision::Q8_0 && columns.along {
            return Self(Layout::Bytes(Q8::new(columns)));
        }
        #[cfg(target_arch = "x86_64")]
        if let Some((unit, parts)) = served(precision) {
            // SAFETY: a processor with such a unit has AVX-512 with bfloat16.
            #[allow(unsafe_code)]
            let parts = unsafe { Parts::right(columns, parts) };
            return Self(Layout::Parts(unit, parts));
        }
        Self(Layout::Panels(Columns::of(level(), columns)))
    }

    /// What `pieces` of a file hold: a weight `[columns, depth]`, laid out here or on a processor
    /// like this one. `None` where they are not as large as they must be.
    pub(super) fn held(
        file: &Arc<MappedFile>,
        pieces: &[Range<usize>],
        [columns, depth]: [usize; 2],
        precision: Precision,
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] finite: bool,
    ) -> Option<Self> {
        fn whole<T: Plain>(file: &Arc<MappedFile>, piece: &Range<usize>) -> Option<Held<T>> {
            Held::mapped(file, piece, piece.len() / size_of::<T>())
        }
        let layout = match pieces {
            [quads, factors] if precision == Precision::Q8_0 => {
                Layout::Bytes(Q8::held(whole(file, quads)?, whole(file, factors)?, columns, depth)?)
            }
            [piece] => {
                #[cfg(target_arch = "x86_64")]
                if let Some((unit, split)) = served(precision) {
                    let parts = Parts::held(whole(file, piece)?, (columns, depth), split, finite);
                    return Some(Self(Layout::Parts(unit, parts?)));
                }
                Layout::Panels(Columns::held(whole(file, piece)?, depth, columns)?)
            }
            _ => return None,
        };
        Some(Self(layout))
    }

    /// The bytes to be held by a file.
    pub(super) fn pieces(&self) -> Vec<&[u8]> {
        match &self.0 {
            Layout::Panels(panels) => vec![panels.lines.bytes()],
            Layout::Bytes(bytes) => vec![bytes.quads.bytes(), bytes.factors.bytes()],
            #[cfg(target_arch = "x86_64")]
            Layout::Parts(_, parts) => vec![parts.rows.bytes()],
        }
    }

    /// The shape of the weight (N, K).
    pub(super) fn shape(&self) -> [usize; 2] {
        match &self.0 {
            Layout::Panels(panels) => [panels.count, panels.depth],
            Layout::Bytes(bytes) => [bytes.count, bytes.depth],
            #[cfg(target_arch = "x86_64")]
            Layout::Parts(_, parts) => [parts.count, parts.depth],
        }
    }

    /// Whether no number of it is infinite or NaN, as far as its products must know.
    pub(super) fn finite(&self) -> bool {
        match &self.0 {
            Layout::Panels(_) | Layout::Bytes(_) => true,
            #[cfg(target_arch = "x86_64")]
            Layout::Parts(_, parts) => parts.finite,
        }
    }

    /// Whether the layout of this precision is smaller than the weight.
    pub(crate) fn is_short(precision: Precision) -> bool {
        match precision {
            Precision::F32 => false,
            #[cfg(target_arch = "x86_64")]
            Precision::Bf16 => served(precision).is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Precision::Bf16 => false,
            Precision::Q8_0 => true,
        }
    }

    /// The bytes that the layout of a weight (`columns`, `depth`) takes.
    pub(crate) fn bytes(columns: usize, depth: usize, precision: Precision) -> usize {
        if precision == Precision::Q8_0 {
            return Q8::bytes(columns, depth);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some((_, parts)) = served(precision) {
            return Parts::bytes(columns, depth, parts);
        }
        Columns::bytes(depth, columns)
    }

    /// The number of columns.
    pub(super) fn columns(&self) -> usize {
        self.shape()[0]
    }
}

/// The unit for products of this precision, and how many parts of a number it takes.
#[cfg(target_arch = "x86_64")]
fn served(precision: Precision) -> Option<(Unit, usize)> {
    match (unit()?, precision) {
        (Unit::Amx, Precision::F32) => Some((Unit::Amx, 3)),
        (unit, Precision::Bf16) => Some((unit, 1)),
        // Six products would take longer than one.
        (Unit::Dot, Precision::F32) | (_, Precision::Q8_0) => None,
    }
}

/// The numbers of `weight` (N, K) as [`Precision::Q8_0`] holds them.
pub(crate) fn in_eight_bits(weight: &Tensor) -> Result<Tensor> {
    let (_, depth) = weight.dims2()?;
    let near = read(weight, |weight| q8::restored(weight, depth))?;
    Tensor::from_vec(near, weight.shape(), weight.device())
}

/// `a` (M, K) times `b` (K, N), finished: (M, N).
pub(super) fn product(a: Lines, b: &Packed, finish: Finish) -> Vec<f32> {
    let (columns, size) = (b.columns(), a.count * b.columns());
    assert!(finish.bias.is_none_or(|bias| bias.len() == columns), "size of the bias");
    assert!(finish.residual.is_none_or(|residual| residual.len() == size), "size of the residual");
    match &b.0 {
        Layout::Panels(panels) => product::product(a, panels.view(), finish),
        Layout::Bytes(bytes) => q8::product(a, bytes, finish),
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Layout::Parts(_, parts) if parts.split == 1 && a.along && a.count <= FEW => {
            // SAFETY: a processor with a unit for such parts has AVX-512 with bfloat16.
            unsafe { super::few_short::product(a.values, parts, finish) }
        }
        #[cfg(target_arch = "x86_64")]
        Layout::Parts(unit, parts) => super::parts_product::product(*unit, a, parts, finish),
    }
}

/// `a` (M, K) times the columns `b`, plus the bias, where nothing is kept for a second product.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] // float32 only
pub(super) fn product_once(
    a: Lines,
    b: Lines,
    precision: Precision,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if served(precision).is_some() {
        return product(a, &Packed::of(b, precision), Finish { bias, ..Finish::default() });
    }
    let mut out = filled(a.count * b.count, block_of_rows(b.count), |_, out| {
        if let Some(bias) = bias {
            out.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
        }
    });
    let into = if bias.is_some() { Into::Sum } else { Into::Fresh };
    let (a, right) = (Matrix::of(a), Matrix::of(b).transposed());
    multiply(a, right, 1.0, &mut out, b.count, into, Threads::All);
    out
}
