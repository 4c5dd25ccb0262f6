//! Entries of the inverse of normal equations: covariances of sources that overlap.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, s};
use rayon::join;

use super::dense::invert_lower;
use super::factor::{Factor, Front, local};
use crate::interrupt;

/// Groups with fewer unknowns below them are not shared among threads.
const SHARED: usize = 256;

/// Covariances of fluxes and columns.
#[derive(Debug)]
pub struct Inverse {
    /// Variances of the sources; 0 for those that were left out.
    pub variance: Vec<f64>,
    /// Covariances of pairs that overlap, in the order of [`super::Templates::neighbours`].
    pub pairs: Vec<f64>,
    /// Covariances with the columns, source after source.
    pub border: Vec<f64>,
    /// Covariances among the columns.
    pub corner: Vec<f64>,
}

enum Entry {
    Variance(usize, f64),
    Pair(usize, f64),
    Border(usize, f64),
    Corner(usize, f64),
}

impl Inverse {
    /// Of a factor of templates with a number of pairs.
    ///
    /// # Notes
    /// With the factor `L = (L_11, L_21)` of a front, `Y = L_21 L_11^-1` and the inverse `Z_22` of what it touches,
    /// `Z_21 = -Z_22 Y` and `Z_11 = L_11^-T L_11^-1 - Y^T Z_21`: from the last group to the first, only what lies in a
    /// front is ever needed.
    ///
    /// # Source
    /// Takahashi, Fagan & Chin 1973, 8th PICA Conference Proceedings; Erisman & Tinney 1975, Commun. ACM 18, 177.
    #[must_use]
    pub fn new(factor: &Factor, n_pairs: usize) -> Self {
        let k = factor.root.n_own;
        let n = factor.place.len() - k;
        let mut found = Self {
            variance: vec![0.0; n],
            pairs: vec![0.0; n_pairs],
            border: vec![0.0; n * k],
            corner: vec![0.0; k * k],
        };
        for entry in descend(factor, &factor.root, Array2::zeros((0, 0))) {
            match entry {
                Entry::Variance(i, value) => found.variance[i] = value,
                Entry::Pair(i, value) => found.pairs[i] = value,
                Entry::Border(i, value) => found.border[i] = value,
                Entry::Corner(i, value) => found.corner[i] = value,
            }
        }
        found
    }
}

/// The entries of a front and of those below it, with the inverse of what it touches.
fn descend(factor: &Factor, front: &Front, beyond: Array2<f64>) -> Vec<Entry> {
    interrupt::poll();
    let inverse = extend(front, beyond);
    let mut entries = own_entries(factor, front, &inverse);
    let of_child = |child: &Front| {
        let rows: Vec<usize> = child
            .beyond
            .iter()
            .map(|&p| local(p, front.first, front.n_own, &front.beyond))
            .collect();
        let part = Array2::from_shape_fn((rows.len(), rows.len()), |(i, j)| {
            inverse[[rows[i], rows[j]]]
        });
        descend(factor, child, part)
    };
    match front.children.as_slice() {
        [a, b] if front.n_below > SHARED => {
            let (a, b) = join(|| of_child(a), || of_child(b));
            entries.extend(a);
            entries.extend(b);
        }
        children => entries.extend(children.iter().flat_map(of_child)),
    }
    entries
}

/// The inverse at the own unknowns of a front and those beyond.
fn extend(front: &Front, beyond: Array2<f64>) -> Array2<f64> {
    let (o, m) = (front.n_own, front.n_own + beyond.nrows());
    if o == 0 {
        return beyond;
    }
    let root = invert_lower(front.lower.slice(s![..o, ..]));
    let mut inverse = Array2::<f64>::zeros((m, m));
    general_mat_mul(
        1.0,
        &root.t(),
        &root,
        0.0,
        &mut inverse.slice_mut(s![..o, ..o]),
    );
    if m > o {
        let y = front.lower.slice(s![o.., ..]).dot(&root);
        let mut across = Array2::<f64>::zeros((m - o, o));
        general_mat_mul(-1.0, &beyond, &y, 0.0, &mut across);
        let mut corner = inverse.slice_mut(s![..o, ..o]);
        general_mat_mul(-1.0, &y.t(), &across, 1.0, &mut corner);
        inverse.slice_mut(s![o.., ..o]).assign(&across);
        inverse.slice_mut(s![..o, o..]).assign(&across.t());
        inverse.slice_mut(s![o.., o..]).assign(&beyond);
    }
    inverse
}

fn own_entries(factor: &Factor, front: &Front, inverse: &Array2<f64>) -> Vec<Entry> {
    let k = factor.root.n_own;
    let n = factor.place.len() - k;
    let mut entries = Vec::new();
    for row in 0..front.n_own {
        let place = (front.first + row) as u32;
        let i = factor.order[front.first + row] as usize;
        let value = |j: usize| {
            let column = local(factor.place[j], front.first, front.n_own, &front.beyond);
            inverse[[row, column]] * factor.scale[i] * factor.scale[j]
        };
        if i >= n {
            let columns = 0..k;
            entries.extend(columns.map(|c| Entry::Corner((i - n) * k + c, value(n + c))));
            continue;
        }
        entries.push(Entry::Variance(i, value(i)));
        let later = factor.neighbours[i]
            .iter()
            .filter(|&&(j, _)| factor.place[j as usize] > place);
        entries.extend(later.map(|&(j, pair)| Entry::Pair(pair, value(j as usize))));
        entries.extend((0..k).map(|c| Entry::Border(i * k + c, value(n + c))));
    }
    entries
}
