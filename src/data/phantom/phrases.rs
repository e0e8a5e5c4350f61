//! The words of the reports: templates with slots, for each finding, degree, side and device.
//!
//! Slots: `{side}`, `{place}` (side and zone), `{zone}`, `{degree}`, `{adverb}`, `{size}` (mm) and
//! `{nodule}` (nodule or mass). No template of one finding names another finding.

use super::finding::{Finding, Kind};

/// How a finding is worded.
pub(super) struct Phrases {
    /// Sentences of the findings section.
    pub(super) present: &'static [&'static str],
    /// The same for both sides at once; empty where `present` serves.
    pub(super) both: &'static [&'static str],
    /// Sentences that fit the smallest degree only.
    pub(super) slight: &'static [&'static str],
    /// The finding in few words, for impressions and doubts.
    pub(super) short: &'static [&'static str],
    /// Few words for both sides; empty where `short` serves.
    pub(super) short_both: &'static [&'static str],
    /// What is said to be absent, after `no`.
    pub(super) absent: &'static [&'static str],
    /// Whole sentences that deny it.
    pub(super) normal: &'static [&'static str],
}

const EFFUSION: Phrases = Phrases {
    present: &[
        "There is a {degree} {side} pleural effusion.",
        "{degree} {side}-sided pleural effusion is present.",
        "{degree} {side} pleural effusion with a meniscus along the chest wall.",
        "Pleural fluid is seen on the {side}, {degree} in amount.",
        "A {degree} amount of fluid lies in the {side} pleural space.",
    ],
    both: &[
        "There are {degree} bilateral pleural effusions.",
        "Bilateral pleural effusions, {degree} in size.",
        "{degree} pleural effusions are present on both sides.",
        "Pleural fluid is seen bilaterally, {degree} in amount.",
    ],
    slight: &[
        "Blunting of the {side} costophrenic angle, in keeping with a {degree} effusion.",
        "The {side} costophrenic angle is blunted by a {degree} pleural effusion.",
    ],
    short: &["{degree} {side} pleural effusion", "{degree} {side} effusion"],
    short_both: &["{degree} bilateral pleural effusions", "{degree} bilateral effusions"],
    absent: &["pleural effusion", "effusion", "pleural fluid"],
    normal: &["The costophrenic angles are sharp.", "Both costophrenic angles are clear."],
};

const PNEUMOTHORAX: Phrases = Phrases {
    present: &[
        "There is a {degree} {side} pneumothorax.",
        "{degree} {side}-sided pneumothorax.",
        "{degree} {side} apical pneumothorax is present.",
        "A visceral pleural line is seen on the {side}, consistent with a {degree} pneumothorax.",
        "Free pleural air on the {side}: {degree} pneumothorax.",
    ],
    both: &["{degree} bilateral pneumothoraces."],
    slight: &["A thin rim of pleural air at the {side} apex: {degree} pneumothorax."],
    short: &["{degree} {side} pneumothorax", "{degree} {side}-sided pneumothorax"],
    short_both: &["{degree} bilateral pneumothoraces"],
    absent: &["pneumothorax"],
    normal: &["No pleural line is seen, no pneumothorax."],
};

const CARDIOMEGALY: Phrases = Phrases {
    present: &[
        "The heart is {adverb} enlarged.",
        "{degree} cardiomegaly.",
        "There is {degree} enlargement of the cardiac silhouette.",
        "The cardiac silhouette is {adverb} enlarged.",
        "Cardiac size is {adverb} increased, with an increased cardiothoracic ratio.",
    ],
    both: &[],
    slight: &[],
    short: &["{degree} cardiomegaly", "{degree} enlargement of the cardiac silhouette"],
    short_both: &[],
    absent: &["cardiomegaly"],
    normal: &[
        "The heart size is normal.",
        "The cardiac silhouette is within normal limits.",
        "Cardiac size within normal limits.",
        "The cardiothoracic ratio is normal.",
    ],
};

const CONSOLIDATION: Phrases = Phrases {
    present: &[
        "There is {degree} consolidation in {place}.",
        "{degree} airspace consolidation in {place}.",
        "Dense consolidation with air bronchograms in {place}, {degree} in extent.",
        "Confluent airspace disease in {place}, {degree} in extent.",
        "{degree} homogeneous opacification of {place}, in keeping with consolidation.",
    ],
    both: &[],
    slight: &[],
    short: &["{degree} consolidation in {place}", "{degree} airspace disease in {place}"],
    short_both: &[],
    absent: &["consolidation", "focal consolidation", "airspace consolidation"],
    normal: &[],
};

const NODULE: Phrases = Phrases {
    present: &[
        "There is a {size} mm {nodule} in {place}.",
        "A {size} mm rounded lung {nodule} projects over {place}.",
        "Well-defined {nodule} in {place}, measuring {size} mm.",
        "A pulmonary {nodule} of {size} mm is seen in {place}.",
    ],
    both: &[],
    slight: &[],
    short: &["{size} mm {nodule} in {place}", "Lung {nodule} in {place}, {size} mm"],
    short_both: &[],
    absent: &["lung nodule", "nodule", "pulmonary nodule"],
    normal: &[],
};

const EDEMA: Phrases = Phrases {
    present: &[
        "There is {degree} pulmonary edema.",
        "Perihilar haze and septal lines, consistent with {degree} pulmonary edema.",
        "{degree} interstitial edema with vascular congestion.",
        "Indistinct vessels and {degree} bilateral pulmonary edema.",
    ],
    both: &[],
    slight: &["Vascular congestion with {degree} interstitial edema."],
    short: &["{degree} pulmonary edema", "{degree} interstitial edema"],
    short_both: &[],
    absent: &["pulmonary edema", "edema", "interstitial edema"],
    normal: &["Pulmonary vascularity is normal.", "The pulmonary vessels are normal."],
};

const ATELECTASIS: Phrases = Phrases {
    present: &[
        "There is {degree} atelectasis in {place}.",
        "{degree} atelectasis with volume loss in {place}.",
        "{degree} atelectatic change in {place}.",
    ],
    both: &[],
    slight: &[
        "Linear opacity in {place}, in keeping with {degree} atelectasis.",
        "Plate-like atelectasis in {place}, {degree}.",
    ],
    short: &["{degree} atelectasis in {place}"],
    short_both: &[],
    absent: &["atelectasis"],
    normal: &["Lung volumes are normal.", "The lungs are well expanded."],
};

const PNEUMONIA: Phrases = Phrases {
    present: &[
        "Patchy opacity in {place}, {degree}, consistent with pneumonia.",
        "{degree} patchy airspace opacities in {place}, suggestive of pneumonia.",
        "Ill-defined infiltrate in {place}, {degree} in extent, compatible with pneumonia.",
        "{degree} pneumonia in {place}.",
        "There are {degree} patchy infiltrates in {place}, typical of pneumonia.",
    ],
    both: &[],
    slight: &[],
    short: &[
        "{degree} pneumonia in {place}",
        "{degree} infectious infiltrate in {place}, pneumonia",
    ],
    short_both: &[],
    absent: &["pneumonia", "evidence of pneumonia"],
    normal: &[],
};

const FRACTURE: Phrases = Phrases {
    present: &[
        "{degree} {side} rib fracture.",
        "There is a {degree} fracture of the {side} {zone} ribs.",
        "{degree} fracture through the {side} {zone} ribs with a cortical step.",
        "Cortical break in the {side} {zone} ribs: {degree} fracture.",
    ],
    both: &["{degree} bilateral rib fractures."],
    slight: &[],
    short: &["{degree} {side} rib fracture", "{side} {zone} rib fracture, {degree}"],
    short_both: &["{degree} bilateral rib fractures"],
    absent: &["rib fracture", "acute fracture", "fracture"],
    normal: &["The bones are intact.", "No acute osseous abnormality."],
};

const DEVICES: Phrases = Phrases {
    present: &["Support devices are in place.", "Monitoring and support devices are present."],
    both: &[],
    slight: &[],
    short: &["Support devices in place", "Support devices as described"],
    short_both: &[],
    absent: &["support devices", "lines or tubes"],
    normal: &[],
};

/// The words for a finding.
pub(super) fn phrases(finding: Finding) -> &'static Phrases {
    match finding {
        Finding::Effusion => &EFFUSION,
        Finding::Pneumothorax => &PNEUMOTHORAX,
        Finding::Cardiomegaly => &CARDIOMEGALY,
        Finding::Consolidation => &CONSOLIDATION,
        Finding::Nodule => &NODULE,
        Finding::Edema => &EDEMA,
        Finding::Atelectasis => &ATELECTASIS,
        Finding::Pneumonia => &PNEUMONIA,
        Finding::Devices => &DEVICES,
        Finding::Fracture => &FRACTURE,
    }
}

/// The sentences for a device.
pub(super) fn device(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::TrachealTube => &[
            "An endotracheal tube is in place, its tip above the carina.",
            "Endotracheal tube with its tip projecting over the trachea.",
            "The ET tube ends above the carina.",
        ],
        Kind::CentralLine => &[
            "{side} central venous catheter with its tip over the superior vena cava.",
            "A {side}-sided central venous line ends near the cavoatrial junction.",
            "{side} central venous catheter in place.",
        ],
        Kind::Pacemaker => &[
            "{side}-sided pacemaker with atrial and ventricular leads.",
            "A {side} chest wall pacemaker with two leads.",
            "{side} pectoral pacemaker, leads in expected position.",
        ],
        Kind::GastricTube => &[
            "A nasogastric tube runs into the stomach.",
            "Nasogastric tube with its tip below the diaphragm.",
            "The NG tube ends over the stomach.",
        ],
        Kind::ChestTube => &[
            "A {side} chest tube is in place, directed to the apex.",
            "{side}-sided chest tube with its tip in the upper hemithorax.",
        ],
    }
}

/// Impressions of a study in which everything is absent.
pub(super) const NORMAL: &[&str] = &[
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary process.",
    "Normal chest radiograph.",
    "Normal study.",
    "No evidence of acute cardiopulmonary disease.",
];

/// Sentences that deny all disease of the lung itself.
pub(super) const CLEAR: &[&str] = &[
    "The lungs are clear.",
    "Lungs are clear.",
    "Both lungs are clear.",
    "Clear lungs.",
    "The lungs are clear and well aerated.",
];

/// How doubt is worded, around a finding in few words.
pub(super) const DOUBT: &[&str] = &[
    "Possible {what}.",
    "Questionable {what}.",
    "{what} cannot be excluded.",
    "Findings may represent {what}.",
];

/// How absence is worded, around a list.
pub(super) const ABSENCE: &[&str] =
    &["No {what}.", "There is no {what}.", "No evidence of {what}.", "Negative for {what}."];
