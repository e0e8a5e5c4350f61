//! The findings of a chest CT, as one patient has them, and how the manifest spells them.

use super::space::Point;
use crate::data::Attributes;

/// The findings of every CT phantom, in the order of the labels.
pub const FINDINGS: [&str; 13] = [
    "lung nodule",
    "atelectasis",
    "pleural effusion",
    "pleural thickening",
    "adenopathy",
    "chest wall abnormality",
    "consolidation",
    "emphysema",
    "fibrosis",
    "COVID-19",
    "coronary calcification",
    "cardiomegaly",
    "cardiovascular disease",
];

/// A finding, in the order of [`FINDINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Nodule,
    Atelectasis,
    Effusion,
    Thickening,
    Adenopathy,
    ChestWall,
    Consolidation,
    Emphysema,
    Fibrosis,
    Covid,
    Calcium,
    Cardiomegaly,
    Cardiovascular,
}

impl Finding {
    pub(super) const ALL: [Self; 13] = [
        Self::Nodule,
        Self::Atelectasis,
        Self::Effusion,
        Self::Thickening,
        Self::Adenopathy,
        Self::ChestWall,
        Self::Consolidation,
        Self::Emphysema,
        Self::Fibrosis,
        Self::Covid,
        Self::Calcium,
        Self::Cardiomegaly,
        Self::Cardiovascular,
    ];

    pub(super) const fn name(self) -> &'static str {
        FINDINGS[self as usize]
    }

    /// The words for its three degrees.
    pub(super) const fn degrees(self) -> [&'static str; 3] {
        match self {
            Self::Effusion => ["small", "moderate", "large"],
            _ => ["mild", "moderate", "severe"],
        }
    }
}

/// A lobe of the lungs, the right ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lobe {
    RightUpper,
    RightMiddle,
    RightLower,
    LeftUpper,
    LeftLower,
}

impl Lobe {
    pub(super) const ALL: [Self; 5] =
        [Self::RightUpper, Self::RightMiddle, Self::RightLower, Self::LeftUpper, Self::LeftLower];

    pub(super) const fn side(self) -> &'static str {
        if self.right() { "right" } else { "left" }
    }

    pub(super) const fn right(self) -> bool {
        matches!(self, Self::RightUpper | Self::RightMiddle | Self::RightLower)
    }

    pub(super) const fn zone(self) -> &'static str {
        match self {
            Self::RightUpper | Self::LeftUpper => "upper lobe",
            Self::RightMiddle => "middle lobe",
            Self::RightLower | Self::LeftLower => "lower lobe",
        }
    }

    pub(super) fn name(self) -> String {
        format!("{} {}", self.side(), self.zone())
    }

    /// A box of the standard body that holds it.
    pub(super) const fn bounds(self) -> [Point; 2] {
        match self {
            Self::RightUpper => [[-122.0, -80.0, -20.0], [-8.0, 82.0, 128.0]],
            Self::RightMiddle => [[-126.0, -84.0, -130.0], [-8.0, 30.0, 10.0]],
            Self::RightLower => [[-126.0, -75.0, -165.0], [-12.0, 84.0, 60.0]],
            Self::LeftUpper => [[8.0, -84.0, -140.0], [126.0, 84.0, 128.0]],
            Self::LeftLower => [[12.0, -75.0, -165.0], [126.0, 84.0, 50.0]],
        }
    }

    /// A place that is surely inside, in the standard body.
    pub(super) const fn middle(self) -> Point {
        match self {
            Self::RightUpper => [-60.0, -10.0, 50.0],
            Self::RightMiddle => [-72.0, -45.0, -30.0],
            Self::RightLower => [-70.0, 45.0, -30.0],
            Self::LeftUpper => [62.0, -15.0, 50.0],
            Self::LeftLower => [74.0, 45.0, -30.0],
        }
    }
}

/// How dense a nodule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attenuation {
    Solid,
    PartSolid,
    GroundGlass,
}

impl Attenuation {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::PartSolid => "part-solid",
            Self::GroundGlass => "ground glass",
        }
    }
}

/// How a nodule ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Margin {
    Smooth,
    Lobulated,
    Spiculated,
    PoorlyDefined,
}

impl Margin {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Smooth => "smooth",
            Self::Lobulated => "lobulated",
            Self::Spiculated => "spiculated",
            Self::PoorlyDefined => "poorly defined",
        }
    }
}

/// A lung nodule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Nodule {
    pub(super) lobe: Lobe,
    /// Centre in the patient, mm.
    pub(super) centre: Point,
    /// Of the ball of its volume, mm.
    pub(super) diameter: f32,
    pub(super) attenuation: Attenuation,
    pub(super) margin: Margin,
    pub(super) seed: u32,
}

/// Any other finding with an extent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lesion {
    pub(super) finding: Finding,
    /// 0 right, 1 left, 2 both; no side where it has none.
    pub(super) side: Option<usize>,
    /// Where it has one.
    pub(super) lobe: Option<Lobe>,
    /// 0, 1 or 2.
    pub(super) degree: usize,
    /// Places in the standard body (patches, nodes, plaques) with their radius in mm and, for
    /// calcium, their CT number.
    pub(super) spots: Vec<Spot>,
    pub(super) seed: u32,
}

/// One of the parts of a lesion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spot {
    /// In the standard body.
    pub(super) centre: Point,
    /// mm.
    pub(super) radius: f32,
    /// CT number, where the finding leaves it open.
    pub(super) density: f32,
}

impl Nodule {
    /// The truth as the manifest spells it.
    pub(super) fn attributes(&self) -> Attributes {
        Attributes {
            finding: Finding::Nodule.name().to_owned(),
            side: self.lobe.side().to_owned(),
            zone: self.lobe.zone().to_owned(),
            severity: format!("{:.0} mm", self.diameter),
            attenuation: self.attenuation.name().to_owned(),
            margin: self.margin.name().to_owned(),
        }
    }
}

impl Lesion {
    pub(super) fn side_name(&self) -> &'static str {
        self.side.map_or("", |side| ["right", "left", "bilateral"][side.min(2)])
    }

    pub(super) fn degree_name(&self) -> &'static str {
        self.finding.degrees()[self.degree.min(2)]
    }

    /// The truth as the manifest spells it.
    pub(super) fn attributes(&self) -> Attributes {
        let severity = match self.finding {
            Finding::Adenopathy => format!("{:.0} mm", self.widest()),
            _ => self.degree_name().to_owned(),
        };
        Attributes {
            finding: self.finding.name().to_owned(),
            side: self.side_name().to_owned(),
            zone: self.lobe.map_or("", Lobe::zone).to_owned(),
            severity,
            ..Attributes::default()
        }
    }

    /// Short axis of the largest node, mm.
    pub(super) fn widest(&self) -> f32 {
        self.spots.iter().map(|spot| 2.0 * spot.radius).fold(0.0, f32::max)
    }

    /// Calcium in the manner of Agatston: area in slices of 3 mm times 1 to 4 by density.
    ///
    /// Source: Agatston et al. 1990, J Am Coll Cardiol 15(4):827; here from the plaques' true
    /// volumes, so without noise or partial volume.
    pub(super) fn calcium_score(&self) -> f32 {
        let score = |spot: &Spot| {
            let volume = 4.0 / 3.0 * std::f32::consts::PI * spot.radius.powi(3);
            volume / 3.0 * (spot.density / 100.0).floor().clamp(1.0, 4.0)
        };
        self.spots.iter().map(score).sum()
    }
}
