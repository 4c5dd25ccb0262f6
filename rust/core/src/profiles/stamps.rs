//! Sources fitted on many stamps, in parallel.

use rayon::prelude::*;

use super::ProfileError;
use super::asked::{Asked, StampParams, fit_source};
use super::convolved::Convolver;
use super::fit::{Fit, N_SHAPE};
use super::pixels::{Likelihood, Pixels};
use crate::image::Plane;
use crate::interrupt;

/// What may be given of a start: the parameters of the source and the level of the sky.
pub const N_GIVEN: usize = N_SHAPE + 1;

/// Pixels of many stamps of one shape, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Stamps<'a> {
    /// The data.
    pub data: &'a [f32],
    /// Their variances.
    pub variance: &'a [f32],
    /// Which of them not to use.
    pub mask: Option<&'a [bool]>,
    /// What their noise follows.
    pub likelihood: Likelihood,
}

impl Stamps<'_> {
    fn pixels(&self, i: usize, shape: (usize, usize)) -> Result<Pixels, ProfileError> {
        let n = shape.0 * shape.1;
        let own = i * n..(i + 1) * n;
        let mask = self
            .mask
            .map(|m| Plane::new("mask", &m[own.clone()], shape));
        Pixels::new(
            Plane::new("data", &self.data[own.clone()], shape)?,
            Plane::new("variance", &self.variance[own], shape)?,
            mask.transpose()?,
            self.likelihood,
        )
    }
}

/// Fit a source of the same components to every stamp. Where it begins, parameters of the first component that are NaN
/// come from the moments of the light.
///
/// # Errors
/// When lengths differ; a stamp that cannot be fitted has an error of its own.
pub fn fit_stamps(
    convolver: &Convolver,
    stamps: &Stamps<'_>,
    given: &[[f64; N_GIVEN]],
    asked: &[Asked],
    params: &StampParams,
) -> Result<Vec<Result<Fit, ProfileError>>, ProfileError> {
    let shape = convolver.shape();
    let n = given.len() * shape.0 * shape.1;
    let lengths = [
        stamps.data.len(),
        stamps.variance.len(),
        stamps.mask.map_or(n, <[bool]>::len),
    ];
    if let Some(&length) = lengths.iter().find(|&&length| length != n) {
        return Err(ProfileError::Length(length, n));
    }
    if asked.is_empty() {
        return Err(ProfileError::NoStart);
    }
    let fit = |(i, given): (usize, &[f64; N_GIVEN])| {
        interrupt::poll();
        let mut own = asked.to_vec();
        own[0].given.copy_from_slice(&given[..N_SHAPE]);
        fit_source(
            convolver,
            &stamps.pixels(i, shape)?,
            &own,
            given[N_SHAPE],
            params,
        )
    };
    Ok(given.par_iter().enumerate().map(fit).collect())
}
