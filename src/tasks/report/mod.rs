//! What reports say, sentence by sentence, and reports made wrong on purpose.

mod agreement;
mod case;
mod check;
mod claims;
mod clause;
mod corruption;
mod draft;
mod lexicon;
mod mend;
mod reading;
mod restate;
mod scope;
mod sentence;
mod size;
mod statement;
mod terse;
#[cfg(test)]
mod tests;
mod wording;

pub use agreement::Facts;
pub use check::{Judgement, corrects, judgement};
pub use claims::{Claim, Phrase, Phrases, claims, finding_called, phrases};
pub use corruption::{Corruption, CorruptionKind, Donors, corrupt};
pub use draft::Change;
pub use mend::{Belief, mend};
pub use restate::{plain_wordings, restated};
pub use size::size_mm;
pub use statement::{Opening, Sides, Statement, read_statement};
pub use terse::terse;
