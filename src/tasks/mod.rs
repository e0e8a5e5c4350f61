//! Tasks as data: prompts, instructions, queries, graded answers, and reports made wrong on purpose.

mod grading;
mod instruction;
mod prompt;
mod query;
pub mod report;

pub use grading::{Tolerance, grade_answer};
pub use instruction::Instruction;
pub use prompt::{Prompt, prompt_banks, prompts};
pub use query::{Described, Query, queries, query_sets};
