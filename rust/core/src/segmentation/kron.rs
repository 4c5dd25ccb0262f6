//! Kron radius.

use rayon::prelude::*;

use super::SegmentationError;
use super::aperture::{Mirror, Photometer, columns, rows, touched};
use super::moments::Ellipse;
use super::overlap::Outline;

/// Parameters of the Kron aperture, in units of the source's ellipse.
#[derive(Clone, Copy, Debug)]
pub struct KronParams {
    /// The aperture is this many first moments large.
    pub factor: f64,
    /// Its smallest radius.
    pub min_radius: f64,
    /// The first moment is taken within this radius.
    pub extent: f64,
}

/// First moment of the light's elliptical radius, `sum r I / sum I` over the pixels with `r <= extent`; NaN when a sum
/// is not positive.
///
/// # Source
/// Kron 1980, `ApJS` 43, 305; Bertin & Arnouts 1996, eq. for `r1`, with pixels of other sources as for the flux.
#[must_use]
pub fn kron_radius(photometer: &Photometer<'_>, ellipse: &Ellipse, label: i32, extent: f64) -> f64 {
    let (ny, nx) = photometer.data.shape();
    let mirror = Mirror::at(ellipse.x, ellipse.y);
    let pixels = photometer.data.pixels();
    let outline = Outline::new(extent * ellipse.a, extent * ellipse.b, ellipse.theta);
    let (mut moment, mut light) = (0.0, 0.0);
    for y in touched(ellipse.y, extent * ellipse.y2.sqrt(), ny) {
        let dy = y as f64 - ellipse.y;
        let Some([left, right]) = outline.chord(dy) else {
            continue;
        };
        let columns = columns(ellipse.x, [left, right], nx);
        let n = (columns.end() - columns.start() + 1).max(0) as usize;
        let good = photometer.good_run(*columns.start(), y, n, label);
        for (k, x) in columns.enumerate() {
            let part = outline.radius(x as f64 - ellipse.x, dy);
            if part > 1.0 {
                continue;
            }
            let counts = good.map(|i| i + k);
            if let Some(i) = counts.or_else(|| photometer.counting(&mirror, x, y, label)) {
                let value = f64::from(pixels[i]);
                moment += part * value;
                light += value;
            }
        }
    }
    if moment > 0.0 && light > 0.0 {
        extent * moment / light
    } else {
        f64::NAN
    }
}

/// [`kron_radius`] of many ellipses, given as rows `(x, y, a, b, theta)`.
///
/// # Errors
/// When the shapes or the lengths differ.
pub fn kron_radii(
    photometer: &Photometer<'_>,
    ellipses: &[[f64; 5]],
    owner: &[i32],
    extent: f64,
) -> Result<Vec<f64>, SegmentationError> {
    let photometer = photometer.checked()?;
    Ok(rows(ellipses, owner)?
        .map(|(e, label)| {
            crate::interrupt::poll();
            let ellipse = Ellipse::with_axes(e.x, e.y, e.a, e.b, e.theta);
            kron_radius(&photometer, &ellipse, label, extent)
        })
        .collect())
}

impl KronParams {
    /// Radius of the Kron aperture for a first moment (NaN gives the smallest one). No light within the extent has a mean
    /// radius beyond it; where negative pixels say so, the aperture would have no end.
    pub(super) fn radius(&self, first_moment: f64) -> f64 {
        (self.factor * first_moment.clamp(0.0, self.extent)).max(self.min_radius)
    }
}
