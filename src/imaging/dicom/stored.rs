//! The numbers as the file stores them, in their own type.

use super::frames::Frame;
use super::layout::Layout;

/// Stored values in the file's own type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 1 to 8 bits.
    U8(Vec<u8>),
    /// Up to 8 bits with a sign.
    I8(Vec<i8>),
    /// 9 to 16 bits.
    U16(Vec<u16>),
    /// 9 to 16 bits with a sign.
    I16(Vec<i16>),
    /// 17 to 32 bits.
    U32(Vec<u32>),
    /// 17 to 32 bits with a sign.
    I32(Vec<i32>),
    /// Float Pixel Data.
    F32(Vec<f32>),
    /// Double Float Pixel Data.
    F64(Vec<f64>),
}

/// Applies an expression to the vector inside [`Values`].
macro_rules! each {
    ($values:expr, $vector:ident => $result:expr) => {
        match $values {
            Values::U8($vector) => $result,
            Values::I8($vector) => $result,
            Values::U16($vector) => $result,
            Values::I16($vector) => $result,
            Values::U32($vector) => $result,
            Values::I32($vector) => $result,
            Values::F32($vector) => $result,
            Values::F64($vector) => $result,
        }
    };
}

impl Values {
    /// An empty vector of the type that the layout asks for.
    pub(super) fn empty(layout: &Layout) -> Self {
        match (layout.float, layout.allocated, layout.signed) {
            (true, 32, _) => Self::F32(Vec::new()),
            (true, ..) => Self::F64(Vec::new()),
            (_, 0..=8, false) => Self::U8(Vec::new()),
            (_, 0..=8, true) => Self::I8(Vec::new()),
            (_, 16, false) => Self::U16(Vec::new()),
            (_, 16, true) => Self::I16(Vec::new()),
            (_, _, false) => Self::U32(Vec::new()),
            (_, _, true) => Self::I32(Vec::new()),
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as numbers, in order.
    pub fn to_f64(&self) -> Vec<f64> {
        #[allow(clippy::unnecessary_cast)] // one of the eight types is f64 already
        fn all<T: Copy>(values: &[T], number: impl Fn(T) -> f64) -> Vec<f64> {
            values.iter().map(|&v| number(v)).collect()
        }
        match self {
            Self::U8(v) => all(v, f64::from),
            Self::I8(v) => all(v, f64::from),
            Self::U16(v) => all(v, f64::from),
            Self::I16(v) => all(v, f64::from),
            Self::U32(v) => all(v, f64::from),
            Self::I32(v) => all(v, f64::from),
            Self::F32(v) => all(v, f64::from),
            Self::F64(v) => v.clone(),
        }
    }

    /// Writes what `map` makes of each value to its place.
    #[allow(clippy::unnecessary_cast)] // one of the eight types is f64 already
    pub(super) fn map_to(&self, places: &mut [f32], map: impl Fn(f64) -> f32) {
        each!(self, values => {
            places.iter_mut().zip(values).for_each(|(place, &value)| *place = map(value as f64));
        });
    }

    /// Appends a decoded frame: bytes become numbers, bits without meaning go.
    pub(super) fn append(&mut self, frame: &Frame<'_>, layout: &Layout) {
        let bytes = &frame.bytes[..layout.frame_bytes()];
        let before = self.len();
        // How far to shift up, then down, so that only the stored bits and their sign remain.
        let full = (layout.sample_bytes() * 8) as u32;
        let up = full.saturating_sub((layout.stored + layout.shift) as u32);
        let down = full.saturating_sub(layout.stored as u32);
        let exact = up == 0 && down == 0;
        macro_rules! integers {
            ($vector:expr, $type:ty) => {{
                let read = |b: &[u8; size_of::<$type>()]| {
                    if frame.big_endian {
                        <$type>::from_be_bytes(*b)
                    } else {
                        <$type>::from_le_bytes(*b)
                    }
                };
                let numbers = bytes.as_chunks().0.iter().map(read);
                if exact {
                    $vector.extend(numbers);
                } else {
                    $vector.extend(numbers.map(|v| (v << up) >> down));
                }
            }};
        }
        macro_rules! floats {
            ($vector:expr, $type:ty) => {
                $vector.extend(bytes.as_chunks().0.iter().map(|b| {
                    if frame.big_endian {
                        <$type>::from_be_bytes(*b)
                    } else {
                        <$type>::from_le_bytes(*b)
                    }
                }))
            };
        }
        match self {
            // A single bit fills its whole byte.
            Self::U8(v) if layout.allocated == 1 => v.extend(bytes.iter().map(|b| b & 1)),
            Self::U8(v) => integers!(v, u8),
            Self::I8(v) => integers!(v, i8),
            Self::U16(v) => integers!(v, u16),
            Self::I16(v) => integers!(v, i16),
            Self::U32(v) => integers!(v, u32),
            Self::I32(v) => integers!(v, i32),
            Self::F32(v) => floats!(v, f32),
            Self::F64(v) => floats!(v, f64),
        }
        if frame.planar && layout.samples > 1 {
            each!(self, values => interleave(&mut values[before..], layout.samples));
        }
    }
}

/// Turns planes (samples, pixels) into pixels (pixels, samples).
fn interleave<T: Copy>(values: &mut [T], samples: usize) {
    let planes = values.to_vec();
    let pixels = planes.len() / samples;
    for (index, value) in values.iter_mut().enumerate() {
        *value = planes[index % samples * pixels + index / samples];
    }
}
