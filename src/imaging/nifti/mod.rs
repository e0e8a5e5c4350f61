//! NIfTI-1 and -2 files, plain or gzipped: read into a [`Volume`], and written from one.
//!
//! Source: the NIfTI-1 and NIfTI-2 headers (nifti1.h, nifti2.h of the NIfTI working group).

mod header;
mod read;
mod write;

pub(super) use read::{is_nifti, read};
