//! A small filter language over metadata: `view == 'PA' and (age >= 60 or sex is null)`.
//!
//! Comparisons `== != < <= > >=`, `in (…)`, `not in (…)`, `is null`, `is not null`, joined by
//! `and`, `or`, `not` and brackets. Columns are bare names, or names in backquotes; text is in
//! quotes of either kind; `key` is the row's name. A comparison with a missing value is
//! unknown, and a row is kept when the whole is true: the three-valued logic of SQL. Nothing
//! is evaluated but this.

mod evaluate;
mod lexer;
mod parser;
mod sql;

use crate::Result;

/// A parsed filter.
#[derive(Clone, Debug)]
pub struct Filter(Node);

/// Where a name stands in the text, counted in characters from 1.
type Position = usize;

#[derive(Clone, Debug)]
enum Node {
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Compare(Column, Comparison, Literal),
    In(Column, Vec<Literal>),
    IsNull(Column),
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    position: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Bool(bool),
    Number(f64),
    Text(String),
}

impl Filter {
    /// Reads `text`; an error says at which character and what was expected.
    pub fn parse(text: &str) -> Result<Self> {
        parser::parse(text).map(Self)
    }

    /// The filter as an SQL condition, for stores that speak it.
    pub fn to_sql(&self) -> String {
        sql::render(&self.0)
    }
}
