//! Text: tokenizers, text encoders and decoders.

mod bert;
mod bert_branch;
mod bert_config;
mod chat;
mod decoder;
mod generate;
mod llama;
mod pooling;
mod sentence;
mod siglip_text;
mod t5;
mod t5_bias;
mod t5_config;
mod text_body;
mod text_encoder;
mod token_batch;
mod tokenizer;

pub use bert::Bert;
pub(crate) use bert_branch::{BertAttention, BertFeed};
pub use bert_config::BertConfig;
pub use chat::{ChatTemplate, Message};
pub(crate) use decoder::SCORED;
pub use decoder::{Decoder, Score, Written};
pub use generate::{Generated, Generation, Prompts, Stopping};
pub(crate) use llama::CacheTrace;
pub use llama::{Cache, Family, Llama, LlamaConfig};
pub use pooling::TextPooling;
pub use siglip_text::{SiglipText, SiglipTextConfig};
pub use t5::T5;
pub use t5_config::T5Config;
pub use text_body::{TextBody, TextConfig};
pub use text_encoder::TextEncoder;
pub use token_batch::TokenBatch;
pub use tokenizer::Tokenizer;
