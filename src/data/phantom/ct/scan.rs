//! A scan that is rendered when it is read: a recipe of a few numbers until then.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::Array3;

use super::CtOptions;
use super::clinic::Case;
use super::finding::{Finding, Lobe};
use super::render::{self, AIRWAYS, AORTA, FIRST_LESION, HEART, Rendered, bit};
use crate::progress::Progress;
use crate::{Error, Result};

/// The scan that was rendered last: masks and voxels of one scan are mostly asked for in a row.
static LAST: Mutex<Option<(CtOptions, u64, Arc<Rendered>)>> = Mutex::new(None);

/// A volume: CT numbers and where they lie in the patient.
#[derive(Clone, Debug, PartialEq)]
pub struct CtVolume {
    /// CT numbers (z, y, x), HU; x grows to the patient's left, y to the back, z to the head.
    pub voxels: Array3<f32>,
    /// Distance of the voxels (z, y, x), mm.
    pub spacing: [f64; 3],
    /// Centre of the first voxel (x, y, z) in the patient, mm (LPS).
    pub origin: [f64; 3],
}

/// A scan of a phantom.
#[derive(Clone)]
pub struct Scan {
    options: CtOptions,
    number: u64,
    case: Arc<Case>,
    masks: Vec<(String, u32)>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan({:?} voxels, {} masks)", self.shape(), self.masks.len())
    }
}

impl Scan {
    pub(super) fn new(options: &CtOptions, number: u64, case: Case) -> Self {
        let masks = masks(&case);
        Self { options: options.clone(), number, case: Arc::new(case), masks }
    }

    /// The scan of study `number` of the data set that `options` make.
    pub fn reopen(options: &CtOptions, number: u64) -> Result<Self> {
        options.validate()?;
        if number >= options.studies as u64 {
            let why = format!("found {number}, expected below {} studies", options.studies);
            return Err(Error::value("phantom", why));
        }
        Ok(Self::new(options, number, Case::draw(options, number)))
    }

    /// What [`Self::reopen`] needs: options and number.
    pub fn recipe(&self) -> (&CtOptions, u64) {
        (&self.options, self.number)
    }

    /// Slices, rows, columns.
    pub fn shape(&self) -> [usize; 3] {
        self.case.scanner.shape
    }

    /// Distance of the voxels (z, y, x), mm.
    pub fn spacing(&self) -> [f64; 3] {
        self.case.scanner.spacing
    }

    /// Centre of the first voxel (x, y, z) in the patient, mm (LPS).
    pub fn origin(&self) -> [f64; 3] {
        self.case.scanner.origin
    }

    /// Whether there is contrast medium in the vessels.
    pub fn contrast(&self) -> bool {
        self.case.scanner.contrast
    }

    /// What there are masks of: nodules and lesions in the order of the study's attributes where
    /// they have an extent of their own, then lobes, lungs, heart, aorta and airways.
    pub fn mask_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.masks.iter().map(|(name, _)| name.as_str())
    }

    /// Renders the CT numbers.
    pub fn read(&self, progress: &Progress) -> Result<CtVolume> {
        let rendered = self.rendered(progress)?;
        Ok(CtVolume {
            voxels: rendered.voxels.clone(),
            spacing: self.spacing(),
            origin: self.origin(),
        })
    }

    /// Renders a mask (z, y, x): true where it is.
    pub fn mask(&self, index: usize, progress: &Progress) -> Result<Array3<bool>> {
        let (_, bits) = self.masks.get(index).ok_or_else(|| {
            let why = format!("found {index}, expected below {} masks", self.masks.len());
            Error::value("index", why)
        })?;
        Ok(self.rendered(progress)?.truth.mapv(|truth| truth & bits != 0))
    }

    fn rendered(&self, progress: &Progress) -> Result<Arc<Rendered>> {
        let held = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((options, number, rendered)) = &*held()
            && *number == self.number
            && *options == self.options
        {
            return Ok(Arc::clone(rendered));
        }
        // Freed before the next one is made: never two large volumes for the sake of one.
        *held() = None;
        let rendered = Arc::new(render::render(&self.case, progress)?);
        *held() = Some((self.options.clone(), self.number, Arc::clone(&rendered)));
        Ok(rendered)
    }
}

fn masks(case: &Case) -> Vec<(String, u32)> {
    let first = FIRST_LESION + case.nodules.len() as u32;
    let nodules = (FIRST_LESION..first).map(|bit| (Finding::Nodule.name().to_owned(), 1 << bit));
    let lesions = case.lesions.iter().enumerate().map(|(i, lesion)| {
        let bits = match lesion.finding {
            Finding::Cardiomegaly => HEART,
            _ => 1 << (first + i as u32),
        };
        (lesion.finding.name().to_owned(), bits)
    });
    let lung = |right: bool| {
        Lobe::ALL
            .into_iter()
            .filter(|lobe| lobe.right() == right)
            .fold(0, |bits, lobe| bits | bit(lobe))
    };
    let structures = [
        ("right lung", lung(true)),
        ("left lung", lung(false)),
        ("heart", HEART),
        ("aorta", AORTA),
        ("airways", AIRWAYS),
    ];
    let lobes = Lobe::ALL.into_iter().map(|lobe| (lobe.name(), bit(lobe)));
    nodules
        .chain(lesions)
        .chain(structures.map(|(name, bits)| (name.to_owned(), bits)))
        .chain(lobes)
        .collect()
}
