//! Models of single sources on stamps of their own.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::ProfileError;
use super::integrated::render_integrated;
use super::profile::Profile;
use super::psfs::{Convolvers, Psfs};
use crate::image::Image;
use crate::interrupt;

/// Half sides of stamps are of this ladder [pix], so that sources share the transform of the PSF.
const LEAST_HALF: f64 = 5.0;
const LADDER: f64 = 1.25;

/// A source on a stamp.
pub struct StampOf {
    /// Place of the stamp's first pixel on the image, along y and x.
    pub corner: (i64, i64),
    /// The light in its pixels.
    pub image: Image<f64>,
}

/// Draw every source, which is the sum of some profiles, on a stamp around the first of them: behind the PSF of that
/// place, or integrated over pixels. Stamps hold the part `enclosed` of the light of each profile, but are no larger than
/// `max_half` pixels to each side.
///
/// # Errors
/// When the PSF cannot be used; a source that cannot be drawn has an error of its own.
pub fn draw_stamps(
    sources: &[Vec<Profile>],
    psfs: Option<&Psfs<'_>>,
    enclosed: f64,
    max_half: usize,
) -> Result<Vec<Result<StampOf, ProfileError>>, ProfileError> {
    // The profile and the PSF may lose half of what may be lost.
    let part = if psfs.is_some() {
        0.5 + 0.5 * enclosed
    } else {
        enclosed
    };
    let seeing = psfs.map_or(0.0, |psfs| psfs.half(part));
    let halves: Vec<usize> = sources
        .iter()
        .map(|one| half_of(one, part, seeing, max_half))
        .collect();
    let sides: BTreeSet<usize> = halves.iter().map(|half| 2 * half + 1).collect();
    let convolvers = psfs
        .map(|psfs| Convolvers::new(psfs, sides.into_iter()))
        .transpose()?;
    let draw = |(one, &half): (&Vec<Profile>, &usize)| {
        interrupt::poll();
        let first = one.first().ok_or(ProfileError::NoStart)?;
        first.check(0, psfs.is_some())?;
        let corner = (
            first.y.round() as i64 - half as i64,
            first.x.round() as i64 - half as i64,
        );
        let moved: Vec<Profile> = one
            .iter()
            .map(|profile| Profile {
                x: profile.x - corner.1 as f64,
                y: profile.y - corner.0 as f64,
                ..*profile
            })
            .collect();
        let side = 2 * half + 1;
        let image = match &convolvers {
            Some(all) => all.at((first.x, first.y), side)?.draw(&moved)?,
            None => render_integrated(&moved, (side, side))?,
        };
        Ok(StampOf { corner, image })
    };
    Ok(sources.par_iter().zip(&halves).map(draw).collect())
}

fn half_of(source: &[Profile], part: f64, seeing: f64, max_half: usize) -> usize {
    let middle = source.first().map_or((0.0, 0.0), |one| (one.x, one.y));
    let reach = |one: &Profile| {
        let off = (one.x - middle.0).hypot(one.y - middle.1);
        off + one.radius(part).hypot(seeing)
    };
    let wanted = source.iter().map(reach).fold(LEAST_HALF, f64::max);
    let rung = ((wanted / LEAST_HALF).ln() / LADDER.ln()).ceil().max(0.0);
    let half = (LEAST_HALF * LADDER.powf(rung)).ceil();
    half.min(max_half.max(1) as f64) as usize
}
