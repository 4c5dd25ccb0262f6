//! Pixels of a slitlet column by column, as the fit of the trace takes them.

use ndarray::{ArrayView2, ArrayView3};

use super::profile::{Profile, Value};
use super::{SlitError, check_shape};

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

/// A frame in which a pixel was averaged.
#[derive(Clone, Copy, Debug)]
struct Term {
    coefficient: f64,
    key: f64,
    /// Row less the trace.
    y: f64,
    moves: bool,
}

/// A pixel that is fitted.
#[derive(Clone, Debug)]
pub(super) struct Pixel {
    pub row: usize,
    pub value: f64,
    pub variance: f64,
    /// Inverse of the variance that weights the amplitude.
    pub weight: f64,
    /// Inverse of the standard deviation.
    pub inverse_error: f64,
    group: usize,
    terms: std::ops::Range<usize>,
}

/// The pixels of every column.
#[derive(Clone, Debug)]
pub struct TraceData<'a> {
    profile: Profile<'a>,
    pub(super) shape: (usize, usize),
    pub(super) pixels: Vec<Pixel>,
    /// First pixel of each column, and the end.
    pub(super) starts: Vec<usize>,
    terms: Vec<Term>,
    /// Most groups of sky in a column; 0 when the sky is not fitted.
    n_groups: usize,
}

impl<'a> TraceData<'a> {
    fn new(profile: Profile<'a>, shape: (usize, usize)) -> Self {
        Self {
            profile,
            shape,
            pixels: Vec::new(),
            starts: vec![0],
            terms: Vec::new(),
            n_groups: 0,
        }
    }

    fn term(&self, exposures: &Exposures, coefficient: f64, at: (usize, usize, usize)) -> Term {
        let (i, y, x) = at;
        Term {
            coefficient,
            key: self.profile.key(exposures.wavelength[at]),
            y: y as f64 - exposures.trace[(i, x)],
            moves: exposures.moves[i],
        }
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
        for x in 0..nx {
            for y in 0..ny {
                let (value, v, w) = (
                    difference[(y, x)],
                    variance[(y, x)],
                    weight_variance[(y, x)],
                );
                if !(value.is_finite() && v > 0.0 && w > 0.0) {
                    continue;
                }
                let from = data.terms.len();
                let (mut n_positive, mut n_negative) = (0.0, 0.0);
                for i in 0..n {
                    let at = (i, y, x);
                    if exposures.mask[at] || !exposures.wavelength[at].is_finite() {
                        continue;
                    }
                    if is_positive[i] {
                        n_positive += 1.0;
                        let one = data.term(exposures, 1.0, at);
                        data.terms.push(one);
                    } else if is_negative[i] {
                        n_negative += 1.0;
                        let one = data.term(exposures, -1.0, at);
                        data.terms.push(one);
                    }
                }
                if n_positive == 0.0 || (has_negative && n_negative == 0.0) {
                    data.terms.truncate(from);
                    continue;
                }
                for term in &mut data.terms[from..] {
                    term.coefficient /= if term.coefficient > 0.0 {
                        n_positive
                    } else {
                        n_negative
                    };
                }
                data.push(y, value, v, w, 0, from);
            }
            data.starts.push(data.pixels.len());
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
        for x in 0..nx {
            for i in 0..n {
                for y in 0..ny {
                    let at = (i, y, x);
                    let (value, v) = (frames[at], variance[at]);
                    let is_good = !exposures.mask[at] && exposures.wavelength[at].is_finite();
                    if !is_good || !value.is_finite() || !v.is_finite() || v <= 0.0 {
                        continue;
                    }
                    let from = data.terms.len();
                    let one = data.term(exposures, 1.0, at);
                    data.terms.push(one);
                    let group = match sky {
                        Sky::Column => 0,
                        Sky::Pixel => y,
                        Sky::Exposure => i,
                    };
                    data.push(y, value, v, v, group, from);
                }
            }
            data.remove_sky_of_values();
            data.starts.push(data.pixels.len());
        }
        data.checked()
    }

    fn push(&mut self, row: usize, value: f64, v: f64, w: f64, group: usize, from: usize) {
        self.pixels.push(Pixel {
            row,
            value,
            variance: v,
            weight: 1.0 / w,
            inverse_error: 1.0 / v.sqrt(),
            group,
            terms: from..self.terms.len(),
        });
    }

    fn checked(self) -> Result<Self, SlitError> {
        if self.pixels.is_empty() {
            return Err(SlitError::NoPixel("mask"));
        }
        Ok(self)
    }

    /// Take the mean of each group from the values of the column that is being built.
    fn remove_sky_of_values(&mut self) {
        let from = self.starts[self.starts.len() - 1];
        let pixels = &mut self.pixels[from..];
        let mut sums = vec![(0.0, 0.0); self.n_groups];
        for pixel in pixels.iter() {
            sums[pixel.group].0 += pixel.weight;
            sums[pixel.group].1 += pixel.weight * pixel.value;
        }
        for pixel in pixels {
            pixel.value -= sums[pixel.group].1 / sums[pixel.group].0;
        }
    }

    /// Profiles of a column's pixels for an offset of the trace and a size, without what the sky's levels take away.
    pub(super) fn column(
        &self,
        x: usize,
        offset: f64,
        size: f64,
        positive_only: bool,
        out: &mut Vec<Value>,
    ) {
        out.clear();
        let pixels = &self.pixels[self.starts[x]..self.starts[x + 1]];
        for pixel in pixels {
            let mut sum = Value::default();
            for term in &self.terms[pixel.terms.clone()] {
                let y = if term.moves { term.y - offset } else { term.y };
                let value = self.profile.at(term.key, y, size);
                sum.p += term.coefficient * value.p;
                sum.by_size += term.coefficient * value.by_size;
                if term.moves {
                    sum.by_y += term.coefficient * value.by_y;
                }
            }
            if positive_only && sum.p <= 0.0 {
                sum = Value::default();
            }
            out.push(sum);
        }
        if self.n_groups == 0 {
            return;
        }
        let mut sums = vec![(0.0, Value::default()); self.n_groups];
        for (pixel, value) in pixels.iter().zip(out.iter()) {
            let (weight, sum) = &mut sums[pixel.group];
            *weight += pixel.weight;
            sum.p += pixel.weight * value.p;
            sum.by_y += pixel.weight * value.by_y;
            sum.by_size += pixel.weight * value.by_size;
        }
        for (pixel, value) in pixels.iter().zip(out) {
            let (weight, sum) = sums[pixel.group];
            value.p -= sum.p / weight;
            value.by_y -= sum.by_y / weight;
            value.by_size -= sum.by_size / weight;
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
