//! Text: tokenizers and text encoders.

mod bert;
mod bert_config;
mod pooling;
mod sentence;
mod text_encoder;
mod tokenizer;

pub use bert::Bert;
pub use bert_config::BertConfig;
pub use pooling::TextPooling;
pub use text_encoder::TextEncoder;
pub use tokenizer::{TokenBatch, Tokenizer};
