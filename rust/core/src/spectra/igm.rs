//! What neutral hydrogen between a source and us lets through.

/// Bounds in `1 + z` between the power laws of the forest, and of the damped systems.
const FOREST: [f64; 2] = [2.2, 5.7];
const DAMPED: f64 = 3.0;
/// Powers of `1 + z` of the lines in each piece.
const FOREST_POWERS: [f64; 3] = [1.2, 3.7, 5.5];
const DAMPED_POWERS: [f64; 2] = [2.0, 3.0];
/// Wavelength of the Lyman limit [um].
const LIMIT: f64 = 0.091_18;
/// Relative width in which a line's edge is drawn, what rounding may do to a wavelength, and step between edges.
const EDGE: f64 = 1e-9;
const ROUNDED: f64 = 1e-12;
const STEP: f64 = 5e-4;

/// One line of the Lyman series: wavelength at rest [um], coefficients of the forest and of damped systems.
#[derive(Clone, Copy, Debug)]
pub struct SeriesLine {
    /// Wavelength at rest [um].
    pub rest: f64,
    /// Depth of the forest at `wave / rest = 1` in each of its three pieces.
    pub forest: [f64; 3],
    /// The same for damped systems, in two.
    pub damped: [f64; 2],
}

/// Mean absorption by the Lyman series and the Lyman continuum.
///
/// # Source
/// Inoue et al. 2014, MNRAS 442, 1805, eqs. 15, 20 to 22, 25 to 29.
#[derive(Clone, Debug)]
pub struct Igm {
    /// From the longest wavelength to the shortest.
    lines: Vec<SeriesLine>,
    /// Coefficients over the power of the wavelength at rest.
    forest: Vec<[f64; 3]>,
    damped: Vec<[f64; 2]>,
}

impl Igm {
    /// Lines in any order.
    #[must_use]
    pub fn new(mut lines: Vec<SeriesLine>) -> Self {
        lines.sort_by(|a, b| b.rest.total_cmp(&a.rest));
        let over = |a: f64, rest: f64, power: f64| a / rest.powf(power);
        let forest = lines
            .iter()
            .map(|l| [0, 1, 2].map(|k| over(l.forest[k], l.rest, FOREST_POWERS[k])))
            .collect();
        let damped = lines
            .iter()
            .map(|l| [0, 1].map(|k| over(l.damped[k], l.rest, DAMPED_POWERS[k])))
            .collect();
        Self {
            lines,
            forest,
            damped,
        }
    }

    /// The longest wavelength at rest that is absorbed [um].
    #[must_use]
    pub fn longest(&self) -> f64 {
        self.lines.first().map_or(LIMIT, |l| l.rest.max(LIMIT))
    }

    /// Part of the light of a source at a redshift that arrives, at an observed wavelength [um].
    #[must_use]
    pub fn transmission(&self, wave: f64, z: f64) -> f64 {
        (-self.series(wave, z) - continuum(wave / LIMIT, 1.0 + z)).exp()
    }

    /// Depth by the Lyman series.
    fn series(&self, wave: f64, z: f64) -> f64 {
        let forest = FOREST_POWERS.map(|p| wave.powf(p));
        let damped = DAMPED_POWERS.map(|p| wave.powf(p));
        let mut depth = 0.0;
        for (k, line) in self.lines.iter().enumerate() {
            let x = wave / line.rest;
            if x >= (1.0 + z) * (1.0 - ROUNDED) {
                break;
            }
            let piece = usize::from(x >= FOREST[0]) + usize::from(x >= FOREST[1]);
            depth += self.forest[k][piece] * forest[piece];
            let piece = usize::from(x >= DAMPED);
            depth += self.damped[k][piece] * damped[piece];
        }
        depth
    }

    /// Wavelengths at rest [um] between two limits at which the transmission of a source is to be known so that it is
    /// straight in between: both sides of each edge, and small steps.
    #[must_use]
    pub fn nodes(&self, low: f64, high: f64) -> Vec<f64> {
        let edges = self
            .lines
            .iter()
            .map(|l| l.rest)
            .chain([LIMIT])
            .flat_map(|rest| [rest * (1.0 - EDGE), rest]);
        let n_steps = ((high / low).ln() / STEP).max(0.0) as usize;
        let mut nodes: Vec<f64> = (0..=n_steps)
            .map(|k| low * (STEP * k as f64).exp())
            .chain(edges)
            .filter(|w| low <= *w && *w <= high)
            .collect();
        nodes.sort_by(f64::total_cmp);
        nodes
    }
}

/// Depth by the Lyman continuum at `x = wave / limit` for a source at `s = 1 + z`.
fn continuum(x: f64, s: f64) -> f64 {
    if x >= s {
        return 0.0;
    }
    let forest = if s < FOREST[0] {
        0.3248 * (x.powf(1.2) - s.powf(-0.9) * x.powf(2.1))
    } else if s < FOREST[1] {
        let far = 2.545e-2 * s.powf(1.6) * x.powf(2.1);
        if x >= FOREST[0] {
            far - 2.545e-2 * x.powf(3.7)
        } else {
            far + 0.3248 * x.powf(1.2) - 0.2496 * x.powf(2.1)
        }
    } else {
        let far = 5.221e-4 * s.powf(3.4) * x.powf(2.1);
        if x >= FOREST[1] {
            far - 5.221e-4 * x.powf(5.5)
        } else if x >= FOREST[0] {
            far + 0.2182 * x.powf(2.1) - 2.545e-2 * x.powf(3.7)
        } else {
            far + 0.3248 * x.powf(1.2) - 3.140e-2 * x.powf(2.1)
        }
    };
    let damped = if s < DAMPED {
        0.2113 * s.powi(2) - 0.07661 * s.powf(2.3) * x.powf(-0.3) - 0.1347 * x.powi(2)
    } else {
        let far = 0.04696 * s.powi(3) - 0.01779 * s.powf(3.3) * x.powf(-0.3);
        if x >= DAMPED {
            far - 0.02916 * x.powi(3)
        } else {
            0.6340 + far - 0.1347 * x.powi(2) - 0.2905 * x.powf(-0.3)
        }
    };
    // The rounded coefficients leave -1e-4 where the way is short.
    (forest + damped).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn igm() -> Igm {
        let line = |rest: f64, a: f64| SeriesLine {
            rest,
            forest: [a, 0.14 * a, 0.006 * a],
            damped: [0.01 * a, 0.0033 * a],
        };
        Igm::new(vec![line(0.102_572, 4.7e-3), line(0.121_567, 1.69e-2)])
    }

    #[test]
    fn a_line_absorbs_what_passes_it_on_the_way_and_no_more() {
        let (igm, z) = (igm(), 3.0);
        assert_eq!(igm.longest(), 0.121_567);
        assert_eq!(igm.transmission(0.121_567 * 4.0, z), 1.0);
        let just = 0.121_567 * 4.0 * (1.0 - 1e-9);
        let depth = 1.69e-2 * (0.14 * 4.0_f64.powf(3.7) + 0.0033 * 4.0_f64.powi(3));
        assert!((igm.transmission(just, z).ln() + depth).abs() < 1e-6);
    }

    #[test]
    fn a_line_absorbs_nothing_at_its_own_wavelength_whatever_is_rounded() {
        let igm = igm();
        for k in 0..2000 {
            let z = 1.0 + 0.003 * f64::from(k);
            assert_eq!(igm.transmission(0.121_567 * (1.0 + z), z), 1.0, "{z}");
        }
    }

    #[test]
    fn the_pieces_of_the_continuum_join() {
        for (x, s) in [(2.2, 4.0), (2.2, 8.0), (5.7, 8.0), (3.0, 8.0)] {
            let jump = continuum(x * (1.0 + 1e-12), s) - continuum(x * (1.0 - 1e-12), s);
            assert!(jump.abs() < 2e-3, "{x} {s} {jump}");
        }
        for (x, s) in [(1.5, 2.2), (1.5, 3.0), (1.5, 5.7), (4.0, 5.7)] {
            let jump = continuum(x, s * (1.0 + 1e-12)) - continuum(x, s * (1.0 - 1e-12));
            assert!(jump.abs() < 0.02 * continuum(x, s), "{x} {s} {jump}");
        }
        assert_eq!(continuum(4.0, 4.0), 0.0);
    }
}
