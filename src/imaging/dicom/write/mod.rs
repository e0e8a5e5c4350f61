//! Grey images as DICOM files: a data set, one 16-bit frame and a transfer syntax.

mod jpeg_lossless;
mod packed;

use std::io::Write as _;
use std::path::Path;

use charls::{CharLS, FrameInfo};
use dicom_core::value::{PixelFragmentSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::meta::FileMetaTableBuilder;
use dicom_transfer_syntax_registry::entries;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::{Error, Result, files};

/// Says which program wrote a file; a number of our own under the root for UUIDs.
const WRITER: &str = "2.25.229386743270283926748118467395102637491";

/// How the data set and its pixels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Implicit VR Little Endian.
    Implicit,
    /// Explicit VR Little Endian.
    Explicit,
    /// Explicit VR Big Endian, retired.
    BigEndian,
    /// Deflated Explicit VR Little Endian.
    Deflated,
    /// RLE Lossless.
    Rle,
    /// JPEG Lossless, first-order prediction.
    JpegLossless,
    /// JPEG-LS Lossless.
    JpegLs,
}

impl Syntax {
    const ALL: [(&str, Self); 7] = [
        ("implicit", Self::Implicit),
        ("explicit", Self::Explicit),
        ("big_endian", Self::BigEndian),
        ("deflated", Self::Deflated),
        ("rle", Self::Rle),
        ("jpeg_lossless", Self::JpegLossless),
        ("jpeg_ls", Self::JpegLs),
    ];

    /// The names of the syntaxes.
    pub fn names() -> [&'static str; 7] {
        Self::ALL.map(|(name, _)| name)
    }

    /// The syntax called `name`.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, syntax)| *syntax).ok_or_else(|| {
            let why = format!("found {name:?}, expected one of {:?}", Self::names());
            Error::value("syntax", why)
        })
    }

    fn uid(self) -> &'static str {
        match self {
            Self::Implicit => "1.2.840.10008.1.2",
            Self::Explicit => "1.2.840.10008.1.2.1",
            Self::BigEndian => "1.2.840.10008.1.2.2",
            Self::Deflated => "1.2.840.10008.1.2.1.99",
            Self::Rle => "1.2.840.10008.1.2.5",
            Self::JpegLossless => "1.2.840.10008.1.2.4.70",
            Self::JpegLs => "1.2.840.10008.1.2.4.80",
        }
    }
}

/// One grey frame of unsigned samples in 16 bits.
#[derive(Clone, Copy, Debug)]
pub struct Grey<'a> {
    /// Row after row.
    pub pixels: &'a [u16],
    /// Height.
    pub rows: usize,
    /// Width.
    pub columns: usize,
    /// Bits that hold a value, 9 to 16.
    pub stored: u8,
}

/// A UID under the root for UUIDs that follows from `name` alone.
pub fn uid(name: &str) -> String {
    let digest = files::sha256_hex(name.as_bytes());
    let number = u128::from_str_radix(&digest[..32], 16).unwrap_or(1);
    format!("2.25.{number}")
}

/// Puts a text; an empty one stands for a value that is not known.
pub fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
    object.put(DataElement::new(tag, vr, value));
}

/// Puts a whole number of 16 bits.
pub fn put_short(object: &mut InMemDicomObject, tag: Tag, value: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

/// Writes `object`, which names its class and instance, with a frame: whole or not at all.
pub fn write(
    mut object: InMemDicomObject,
    frame: Grey<'_>,
    syntax: Syntax,
    path: &Path,
) -> Result<()> {
    let (Ok(rows), Ok(columns)) = (u16::try_from(frame.rows), u16::try_from(frame.columns)) else {
        let found = [frame.rows, frame.columns];
        return Err(Error::shape("image", "at most 65535 rows and columns", &found));
    };
    if frame.pixels.len() != frame.rows * frame.columns || frame.pixels.is_empty() {
        let expected = format!("({rows}, {columns}) pixels, at least 1");
        return Err(Error::shape("image", expected, &[frame.pixels.len()]));
    }
    describe(&mut object, frame, rows, columns);
    let pixels = match syntax {
        Syntax::Rle => Some(packed::encode(frame.pixels, frame.columns)),
        Syntax::JpegLossless => {
            Some(jpeg_lossless::encode(frame.pixels, rows, columns, frame.stored))
        }
        Syntax::JpegLs => Some(jpeg_ls(frame, path)?),
        _ => None,
    };
    match pixels {
        None => {
            let words = PrimitiveValue::U16(frame.pixels.into());
            object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, words));
        }
        Some(mut fragment) => {
            if fragment.len() % 2 == 1 {
                fragment.push(0);
            }
            let sequence = PixelFragmentSequence::new(vec![0u32], vec![fragment]);
            object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, sequence));
        }
    }
    files::write_atomic(path, &file(&object, syntax, path)?)
}

/// The Image Pixel module.
fn describe(object: &mut InMemDicomObject, frame: Grey<'_>, rows: u16, columns: u16) {
    put(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, u16::from(frame.stored)),
        (tags::HIGH_BIT, u16::from(frame.stored) - 1),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        put_short(object, tag, value);
    }
}

fn jpeg_ls(frame: Grey<'_>, path: &Path) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = frame.pixels.iter().flat_map(|p| p.to_ne_bytes()).collect();
    let info = FrameInfo {
        width: frame.columns as u32,
        height: frame.rows as u32,
        bits_per_sample: i32::from(frame.stored),
        component_count: 1,
    };
    CharLS::default()
        .encode(info, 0, &bytes)
        .map_err(|why| Error::format(path, format!("the JPEG-LS encoder refused: {why}")))
}

/// The bytes of the whole file.
fn file(object: &InMemDicomObject, syntax: Syntax, path: &Path) -> Result<Vec<u8>> {
    let failed =
        |why: &dyn std::fmt::Display| Error::format(path, format!("cannot be written: {why}"));
    let text = |tag: Tag| -> Result<String> {
        let value = object.element(tag).map_err(|why| failed(&why))?;
        Ok(value.to_str().map_err(|why| failed(&why))?.into_owned())
    };
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(text(tags::SOP_CLASS_UID)?)
        .media_storage_sop_instance_uid(text(tags::SOP_INSTANCE_UID)?)
        .transfer_syntax(syntax.uid())
        .implementation_class_uid(WRITER)
        .implementation_version_name("CARINA")
        .build()
        .map_err(|why| failed(&why))?;
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    meta.write(&mut bytes).map_err(|why| failed(&why))?;
    let coding = match syntax {
        Syntax::Implicit => entries::IMPLICIT_VR_LITTLE_ENDIAN.erased(),
        Syntax::BigEndian => entries::EXPLICIT_VR_BIG_ENDIAN.erased(),
        _ => entries::EXPLICIT_VR_LITTLE_ENDIAN.erased(),
    };
    let mut body = Vec::new();
    object.write_dataset_with_ts(&mut body, &coding).map_err(|why| failed(&why))?;
    if syntax == Syntax::Deflated {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
        body =
            deflate.write_all(&body).and_then(|()| deflate.finish()).map_err(|why| failed(&why))?;
        if body.len() % 2 == 1 {
            body.push(0);
        }
    }
    bytes.extend(body);
    Ok(bytes)
}
