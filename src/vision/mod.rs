//! Image encoders.

mod encoder;
mod vit;
mod vit_config;
mod vit_hf;

pub use encoder::{TokenGrid, VisionEncoder};
pub use vit::Vit;
pub use vit_config::{Pool, Position, PositionPrefix, PositionResize, VitConfig, VitLayout};
