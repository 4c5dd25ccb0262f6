//! Runs of pixels and how they are connected.

use super::SegmentationError;

/// Which pixels are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Pixels that share a side.
    Four,
    /// Pixels that share a side or a corner.
    Eight,
}

impl TryFrom<usize> for Connectivity {
    type Error = SegmentationError;

    fn try_from(n: usize) -> Result<Self, SegmentationError> {
        match n {
            4 => Ok(Self::Four),
            8 => Ok(Self::Eight),
            _ => Err(SegmentationError::Connectivity(n)),
        }
    }
}

impl Connectivity {
    /// How far past its ends a run touches runs of the next row [pix].
    pub(super) fn reach(self) -> usize {
        usize::from(self == Self::Eight)
    }
}

/// Pixels `start..end` of row `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub y: usize,
    pub start: usize,
    pub end: usize,
}

/// Rows of an image that one thread scans.
pub(super) const BLOCK_ROWS: usize = 64;

/// Root of the tree of `i`; halves the path to it.
pub(super) fn find(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

/// Join two trees under the lower root, so that a root is the first of its component in raster order. Returns it.
pub(super) fn unite(parent: &mut [usize], a: usize, b: usize) -> usize {
    let (a, b) = (find(parent, a), find(parent, b));
    parent[a.max(b)] = a.min(b);
    a.min(b)
}

/// Number the trees from 0 in the order of their roots. Returns the number of each node's tree, and that of all trees.
pub(super) fn number(mut parent: Vec<usize>) -> (Vec<usize>, usize) {
    let mut n = 0;
    for i in 0..parent.len() {
        // A parent stands before its child, so it has been numbered already.
        parent[i] = if parent[i] == i {
            n += 1;
            n - 1
        } else {
            parent[parent[i]]
        };
    }
    (parent, n)
}

/// Call `link` with the places of every two runs of adjacent rows that touch.
pub(super) fn link_rows(
    upper: &[Run],
    lower: &[Run],
    connectivity: Connectivity,
    mut link: impl FnMut(usize, usize),
) {
    let reach = connectivity.reach();
    let (mut i, mut j) = (0, 0);
    while i < upper.len() && j < lower.len() {
        let (a, b) = (upper[i], lower[j]);
        if a.start < b.end + reach && b.start < a.end + reach {
            link(i, j);
        }
        if a.end < b.end {
            i += 1;
        } else {
            j += 1;
        }
    }
}

/// The runs of an image with the component of each: numbers from 0 in raster order of the first pixel.
#[derive(Default)]
pub(super) struct Components {
    pub runs: Vec<Run>,
    pub component: Vec<usize>,
    pub n: usize,
}

/// The components of runs in raster order.
pub(super) fn components_of(runs: Vec<Run>, connectivity: Connectivity) -> Components {
    let mut parent: Vec<usize> = (0..runs.len()).collect();
    let (mut upper, mut start) = (0..0, 0);
    while start < runs.len() {
        let y = runs[start].y;
        let end = start + runs[start..].partition_point(|run| run.y == y);
        if runs.get(upper.start).is_some_and(|run| run.y + 1 == y) {
            let rows = (&runs[upper.clone()], &runs[start..end]);
            link_rows(rows.0, rows.1, connectivity, |i, j| {
                unite(&mut parent, upper.start + i, start + j);
            });
        }
        upper = start..end;
        start = end;
    }
    let (component, n) = number(parent);
    Components { runs, component, n }
}

/// Columns at which a row (non-zero = in) changes between in and out, 64 pixels at a time.
fn edges(row: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut words = row.chunks(64).enumerate();
    let (mut x0, mut left, mut changes) = (0, 0, 0_u64);
    std::iter::from_fn(move || {
        while changes == 0 {
            let (i, pixels) = words.next()?;
            let word = bits(pixels);
            let inside = u64::MAX >> (64 - pixels.len());
            changes = (word ^ (word << 1 | left)) & inside;
            left = word >> 63;
            x0 = 64 * i;
        }
        let x = x0 + changes.trailing_zeros() as usize;
        changes &= changes - 1;
        Some(x)
    })
}

/// Bit `k` says whether byte `k` of at most 64 differs from 0.
fn bits(bytes: &[u8]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // Times this the lowest bits of eight bytes come together in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let eight = |chunk: &[u8; 8]| {
        let word = u64::from_le_bytes(*chunk);
        let is_set = (((word & LOW) + LOW) | word) & !LOW;
        (is_set >> 7).wrapping_mul(GATHER) >> 56
    };
    let (chunks, rest) = bytes.as_chunks::<8>();
    let whole = chunks.iter().zip(0..);
    let whole = whole.fold(0, |word, (chunk, k)| word | eight(chunk) << (8 * k));
    let single = rest.iter().zip(8 * chunks.len()..);
    single.fold(whole, |word, (&byte, k)| word | u64::from(byte != 0) << k)
}

/// The runs of non-zero pixels of one row.
pub(super) fn runs_of_row(y: usize, row: &[u8]) -> impl Iterator<Item = Run> + '_ {
    let mut edges = edges(row);
    std::iter::from_fn(move || {
        let start = edges.next()?;
        let end = edges.next().unwrap_or(row.len());
        Some(Run { y, start, end })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_of_the_pixels_one_by_one() {
        for n in [1, 7, 8, 63, 64, 65, 130, 200] {
            let row: Vec<u8> = (0..n).map(|x| ((x * x / 5 + x / 64) % 3) as u8).collect();
            let mut found = vec![0; n];
            for run in runs_of_row(0, &row) {
                found[run.start..run.end].fill(1);
                assert!(run.end == n || row[run.end] == 0);
            }
            let expected: Vec<u8> = row.iter().map(|&v| v.min(1)).collect();
            assert_eq!(found, expected);
        }
    }
}
