//! Tokens to a tree, by descent: `or` binds weakest, then `and`, then `not`.

use super::lexer::{Token, Word, split, wrong};
use super::{Column, Comparison, Literal, Node, Position};
use crate::Result;

/// Brackets and `not`s inside each other, and members of one chain: the tree is walked by recursion.
const DEEPEST: usize = 128;

struct Parser {
    tokens: Vec<(Token, Position)>,
    at: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Node> {
    let mut parser = Parser { tokens: split(text)?, at: 0, depth: 0 };
    let node = parser.or()?;
    parser.expect(&Token::End, "`and`, `or` or the end")?;
    Ok(node)
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn position(&self) -> Position {
        self.tokens[self.at].1
    }

    /// Takes the next token; the end stays where it is.
    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.next();
        }
        found
    }

    fn take_word(&mut self, word: Word) -> bool {
        self.take(&Token::Word(word))
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<()> {
        if self.peek() == token {
            self.next();
            return Ok(());
        }
        Err(self.unexpected(what))
    }

    fn unexpected(&self, expected: &str) -> crate::Error {
        let found = match self.peek() {
            Token::Name(name) => format!("column `{name}`"),
            Token::Text(text) => format!("text {text:?}"),
            Token::Number(number) => format!("number {number}"),
            Token::Compare(_) => "a comparison".to_owned(),
            Token::Word(word) => format!("`{}`", format!("{word:?}").to_lowercase()),
            Token::Open => "`(`".to_owned(),
            Token::Close => "`)`".to_owned(),
            Token::Comma => "`,`".to_owned(),
            Token::End => "the end".to_owned(),
        };
        wrong(self.position(), format!("found {found}, expected {expected}"))
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            let why = format!("more than {DEEPEST} conditions or brackets; use `in (…)`");
            return Err(wrong(self.position(), why));
        }
        Ok(())
    }

    fn or(&mut self) -> Result<Node> {
        let mut node = self.and()?;
        while self.take_word(Word::Or) {
            self.deeper()?;
            node = Node::Or(Box::new(node), Box::new(self.and()?));
        }
        Ok(node)
    }

    fn and(&mut self) -> Result<Node> {
        let mut node = self.not()?;
        while self.take_word(Word::And) {
            self.deeper()?;
            node = Node::And(Box::new(node), Box::new(self.not()?));
        }
        Ok(node)
    }

    fn not(&mut self) -> Result<Node> {
        if self.take_word(Word::Not) {
            self.deeper()?;
            return Ok(Node::Not(Box::new(self.not()?)));
        }
        if self.take(&Token::Open) {
            self.deeper()?;
            let node = self.or()?;
            self.expect(&Token::Close, "`)`")?;
            return Ok(node);
        }
        self.condition()
    }

    fn condition(&mut self) -> Result<Node> {
        let position = self.position();
        let Token::Name(name) = self.peek().clone() else {
            return Err(self.unexpected("a column name"));
        };
        self.next();
        let column = Column { name, position };
        if let Token::Compare(comparison) = *self.peek() {
            self.next();
            return self.comparison(column, comparison);
        }
        if self.take_word(Word::Is) {
            let negated = self.take_word(Word::Not);
            self.expect(&Token::Word(Word::Null), "`null` after `is`")?;
            return Ok(negate(Node::IsNull(column), negated));
        }
        let negated = self.take_word(Word::Not);
        self.expect(&Token::Word(Word::In), "a comparison, `in` or `is` after the column")?;
        self.expect(&Token::Open, "`(` after `in`")?;
        let mut literals = vec![self.literal()?];
        while self.take(&Token::Comma) {
            literals.push(self.literal()?);
        }
        self.expect(&Token::Close, "`,` or `)`")?;
        Ok(negate(Node::In(column, literals), negated))
    }

    fn comparison(&mut self, column: Column, comparison: Comparison) -> Result<Node> {
        let position = self.position();
        let literal = self.literal()?;
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::Unequal);
        if ordered && matches!(literal, Literal::Bool(_)) {
            return Err(wrong(position, "true and false have no order; use == or !="));
        }
        Ok(Node::Compare(column, comparison, literal))
    }

    fn literal(&mut self) -> Result<Literal> {
        let literal = match self.peek().clone() {
            Token::Text(text) => Literal::Text(text),
            Token::Number(number) => Literal::Number(number),
            Token::Word(Word::True) => Literal::Bool(true),
            Token::Word(Word::False) => Literal::Bool(false),
            Token::Word(Word::Null) => {
                return Err(wrong(self.position(), "nothing equals null; write `is null`"));
            }
            _ => return Err(self.unexpected("a number, quoted text, true or false")),
        };
        self.next();
        Ok(literal)
    }
}

fn negate(node: Node, negated: bool) -> Node {
    if negated { Node::Not(Box::new(node)) } else { node }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::data::index::Filter;

    fn sql(text: &str) -> String {
        Filter::parse(text).unwrap().to_sql()
    }

    fn error(text: &str) -> String {
        Filter::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn and_binds_stronger_than_or() {
        assert_eq!(sql("a == 1 or b = 2 and not c != 'x'"), sql("a=1 or (b=2 and (not (c<>'x')))"));
        assert_ne!(sql("(a == 1 or b == 2) and c == 3"), sql("a == 1 or b == 2 and c == 3"));
    }

    #[test]
    fn quotes_survive_as_values() {
        assert_eq!(sql("`my column` == 'it''s'"), "(`my column` = 'it''s')");
        assert_eq!(sql(r#"a in ("x", 'y; drop')"#), "(`a` IN ('x', 'y; drop'))");
    }

    #[test]
    fn errors_say_where_and_what() {
        for (text, expected) in [
            ("", "where: at character 1: found the end, expected a column name"),
            (
                "age >=",
                "where: at character 7: found the end, expected a number, quoted text, true or false",
            ),
            ("age >= 6x", "where: at character 8: \"6x\" is no number; text needs quotes"),
            (
                "view == PA",
                "where: at character 9: found column `PA`, expected a number, quoted text, true or false",
            ),
            ("view == 'PA", "where: at character 9: the quote ' is never closed"),
            (
                "view == 'PA' age > 3",
                "where: at character 14: found column `age`, expected `and`, `or` or the end",
            ),
            ("(view == 'PA'", "where: at character 14: found the end, expected `)`"),
            ("sex == null", "where: at character 8: nothing equals null; write `is null`"),
            ("flag > true", "where: at character 8: true and false have no order; use == or !="),
            (
                "__import__('os')",
                "where: at character 11: found `(`, expected a comparison, `in` or `is` after the column",
            ),
            (
                "a ; b",
                "where: at character 3: found ';', expected a column, a value or an operator",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert!(error(&"(".repeat(50_000)).contains("more than 128"));
        assert!(error(&"not ".repeat(10_000)).contains("more than 128"));
        assert!(error(&vec!["a == 1"; 5000].join(" or ")).contains("use `in (…)`"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ a-z0-9()<>=!,'\"`.é-]{0,60}") {
            let _ = Filter::parse(&text);
        }
    }
}
