//! A filter as an SQL condition.

use super::{Comparison, Literal, Node};

/// Renders `node` with every value quoted, so that no text of the user becomes code.
pub(super) fn render(node: &Node) -> String {
    match node {
        Node::And(a, b) => format!("({} AND {})", render(a), render(b)),
        Node::Or(a, b) => format!("({} OR {})", render(a), render(b)),
        Node::Not(inner) => format!("(NOT {})", render(inner)),
        Node::IsNull(column) => format!("({} IS NULL)", name(&column.name)),
        Node::In(column, literals) => {
            let values: Vec<String> = literals.iter().map(value).collect();
            format!("({} IN ({}))", name(&column.name), values.join(", "))
        }
        Node::Compare(column, comparison, literal) => {
            let sign = match comparison {
                Comparison::Equal => "=",
                Comparison::Unequal => "<>",
                Comparison::Less => "<",
                Comparison::AtMost => "<=",
                Comparison::Greater => ">",
                Comparison::AtLeast => ">=",
            };
            format!("({} {sign} {})", name(&column.name), value(literal))
        }
    }
}

fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn value(literal: &Literal) -> String {
    match literal {
        Literal::Bool(flag) => flag.to_string().to_uppercase(),
        Literal::Number(number) => number.to_string(),
        Literal::Text(text) => format!("'{}'", text.replace('\'', "''")),
    }
}
