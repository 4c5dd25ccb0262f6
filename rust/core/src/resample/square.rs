//! The square kernel: the input pixel, shrunk and mapped corner by corner.

use std::array;
use std::ops::Range;

use super::drops::{Drop, Sink};
use super::kernels::{Spread, Window};
use super::lanes::{self, Areas, Drops, LANES};
use super::map_rows::{MapRow, MapRows};
use super::overlap::{Coverage, Quad, SMALLEST_SHARE};

/// The square kernel.
///
/// # Source
/// Fruchter & Hook 2002, PASP 114, 144, section 2; the corners are bilinear in the pixel map at `pixfrac / 2` from
/// the centre, going on linearly beyond the border of the image.
#[derive(Debug)]
pub struct Square {
    half: f64,
    below: Vec<[f64; 2]>,
    above: Vec<[f64; 2]>,
    quads: Vec<Quad>,
    coverage: Coverage,
    drops: Drops,
    areas: Box<Areas>,
}

/// `p` moved by `t` of the way to its neighbour, or away from the neighbour on the other side when `t < 0`.
#[inline]
fn toward(p: [f64; 2], neighbour: [f64; 2], t: f64) -> [f64; 2] {
    [
        p[0] + t * (neighbour[0] - p[0]),
        p[1] + t * (neighbour[1] - p[1]),
    ]
}

impl Square {
    /// Drops of side `pixfrac`.
    #[must_use]
    pub fn new(pixfrac: f64) -> Self {
        Self {
            half: 0.5 * pixfrac,
            below: Vec::new(),
            above: Vec::new(),
            quads: Vec::new(),
            coverage: Coverage::default(),
            drops: Drops::default(),
            areas: Box::default(),
        }
    }

    /// The corners of a row of drops.
    fn prepare_row(&mut self, map: MapRows<'_>, j: usize, columns: Range<usize>) {
        let h = self.half;
        let here = map.row(j);
        let (down, t_down) = if j > 0 {
            (map.row(j - 1), h)
        } else {
            (map.row(j + 1), -h)
        };
        let (up, t_up) = if j + 1 < map.ny {
            (map.row(j + 1), h)
        } else {
            (map.row(j - 1), -h)
        };
        // One pixel more on either side, where there is one.
        let wide = columns.start.saturating_sub(1)..(columns.end + 1).min(map.nx);
        let shift = |out: &mut Vec<[f64; 2]>, other: MapRow<'_>, t: f64| {
            out.clear();
            out.extend(
                here[wide.clone()]
                    .iter()
                    .zip(&other[wide.clone()])
                    .map(|(p, q)| toward(*p, *q, t)),
            );
        };
        shift(&mut self.below, down, t_down);
        shift(&mut self.above, up, t_up);
        let (below, above) = (&self.below[..], &self.above[..]);
        self.quads.extend(columns.map(|i| {
            let k = i - wide.start;
            let (left, t_left) = if i > 0 { (k - 1, h) } else { (k + 1, -h) };
            let (right, t_right) = if i + 1 < map.nx {
                (k + 1, h)
            } else {
                (k - 1, -h)
            };
            let a = toward(above[k], above[left], t_left);
            let b = toward(above[k], above[right], t_right);
            let c = toward(below[k], below[right], t_right);
            let d = toward(below[k], below[left], t_left);
            Quad {
                x: [a[0], b[0], c[0], d[0]],
                y: [a[1], b[1], c[1], d[1]],
            }
        }));
    }

    /// Add the shares of a small drop, in boxes of `N` columns.
    #[inline(always)]
    fn add_lane<const N: usize>(
        &self,
        lane: usize,
        drop: &Drop,
        window: &Window,
        sink: &mut impl Sink,
    ) {
        let areas = &self.areas;
        let scale = 2.0 / areas.twice_area[lane];
        let (left, bottom) = (areas.left[lane] as i64, areas.bottom[lane] as i64);
        let is_inside = left >= 0 && left + N as i64 <= window.n_columns as i64;
        let inside = (-left).clamp(0, N as i64) as usize
            ..(window.n_columns as i64 - left).clamp(0, N as i64) as usize;
        for (j, row) in areas
            .areas
            .iter()
            .enumerate()
            .take(areas.rows[lane] as usize)
        {
            let target = bottom + j as i64;
            if target < window.rows.start as i64 || target >= window.rows.end as i64 {
                continue;
            }
            let shares: [f64; N] = array::from_fn(|i| {
                let share = row[i][lane] * scale;
                if share > SMALLEST_SHARE { share } else { 0.0 }
            });
            if is_inside {
                sink.add_box(drop, target as usize, left as usize, &shares);
            } else if !inside.is_empty() {
                sink.add(
                    drop,
                    target as usize,
                    (left + inside.start as i64) as usize,
                    &shares[inside.clone()],
                );
            }
        }
    }

    /// Add the shares of a drop that has no lane: a large one, or one that is folded over and has none.
    fn add_alone(&mut self, quad: usize, drop: &Drop, window: &Window, sink: &mut impl Sink) {
        let quad = &self.quads[quad];
        self.coverage.spread(
            quad,
            window.rows.clone(),
            window.n_columns,
            |row, column, shares| {
                sink.add(drop, row, column, shares);
            },
        );
    }

    #[inline(always)]
    fn add_lanes<const N: usize>(
        &mut self,
        which: &[usize],
        drops: &[Drop],
        window: &Window,
        sink: &mut impl Sink,
    ) {
        for (lane, (k, drop)) in which.iter().zip(drops).enumerate() {
            sink.begin(drop);
            if self.areas.left[lane].is_nan() {
                self.add_alone(*k, drop, window, sink);
            } else {
                self.add_lane::<N>(lane, drop, window, sink);
            }
        }
    }
}

impl Spread for Square {
    /// Bilinear corners are at most two steps of `half` away, and beyond the border the cross term counts twice.
    fn margin(&self, steepest: f64) -> f64 {
        2.0 * self.half * (1.0 + self.half) * steepest
    }

    fn prepare(&mut self, map: MapRows<'_>, rows: Range<usize>, columns: Range<usize>) {
        self.quads.clear();
        for j in rows {
            self.prepare_row(map, j, columns.clone());
        }
    }

    #[inline(always)]
    fn spread(&mut self, which: &[usize], drops: &[Drop], window: &Window, sink: &mut impl Sink) {
        for (which, drops) in which.chunks(LANES).zip(drops.chunks(LANES)) {
            for (lane, k) in which.iter().enumerate() {
                self.drops.set(lane, &self.quads[*k]);
            }
            lanes::areas(&self.drops, &mut self.areas);
            match self.areas.n_columns {
                0 | 1 => self.add_lanes::<1>(which, drops, window, sink),
                2 => self.add_lanes::<2>(which, drops, window, sink),
                3 => self.add_lanes::<3>(which, drops, window, sink),
                4 => self.add_lanes::<4>(which, drops, window, sink),
                5 => self.add_lanes::<5>(which, drops, window, sink),
                6 => self.add_lanes::<6>(which, drops, window, sink),
                7 => self.add_lanes::<7>(which, drops, window, sink),
                _ => self.add_lanes::<8>(which, drops, window, sink),
            }
        }
    }
}
