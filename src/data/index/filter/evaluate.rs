//! Which rows a filter keeps.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::super::cell::{Cell, Columns, Kind};
use super::lexer::wrong;
use super::{Column, Comparison, Filter, Literal, Node};
use crate::Result;

/// The column that stands for the row's name.
const KEY: &str = "key";

/// The rows of one segment.
struct Rows<'a> {
    keys: &'a [String],
    columns: &'a Columns,
}

impl Filter {
    /// Fails when a column is in none of `segments`, or never holds what it is compared with.
    pub(in super::super) fn check<'a>(
        &self,
        segments: impl Iterator<Item = &'a Columns> + Clone,
    ) -> Result<()> {
        check(&self.0, &segments)
    }

    /// Marks the rows that are `alive` and for which the filter is true.
    pub(in super::super) fn keep(
        &self,
        keys: &[String],
        columns: &Columns,
        alive: &[bool],
    ) -> Vec<bool> {
        let rows = Rows { keys, columns };
        let test = |(row, &alive): (usize, &bool)| alive && rows.test(&self.0, row) == Some(true);
        alive.par_iter().with_min_len(4096).enumerate().map(test).collect()
    }
}

fn check<'a>(node: &Node, segments: &(impl Iterator<Item = &'a Columns> + Clone)) -> Result<()> {
    match node {
        Node::And(a, b) | Node::Or(a, b) => {
            check(a, segments)?;
            check(b, segments)
        }
        Node::Not(inner) => check(inner, segments),
        Node::IsNull(column) => check_column(column, &[], segments),
        Node::In(column, literals) => check_column(column, literals, segments),
        Node::Compare(column, _, literal) => {
            check_column(column, std::slice::from_ref(literal), segments)
        }
    }
}

fn check_column<'a>(
    column: &Column,
    literals: &[Literal],
    segments: &(impl Iterator<Item = &'a Columns> + Clone),
) -> Result<()> {
    let mut kinds = Vec::new();
    if column.name == KEY {
        kinds.push(Kind::Text);
    } else {
        let mut known = false;
        for columns in segments.clone().filter(|columns| columns.get(&column.name).is_some()) {
            known = true;
            for kind in columns.kinds(&column.name) {
                if !kinds.contains(kind) {
                    kinds.push(*kind);
                }
            }
        }
        if !known {
            let mut names: Vec<&str> =
                segments.clone().flat_map(|columns| columns.iter().map(|(name, _)| name)).collect();
            names.sort_unstable();
            names.dedup();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let why = format!("no column `{}`; there are: {names}", column.name);
            return Err(wrong(column.position, why));
        }
    }
    for literal in literals {
        if !kinds.is_empty() && !kinds.contains(&literal.kind()) {
            let held: Vec<&str> = kinds.iter().map(|kind| kind.plural()).collect();
            let why = format!(
                "column `{}` holds {}, compared with {literal}",
                column.name,
                held.join(" and ")
            );
            return Err(wrong(column.position, why));
        }
    }
    Ok(())
}

impl Rows<'_> {
    /// True, false, or unknown because a value is missing.
    fn test(&self, node: &Node, row: usize) -> Option<bool> {
        match node {
            Node::And(a, b) => match (self.test(a, row), self.test(b, row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Node::Or(a, b) => match (self.test(a, row), self.test(b, row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Node::Not(inner) => self.test(inner, row).map(|truth| !truth),
            Node::IsNull(column) => Some(self.is_null(column, row)),
            Node::In(column, literals) => {
                let equal = |literal| self.order(column, row, literal) == Some(Ordering::Equal);
                (!self.is_null(column, row)).then(|| literals.iter().any(equal))
            }
            Node::Compare(column, comparison, literal) => {
                if self.is_null(column, row) {
                    return None;
                }
                let order = self.order(column, row, literal);
                Some(match comparison {
                    Comparison::Equal => order == Some(Ordering::Equal),
                    Comparison::Unequal => order != Some(Ordering::Equal),
                    Comparison::Less => order == Some(Ordering::Less),
                    Comparison::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    Comparison::Greater => order == Some(Ordering::Greater),
                    Comparison::AtLeast => {
                        matches!(order, Some(Ordering::Greater | Ordering::Equal))
                    }
                })
            }
        }
    }

    fn cell(&self, column: &Column, row: usize) -> Option<&Cell> {
        self.columns.get(&column.name).map(|cells| &cells[row])
    }

    fn is_null(&self, column: &Column, row: usize) -> bool {
        column.name != KEY && matches!(self.cell(column, row), None | Some(Cell::Null))
    }

    /// How the value stands to `literal`; `None` when their kinds differ.
    fn order(&self, column: &Column, row: usize, literal: &Literal) -> Option<Ordering> {
        if column.name == KEY {
            let Literal::Text(text) = literal else { return None };
            return Some(self.keys[row].as_str().cmp(text));
        }
        match (self.cell(column, row)?, literal) {
            (Cell::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
            (Cell::Integer(a), Literal::Number(b)) => (*a as f64).partial_cmp(b),
            (Cell::Number(a), Literal::Number(b)) => a.partial_cmp(b),
            (Cell::Text(a), Literal::Text(b)) => Some(a.as_ref().cmp(b.as_str())),
            _ => None,
        }
    }
}

impl Literal {
    fn kind(&self) -> Kind {
        match self {
            Self::Bool(_) => Kind::Bool,
            Self::Number(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
        }
    }
}

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::Text(text) => write!(f, "the text {text:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> std::result::Result<Vec<usize>, String> {
        let lines = [
            r#"{"view": "PA", "age": 60, "sex": "F", "icu": false}"#,
            r#"{"view": "AP", "age": 71.5, "sex": "M", "icu": true}"#,
            r#"{"view": "PA", "age": null, "sex": "M"}"#,
        ];
        let mut columns = Columns::default();
        for (row, line) in lines.iter().enumerate() {
            columns.push(row, &serde_json::from_str(line).unwrap()).unwrap();
        }
        columns.finish(3);
        let keys: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let filter = Filter::parse(text).map_err(|e| e.to_string())?;
        filter.check([&columns].into_iter()).map_err(|e| e.to_string())?;
        let keep = filter.keep(&keys, &columns, &[true; 3]);
        Ok((0..3).filter(|&row| keep[row]).collect())
    }

    #[test]
    fn rows_are_kept_when_the_whole_is_true() {
        for (text, rows) in [
            ("view == 'PA'", vec![0, 2]),
            ("view == 'PA' and age >= 60", vec![0]),
            ("age > 60 or sex == 'F'", vec![0, 1]),
            ("view != 'PA'", vec![1]),
            ("age is null", vec![2]),
            ("icu is not null and not icu == true", vec![0]),
            ("sex in ('F', 'X')", vec![0]),
            ("sex not in ('F', 'X')", vec![1, 2]),
            ("key >= 'b'", vec![1, 2]),
            ("age < 6e1", vec![]),
        ] {
            assert_eq!(kept(text).unwrap(), rows, "{text}");
        }
    }

    #[test]
    fn a_missing_value_is_neither_equal_nor_unequal() {
        assert_eq!(kept("age == 60").unwrap(), [0]);
        assert_eq!(kept("age != 60").unwrap(), [1]);
        assert_eq!(kept("not age == 60").unwrap(), [1]);
        assert_eq!(kept("age != 60 or age is null").unwrap(), [1, 2]);
    }

    #[test]
    fn unknown_columns_and_kinds_are_named() {
        assert_eq!(
            kept("sex == 'F' and Age > 3").unwrap_err(),
            "where: at character 16: no column `Age`; there are: age, icu, sex, view"
        );
        assert_eq!(
            kept("age == 'old'").unwrap_err(),
            "where: at character 1: column `age` holds numbers, compared with the text \"old\""
        );
    }
}
