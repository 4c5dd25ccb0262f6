//! Kernels that are a product of one profile along each axis of the output, centred on the mapped pixel.

use std::array;
use std::f64::consts::PI;
use std::ops::Range;
use std::sync::Arc;

use super::drops::{CHUNK, Drop, Sink};
use super::kernels::{Spread, Window, touched};
use super::map_rows::MapRows;

/// The share of a pixel along one axis, given the distance of its centre from the drop's.
pub trait Profile: Send + Sync {
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

    #[inline(always)]
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

    #[inline(always)]
    fn at(&self, distance: f64) -> f64 {
        self.norm * (-0.5 * distance * distance * self.inverse_variance).exp()
    }
}

/// `sinc(u) sinc(u / order)` of the distance u in input pixels, 0 from `order` on; from a table.
#[derive(Clone, Debug)]
pub struct Lanczos {
    half: f64,
    /// Table entries per output pixel.
    per_pixel: f64,
    /// Entry from which it is 0.
    end: f64,
    /// Values from one step before 0 to two steps beyond the order.
    table: Arc<[f64]>,
    is_nearest: bool,
}

impl Lanczos {
    /// Step of the table between whose entries a cubic runs, which is off by less than 1e-10.
    const FINE_STEP_PIX: f64 = 1.0 / 512.0;

    /// Lanczos of an order, for output pixels of `pixel_scale_ratio` input pixels; with a `step` above 0 the nearest
    /// entry of a table of that step counts, as in drizzle 3.0.
    #[must_use]
    pub fn new(order: u8, pixel_scale_ratio: f64, step: f64) -> Self {
        let order = f64::from(order);
        let is_nearest = step > 0.0;
        let step = if is_nearest {
            step
        } else {
            Self::FINE_STEP_PIX
        };
        let value = |u: f64| {
            if u < order || !is_nearest {
                pixel_scale_ratio * sinc(u) * sinc(u / order)
            } else {
                0.0
            }
        };
        let n = (order / step).ceil() as i32;
        Self {
            half: order / pixel_scale_ratio,
            per_pixel: pixel_scale_ratio / step,
            end: order / step,
            table: (-1..n + 3).map(|k| value(f64::from(k) * step)).collect(),
            is_nearest,
        }
    }
}

fn sinc(u: f64) -> f64 {
    let t = PI * u;
    if t == 0.0 { 1.0 } else { t.sin() / t }
}

impl Profile for Lanczos {
    fn half(&self) -> f64 {
        self.half
    }

    #[inline(always)]
    fn at(&self, distance: f64) -> f64 {
        let at = distance.abs() * self.per_pixel;
        if at >= self.end {
            return 0.0;
        }
        if self.is_nearest {
            return self.table[(at + 0.5) as usize + 1];
        }
        let k = at as usize;
        let t = at - k as f64;
        let Some([a, b, c, d]) = self.table.get(k..k + 4).and_then(|v| v.first_chunk::<4>()) else {
            return 0.0;
        };
        // The cubic through the values at -1, 0, 1, 2.
        let (back, on) = (t + 1.0, t - 1.0);
        b * back * on * (t - 2.0) * 0.5
            - a * t * on * (t - 2.0) / 6.0
            - c * back * t * (t - 2.0) * 0.5
            + d * back * t * on / 6.0
    }
}

/// The kernel with a profile.
#[derive(Debug)]
pub struct Separable<P> {
    profile: P,
    centres: Vec<[f64; 2]>,
    across: Vec<[f64; CHUNK]>,
}

impl<P> Separable<P> {
    /// The kernel with this profile along both axes.
    #[must_use]
    pub fn new(profile: P) -> Self {
        Self {
            profile,
            centres: Vec::new(),
            across: Vec::new(),
        }
    }
}

impl<P: Profile> Spread for Separable<P> {
    fn margin(&self, _steepest: f64) -> f64 {
        self.profile.half()
    }

    fn prepare(&mut self, map: MapRows<'_>, rows: Range<usize>, columns: Range<usize>) {
        self.centres.clear();
        for j in rows {
            self.centres.extend_from_slice(&map.row(j)[columns.clone()]);
        }
    }

    #[inline(always)]
    fn spread(&mut self, which: &[usize], drops: &[Drop], window: &Window, sink: &mut impl Sink) {
        let half = self.profile.half();
        for (k, drop) in which.iter().zip(drops) {
            let [x, y] = self.centres[*k];
            let columns = touched([x - half, x + half], &(0..window.n_columns));
            let rows = touched([y - half, y + half], &window.rows);
            if columns.is_empty() || rows.is_empty() {
                continue;
            }
            self.across.clear();
            for first in columns.clone().step_by(CHUNK) {
                self.across.push(array::from_fn(|i| {
                    let i = first + i;
                    if i < columns.end {
                        self.profile.at(i as f64 - x)
                    } else {
                        0.0
                    }
                }));
            }
            sink.begin(drop);
            for row in rows {
                let height = self.profile.at(row as f64 - y);
                sink.add_product(drop, row, columns.start, &self.across, height);
            }
        }
    }
}
