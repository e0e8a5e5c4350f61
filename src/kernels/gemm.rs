//! The matrix product, on slices with strides. The `gemm` crate does the work.

use gemm::Parallelism;

use super::crew::threads;
use super::lines::Lines;

/// A matrix inside a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns` numbers, row after row.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Rows of `columns` numbers that start `stride` apart.
    pub(super) fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// Lines as rows.
    pub(super) fn of(lines: Lines<'a>) -> Self {
        if lines.along {
            Self::strided(lines.values, lines.count, lines.depth, lines.stride)
        } else {
            Self::strided(lines.values, lines.depth, lines.count, lines.stride).transposed()
        }
    }

    /// Rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    fn extent(&self) -> usize {
        extent(self.rows, self.columns, self.row_stride, self.column_stride)
    }
}

/// How many numbers a matrix reaches over.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    (rows - 1) * row_stride + (columns - 1) * column_stride + 1
}

/// What becomes of the numbers already in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Into {
    /// They are overwritten.
    Fresh,
    /// The product is added to them.
    Sum,
}

/// Whether a product may use other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// All of the pool.
    All,
    /// Only the calling one: the caller runs products side by side.
    One,
}

impl Threads {
    /// One thread for each of `tasks` when they keep the pool busy, else all for each.
    pub(super) fn beside(tasks: usize) -> Self {
        if tasks >= threads() { Self::One } else { Self::All }
    }
}

/// `out = scale · a b`, or `out += scale · a b`; the rows of `out` start `stride` apart.
#[allow(unsafe_code)]
pub(super) fn multiply(
    a: Matrix,
    b: Matrix,
    scale: f32,
    out: &mut [f32],
    stride: usize,
    into: Into,
    threads: Threads,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns.min(b.rows));
    if m == 0 || n == 0 {
        return;
    }
    // Each slice is cut to what the product touches, so a wrong size ends here.
    let out = &mut out[..extent(m, n, stride, 1)];
    let (left, right) = (&a.data[..a.extent()], &b.data[..b.extent()]);
    if k == 0 {
        if into == Into::Fresh {
            out.chunks_mut(stride.max(1)).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    let parallelism = match threads {
        Threads::All => Parallelism::Rayon(0),
        Threads::One => Parallelism::None,
    };
    // SAFETY: the pointers come from slices that hold every element the strides reach, checked
    // above; `out` is borrowed mutably, so it overlaps neither factor.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            into == Into::Sum,
            left.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            right.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // small integers are exact
mod tests {
    use super::*;

    #[test]
    fn products_respect_strides_scale_and_what_was_there() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0]; // 2 × 2 inside rows of 3
        let b = [5.0, 6.0, 7.0, 8.0]; // 2 × 2
        let mut out = [1.0; 6];
        let left = Matrix::strided(&a, 2, 2, 3);
        multiply(left, Matrix::new(&b, 2, 2), 2.0, &mut out, 3, Into::Sum, Threads::One);
        assert_eq!(out, [39.0, 45.0, 1.0, 87.0, 101.0, 1.0]);
        let right = Matrix::new(&b, 2, 2).transposed();
        multiply(left, right, 1.0, &mut out, 3, Into::Fresh, Threads::All);
        assert_eq!(out, [17.0, 23.0, 1.0, 39.0, 53.0, 1.0]);
    }

    #[test]
    fn a_product_over_nothing_is_zero() {
        let mut out = [7.0; 4];
        let (a, b) = (Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 2));
        multiply(a, b, 1.0, &mut out, 2, Into::Sum, Threads::One);
        assert_eq!(out, [7.0; 4]);
        multiply(a, b, 1.0, &mut out, 2, Into::Fresh, Threads::One);
        assert_eq!(out, [0.0; 4]);
    }
}
