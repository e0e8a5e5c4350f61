//! Defined terms: words of the standard, which name nobody and may be shown.

/// Modalities of images and what is kept beside them (PS3.3, C.7.3.1.1.1).
pub(super) const MODALITIES: &[&str] = &[
    "AR", "AS", "BDUS", "BI", "BMD", "CD", "CF", "CFM", "CR", "CT", "DF", "DG", "DM", "DS", "DX",
    "EC", "EM", "EPS", "ES", "FA", "FS", "GM", "HD", "IO", "IVOCT", "IVUS", "KER", "LEN", "LP",
    "LS", "M3D", "MA", "MG", "MR", "MS", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTENF",
    "OPV", "OSS", "OT", "PA", "POS", "PT", "PX", "RF", "RG", "RTDOSE", "RTIMAGE", "SC", "SEG",
    "SM", "SMR", "SRF", "ST", "STAIN", "TG", "US", "VA", "VF", "XA", "XC",
];

/// Photometric interpretations (PS3.3, C.7.6.3.1.2).
pub(super) const PHOTOMETRIC: &[&str] = &[
    "ARGB",
    "CMYK",
    "HSV",
    "MONOCHROME1",
    "MONOCHROME2",
    "PALETTE COLOR",
    "RGB",
    "XYB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_ICT",
    "YBR_PARTIAL_420",
    "YBR_PARTIAL_422",
    "YBR_RCT",
];

/// Units of what a rescale gives (PS3.3, C.11.1.1.2).
pub(super) const UNITS: &[&str] =
    &["ED", "EDW", "HU", "HU_MOD", "MGML", "OD", "PCT", "US", "Z_EFF"];
