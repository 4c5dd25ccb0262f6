//! Kernels that are a product of one profile along each axis of the output, centred on the mapped pixel.

use std::f64::consts::PI;
use std::ops::Range;

use super::kernels::{MapRows, Spread, Window, touched};
use super::patch::{Drop, Patch};

/// The share of a pixel along one axis, given the distance of its centre from the drop's.
pub trait Profile: Copy + Send + Sync {
    /// Whether it can be negative.
    const IS_SIGNED: bool = false;
    /// Distance up to which pixels have a share.
    fn half(&self) -> f64;
    /// The share of a pixel at this distance, in output pixels.
    fn at(&self, distance: f64) -> f64;
}

/// Turbo: the overlap of pixels with a box.
#[derive(Clone, Copy, Debug)]
pub struct Boxcar {
    half: f64,
    per_pixel: f64,
}

impl Boxcar {
    /// A box of `pixfrac` input pixels, which are `pixfrac / pixel_scale_ratio` output pixels.
    #[must_use]
    pub fn new(pixfrac: f64, pixel_scale_ratio: f64) -> Self {
        let half = 0.5 * pixfrac / pixel_scale_ratio;
        Self {
            half,
            per_pixel: 0.5 / half,
        }
    }
}

impl Profile for Boxcar {
    fn half(&self) -> f64 {
        self.half
    }

    #[inline]
    fn at(&self, distance: f64) -> f64 {
        let common = self.half.min(distance + 0.5) - (-self.half).max(distance - 0.5);
        common.max(0.0) * self.per_pixel
    }
}

/// A Gaussian of FWHM `pixfrac` input pixels, cut at 2.5 sigma but not below 1.2 input pixels, so that there are no
/// holes; pixels at the cut have their whole value.
///
/// # Source
/// Row D8.5 of the specification.
#[derive(Clone, Copy, Debug)]
pub struct Gaussian {
    half: f64,
    inverse_variance: f64,
    norm: f64,
}

impl Gaussian {
    /// FWHM over sigma.
    const FWHM: f64 = 2.3548;
    const CUT_SIGMA: f64 = 2.5;
    const LEAST_CUT_PIX: f64 = 1.2;

    /// The profile of that width.
    #[must_use]
    pub fn new(pixfrac: f64, pixel_scale_ratio: f64) -> Self {
        let sigma = pixfrac / Self::FWHM / pixel_scale_ratio;
        Self {
            half: (Self::CUT_SIGMA * sigma).max(Self::LEAST_CUT_PIX / pixel_scale_ratio),
            inverse_variance: 1.0 / (sigma * sigma),
            norm: 1.0 / ((2.0 * PI).sqrt() * sigma),
        }
    }
}

impl Profile for Gaussian {
    fn half(&self) -> f64 {
        self.half
    }

    #[inline]
    fn at(&self, distance: f64) -> f64 {
        self.norm * (-0.5 * distance * distance * self.inverse_variance).exp()
    }
}

/// `sinc(u) sinc(u / order)` of the distance u in input pixels, 0 from `order` on.
#[derive(Clone, Copy, Debug)]
pub struct Lanczos {
    order: f64,
    ratio: f64,
    /// Step of a table that is read at the nearest entry, in input pixels; 0 for the function itself.
    step: f64,
}

impl Lanczos {
    /// Lanczos of an order, for output pixels of `pixel_scale_ratio` input pixels.
    #[must_use]
    pub fn new(order: u8, pixel_scale_ratio: f64, step: f64) -> Self {
        Self {
            order: f64::from(order),
            ratio: pixel_scale_ratio,
            step,
        }
    }
}

fn sinc(u: f64) -> f64 {
    let t = PI * u;
    if t == 0.0 { 1.0 } else { t.sin() / t }
}

impl Profile for Lanczos {
    const IS_SIGNED: bool = true;

    fn half(&self) -> f64 {
        self.order / self.ratio
    }

    #[inline]
    fn at(&self, distance: f64) -> f64 {
        let mut u = distance.abs() * self.ratio;
        if self.step > 0.0 {
            u = (u / self.step).round() * self.step;
        }
        if u < self.order {
            self.ratio * sinc(u) * sinc(u / self.order)
        } else {
            0.0
        }
    }
}

/// The kernel with a profile.
#[derive(Debug)]
pub struct Separable<P> {
    profile: P,
    centres: Vec<[f64; 2]>,
    across: Vec<f64>,
    shares: Vec<f64>,
}

impl<P> Separable<P> {
    /// The kernel with this profile along both axes.
    #[must_use]
    pub fn new(profile: P) -> Self {
        Self {
            profile,
            centres: Vec::new(),
            across: Vec::new(),
            shares: Vec::new(),
        }
    }
}

impl<P: Profile> Spread for Separable<P> {
    fn margin(&self, _steepest: f64) -> f64 {
        self.profile.half()
    }

    fn has_negative_shares(&self) -> bool {
        P::IS_SIGNED
    }

    fn prepare(&mut self, map: MapRows<'_>, rows: Range<usize>, columns: Range<usize>) {
        self.centres.clear();
        for j in rows {
            self.centres.extend_from_slice(&map.row(j)[columns.clone()]);
        }
    }

    fn spread(&mut self, which: &[usize], drops: &[Drop], window: &Window, patch: &mut Patch) {
        let half = self.profile.half();
        for (k, drop) in which.iter().zip(drops) {
            let [x, y] = self.centres[*k];
            let columns = touched([x - half, x + half], &(0..window.n_columns));
            let rows = touched([y - half, y + half], &window.rows);
            if columns.is_empty() || rows.is_empty() {
                continue;
            }
            self.across.clear();
            self.across
                .extend(columns.clone().map(|i| self.profile.at(i as f64 - x)));
            for row in rows {
                let height = self.profile.at(row as f64 - y);
                self.shares.clear();
                self.shares
                    .extend(self.across.iter().map(|width| width * height));
                patch.add(drop, row, columns.start, &self.shares);
            }
        }
    }
}
