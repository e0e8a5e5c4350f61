//! Text: tokenizers, text encoders and decoders.

mod bert;
mod bert_branch;
mod bert_config;
mod chat;
mod decoder;
mod generate;
mod llama;
mod pooling;
mod script;
mod sentence;
mod siglip_text;
mod splice;
mod t5;
mod t5_bias;
mod t5_config;
mod text_body;
mod text_encoder;
mod tokenizer;

pub use bert::Bert;
pub(crate) use bert_branch::{BertAttention, BertFeed};
pub use bert_config::BertConfig;
pub use chat::{ChatTemplate, Message};
pub use decoder::{Decoder, Score, Written};
pub use generate::{Generated, Generation, Prompts, Stopping};
pub use llama::{Cache, Family, Llama, LlamaConfig, LoraConfig};
pub(crate) use llama::{CacheTrace, SCORED};
pub use pooling::TextPooling;
pub use script::Script;
pub use siglip_text::{SiglipText, SiglipTextConfig};
pub use splice::{Fill, Line, Spliced};
pub use t5::T5;
pub use t5_config::T5Config;
pub use text_body::{TextBody, TextConfig};
pub use text_encoder::TextEncoder;
pub use tokenizer::{TokenBatch, Tokenizer};
