//! What a spectrum is made of: a smooth continuum, emission lines and tabulated spectra.

use super::SpectraError;
use super::igm::Igm;
use super::lines::LineComplex;
use super::rebin::Tabulated;
use super::resolution::Resolution;

/// How far the resolution reaches [sigma].
const REACH: f64 = 6.0;

/// One template on the pixels of a spectrum; zero outside of its values.
#[derive(Clone, Debug)]
pub struct Column {
    /// Pixel of the first value.
    pub first: usize,
    /// Values.
    pub values: Vec<f64>,
}

impl Column {
    /// Keep what is not zero of values of all pixels.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let first = values.iter().position(|v| *v != 0.0).unwrap_or(0);
        let end = values
            .iter()
            .rposition(|v| *v != 0.0)
            .map_or(first, |i| i + 1);
        Self {
            first,
            values: values[first..end].to_vec(),
        }
    }

    /// Pixel after the last value.
    #[must_use]
    pub fn end(&self) -> usize {
        self.first + self.values.len()
    }
}

/// Templates in their order: columns that do not move with redshift, tabulated spectra, lines.
#[derive(Clone, Debug)]
pub struct Templates {
    /// The continuum.
    pub fixed: Vec<Column>,
    /// Spectra at rest.
    pub tables: Vec<Tabulated>,
    /// Lines.
    pub lines: Vec<LineComplex>,
    /// How wide lines are.
    pub resolution: Resolution,
    /// What absorbs the continuum and the tables on the way; lines are as they arrive.
    pub igm: Option<Igm>,
}

impl Templates {
    /// Number of templates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fixed.len() + self.tables.len() + self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each counts at a redshift, where the spectrum is used between two wavelengths.
    #[must_use]
    pub fn present(&self, z: f64, range: [f64; 2]) -> Vec<bool> {
        let always = self.fixed.len() + self.tables.len();
        let lines = self.lines.iter().map(|line| {
            let main = line.main() * (1.0 + z);
            line.redshifts[0] < z && z <= line.redshifts[1] && range[0] <= main && main <= range[1]
        });
        std::iter::repeat_n(true, always).chain(lines).collect()
    }

    /// The templates at a redshift; those that are not present are empty.
    #[must_use]
    pub fn draw(&self, edges: &[f64], z: f64, present: &[bool]) -> Vec<Column> {
        let empty = || Column {
            first: 0,
            values: Vec::new(),
        };
        let first_line = self.fixed.len() + self.tables.len();
        // Where the resolution may bring light from.
        let low = edges[0] - REACH * self.resolution.sigma(edges[0]);
        let absorbed = |table: &Tabulated| {
            let igm = self.igm.as_ref()?;
            table.absorbed(igm, z, low)
        };
        let high = edges[edges.len() - 1] + REACH * self.resolution.sigma(edges[edges.len() - 1]);
        let limits = [low, high].map(|wave| wave / (1.0 + z));
        let passed = if self.fixed.is_empty() {
            None
        } else {
            absorbed(&Tabulated::new(limits.to_vec(), vec![1.0, 1.0]))
        }
        .map(|table| table.draw(edges, &self.resolution, z));
        let fixed = self.fixed.iter().map(|column| {
            let mut column = column.clone();
            if let Some(passed) = &passed {
                let part = &passed[column.first..column.end()];
                column
                    .values
                    .iter_mut()
                    .zip(part)
                    .for_each(|(v, t)| *v *= t);
            }
            column
        });
        let tables = self.tables.iter().map(|table| {
            let behind = absorbed(table);
            let seen = behind.as_ref().unwrap_or(table);
            Column::of(&seen.draw(edges, &self.resolution, z))
        });
        let lines = self.lines.iter().enumerate().map(|(i, line)| {
            if present[first_line + i] {
                line.draw(edges, &self.resolution, z)
            } else {
                empty()
            }
        });
        fixed.chain(tables).chain(lines).collect()
    }
}

/// B-splines of evenly spaced knots at places between two limits, one after the other.
///
/// # Source
/// de Boor 1978, A Practical Guide to Splines, chapter IX, eq. 14.
#[must_use]
pub fn bsplines(
    places: &[f64],
    n_functions: usize,
    degree: usize,
    limits: [f64; 2],
) -> Vec<Column> {
    let n_pieces = n_functions - degree;
    let width = (limits[1] - limits[0]) / n_pieces as f64;
    let knot = |i: usize| {
        let piece = i.saturating_sub(degree).min(n_pieces);
        limits[0] + width * piece as f64
    };
    let mut all = vec![vec![0.0; places.len()]; n_functions];
    let mut values = vec![0.0; degree + 1];
    for (p, &x) in places.iter().enumerate() {
        if !(limits[0] <= x && x <= limits[1]) {
            continue;
        }
        let piece = (((x - limits[0]) / width) as usize).min(n_pieces - 1);
        let first = piece + degree;
        values.fill(0.0);
        values[0] = 1.0;
        for k in 1..=degree {
            let mut carry = 0.0;
            for (i, value) in values.iter_mut().enumerate().take(k) {
                let (left, right) = (knot(first + i + 1 - k), knot(first + i + 1));
                let share = *value / (right - left);
                *value = carry + (right - x) * share;
                carry = (x - left) * share;
            }
            values[k] = carry;
        }
        for (i, value) in values.iter().enumerate() {
            all[piece + i][p] = *value;
        }
    }
    all.iter().map(|values| Column::of(values)).collect()
}

/// [`bsplines`] at every place, row after row.
///
/// # Errors
/// When one piece would need more functions.
pub fn bspline_rows(
    places: &[f64],
    n_functions: usize,
    degree: usize,
    limits: [f64; 2],
) -> Result<Vec<f64>, SpectraError> {
    if n_functions <= degree {
        return Err(SpectraError::Functions {
            found: n_functions,
            least: degree + 1,
        });
    }
    let mut rows = vec![0.0; n_functions * places.len()];
    let columns = bsplines(places, n_functions, degree, limits);
    for (row, column) in rows.chunks_exact_mut(places.len().max(1)).zip(&columns) {
        row[column.first..column.end()].copy_from_slice(&column.values);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splines_sum_to_one_and_make_straight_lines() {
        let places: Vec<f64> = (0..101).map(|i| 0.01 * f64::from(i)).collect();
        let (n, degree) = (9, 3);
        let columns = bsplines(&places, n, degree, [0.0, 1.0]);
        assert_eq!(columns.len(), n);
        // Greville: coefficients at the means of the knots make the straight line.
        let knots: Vec<f64> = [0.0; 3]
            .into_iter()
            .chain((0..=6).map(|i| f64::from(i) / 6.0))
            .chain([1.0; 3])
            .collect();
        for (p, x) in places.iter().enumerate() {
            let at = |c: &Column| {
                c.values
                    .get(p.wrapping_sub(c.first))
                    .copied()
                    .unwrap_or(0.0)
            };
            let sum: f64 = columns.iter().map(at).sum();
            let line: f64 = columns
                .iter()
                .enumerate()
                .map(|(i, c)| at(c) * knots[i + 1..i + 4].iter().sum::<f64>() / 3.0)
                .sum();
            assert!((sum - 1.0).abs() < 1e-12 && (line - x).abs() < 1e-12);
        }
    }
}
