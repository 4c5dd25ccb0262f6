//! Linear maps of the plane from pairs of positions, with clipping.

use super::AlignError;

/// What a map may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Geometry {
    /// Move.
    Shift,
    /// Move and turn.
    Rshift,
    /// Move, turn and scale; mirror where that fits better.
    Rscale,
    /// Any linear map: six parameters.
    General,
}

impl Geometry {
    /// The geometry of that name.
    ///
    /// # Errors
    /// [`AlignError::Name`].
    pub fn from_name(name: &str) -> Result<Self, AlignError> {
        match name {
            "shift" => Ok(Self::Shift),
            "rshift" => Ok(Self::Rshift),
            "rscale" => Ok(Self::Rscale),
            "general" => Ok(Self::General),
            _ => Err(AlignError::Name {
                name: "fitgeom",
                value: name.into(),
                wanted: "shift, rshift, rscale or general",
            }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Shift => "shift",
            Self::Rshift => "rshift",
            Self::Rscale => "rscale",
            Self::General => "general",
        }
    }

    /// Pairs that determine it.
    fn needed(self) -> usize {
        match self {
            Self::Shift => 1,
            Self::Rshift | Self::Rscale => 2,
            Self::General => 3,
        }
    }
}

/// `p -> matrix (p - centre) + centre + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearMap {
    /// Its linear part.
    pub matrix: [[f64; 2]; 2],
    /// Weighted mean of the positions that were fitted, about which it turns.
    pub centre: [f64; 2],
    /// How it moves the centre.
    pub shift: [f64; 2],
}

impl LinearMap {
    /// Where a position goes.
    #[must_use]
    pub fn apply(&self, p: [f64; 2]) -> [f64; 2] {
        let d = [p[0] - self.centre[0], p[1] - self.centre[1]];
        [0, 1].map(|k| {
            self.matrix[k][0] * d[0] + self.matrix[k][1] * d[1] + self.centre[k] + self.shift[k]
        })
    }
}

/// How pairs are left out.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    /// Rounds at most.
    pub n_clip: usize,
    /// Largest residual along an axis in units of that axis' rms.
    pub sigma: f64,
}

/// A map and how well it fits.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The map from the first positions to the second.
    pub map: LinearMap,
    /// Which pairs count.
    pub used: Vec<bool>,
    /// Second position minus mapped first, for all pairs.
    pub residuals: Vec<[f64; 2]>,
    /// Weighted rms residual of the pairs that count along each axis.
    pub rms: [f64; 2],
    /// Mean of the lengths of the residuals that count.
    pub mae: f64,
}

/// Sums of pairs about their weighted means.
struct Sums {
    n: usize,
    mean_from: [f64; 2],
    mean_to: [f64; 2],
    /// Products of the components of the first positions.
    own: [[f64; 2]; 2],
    /// Products `[to][from]`.
    cross: [[f64; 2]; 2],
}

impl Sums {
    fn new(from: &[[f64; 2]], to: &[[f64; 2]], weight: &[f64]) -> Self {
        let total: f64 = weight.iter().sum();
        let mean = |positions: &[[f64; 2]]| {
            let mut sum = [0.0; 2];
            for (p, w) in positions.iter().zip(weight) {
                sum = [sum[0] + w * p[0], sum[1] + w * p[1]];
            }
            sum.map(|s| s / total)
        };
        let (mean_from, mean_to) = (mean(from), mean(to));
        let (mut own, mut cross) = ([[0.0; 2]; 2], [[0.0; 2]; 2]);
        for ((p, q), w) in from.iter().zip(to).zip(weight) {
            let p = [p[0] - mean_from[0], p[1] - mean_from[1]];
            let q = [q[0] - mean_to[0], q[1] - mean_to[1]];
            for a in 0..2 {
                for b in 0..2 {
                    own[a][b] += w * p[a] * p[b];
                    cross[a][b] += w * q[a] * p[b];
                }
            }
        }
        Self {
            n: weight.iter().filter(|w| **w > 0.0).count(),
            mean_from,
            mean_to,
            own,
            cross,
        }
    }

    /// The linear part that leaves the smallest residuals; None where the positions do not determine it.
    fn matrix(&self, geometry: Geometry) -> Option<[[f64; 2]; 2]> {
        let [[xx, xy], [yx, yy]] = self.cross;
        let spread = self.own[0][0] + self.own[1][1];
        let matrix = match geometry {
            Geometry::Shift => [[1.0, 0.0], [0.0, 1.0]],
            Geometry::Rshift => {
                let (c, s) = (xx + yy, yx - xy);
                let length = c.hypot(s);
                [[c / length, -s / length], [s / length, c / length]]
            }
            Geometry::Rscale => {
                let (c, s) = (xx + yy, yx - xy);
                let (mirror_c, mirror_s) = (xx - yy, yx + xy);
                if mirror_c.hypot(mirror_s) > c.hypot(s) {
                    let (c, s) = (mirror_c / spread, mirror_s / spread);
                    [[c, s], [s, -c]]
                } else {
                    let (c, s) = (c / spread, s / spread);
                    [[c, -s], [s, c]]
                }
            }
            Geometry::General => {
                let [[a, b], [_, d]] = self.own;
                let determinant = a * d - b * b;
                // Positions on a line leave nothing but rounding.
                if determinant <= 1e-12 * spread * spread {
                    return None;
                }
                self.cross
                    .map(|[x, y]| [(x * d - y * b) / determinant, (y * a - x * b) / determinant])
            }
        };
        matrix
            .as_flattened()
            .iter()
            .all(|m| m.is_finite())
            .then_some(matrix)
    }
}

fn fit_once(
    from: &[[f64; 2]],
    to: &[[f64; 2]],
    weight: &[f64],
    geometry: Geometry,
) -> Result<LinearMap, AlignError> {
    let sums = Sums::new(from, to, weight);
    let (found, needed) = (sums.n, geometry.needed());
    let geometry_name = geometry.name();
    if found < needed {
        return Err(AlignError::TooFew {
            found,
            geometry: geometry_name,
            needed,
        });
    }
    let matrix = sums.matrix(geometry).ok_or(AlignError::Degenerate {
        found,
        geometry: geometry_name,
    })?;
    Ok(LinearMap {
        matrix,
        centre: sums.mean_from,
        shift: [0, 1].map(|k| sums.mean_to[k] - sums.mean_from[k]),
    })
}

/// The map that takes `from` to `to` with the smallest weighted squares of residuals, after clipping.
///
/// Pairs whose weight is not positive do not count. Clipping stops before fewer than three pairs, or those that the
/// geometry needs, are left.
///
/// # Errors
/// [`AlignError`] for lists that do not fit together and too few pairs.
///
/// # Source
/// Umeyama 1991 (IEEE PAMI 13, 376) in two dimensions for rotation and scale.
pub fn fit(
    from: &[[f64; 2]],
    to: &[[f64; 2]],
    weight: &[f64],
    geometry: Geometry,
    clip: Clip,
) -> Result<Fit, AlignError> {
    for (name, found) in [("to", to.len()), ("weight", weight.len())] {
        if found != from.len() {
            let expected = from.len();
            return Err(AlignError::Length {
                name,
                found,
                expected,
            });
        }
    }
    let usable = |k: usize| {
        weight[k] > 0.0
            && weight[k].is_finite()
            && from[k].iter().chain(&to[k]).all(|c| c.is_finite())
    };
    let mut weights: Vec<f64> = (0..from.len())
        .map(|k| if usable(k) { weight[k] } else { 0.0 })
        .collect();
    let (from, to): (Vec<_>, Vec<_>) = (0..from.len())
        .map(|k| {
            if usable(k) {
                (from[k], to[k])
            } else {
                ([0.0; 2], [0.0; 2])
            }
        })
        .unzip();
    let mut round = 0;
    loop {
        let map = fit_once(&from, &to, &weights, geometry)?;
        let residuals: Vec<[f64; 2]> = from
            .iter()
            .zip(&to)
            .map(|(p, q)| {
                let mapped = map.apply(*p);
                [q[0] - mapped[0], q[1] - mapped[1]]
            })
            .collect();
        let total: f64 = weights.iter().sum();
        let rms = [0, 1].map(|axis: usize| {
            let squares = residuals
                .iter()
                .zip(&weights)
                .map(|(r, w)| w * r[axis] * r[axis]);
            (squares.sum::<f64>() / total).sqrt()
        });
        let kept: Vec<f64> = residuals
            .iter()
            .zip(&weights)
            .map(|(r, w)| {
                let is_near = (0..2).all(|axis| r[axis].abs() <= clip.sigma * rms[axis]);
                if is_near { *w } else { 0.0 }
            })
            .collect();
        let n = kept.iter().filter(|w| **w > 0.0).count();
        let is_done = round >= clip.n_clip || kept == weights || n < geometry.needed().max(3);
        if is_done {
            let used: Vec<bool> = weights.iter().map(|w| *w > 0.0).collect();
            let lengths = residuals.iter().zip(&used).filter(|(_, used)| **used);
            let n_used = used.iter().filter(|used| **used).count() as f64;
            let mae = lengths.map(|(r, _)| r[0].hypot(r[1])).sum::<f64>() / n_used;
            return Ok(Fit {
                map,
                used,
                residuals,
                rms,
                mae,
            });
        }
        weights = kept;
        round += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Clip = Clip {
        n_clip: 3,
        sigma: 3.0,
    };

    fn grid() -> Vec<[f64; 2]> {
        (0..36)
            .map(|k| {
                [
                    f64::from(k % 6) * 10.0 + 500.0,
                    f64::from(k / 6) * 7.0 - 20.0,
                ]
            })
            .collect()
    }

    #[test]
    fn each_geometry_finds_its_own_map_and_leaves_strangers_out() {
        let (s, c) = 0.02_f64.sin_cos();
        let cases = [
            (Geometry::Shift, [[1.0, 0.0], [0.0, 1.0]]),
            (Geometry::Rshift, [[c, -s], [s, c]]),
            (
                Geometry::Rscale,
                [[1.01 * c, -1.01 * s], [1.01 * s, 1.01 * c]],
            ),
            (
                Geometry::Rscale,
                [[1.01 * c, 1.01 * s], [1.01 * s, -1.01 * c]],
            ),
            (Geometry::General, [[1.02, 0.01], [-0.03, 0.97]]),
        ];
        let from = grid();
        for (geometry, matrix) in cases {
            let truth = LinearMap {
                matrix,
                centre: [520.0, 3.0],
                shift: [3.5, -1.25],
            };
            let mut to: Vec<_> = from.iter().map(|p| truth.apply(*p)).collect();
            to[7] = [to[7][0] + 2.0, to[7][1]];
            to[20] = [f64::NAN, 0.0];
            let found = fit(&from, &to, &[1.0; 36], geometry, CLIP).unwrap();
            assert!(!found.used[7] && !found.used[20]);
            assert_eq!(found.used.iter().filter(|u| **u).count(), 34);
            for p in &from {
                let (a, b) = (found.map.apply(*p), truth.apply(*p));
                assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1e-9, "{geometry:?}");
            }
        }
    }

    #[test]
    fn too_few_pairs_and_pairs_on_a_line_are_errors() {
        let from = grid();
        let few = fit(&from[..2], &from[..2], &[1.0; 2], Geometry::General, CLIP);
        assert!(matches!(few, Err(AlignError::TooFew { found: 2, .. })));
        let line: Vec<_> = (0..9).map(|k| [f64::from(k), 2.0 * f64::from(k)]).collect();
        let flat = fit(&line, &line, &[1.0; 9], Geometry::General, CLIP);
        assert!(matches!(flat, Err(AlignError::Degenerate { .. })));
        assert!(fit(&from, &from[1..], &[1.0; 36], Geometry::Shift, CLIP).is_err());
    }
}
