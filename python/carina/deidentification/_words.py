"""Words that a de-identified file may keep: everything else is taken for a name."""

import re


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


CODES = _set(
    """
    ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER OTHER REFORMATTED MPR
    PROJECTION MIN_IP MAX_IP AVERAGE VOLUME HELIX NORM NONE DIS2D DIS3D M FFE SE SPI
    AP PA LL RL RLD LLD LLO RLO LPO RPO XTL DR CR DX CT MR MG US NM PT PR SR SEG
    RTDOSE RTSTRUCT RTPLAN RTIMAGE XA RF SC OT ES SM KO OP IO PX TG HFS FFS HFP FFP
    HFDR HFDL FFDR FFDL MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_RCT
    YBR_ICT YBR_PARTIAL_420 YBR_PARTIAL_422 PALETTE_COLOR
    YES NO R L B U A P H F LA RA LP RP LH RH LF RF AH PH AF
    PF LR TRUE FALSE CHEST THORAX LUNG HEART ABDOMEN PELVIS HEAD NECK SPINE TSPINE
    LSPINE CSPINE RIB SHOULDER CLAVICLE STERNUM BREAST EXTREMITY HAND FOOT KNEE HIP
    WHOLEBODY BRAIN LIVER FOR_PRESENTATION FOR_PROCESSING IDENTITY INVERSE LINEAR
    LINEAR_EXACT SIGMOID LOG LIN DISP 00 01 DIRECT SCINTILLATOR STORAGE FILM WSD WST
    DV DI DF SD DRW SYN SI CARM COLUMN MAMMOGRAPHIC PANORAMIC CEPHALOSTAT RIGID CW
    CC FAN PARALLEL SPIRAL SEQUENCED DYNAMIC STATIONARY FREE CONSTANT_ANGLE GEOMETRY
    FIDUCIAL ISO_10918_1 ISO_14495_1 ISO_15444_1 CONTINUOUS SEPARATE CONTAINS
    HAS_OBS_CONTEXT HAS_CONCEPT_MOD HAS_PROPERTIES HAS_ACQ_CONTEXT INFERRED_FROM
    SELECTED_FROM CONTAINER TEXT CODE NUM DATETIME DATE TIME UIDREF PNAME COMPOSITE
    IMAGE WAVEFORM SCOORD SCOORD3D TCOORD POINT MULTIPOINT POLYLINE CIRCLE ELLIPSE
    POLYGON ELLIPSOID COMPLETE PARTIAL VERIFIED UNVERIFIED PRELIMINARY FINAL BINARY
    FRACTIONAL PROBABILITY OCCUPANCY MANUAL SEMIAUTOMATIC AUTOMATIC GY RELATIVE
    PHYSICAL EFFECTIVE PLAN BEAM CLOSED_PLANAR CLOSED_PLANARXOR OPEN_PLANAR HU CNTS
    BQML
    """
)

DESCRIPTORS = _set(
    """
    a and angiography anterior ap apical arterial axial base biopsy bone breath
    brain body cardiac chest clavicle contrast coronal coronary ct cta ctpa cxr
    delayed digital dose dr dx exp expiration expiratory film follow followup for
    frontal helical high hold hr hrct image in inspiration iv kernel kv lat lateral
    ldct left low lung lungs mediastinal mediastinum mip mm mpr mr no non
    noncontrast nodule o of on pa portable post posterior pre projection protocol
    prone pulmonary radiograph recon reconstruction reformat resolution rib ribs
    right routine sagittal scan scout screening sharp sl slice soft spine standard
    sternum supine temporal the thick thin thorax thoracic tissue topogram two up
    upright upper venous view views volume w wo window with without xr xray
    """
)

VENDORS = {
    name.casefold(): name
    for name in (
        "Agfa",
        "Canon",
        "Canon Medical Systems",
        "Carestream",
        "FUJIFILM Corporation",
        "GE MEDICAL SYSTEMS",
        "GE Healthcare",
        "Hitachi",
        "Konica Minolta",
        "Philips",
        "Philips Medical Systems",
        "SIEMENS",
        "Siemens Healthineers",
        "TOSHIBA",
        "UIH",
    )
}

UNITS = frozenset({"HU", "US", "OD", "HU_MOD", "PCT", "MGML", "BQML", "CNTS"})
_KERNEL = re.compile(
    r"(STANDARD|LUNG|BONE|BONEPLUS|SOFT|DETAIL|EDGE|CHEST|[BIDUFC]\d\d[fhs]?)"
)
_NUMBER = re.compile(r"\d{1,2}([.,]\d)?(mm)?")


def code(text: str) -> str | None:
    """Return a code string when it is one of those that the standard defines."""
    word = text.strip()
    return word if word.replace(" ", "_") in CODES else None


def kernel(text: str) -> str | None:
    """Return the name of a reconstruction kernel when it has the usual form."""
    return text if _KERNEL.fullmatch(text) else None


def description(text: str) -> str:
    """Return the words of a description that say nothing of anybody."""
    words = re.findall(r"[A-Za-z]+|\d+(?:[.,]\d+)?(?:mm)?", text)
    kept = [w for w in words if w.lower() in DESCRIPTORS or _NUMBER.fullmatch(w)]
    return " ".join(kept)[:64]
