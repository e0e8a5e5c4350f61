//! Tasks as data: prompt pools now, answer types as the systems need them.

mod instruction;
mod prompt;

pub use instruction::Instruction;
pub use prompt::{Prompt, prompt_banks, prompts};
