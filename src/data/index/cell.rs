//! One value of a row's metadata, and the columns of a segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Not there.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Number(f64),
    /// A word.
    Text(Arc<str>),
}

/// The kinds of value that a filter tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Number,
    Text,
}

impl Kind {
    /// The kind in the plural, for messages.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Bool => "true/false",
            Self::Number => "numbers",
            Self::Text => "text",
        }
    }
}

impl Cell {
    /// The cell for a JSON scalar; lists and objects have none.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Bool(flag) => Some(Self::Bool(*flag)),
            Value::Number(number) => {
                number.as_i64().map(Self::Integer).or_else(|| number.as_f64().map(Self::Number))
            }
            Value::String(text) => Some(Self::Text(text.as_str().into())),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The JSON scalar of the cell.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => (*flag).into(),
            Self::Integer(number) => (*number).into(),
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_ref().into(),
        }
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Null => None,
            Self::Bool(_) => Some(Kind::Bool),
            Self::Integer(_) | Self::Number(_) => Some(Kind::Number),
            Self::Text(_) => Some(Kind::Text),
        }
    }
}

/// The metadata of a segment by column; a row without a value holds [`Cell::Null`].
#[derive(Debug, Default)]
pub(super) struct Columns {
    cells: BTreeMap<String, Vec<Cell>>,
    kinds: BTreeMap<String, Vec<Kind>>,
}

impl Columns {
    /// Appends row number `row` of the segment; names the column whose value is no scalar.
    pub(super) fn push(&mut self, row: usize, values: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in values {
            let cell = Cell::from_json(value).ok_or_else(|| name.clone())?;
            let column = self.cells.entry(name.clone()).or_default();
            column.resize(row, Cell::Null);
            if let Some(kind) = cell.kind() {
                let kinds = self.kinds.entry(name.clone()).or_default();
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            column.push(cell);
        }
        Ok(())
    }

    /// Fills short columns up to `rows`.
    pub(super) fn finish(&mut self, rows: usize) {
        for column in self.cells.values_mut() {
            column.resize(rows, Cell::Null);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&[Cell]> {
        self.cells.get(name).map(Vec::as_slice)
    }

    /// The kinds of value that a column holds.
    pub(super) fn kinds(&self, name: &str) -> &[Kind] {
        self.kinds.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[Cell])> {
        self.cells.iter().map(|(name, cells)| (name.as_str(), cells.as_slice()))
    }

    /// The values of one row that are there.
    pub(super) fn row(&self, row: usize) -> Map<String, Value> {
        self.cells
            .iter()
            .filter(|(_, cells)| cells[row] != Cell::Null)
            .map(|(name, cells)| (name.clone(), cells[row].to_json()))
            .collect()
    }
}
