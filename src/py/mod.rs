//! The extension module `carina._core`: thin classes over the core.
//!
//! A method here converts its arguments, calls the core through [`call::quick`] or
//! [`call::long`], and converts the answer. Logic belongs in the core.

mod call;
mod data;
mod decoder;
mod encoders;
mod error;
mod graft;
mod imaging;
mod index;
mod metrics;
mod model;
mod phantom;
mod picture;
mod probe;
mod records;
mod study;
mod system;
mod tasks;
mod volume;
mod volume_geometry;

/// Rust core of carina; use the classes of the package instead.
#[pyo3::pymodule(name = "_core", gil_used = true)]
mod module {
    #[pymodule_export]
    use super::data::{
        Batches, Dataset, ManifestBuilder, check_disjoint, film_augmentation, open_manifest,
    };
    #[pymodule_export]
    use super::decoder::{Decoder, decoder_sizes};
    #[pymodule_export]
    use super::encoders::{LoadReport, TextEncoder};
    #[pymodule_export]
    use super::graft::{ask, film_tasks, graft, merge_lora, plan_asking, prefer};
    #[pymodule_export]
    use super::imaging::{
        Geometry, Image, Recipe, cxr_foundation_film, decode_dicom, read_film, recipe_presets,
    };
    #[pymodule_export]
    use super::index::{VectorIndex, filter_to_sql};
    #[pymodule_export]
    use super::metrics::{
        bootstrap_measure, box_iou, delong, delong_test, find_threshold, hits_at, mask_overlap,
        measure, measure_baseline, ndcg, resample,
    };
    #[pymodule_export]
    use super::model::{Model, list_presets, list_prompts, list_stages, prompt_bank, stage_preset};
    #[pymodule_export]
    use super::phantom::{ct_phantom_findings, make_ct_phantoms, make_phantoms, phantom_findings};
    #[pymodule_export]
    use super::picture::{encode_png, resize_plane};
    #[pymodule_export]
    use super::probe::FittedProbe;
    #[pymodule_export]
    use super::records::read_records;
    #[pymodule_export]
    use super::study::Study;
    #[pymodule_export]
    use super::system::{
        check_memory, doctor_facts, num_threads, prepare_weights, set_num_threads,
    };
    #[pymodule_export]
    use super::tasks::{
        corrects, corrupt_reports, corrupt_texts, corruption_kinds, finding_name, grade_answers,
        grade_query, mend_report, plain_wordings, query_set, query_sets, read_judgement,
        report_claims, report_phrases,
    };
    #[pymodule_export]
    use super::volume::{Series, Volume, hu_windows, is_volume, read_volume, scan_folder};
    #[pymodule_export]
    use super::volume_geometry::VolumeGeometry;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        super::system::keep_freed_pages();
        super::system::start_no_threads_of_candle(module)
    }
}
