//! The factor of normal equations.

use ndarray::{Array2, s};
use rayon::join;

use super::PhotometryError;
use super::check_length;
use super::dense::eliminate;
use super::dissection::{Group, dissect};
use super::normal::Normal;
use super::templates::Templates;
use crate::interrupt;

/// A pivot is what an unknown has of its own, over what it would have alone; below this it has nothing.
const LEAST_PIVOT: f64 = 1e-10;
/// Groups with fewer unknowns below them are not shared among threads.
const SHARED: usize = 256;

/// A group of unknowns that were eliminated together.
pub(super) struct Front {
    /// Where they stand in the order of elimination.
    pub first: usize,
    pub n_own: usize,
    /// Places in the order of later unknowns that they touch, increasing.
    pub beyond: Vec<u32>,
    /// Rows of the own unknowns and those beyond, columns of the own ones.
    pub lower: Array2<f64>,
    pub children: Vec<Front>,
    pub n_below: usize,
}

/// Cholesky factor of normal equations, scaled to a unit diagonal, by fronts along a nested dissection.
///
/// # Notes
/// A group of unknowns is a dense matrix of its own rows and of those that it touches later. Columns that cover the
/// image come last. Groups of different branches are independent, and each adds what its children left in their order, so
/// that all numbers of threads give the same bits.
///
/// # Source
/// Duff & Reid 1983, ACM Trans. Math. Softw. 9, 302.
pub struct Factor {
    pub(super) root: Front,
    /// Unknowns in the order of elimination.
    pub(super) order: Vec<u32>,
    /// Their places in it; `u32::MAX` for those that are left out.
    pub(super) place: Vec<u32>,
    /// One over the root of the diagonal.
    pub(super) scale: Vec<f64>,
    pub(super) neighbours: Vec<Vec<(u32, usize)>>,
    /// Unknowns that others determine already.
    failed: Vec<u32>,
}

/// What a front leaves for later ones.
struct Left {
    beyond: Vec<u32>,
    matrix: Array2<f64>,
    failed: Vec<u32>,
}

struct Maker<'a> {
    normal: &'a Normal,
    order: &'a [u32],
    place: &'a [u32],
    scale: &'a [f64],
    neighbours: &'a [Vec<(u32, usize)>],
    offsets: &'a [usize],
}

impl Factor {
    /// Of the sources that are `active`, and of all columns.
    ///
    /// # Errors
    /// When lists differ in length.
    pub fn new(
        normal: &Normal,
        templates: &Templates,
        active: &[bool],
    ) -> Result<Self, PhotometryError> {
        let (n, k) = (normal.n_sources(), normal.n_columns());
        check_length("active", active.len(), n)?;
        check_length("templates", templates.stamps().len(), n)?;
        let places: Vec<[f64; 2]> = templates
            .stamps()
            .iter()
            .map(|s| {
                [
                    s.x0 as f64 + 0.5 * s.nx as f64,
                    s.y0 as f64 + 0.5 * s.ny as f64,
                ]
            })
            .collect();
        let mut neighbours = templates.all_neighbours();
        for (list, &is_active) in neighbours.iter_mut().zip(active) {
            list.retain(|&(j, _)| is_active && active[j as usize]);
        }
        let unknowns = (0..n as u32).filter(|&i| active[i as usize]).collect();
        let mut groups = dissect(unknowns, &places, &neighbours);
        let columns: Vec<u32> = (n as u32..(n + k) as u32).collect();
        groups = Group {
            own: columns,
            children: vec![groups],
        };
        let mut order = Vec::with_capacity(n + k);
        list(&groups, &mut order);
        let mut place = vec![u32::MAX; n + k];
        for (p, &i) in order.iter().enumerate() {
            place[i as usize] = p as u32;
        }
        let diagonal = |i: usize| {
            if i < n {
                normal.rows[i].diagonal
            } else {
                normal.corner[(i - n) * (k + 1) + i - n]
            }
        };
        let scale: Vec<f64> = (0..n + k)
            .map(diagonal)
            .map(|d| if d > 0.0 { 1.0 / d.sqrt() } else { 1.0 })
            .collect();
        let maker = Maker {
            normal,
            order: &order,
            place: &place,
            scale: &scale,
            neighbours: &neighbours,
            offsets: templates.offsets(),
        };
        let (root, left) = maker.front(groups, 0);
        let mut failed: Vec<u32> = left.failed;
        failed.sort_unstable();
        Ok(Self {
            root,
            order,
            place,
            scale,
            neighbours,
            failed,
        })
    }

    /// Unknowns that others determine already, by number; they are as if they were 0.
    #[must_use]
    pub fn failed(&self) -> &[u32] {
        &self.failed
    }

    /// Solve for a right side of sources and columns; unknowns that are left out come out as 0.
    ///
    /// # Errors
    /// When the right side has another length.
    pub fn solve(&self, right: &[f64]) -> Result<Vec<f64>, PhotometryError> {
        check_length("right", right.len(), self.place.len())?;
        let mut x: Vec<f64> = self
            .order
            .iter()
            .map(|&i| right[i as usize] * self.scale[i as usize])
            .collect();
        forward(&self.root, &mut x);
        backward(&self.root, &mut x);
        let mut out = vec![0.0; right.len()];
        for (value, &i) in x.iter().zip(&self.order) {
            out[i as usize] = value * self.scale[i as usize];
        }
        for &i in &self.failed {
            out[i as usize] = 0.0;
        }
        Ok(out)
    }
}

fn list(group: &Group, order: &mut Vec<u32>) {
    for child in &group.children {
        list(child, order);
    }
    order.extend(&group.own);
}

fn size(group: &Group) -> usize {
    group.own.len() + group.children.iter().map(size).sum::<usize>()
}

fn forward(front: &Front, x: &mut [f64]) {
    for child in &front.children {
        forward(child, x);
    }
    let own = front.first..front.first + front.n_own;
    for j in 0..front.n_own {
        let row = front.lower.row(j);
        let sum: f64 = (0..j).map(|k| row[k] * x[own.start + k]).sum();
        x[own.start + j] = (x[own.start + j] - sum) / row[j];
    }
    for (r, &p) in front.beyond.iter().enumerate() {
        let row = front.lower.row(front.n_own + r);
        let sum: f64 = row.iter().zip(&x[own.clone()]).map(|(l, v)| l * v).sum();
        x[p as usize] -= sum;
    }
}

fn backward(front: &Front, x: &mut [f64]) {
    let own = front.first..front.first + front.n_own;
    for (r, &p) in front.beyond.iter().enumerate() {
        let value = x[p as usize];
        let row = front.lower.row(front.n_own + r);
        x[own.clone()]
            .iter_mut()
            .zip(row)
            .for_each(|(v, l)| *v -= l * value);
    }
    for j in (0..front.n_own).rev() {
        let row = front.lower.row(j);
        x[own.start + j] /= row[j];
        let value = x[own.start + j];
        for k in 0..j {
            x[own.start + k] -= row[k] * value;
        }
    }
    for child in &front.children {
        backward(child, x);
    }
}

impl Maker<'_> {
    /// Eliminate a group whose unknowns, with those below it, begin at a place of the order.
    fn front(&self, group: Group, begin: usize) -> (Front, Left) {
        interrupt::poll();
        let n_below: usize = group.children.iter().map(size).sum();
        let n_own = group.own.len();
        let first = begin + n_below;
        let mut children = group.children.into_iter();
        let made: Vec<(Front, Left)> = match (children.next(), children.next()) {
            (Some(a), Some(b)) => {
                let middle = begin + size(&a);
                let make_a = || self.front(a, begin);
                let make_b = || self.front(b, middle);
                let (a, b) = if n_below > SHARED {
                    join(make_a, make_b)
                } else {
                    (make_a(), make_b())
                };
                vec![a, b]
            }
            (Some(a), None) => vec![self.front(a, begin)],
            _ => Vec::new(),
        };
        let beyond = self.beyond(first, n_own, &made);
        let m = n_own + beyond.len();
        let mut matrix = Array2::<f64>::zeros((m, m));
        self.enter(first, n_own, &beyond, &mut matrix);
        let mut failed = Vec::new();
        let mut fronts = Vec::with_capacity(made.len());
        for (front, left) in made {
            let rows: Vec<usize> = left
                .beyond
                .iter()
                .map(|&p| local(p, first, n_own, &beyond))
                .collect();
            for (i, &row) in rows.iter().enumerate() {
                for (j, &column) in rows[..=i].iter().enumerate() {
                    matrix[[row, column]] += left.matrix[[i, j]];
                }
            }
            failed.extend(left.failed);
            fronts.push(front);
        }
        let lost = eliminate(&mut matrix, n_own, LEAST_PIVOT);
        failed.extend(lost.into_iter().map(|j| self.order[first + j]));
        let lower = matrix.slice(s![.., ..n_own]).to_owned();
        let left = Left {
            beyond: beyond.clone(),
            matrix: matrix.slice(s![n_own.., n_own..]).to_owned(),
            failed,
        };
        let front = Front {
            first,
            n_own,
            beyond,
            lower,
            children: fronts,
            n_below,
        };
        (front, left)
    }

    /// Later unknowns that a group or its children touch.
    fn beyond(&self, first: usize, n_own: usize, made: &[(Front, Left)]) -> Vec<u32> {
        let end = (first + n_own) as u32;
        let n = self.normal.n_sources();
        let mut beyond: Vec<u32> = Vec::new();
        for &i in &self.order[first..first + n_own] {
            if (i as usize) < n {
                let others = self.neighbours[i as usize].iter();
                beyond.extend(
                    others
                        .map(|&(j, _)| self.place[j as usize])
                        .filter(|&p| p >= end),
                );
                let columns = n..n + self.normal.n_columns();
                beyond.extend(columns.map(|c| self.place[c]).filter(|&p| p >= end));
            }
        }
        for (_, left) in made {
            beyond.extend(left.beyond.iter().copied().filter(|&p| p >= end));
        }
        beyond.sort_unstable();
        beyond.dedup();
        beyond
    }

    /// The equations of the own unknowns.
    fn enter(&self, first: usize, n_own: usize, beyond: &[u32], matrix: &mut Array2<f64>) {
        let (n, k) = (self.normal.n_sources(), self.normal.n_columns());
        for column in 0..n_own {
            let i = self.order[first + column] as usize;
            let mut put = |j: usize, value: f64| {
                let p = self.place[j];
                if p as usize >= first + column {
                    let row = local(p, first, n_own, beyond);
                    matrix[[row, column]] = value * self.scale[i] * self.scale[j];
                }
            };
            if i >= n {
                for j in 0..k {
                    put(n + j, self.normal.corner[(i - n) * (k + 1) + j]);
                }
                continue;
            }
            let row = &self.normal.rows[i];
            put(i, row.diagonal);
            for &(j, pair) in &self.neighbours[i] {
                let owner = i.min(j as usize);
                let value = self.normal.rows[owner].pairs[pair - self.offsets[owner]];
                put(j as usize, value);
            }
            for (a, &value) in row.border.iter().enumerate() {
                put(n + a, value);
            }
        }
    }
}

/// Row of a front that a place in the order has.
pub(super) fn local(place: u32, first: usize, n_own: usize, beyond: &[u32]) -> usize {
    let p = place as usize;
    if p < first + n_own {
        p - first
    } else {
        n_own + beyond.partition_point(|&b| b < place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inverse::Inverse;
    use super::super::normal::{Column, Rows};
    use super::super::templates::Stamp;
    use super::*;
    use crate::image::Plane;

    /// Smooth stamps on an image, some of them without a template.
    fn scene(n: usize, (ny, nx): (usize, usize)) -> Templates {
        let stamps = (0..n)
            .map(|i| {
                let (h, w) = (5 + (i * 7) % 6, 5 + (i * 11) % 6);
                let (y0, x0) = ((i * 7919) % (ny - h), (i * 104_729) % (nx - w));
                let bump = |k: usize, m: usize| {
                    let t = (k as f64 + 0.5) / m as f64 - 0.4 - 0.01 * (i % 13) as f64;
                    (-8.0 * t * t).exp()
                };
                let values = (0..h * w)
                    .map(|k| (bump(k / w, h) * bump(k % w, w)) as f32)
                    .collect();
                Stamp {
                    y0,
                    x0,
                    ny: h,
                    nx: w,
                    values,
                    ..Stamp::default()
                }
            })
            .collect();
        Templates::new((ny, nx), stamps)
    }

    fn equations(templates: &Templates, blocks: usize) -> Normal {
        let (ny, nx) = templates.shape();
        let data: Vec<f32> = (0..ny * nx).map(|i| ((i * 37) % 101) as f32).collect();
        let weight: Vec<f32> = (0..ny * nx).map(|i| ((i * 13) % 7) as f32).collect();
        let columns = [Column::Power(0, 0), Column::Power(1, 0)];
        let mut normal = Normal::new(templates, columns.len());
        for first in (0..ny).step_by(blocks) {
            let part = first * nx..(first + blocks).min(ny) * nx;
            let shape = (part.len() / nx, nx);
            let rows = Rows {
                first,
                data: Plane::new("data", &data[part.clone()], shape).unwrap(),
                weight: Plane::new("weight", &weight[part], shape).unwrap(),
            };
            normal.add(templates, &columns, &rows).unwrap();
        }
        normal
    }

    #[test]
    fn solutions_and_inverses_are_those_of_the_equations() {
        let templates = scene(400, (150, 170));
        let normal = equations(&templates, 150);
        let factor = Factor::new(&normal, &templates, &vec![true; 400]).unwrap();
        assert!(factor.failed().is_empty());
        let right = normal.right();
        let x = factor.solve(&right).unwrap();
        let back = normal.multiply(&templates, &x).unwrap();
        let largest = right.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        for (a, b) in back.iter().zip(&right) {
            assert!((a - b).abs() < 1e-9 * largest, "{a} {b}");
        }
        let inverse = Inverse::new(&factor, templates.neighbours().len());
        for i in [0, 17, 399, 400, 401] {
            let mut unit = vec![0.0; 402];
            unit[i] = 1.0;
            let column = factor.solve(&unit).unwrap();
            if i >= 400 {
                for a in 0..2 {
                    let found = inverse.corner[(i - 400) * 2 + a];
                    assert!((found - column[400 + a]).abs() < 1e-9 * column[i]);
                }
                continue;
            }
            assert!((inverse.variance[i] / column[i] - 1.0).abs() < 1e-9);
            for (p, &j) in templates.later(i).iter().enumerate() {
                let found = inverse.pairs[templates.offsets()[i] + p];
                assert!((found - column[j as usize]).abs() < 1e-9 * column[i]);
            }
            for a in 0..2 {
                assert!((inverse.border[2 * i + a] - column[400 + a]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn blocks_of_rows_and_threads_give_the_same_bits() {
        let templates = scene(300, (120, 130));
        let of = |blocks: usize, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let normal = equations(&templates, blocks);
                let factor = Factor::new(&normal, &templates, &[true; 300]).unwrap();
                let inverse = Inverse::new(&factor, templates.neighbours().len());
                (factor.solve(&normal.right()).unwrap(), inverse.pairs)
            })
        };
        let expected = of(120, 1);
        for (blocks, threads) in [(120, 3), (7, 1), (31, 2)] {
            assert!(of(blocks, threads) == expected);
        }
    }

    #[test]
    fn twins_fail_and_others_are_solved() {
        let mut stamps = scene(30, (60, 60)).stamps().to_vec();
        stamps.push(stamps[4].clone());
        let templates = Templates::new((60, 60), stamps);
        let normal = equations(&templates, 60);
        let factor = Factor::new(&normal, &templates, &[true; 31]).unwrap();
        assert_eq!(factor.failed().len(), 1);
        assert!([4, 30].contains(&factor.failed()[0]));
        let mut active = vec![true; 31];
        active[30] = false;
        let without = Factor::new(&normal, &templates, &active).unwrap();
        let (a, b) = (
            factor.solve(&normal.right()).unwrap(),
            without.solve(&normal.right()).unwrap(),
        );
        for i in (0..30).filter(|&i| i != 4) {
            assert!((a[i] - b[i]).abs() < 1e-7 * b[i].abs().max(1.0), "{i}");
        }
        assert!((a[4] + a[30] - b[4]).abs() < 1e-7 * b[4].abs());
    }
}
