//! Where the steps of a fit begin: moments of the light.

use super::ProfileError;
use super::convolved::Convolver;
use super::pixels::Pixels;
use super::profile::{Family, Profile};
use crate::math::stats::median_in_place;

/// Width of the frame that shows the sky, as a part of the side.
const FRAME: f64 = 0.1;
/// Least number of pixels that show a sky.
const LEAST_SKY: usize = 20;
/// Steps of the weighted moments, and the change of the size below which they stand still.
const N_STEPS: usize = 30;
const STILL: f64 = 1e-3;
/// The light is counted out to so many widths of the weight.
const REACH: f64 = 4.5;
/// Widths, in pixels, between which the weight stays.
const LEAST_WIDTH: f64 = 0.8;
/// Indices that are tried, and for each what turns the width that the moments show into a half-light radius.
const TRIED: [(f64, f64); 4] = [(0.7, 1.1), (1.4, 1.4), (3.0, 2.1), (5.5, 3.0)];
const LEAST_R_E: f64 = 0.3;
const LEAST_Q: f64 = 0.15;

/// A source and the level of the sky.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The source.
    pub source: Profile,
    /// The level.
    pub sky: f64,
    /// `sum (data - model)^2 / variance` there.
    pub chi2: f64,
}

/// Second moments of light, and its centre.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn determinant(&self) -> f64 {
        self.xx * self.yy - self.xy * self.xy
    }

    /// Squared elliptical radius of an offset.
    fn radius2(&self, dx: f64, dy: f64) -> f64 {
        (self.yy * dx * dx - 2.0 * self.xy * dx * dy + self.xx * dy * dy) / self.determinant()
    }

    /// Widths along the major and the minor axis, and the angle of the major one.
    fn axes(&self) -> (f64, f64, f64) {
        let half = 0.5 * (self.xx + self.yy);
        let off = (0.5 * (self.xx - self.yy)).hypot(self.xy);
        let theta = 0.5 * (2.0 * self.xy).atan2(self.xx - self.yy);
        ((half + off).sqrt(), (half - off).max(0.0).sqrt(), theta)
    }
}

/// Starts of a source near the middle of a stamp, best first: sizes and shapes by moments with an elliptical Gaussian
/// weight that follows them, less those of the PSF, for some indices; fluxes and sky by least squares.
///
/// # Errors
/// When there is no light.
///
/// # Source
/// Bernstein & Jarvis 2002, AJ 123, 583, sect. 3: a Gaussian weight that matches the source has half its second moments.
pub fn starts(
    convolver: &Convolver,
    pixels: &Pixels,
    centre: Option<(f64, f64)>,
) -> Result<Vec<Start>, ProfileError> {
    let sky = sky_of(pixels);
    let (ny, nx) = pixels.shape();
    let middle = (0.5 * (nx as f64 - 1.0), 0.5 * (ny as f64 - 1.0));
    let of_psf = convolver.seeing(|psf| {
        let weight = vec![1.0; psf.pixels().len()];
        moments(psf.pixels(), &weight, psf.shape(), 0.0, middle, 1.5)
    })?;
    let width = of_psf.map_or(LEAST_WIDTH, |m| m.determinant().sqrt().sqrt());
    let found = moments(
        pixels.data(),
        pixels.weight(),
        pixels.shape(),
        sky,
        centre.unwrap_or(middle),
        1.5 * width,
    );
    let light = found.unwrap_or_else(|| {
        let v = 2.0 * width * width;
        let (x, y) = centre.unwrap_or(middle);
        Moments {
            x,
            y,
            xx: v,
            yy: v,
            xy: 0.0,
        }
    });
    let seeing = of_psf.map_or((0.0, 0.0, 0.0), |m| (m.xx, m.yy, m.xy));
    let floor = LEAST_R_E * LEAST_R_E;
    let bare = Moments {
        xx: (light.xx - seeing.0).max(floor),
        yy: (light.yy - seeing.1).max(floor),
        xy: light.xy - seeing.2,
        ..light
    };
    let (a, b, theta) = bare.axes();
    let q = (b / a).clamp(LEAST_Q, 0.95);
    let try_one = |&(n, stretch): &(f64, f64)| {
        let source = Profile {
            family: Family::Sersic,
            x: light.x.clamp(0.0, nx as f64 - 1.0),
            y: light.y.clamp(0.0, ny as f64 - 1.0),
            flux: 1.0,
            r_e: (a * stretch).clamp(LEAST_R_E, 0.5 * nx.max(ny) as f64),
            n,
            q,
            theta,
        };
        scaled(convolver, pixels, source)
    };
    let mut tried = TRIED.iter().map(try_one).collect::<Result<Vec<_>, _>>()?;
    tried.sort_by(|a, b| a.chi2.total_cmp(&b.chi2));
    Ok(tried)
}

/// A source with the flux and the sky of least squares.
fn scaled(
    convolver: &Convolver,
    pixels: &Pixels,
    mut source: Profile,
) -> Result<Start, ProfileError> {
    let model = convolver.draw(&[source])?;
    let (mut ww, mut wm, mut mm, mut wd, mut md, mut dd) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for ((&w, &d), &m) in pixels
        .weight()
        .iter()
        .zip(pixels.data())
        .zip(model.pixels())
    {
        ww += w;
        wm += w * m;
        mm += w * m * m;
        wd += w * d;
        md += w * m * d;
        dd += w * d * d;
    }
    let determinant = ww * mm - wm * wm;
    let (flux, sky) = if determinant > 0.0 {
        (
            (ww * md - wm * wd) / determinant,
            (mm * wd - wm * md) / determinant,
        )
    } else {
        (0.0, wd / ww)
    };
    source.flux = flux;
    Ok(Start {
        source,
        sky,
        chi2: dd - flux * md - sky * wd,
    })
}

/// The median of the frame of a stamp, or of all of it.
fn sky_of(pixels: &Pixels) -> f64 {
    let (ny, nx) = pixels.shape();
    let wide = ((FRAME * ny.min(nx) as f64) as usize).max(2);
    let is_frame = |i: usize| {
        let (y, x) = (i / nx, i % nx);
        y < wide || x < wide || y + wide >= ny || x + wide >= nx
    };
    let good = |i: &usize| pixels.weight()[*i] > 0.0;
    let mut frame: Vec<f32> = (0..ny * nx)
        .filter(good)
        .filter(|&i| is_frame(i))
        .map(|i| pixels.data()[i] as f32)
        .collect();
    if frame.len() < LEAST_SKY {
        frame = (0..ny * nx)
            .filter(good)
            .map(|i| pixels.data()[i] as f32)
            .collect();
    }
    f64::from(median_in_place(&mut frame))
}

/// Moments with a Gaussian weight that matches the light; None when there is too little of it.
fn moments(
    data: &[f64],
    weight: &[f64],
    (ny, nx): (usize, usize),
    sky: f64,
    (x, y): (f64, f64),
    width: f64,
) -> Option<Moments> {
    let v = width * width;
    let mut here = Moments {
        x,
        y,
        xx: v,
        yy: v,
        xy: 0.0,
    };
    let least = LEAST_WIDTH * LEAST_WIDTH;
    let widest = (0.25 * nx.max(ny) as f64).powi(2).max(least);
    for _ in 0..N_STEPS {
        let reach = REACH * here.axes().0;
        let rows =
            (here.y - reach).max(0.0) as usize..((here.y + reach).max(0.0) as usize + 1).min(ny);
        let columns =
            (here.x - reach).max(0.0) as usize..((here.x + reach).max(0.0) as usize + 1).min(nx);
        let (mut sum, mut sx, mut sy, mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for j in rows {
            for i in columns.clone() {
                if weight[j * nx + i] == 0.0 {
                    continue;
                }
                let (dx, dy) = (i as f64 - here.x, j as f64 - here.y);
                let light = (data[j * nx + i] - sky) * (-0.5 * here.radius2(dx, dy)).exp();
                sum += light;
                sx += light * dx;
                sy += light * dy;
                xx += light * dx * dx;
                yy += light * dy * dy;
                xy += light * dx * dy;
            }
        }
        if !(sum > 0.0 && xx > 0.0 && yy > 0.0) {
            return None;
        }
        let next = Moments {
            x: here.x + (2.0 * sx / sum).clamp(-1.0, 1.0),
            y: here.y + (2.0 * sy / sum).clamp(-1.0, 1.0),
            xx: (2.0 * xx / sum).clamp(least, widest),
            yy: (2.0 * yy / sum).clamp(least, widest),
            xy: 2.0 * xy / sum,
        };
        let limit = 0.95 * (next.xx * next.yy).sqrt();
        let next = Moments {
            xy: next.xy.clamp(-limit, limit),
            ..next
        };
        if (next.x - x).abs() > 0.25 * nx as f64 || (next.y - y).abs() > 0.25 * ny as f64 {
            return None;
        }
        let change = (next.determinant() / here.determinant()).ln().abs();
        here = next;
        if change < STILL {
            break;
        }
    }
    Some(here)
}
