//! Pixels of a slitlet, several columns side by side, as the fit of the trace takes them.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayView3};

use super::lanes::{LANES, Lane};
use super::profile::{Profile, Values, unless};
use super::{SlitError, check_shape};
use crate::math::normal::NormalIntegral;

/// Where the light of a source falls in each exposure.
#[derive(Clone, Copy, Debug)]
pub struct Exposures<'a> {
    /// Wavelength of every pixel.
    pub wavelength: ArrayView3<'a, f64>,
    /// True = do not use.
    pub mask: ArrayView3<'a, bool>,
    /// Row of the trace in every column, to which a polynomial is added where `moves`.
    pub trace: ArrayView2<'a, f64>,
    /// Whether the polynomial that is fitted is added.
    pub moves: &'a [bool],
}

/// Which pixels share a level of the sky.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sky {
    /// All pixels of a column in all exposures.
    Column,
    /// The same pixel in all exposures, as differences of nods have it.
    Pixel,
    /// All pixels of a column in one exposure.
    Exposure,
}

impl Sky {
    /// A level by its name.
    ///
    /// # Errors
    /// When the name is not known.
    pub fn from_name(name: &str) -> Result<Self, SlitError> {
        match name {
            "column" => Ok(Self::Column),
            "pixel" => Ok(Self::Pixel),
            "exposure" => Ok(Self::Exposure),
            _ => Err(SlitError::Name {
                name: "sky",
                value: name.to_owned(),
                wanted: "column, pixel or exposure",
            }),
        }
    }
}

/// A distance from the trace where no profile has light.
const FAR: f64 = 1e9;

/// A frame in which pixels were averaged; lanes without a pixel have the coefficient 0 and are far from the trace.
#[derive(Clone, Copy, Debug)]
struct Term {
    coefficient: Lane,
    key: Lane,
    /// Row less the trace.
    y: Lane,
    moves: bool,
}

/// Pixels of a row in the columns of a block; those that are not fitted are 0.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub y: usize,
    pub value: Lane,
    pub variance: Lane,
    /// Inverse of the variance that weights the amplitude.
    pub weight: Lane,
    /// Inverse of the standard deviation.
    pub inverse_error: Lane,
    group: usize,
    terms: Range<usize>,
}

impl Row {
    fn new(y: usize, group: usize) -> Self {
        Self {
            y,
            value: [0.0; LANES],
            variance: [0.0; LANES],
            weight: [0.0; LANES],
            inverse_error: [0.0; LANES],
            group,
            terms: 0..0,
        }
    }

    fn set(&mut self, l: usize, value: f64, v: f64, w: f64) {
        self.value[l] = value;
        self.variance[l] = v;
        self.weight[l] = 1.0 / w;
        self.inverse_error[l] = 1.0 / v.sqrt();
    }
}

/// Sums of a group of pixels that share a level of the sky.
#[derive(Clone, Copy, Debug, Default)]
struct SkySums {
    weight: Lane,
    values: Values,
}

/// What an evaluation writes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// Profiles of the rows of a block.
    pub values: Vec<Values>,
    skies: Vec<SkySums>,
}

/// The pixels of every column.
#[derive(Clone, Debug)]
pub struct TraceData<'a> {
    profile: Profile<'a>,
    pub(super) shape: (usize, usize),
    pub(super) n_pixels: usize,
    rows: Vec<Row>,
    /// First row of each block of columns, and the end.
    starts: Vec<usize>,
    terms: Vec<Term>,
    /// Most groups of sky in a column; 0 when the sky is not fitted.
    n_groups: usize,
    nothing: Term,
    last_found: usize,
}

impl<'a> TraceData<'a> {
    fn new(profile: Profile<'a>, shape: (usize, usize)) -> Self {
        let nothing = Term {
            coefficient: [0.0; LANES],
            key: [profile.key(0.0, &mut 0); LANES],
            y: [FAR; LANES],
            moves: false,
        };
        Self {
            profile,
            shape,
            n_pixels: 0,
            rows: Vec::new(),
            starts: vec![0],
            terms: Vec::new(),
            n_groups: 0,
            nothing,
            last_found: 0,
        }
    }

    /// Columns of a block.
    fn columns(&self, block: usize) -> Range<usize> {
        block * LANES..((block + 1) * LANES).min(self.shape.1)
    }

    fn set_term(
        &mut self,
        term: &mut Term,
        coefficient: f64,
        exposures: &Exposures,
        at: (usize, usize, usize),
    ) {
        let (i, y, x) = at;
        let l = x % LANES;
        term.moves = exposures.moves[i];
        term.coefficient[l] = coefficient;
        term.key[l] = (self.profile).key(exposures.wavelength[at], &mut self.last_found);
        term.y[l] = y as f64 - exposures.trace[(i, x)];
    }

    fn push(&mut self, mut row: Row, terms: &[Term]) {
        let n = row.weight.iter().filter(|&&w| w > 0.0).count();
        if n == 0 {
            return;
        }
        self.n_pixels += n;
        let from = self.terms.len();
        let has_pixel = |term: &&Term| term.coefficient.iter().any(|&c| c != 0.0);
        self.terms.extend(terms.iter().filter(has_pixel));
        row.terms = from..self.terms.len();
        self.rows.push(row);
    }

    /// Pixels of a difference of nods: the mean profile of some exposures less that of others.
    ///
    /// # Errors
    /// When shapes differ, nodes of the profile do not grow, or no pixel is left.
    pub fn of_difference(
        difference: ArrayView2<f64>,
        variance: ArrayView2<f64>,
        weight_variance: ArrayView2<f64>,
        exposures: &Exposures,
        is_positive: &[bool],
        is_negative: &[bool],
        profile: Profile<'a>,
    ) -> Result<Self, SlitError> {
        let (n, ny, nx) = exposures.check(&profile)?;
        check_shape("difference", difference.shape(), &[ny, nx])?;
        check_shape("variance", variance.shape(), &[ny, nx])?;
        check_shape("weight_variance", weight_variance.shape(), &[ny, nx])?;
        check_shape("position", &[is_positive.len(), is_negative.len()], &[n, n])?;
        let mut data = Self::new(profile, (ny, nx));
        let has_negative = is_negative.contains(&true);
        let mut terms = vec![data.nothing; n];
        for block in 0..nx.div_ceil(LANES) {
            for y in 0..ny {
                let mut row = Row::new(y, 0);
                terms.fill(data.nothing);
                for x in data.columns(block) {
                    let here = (y, x);
                    let (value, v, w) = (difference[here], variance[here], weight_variance[here]);
                    if !(value.is_finite() && v > 0.0 && w > 0.0) {
                        continue;
                    }
                    let is_good = |i: usize| {
                        !exposures.mask[(i, y, x)] && exposures.wavelength[(i, y, x)].is_finite()
                    };
                    let takes = |i: &usize| (is_positive[*i] || is_negative[*i]) && is_good(*i);
                    let n_good = (0..n).filter(takes).count();
                    let n_positive = (0..n).filter(|i| is_positive[*i] && is_good(*i)).count();
                    let n_negative = n_good - n_positive;
                    if n_positive == 0 || (has_negative && n_negative == 0) {
                        continue;
                    }
                    for i in (0..n).filter(takes) {
                        let coefficient = if is_positive[i] {
                            1.0 / n_positive as f64
                        } else {
                            -1.0 / n_negative as f64
                        };
                        data.set_term(&mut terms[i], coefficient, exposures, (i, y, x));
                    }
                    row.set(x % LANES, value, v, w);
                }
                data.push(row, &terms);
            }
            data.starts.push(data.rows.len());
        }
        data.checked()
    }

    /// Pixels of all exposures, with levels of the sky that are free.
    ///
    /// # Errors
    /// When shapes differ, nodes of the profile do not grow, or no pixel is left.
    pub fn of_frames(
        frames: ArrayView3<f64>,
        variance: ArrayView3<f64>,
        exposures: &Exposures,
        sky: Sky,
        profile: Profile<'a>,
    ) -> Result<Self, SlitError> {
        let (n, ny, nx) = exposures.check(&profile)?;
        check_shape("data", frames.shape(), &[n, ny, nx])?;
        check_shape("variance", variance.shape(), &[n, ny, nx])?;
        let mut data = Self::new(profile, (ny, nx));
        data.n_groups = match sky {
            Sky::Column => 1,
            Sky::Pixel => ny,
            Sky::Exposure => n,
        };
        for block in 0..nx.div_ceil(LANES) {
            for (i, y) in (0..n).flat_map(|i| (0..ny).map(move |y| (i, y))) {
                let group = match sky {
                    Sky::Column => 0,
                    Sky::Pixel => y,
                    Sky::Exposure => i,
                };
                let mut row = Row::new(y, group);
                let mut term = data.nothing;
                for x in data.columns(block) {
                    let at = (i, y, x);
                    let (value, v) = (frames[at], variance[at]);
                    let is_good = !exposures.mask[at] && exposures.wavelength[at].is_finite();
                    if !is_good || !value.is_finite() || !v.is_finite() || v <= 0.0 {
                        continue;
                    }
                    data.set_term(&mut term, 1.0, exposures, at);
                    row.set(x % LANES, value, v, v);
                }
                data.push(row, &[term]);
            }
            data.starts.push(data.rows.len());
            data.remove_sky_of_values();
        }
        data.checked()
    }

    fn checked(self) -> Result<Self, SlitError> {
        if self.n_pixels == 0 {
            return Err(SlitError::NoPixel("mask"));
        }
        Ok(self)
    }

    /// Take the mean of each group from the values of the last block.
    fn remove_sky_of_values(&mut self) {
        let rows = &mut self.rows[self.starts[self.starts.len() - 2]..];
        let mut sums = vec![[(0.0, 0.0); LANES]; self.n_groups];
        for row in rows.iter() {
            for (l, sum) in sums[row.group].iter_mut().enumerate() {
                sum.0 += row.weight[l];
                sum.1 += row.weight[l] * row.value[l];
            }
        }
        for row in rows {
            for (l, sum) in sums[row.group].iter().enumerate() {
                if row.weight[l] > 0.0 {
                    row.value[l] -= sum.1 / sum.0;
                }
            }
        }
    }

    pub(super) fn n_blocks(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of a block.
    pub(super) fn rows(&self, block: usize) -> &[Row] {
        &self.rows[self.starts[block]..self.starts[block + 1]]
    }

    /// Profiles of a block's rows for offsets of the trace and a size, without what the sky's levels take away.
    #[inline(always)]
    pub(super) fn fill_profiles(
        &self,
        block: usize,
        offset: &Lane,
        size: f64,
        positive_only: bool,
        scratch: &mut Scratch,
    ) {
        let normal = NormalIntegral::shared();
        scratch.values.clear();
        for row in self.rows(block) {
            let mut sum = Values::default();
            for term in &self.terms[row.terms.clone()] {
                let mut y = term.y;
                if term.moves {
                    for l in 0..LANES {
                        y[l] -= offset[l];
                    }
                }
                let Some(value) = self.profile.at_lane(normal, &term.key, &y, size) else {
                    continue;
                };
                let moving = f64::from(u8::from(term.moves));
                for l in 0..LANES {
                    let c = term.coefficient[l];
                    sum.p[l] += c * value.p[l];
                    sum.by_y[l] += moving * c * value.by_y[l];
                    sum.by_size[l] += c * value.by_size[l];
                }
            }
            if positive_only {
                for l in 0..LANES {
                    let is_cut = sum.p[l] <= 0.0;
                    sum.by_y[l] = unless(is_cut, sum.by_y[l]);
                    sum.by_size[l] = unless(is_cut, sum.by_size[l]);
                    sum.p[l] = unless(is_cut, sum.p[l]);
                }
            }
            scratch.values.push(sum);
        }
        if self.n_groups > 0 {
            self.remove_sky(block, scratch);
        }
    }

    #[inline(always)]
    fn remove_sky(&self, block: usize, scratch: &mut Scratch) {
        let Scratch { values, skies } = scratch;
        skies.clear();
        skies.resize(self.n_groups, SkySums::default());
        for (row, value) in self.rows(block).iter().zip(values.iter()) {
            let sum = &mut skies[row.group];
            for l in 0..LANES {
                let w = row.weight[l];
                sum.weight[l] += w;
                sum.values.p[l] += w * value.p[l];
                sum.values.by_y[l] += w * value.by_y[l];
                sum.values.by_size[l] += w * value.by_size[l];
            }
        }
        for (row, value) in self.rows(block).iter().zip(values) {
            let sum = &skies[row.group];
            for l in 0..LANES {
                let is_unused = row.weight[l] <= 0.0;
                let weight = if is_unused { 1.0 } else { sum.weight[l] };
                value.p[l] -= unless(is_unused, sum.values.p[l] / weight);
                value.by_y[l] -= unless(is_unused, sum.values.by_y[l] / weight);
                value.by_size[l] -= unless(is_unused, sum.values.by_size[l] / weight);
            }
        }
    }
}

impl Exposures<'_> {
    fn check(&self, profile: &Profile) -> Result<(usize, usize, usize), SlitError> {
        let (n, ny, nx) = self.wavelength.dim();
        check_shape("mask", self.mask.shape(), &[n, ny, nx])?;
        check_shape("trace", self.trace.shape(), &[n, nx])?;
        check_shape("moves", &[self.moves.len()], &[n])?;
        profile.check()?;
        Ok((n, ny, nx))
    }
}
