//! An embedded vector index: exact search over memory-mapped vectors, filters on metadata.
//!
//! A folder holds segments that are written once, and one small manifest that is replaced
//! atomically and names all that counts: a crash at any moment leaves the old state or the
//! new. Deleted rows are listed beside their segment until [`Index::compact`] drops them.

mod cell;
mod filter;
mod layout;
mod lock;
mod search;
mod segment;
mod store;
mod vectors;

#[cfg(test)]
mod tests;

pub use cell::Cell;
pub use filter::Filter;
pub use layout::{Layout, Metric, Precision};
pub use search::Hit;
pub use store::{Index, Item};
