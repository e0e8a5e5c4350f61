//! Text: tokenizers, text encoders and decoders.

mod bert;
mod bert_config;
mod llama;
mod pooling;
mod sentence;
mod text_encoder;
mod tokenizer;

pub use bert::Bert;
pub use bert_config::BertConfig;
pub use llama::{Cache, Family, Llama, LlamaConfig};
pub use pooling::TextPooling;
pub use text_encoder::TextEncoder;
pub use tokenizer::{TokenBatch, Tokenizer};
