//! Tasks as data: prompt pools now, answer types as the systems need them.

mod prompt;

pub use prompt::{Prompt, prompt_banks, prompts};
