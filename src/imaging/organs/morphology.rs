//! Connected parts of masks, and masks grown, shrunk, closed and filled.

use ndarray::{Array2, Array3, ArrayView2, Axis};

/// The parts of a mask that hang together by faces.
pub(super) struct Parts {
    /// For each voxel 0, or the number of its part, from 1.
    pub(super) labels: Array3<u32>,
    /// Voxels of each part; the first is part 1.
    pub(super) sizes: Vec<usize>,
}

/// Tells the parts of a mask apart.
pub(super) fn parts(mask: &Array3<bool>) -> Parts {
    let mut labels = Array3::zeros(mask.raw_dim());
    let mut sizes = Vec::new();
    let mut stack = Vec::new();
    for (seed, _) in mask.indexed_iter().filter(|(_, set)| **set) {
        if labels[seed] != 0 {
            continue;
        }
        let label = sizes.len() as u32 + 1;
        let mut size = 0;
        labels[seed] = label;
        stack.push(seed);
        while let Some(at) = stack.pop() {
            size += 1;
            for next in neighbours(at, mask.dim()) {
                if mask[next] && labels[next] == 0 {
                    labels[next] = label;
                    stack.push(next);
                }
            }
        }
        sizes.push(size);
    }
    Parts { labels, sizes }
}

impl Parts {
    /// The mask of one part.
    pub(super) fn mask(&self, part: u32) -> Array3<bool> {
        self.labels.mapv(|label| label == part)
    }

    /// The numbers of the parts, the largest first.
    pub(super) fn by_size(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (1..=self.sizes.len() as u32).collect();
        order.sort_by_key(|&part| std::cmp::Reverse(self.size(part)));
        order
    }

    pub(super) fn size(&self, part: u32) -> usize {
        self.sizes[part as usize - 1]
    }
}

type At = (usize, usize, usize);

/// The up to six voxels that share a face with one.
pub(super) fn neighbours((z, y, x): At, (d, h, w): At) -> impl Iterator<Item = At> {
    let near = [
        (z > 0).then(|| (z - 1, y, x)),
        (z + 1 < d).then_some((z + 1, y, x)),
        (y > 0).then(|| (z, y - 1, x)),
        (y + 1 < h).then_some((z, y + 1, x)),
        (x > 0).then(|| (z, y, x - 1)),
        (x + 1 < w).then_some((z, y, x + 1)),
    ];
    near.into_iter().flatten()
}

/// A mask grown by so many voxels.
pub(super) fn grown(mask: &Array3<bool>, times: usize) -> Array3<bool> {
    let mut grown = mask.clone();
    for _ in 0..times {
        let before = grown.clone();
        for (at, _) in before.indexed_iter().filter(|(_, set)| **set) {
            for next in neighbours(at, before.dim()) {
                grown[next] = true;
            }
        }
    }
    grown
}

/// A mask shrunk by so many voxels; the edge of the volume does not shrink it.
pub(super) fn shrunk(mask: &Array3<bool>, times: usize) -> Array3<bool> {
    grown(&mask.mapv(|set| !set), times).mapv(|set| !set)
}

/// A mask with its dents and gaps of up to twice so many voxels closed, and its holes filled
/// slice by slice.
pub(super) fn closed(mask: &Array3<bool>, times: usize) -> Array3<bool> {
    let mut closed = shrunk(&grown(mask, times), times);
    for mut slice in closed.axis_iter_mut(Axis(0)) {
        let open = slice.mapv(|set| !set);
        let around = from_border(open.view());
        slice.zip_mut_with(&around, |set, &outside| *set = !outside);
    }
    closed
}

/// What of a mask hangs together with the border of its slice.
pub(super) fn from_border(mask: ArrayView2<'_, bool>) -> Array2<bool> {
    let (rows, cols) = mask.dim();
    let mut reached = Array2::from_elem((rows, cols), false);
    let edge = |y: usize, x: usize| y == 0 || x == 0 || y + 1 == rows || x + 1 == cols;
    let border = mask.indexed_iter().filter(|((y, x), set)| **set && edge(*y, *x));
    let mut stack: Vec<(usize, usize)> = border.map(|(at, _)| at).collect();
    for &at in &stack {
        reached[at] = true;
    }
    while let Some((y, x)) = stack.pop() {
        for (_, y, x) in neighbours((0, y, x), (1, rows, cols)) {
            if mask[[y, x]] && !reached[[y, x]] {
                reached[[y, x]] = true;
                stack.push((y, x));
            }
        }
    }
    reached
}

/// Gives each voxel of a mask to the seed that is nearest to it within the mask.
pub(super) fn divided(mask: &Array3<bool>, seeds: [&Array3<bool>; 2]) -> [Array3<bool>; 2] {
    let mut owner: Array3<u8> = Array3::zeros(mask.raw_dim());
    let mut front = std::collections::VecDeque::new();
    for (seed, number) in seeds.into_iter().zip(1..) {
        for (at, _) in seed.indexed_iter().filter(|(_, set)| **set) {
            owner[at] = number;
            front.push_back(at);
        }
    }
    while let Some(at) = front.pop_front() {
        for next in neighbours(at, mask.dim()) {
            if mask[next] && owner[next] == 0 {
                owner[next] = owner[at];
                front.push_back(next);
            }
        }
    }
    [1, 2].map(|number| owner.mapv(|own| own == number))
}
