//! One film being built: the layers that findings paint into, and how they add up to attenuation.

use ndarray::Array2;

use super::body::Body;
use super::canvas::{Frame, Layer};
use super::finding::Finding;
use super::noise::cloud;

/// Attenuation of soft tissue, per cm.
pub(super) const TISSUE: f32 = 0.19;
/// Density of aerated lung relative to soft tissue.
const LUNG: f32 = 0.25;

/// Where a finding is on the film.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) finding: Finding,
    pub(super) mask: Array2<bool>,
}

/// The layers of a film under construction.
pub(super) struct Scene {
    pub(super) frame: Frame,
    pub(super) body: Body,
    /// Thickness of the thoracic cavity and of the heart along the beam, cm.
    cavity: Vec<[f32; 2]>,
    /// Thickness of aerated lung along the beam, cm.
    pub(super) lung: Vec<f32>,
    /// Share of the lung's air replaced by fluid or cells, 0 … 1.
    pub(super) fill: Vec<f32>,
    /// Share of the lung's path that is free pleural air, 0 … 1.
    pub(super) bare: Vec<f32>,
    /// Vessels, cm of blood.
    pub(super) vessels: Layer,
    /// Solid tissue inside the lung (nodules, plates), cm.
    pub(super) solid: Layer,
    /// Air outside the lung (trachea, stomach), cm.
    pub(super) air: Layer,
    /// Bone, metal and plastic, in attenuation.
    pub(super) dense: Layer,
    /// Where findings are, in the order they were painted.
    pub(super) extents: Vec<Extent>,
}

impl Scene {
    /// The empty trunk.
    pub(super) fn new(frame: Frame, body: Body) -> Self {
        let layer = Layer::new(frame);
        let mut lung = layer.data.clone();
        let mut chords = vec![[0.0; 2]; lung.len()];
        for (index, lung) in lung.iter_mut().enumerate() {
            let (x, y) = frame.to_body(index % frame.size, index / frame.size);
            let cavity = body.cavity(x, y);
            let heart = body.heart(x, y);
            chords[index] = [cavity, heart];
            if cavity > 0.0 {
                let middle = body.mediastinum(x, y);
                let tissue = (heart.powi(4) + middle.powi(4)).sqrt().sqrt();
                *lung = (cavity * (1.0 - body.abdomen(x, y)) - tissue).max(0.0);
            }
        }
        Self {
            frame,
            body,
            cavity: chords,
            fill: vec![0.0; lung.len()],
            bare: vec![0.0; lung.len()],
            lung,
            vessels: layer.clone(),
            solid: layer.clone(),
            air: layer.clone(),
            dense: layer,
            extents: Vec::new(),
        }
    }

    /// Replaces air by `share(body, x, y)` wherever there is lung on `side`, and marks the finding where
    /// `inside(x, y, share)` holds.
    pub(super) fn fill_lung(
        &mut self,
        finding: Finding,
        side: usize,
        mut share: impl FnMut(&Body, f32, f32) -> f32,
        inside: impl Fn(&Body, f32, f32, f32) -> bool,
    ) {
        let mut mask = self.blank();
        for index in 0..self.lung.len() {
            let (x, y) = self.at(index);
            if self.lung[index] <= 0.0 || (x > 0.0) != (side == 1) {
                continue;
            }
            let share = share(&self.body, x, y).clamp(0.0, 1.0);
            if share > 0.0 {
                self.fill[index] = 1.0 - (1.0 - self.fill[index]) * (1.0 - share);
                mask[(index / self.frame.size, index % self.frame.size)] =
                    self.lung[index] > 0.8 && inside(&self.body, x, y, share);
            }
        }
        self.mark(finding, mask);
    }

    /// The body point of a pixel.
    pub(super) fn at(&self, index: usize) -> (f32, f32) {
        self.frame.to_body(index % self.frame.size, index / self.frame.size)
    }

    /// A mask without a pixel.
    pub(super) fn blank(&self) -> Array2<bool> {
        Array2::from_elem((self.frame.size, self.frame.size), false)
    }

    /// A mask of the pixels whose body point satisfies `inside`.
    pub(super) fn mask_of(&self, inside: impl Fn(f32, f32, usize) -> bool) -> Array2<bool> {
        Array2::from_shape_fn((self.frame.size, self.frame.size), |(row, column)| {
            let (x, y) = self.frame.to_body(column, row);
            inside(x, y, row * self.frame.size + column)
        })
    }

    /// Records where a finding is; an empty mask records nothing.
    pub(super) fn mark(&mut self, finding: Finding, mask: Array2<bool>) {
        if mask.iter().any(|inside| *inside) {
            self.extents.push(Extent { finding, mask });
        }
    }

    /// The lung field of a side: aerated or filled lung above the diaphragm, beside the heart.
    pub(super) fn lung_field(&self, side: usize) -> Array2<bool> {
        self.mask_of(|x, y, index| {
            (x > 0.0) == (side == 1)
                && self.lung[index] > 0.36 * self.cavity[index][0]
                && self.cavity[index][1] <= 0.0
                && y < self.body.dome(x)
        })
    }

    /// The cardiac silhouette above the diaphragm.
    pub(super) fn heart_field(&self) -> Array2<bool> {
        let floor = self.body.domes[1] + 1.6;
        self.mask_of(|_, y, index| y < floor && self.cavity[index][1] > 0.0)
    }

    /// The attenuation of everything, pixel by pixel.
    pub(super) fn attenuation(&self, texture: u32) -> Vec<f32> {
        (0..self.lung.len())
            .map(|i| {
                let (x, y) = self.at(i);
                let trunk = self.body.outline(x, y);
                if trunk <= 0.0 {
                    return self.dense.data[i];
                }
                let lung = self.lung[i];
                let mut tissue = trunk - (TRUNK_AIR * self.air.data[i]).min(0.8 * trunk);
                if lung > 0.0 {
                    let grain = 1.0 + 0.16 * cloud(texture, x * 1.1, y * 1.1, 3);
                    let bare = self.bare[i];
                    let filled = (1.0 - bare) * LUNG * grain;
                    let filled = filled + (1.0 - filled) * self.fill[i];
                    let extra = (1.0 - bare) * self.vessels.data[i] + self.solid.data[i];
                    tissue -= (1.0 - filled) * (lung - extra.min(0.94 * lung));
                }
                let grain = 1.0 + 0.025 * cloud(texture ^ 0xabcd, x * 0.22, y * 0.22, 3);
                TISSUE * tissue * grain + self.dense.data[i]
            })
            .collect()
    }
}

/// Walls and overlap blunt the contrast of air outside the lung.
const TRUNK_AIR: f32 = 0.85;
