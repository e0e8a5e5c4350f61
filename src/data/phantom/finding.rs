//! What can be wrong: findings, sides, zones, degrees, devices, and how the truth spells them.

use super::super::Attributes;

/// The findings of every phantom, in the order of the labels.
pub const FINDINGS: [&str; 10] = [
    "pleural effusion",
    "pneumothorax",
    "cardiomegaly",
    "consolidation",
    "lung nodule",
    "edema",
    "atelectasis",
    "pneumonia",
    "support devices",
    "fracture",
];

/// A finding; its number is its place in [`FINDINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Finding {
    Effusion,
    Pneumothorax,
    Cardiomegaly,
    Consolidation,
    Nodule,
    Edema,
    Atelectasis,
    Pneumonia,
    Devices,
    Fracture,
}

impl Finding {
    pub(super) const ALL: [Self; 10] = [
        Self::Effusion,
        Self::Pneumothorax,
        Self::Cardiomegaly,
        Self::Consolidation,
        Self::Nodule,
        Self::Edema,
        Self::Atelectasis,
        Self::Pneumonia,
        Self::Devices,
        Self::Fracture,
    ];

    pub(super) fn name(self) -> &'static str {
        FINDINGS[self as usize]
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finding| finding.name() == name)
    }

    /// The words for its three degrees; empty where a degree means nothing.
    pub(super) fn degrees(self) -> [&'static str; 3] {
        match self {
            Self::Effusion | Self::Pneumothorax => ["small", "moderate", "large"],
            Self::Fracture => ["minimally displaced", "displaced", "markedly displaced"],
            Self::Devices | Self::Nodule => [""; 3],
            _ => ["mild", "moderate", "severe"],
        }
    }
}

/// A side, from the patient's point of view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Side {
    /// The finding has no side.
    #[default]
    None,
    Right,
    Left,
    Both,
}

impl Side {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Right => "right",
            Self::Left => "left",
            Self::Both => "bilateral",
        }
    }

    /// The sides it covers: 0 right, 1 left.
    pub(super) const fn indices(self) -> &'static [usize] {
        match self {
            Self::None => &[],
            Self::Right => &[0],
            Self::Left => &[1],
            Self::Both => &[0, 1],
        }
    }

    pub(super) fn covers(self, side: usize) -> bool {
        self.indices().contains(&side)
    }
}

/// A third of the lung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Zone {
    /// The finding has no zone.
    #[default]
    None,
    Upper,
    Middle,
    Lower,
}

impl Zone {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Upper => "upper",
            Self::Middle => "middle",
            Self::Lower => "lower",
        }
    }
}

/// A finding as one patient has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lesion {
    pub(super) finding: Finding,
    pub(super) side: Side,
    pub(super) zone: Zone,
    /// 0, 1 or 2.
    pub(super) degree: usize,
    /// Diameter of a nodule in mm; 0 for everything else.
    pub(super) size: f32,
    /// Names its random shape, which stays the same over the visits.
    pub(super) seed: u64,
}

impl Lesion {
    /// The truth as the manifest spells it.
    pub(super) fn attributes(&self) -> Attributes {
        let severity = if self.finding == Finding::Nodule {
            format!("{:.0} mm", self.size)
        } else {
            self.finding.degrees()[self.degree.min(2)].to_owned()
        };
        Attributes {
            finding: self.finding.name().to_owned(),
            side: self.side.name().to_owned(),
            zone: self.zone.name().to_owned(),
            severity,
            ..Attributes::default()
        }
    }
}

/// A tube, line or implant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    TrachealTube,
    CentralLine,
    Pacemaker,
    GastricTube,
    ChestTube,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::TrachealTube,
        Self::CentralLine,
        Self::Pacemaker,
        Self::GastricTube,
        Self::ChestTube,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TrachealTube => "endotracheal tube",
            Self::CentralLine => "central venous catheter",
            Self::Pacemaker => "pacemaker",
            Self::GastricTube => "nasogastric tube",
            Self::ChestTube => "chest tube",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A device as one patient has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Device {
    pub(super) kind: Kind,
    pub(super) side: Side,
    pub(super) seed: u64,
}

impl Device {
    /// The truth as the manifest spells it; the kind stands for the finding.
    pub(super) fn attributes(&self) -> Attributes {
        Attributes {
            finding: self.kind.name().to_owned(),
            side: self.side.name().to_owned(),
            ..Attributes::default()
        }
    }
}
