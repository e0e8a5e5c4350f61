//! The factors of a product as lines of numbers: rows of the left side, columns of the right.

/// `count` lines of `depth` numbers inside a slice: a product is the sums over pairs of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'a> {
    pub(super) values: &'a [f32],
    pub(super) count: usize,
    pub(super) depth: usize,
    /// From one line to the next when the numbers of a line are neighbours, else from one number
    /// of a line to the next.
    pub(super) stride: usize,
    /// Whether the numbers of a line are neighbours; if not, the lines are.
    pub(super) along: bool,
}

impl<'a> Lines<'a> {
    /// The rows of a matrix (count, depth).
    pub(super) fn rows(values: &'a [f32], count: usize, depth: usize) -> Self {
        assert!(values.len() == count * depth, "size of the rows of a product");
        Self { values, count, depth, stride: depth, along: true }
    }

    /// The columns of a matrix (depth, count).
    pub(super) fn columns(values: &'a [f32], depth: usize, count: usize) -> Self {
        assert!(values.len() == count * depth, "size of the columns of a product");
        Self { values, count, depth, stride: count, along: false }
    }
}
