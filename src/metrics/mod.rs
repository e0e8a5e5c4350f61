//! Metrics of the field, on plain arrays.
//!
//! Every measure of a finding takes weights, so that a bootstrap sorts once and then only
//! counts: [`Samples`] holds the sorted truth, [`bootstrap`] draws patients, not films.

// Tests compare numbers that are exact by construction.
#![cfg_attr(test, allow(clippy::float_cmp))]

mod bootstrap;
mod calibration;
mod delong;
mod normal;
mod overlap;
mod ranking;
mod retrieval;
mod samples;
mod threshold;

pub use bootstrap::{Clusters, Interval, Plan, bootstrap};
pub use delong::{DeLong, DeLongTest, delong, delong_test};
pub use normal::{normal_quantile, two_sided_p};
pub use overlap::{box_iou, dice, iou};
pub use ranking::{Measure, Setting};
pub use retrieval::{Gain, average_precision_at, dcg, ideal_dcg, precision_at, recall_at};
pub use samples::{Policy, Samples};
pub use threshold::{Confusion, threshold_at_sensitivity, threshold_at_specificity, youden};
