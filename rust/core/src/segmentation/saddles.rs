//! Deblending at saddles: a peak is a source when it stands out from the brighter one that it is joined to.

use super::deblend::{Neighbourhood, Pixel, Scratch};
use super::label::Connectivity;

/// Parameters of the deblending at saddles.
#[derive(Clone, Copy, Debug)]
pub struct SaddleParams {
    /// Least height of a peak above its saddle [sigma of the sharp image].
    pub min_prominence: f64,
    /// Flux above the saddle, as a fraction of the segment's flux, that makes a peak a source.
    pub contrast: f64,
}

/// The excess of a peak over its mirror image must be this many times the threshold: the difference of two pixels is
/// noisier than one.
const EXCESS: f64 = 1.2;

/// A peak whose saddle lies below this fraction of its height is no part of the brighter one; when it is no source
/// either, its pixels become sky.
const ISLAND: f64 = 0.5;

/// The part of a pixel that belongs to no source.
pub(super) const SKY: u32 = u32::MAX;

/// A peak that is joined to a brighter one.
struct Join {
    /// Height of the peak above the saddle [sigma], and the flux above it.
    prominence: f64,
    flux: f64,
    /// Largest significance of its pixels.
    significance: f32,
}

/// The peaks of a segment; peaks and pixels are named by their place in the order of decreasing brightness.
struct Landscape<'a> {
    pixels: &'a [Pixel],
    around: &'a Neighbourhood<'a>,
    /// Pixels in the order of decreasing sharp value, and the place of each in it.
    order: Vec<u32>,
    place: Vec<u32>,
    threshold: f64,
    params: SaddleParams,
    /// Flux above the saddle that a source needs.
    least_flux: f64,
}

/// What has been joined so far.
struct Joined {
    /// Of every pixel: one nearer to the peak of its component, which points to itself.
    up: Vec<u32>,
    n_pixels: Vec<u32>,
    flux: Vec<f64>,
    significance: Vec<f32>,
    /// Of every pixel: its basin, the peak that the steepest way up leads to.
    basin: Vec<u32>,
    /// Of every peak: the brighter one that it is part of, or that it is a source beside.
    host: Vec<u32>,
    is_source: Vec<bool>,
    is_sky: Vec<bool>,
    /// Of every peak: the sources beside it.
    guests: Vec<Vec<u32>>,
    joins: Vec<Option<Join>>,
}

impl Joined {
    fn peak(&mut self, mut i: u32) -> u32 {
        while self.up[i as usize] != i {
            let next = self.up[self.up[i as usize] as usize];
            self.up[i as usize] = next;
            i = next;
        }
        i
    }

    /// The source that a basin belongs to; None for one that is sky.
    fn source(&self, mut basin: u32) -> Option<u32> {
        while !self.is_source[basin as usize] {
            if self.is_sky[basin as usize] {
                return None;
            }
            basin = self.host[basin as usize];
        }
        Some(basin)
    }
}

/// Split a segment into sources of at least `min_area` pixels at the saddles of its sharp image: the number of the
/// source of every pixel or [`SKY`], and how many there are; None when all of it is one source. `threshold` is what the
/// significance of a source must reach.
///
/// From the brightest pixel down, every pixel joins its brightest neighbour. Where two peaks meet, the lower one is a
/// source of its own if (1) it stands `min_prominence` above the saddle, (2) its flux above the saddle is `contrast` of
/// the segment's, (3) its significance reaches the threshold, and (4) so does what it has more than the pixel opposite
/// to it as seen from the brighter peak, which is what that peak alone would have there if it were symmetric.
///
/// # Source
/// Peaks joined at saddles: the merge tree of Edelsbrunner, Letscher & Zomorodian 2002, Discrete Comput. Geom. 28, 511.
/// The comparison with the opposite pixel is the asymmetry of Conselice 2003, `ApJS` 147, 1, section 3.
pub(super) fn split_at_saddles(
    pixels: &[Pixel],
    threshold: f64,
    min_area: usize,
    connectivity: Connectivity,
    params: SaddleParams,
    scratch: &mut Scratch,
) -> Option<(Vec<u32>, usize)> {
    let around = Neighbourhood::new(pixels, connectivity, scratch);
    let parts = around
        .has_two_maxima(pixels)
        .then(|| Landscape::new(pixels, &around, threshold, params).parts(min_area))
        .flatten();
    let cells = around.into_cells();
    scratch.clear(&cells);
    parts
}

impl<'a> Landscape<'a> {
    fn new(
        pixels: &'a [Pixel],
        around: &'a Neighbourhood<'a>,
        threshold: f64,
        params: SaddleParams,
    ) -> Self {
        let mut order: Vec<u32> = (0..pixels.len() as u32).collect();
        let value = |i: u32| pixels[i as usize].sharp;
        order.sort_unstable_by(|&i, &j| value(j).total_cmp(&value(i)).then(i.cmp(&j)));
        let mut place = vec![0; pixels.len()];
        for (k, &i) in order.iter().enumerate() {
            place[i as usize] = k as u32;
        }
        let total: f64 = pixels.iter().map(|p| f64::from(p.sharp)).sum();
        Self {
            pixels,
            around,
            order,
            place,
            threshold,
            params,
            least_flux: params.contrast * total,
        }
    }

    fn pixel(&self, place: u32) -> &Pixel {
        &self.pixels[self.order[place as usize] as usize]
    }

    fn parts(&self, min_area: usize) -> Option<(Vec<u32>, usize)> {
        let mut joined = self.join();
        let mut area = vec![0_usize; self.pixels.len()];
        for &basin in &joined.basin {
            if let Some(source) = joined.source(basin) {
                area[source as usize] += 1;
            }
        }
        // A source that stays too small goes to its host, the faintest peak first.
        for k in (1..self.pixels.len()).rev() {
            if joined.is_source[k] && area[k] < min_area {
                joined.is_source[k] = false;
                if let Some(host) = joined.source(k as u32) {
                    area[host as usize] += area[k];
                }
            }
        }
        let mut number = vec![SKY; self.pixels.len()];
        let mut n = 0;
        for (k, &is_source) in joined.is_source.iter().enumerate() {
            if is_source {
                number[k] = n;
                n += 1;
            }
        }
        let mut part = vec![SKY; self.pixels.len()];
        for (k, &i) in self.order.iter().enumerate() {
            if let Some(source) = joined.source(joined.basin[k]) {
                part[i as usize] = number[source as usize];
            }
        }
        (n > 1 || part.contains(&SKY)).then_some((part, n as usize))
    }

    /// Join all pixels, from the brightest one down.
    fn join(&self) -> Joined {
        let n = self.pixels.len();
        let mut joined = Joined {
            up: (0..n as u32).collect(),
            n_pixels: vec![1; n],
            flux: (0..n as u32)
                .map(|k| f64::from(self.pixel(k).sharp))
                .collect(),
            significance: (0..n as u32).map(|k| self.pixel(k).significance).collect(),
            basin: (0..n as u32).collect(),
            host: (0..n as u32).collect(),
            is_source: vec![false; n],
            is_sky: vec![false; n],
            guests: vec![Vec::new(); n],
            joins: std::iter::repeat_with(|| None).take(n).collect(),
        };
        for k in 0..n as u32 {
            let mut brightest = k;
            for other in self.around.of(self.order[k as usize]) {
                let other = self.place[other as usize];
                if other >= k {
                    continue;
                }
                brightest = brightest.min(other);
                let (a, b) = (joined.peak(k), joined.peak(other));
                if a != b {
                    self.meet(&mut joined, a.min(b), a.max(b), k);
                }
            }
            joined.basin[k as usize] = joined.basin[brightest as usize];
        }
        // The highest peak of every piece of a segment is a source, beside that of the brightest piece.
        for k in 0..n {
            if joined.up[k] as usize == k {
                joined.is_source[k] = true;
                joined.host[k] = 0;
            }
        }
        joined
    }

    /// The components of two peaks, of which `high` is brighter, meet at the pixel `saddle`.
    fn meet(&self, joined: &mut Joined, high: u32, low: u32, saddle: u32) {
        let (h, l) = (high as usize, low as usize);
        joined.up[l] = high;
        joined.host[l] = high;
        if low != saddle {
            let level = f64::from(self.pixel(saddle).sharp);
            let peak = self.pixel(low);
            joined.joins[l] = Some(Join {
                prominence: (f64::from(peak.sharp) - level) / f64::from(peak.sharp_sigma),
                flux: joined.flux[l] - level * f64::from(joined.n_pixels[l]),
                significance: joined.significance[l],
            });
            let accepted = self.stands_out(joined, low, high);
            joined.is_source[l] = accepted;
            if accepted {
                joined.guests[h].push(low);
            } else {
                let above = f64::from(peak.sharp) - level;
                joined.is_sky[l] = above > (1.0 - ISLAND) * f64::from(peak.sharp);
                // What stands beside a peak that is no source stands beside the brighter one instead, or is none.
                for guest in std::mem::take(&mut joined.guests[l]) {
                    joined.is_source[guest as usize] = self.stands_out(joined, guest, high);
                    if joined.is_source[guest as usize] {
                        joined.host[guest as usize] = high;
                        joined.guests[h].push(guest);
                    }
                }
            }
        }
        joined.n_pixels[h] += joined.n_pixels[l];
        joined.flux[h] += joined.flux[l];
        joined.significance[h] = joined.significance[h].max(joined.significance[l]);
    }

    fn stands_out(&self, joined: &Joined, low: u32, high: u32) -> bool {
        joined.joins[low as usize].as_ref().is_some_and(|join| {
            join.prominence >= self.params.min_prominence
                && join.flux >= self.least_flux
                && f64::from(join.significance) >= self.threshold
                && self.excess(low, high) >= EXCESS * self.threshold
        })
    }

    /// What a peak has more than the point opposite to it as seen from another peak [sigma].
    fn excess(&self, low: u32, high: u32) -> f64 {
        let (peak, centre) = (self.pixel(low), self.pixel(high));
        let [dx, dy] = self.top(self.order[high as usize]);
        let opposite = self.around.interpolate(
            self.pixels,
            [
                2.0 * (centre.x as f64 + dx) - peak.x as f64,
                2.0 * (centre.y as f64 + dy) - peak.y as f64,
            ],
        );
        (f64::from(peak.sharp) - opposite.max(0.0)) / f64::from(peak.sharp_sigma)
    }

    /// Offset of the top of the parabolas through a peak and its neighbours along x and y; 0 where one is missing.
    fn top(&self, peak: u32) -> [f64; 2] {
        let value = |dx, dy| {
            self.around
                .beside(peak, dx, dy)
                .map(|i| f64::from(self.pixels[i as usize].sharp))
        };
        let here = f64::from(self.pixels[peak as usize].sharp);
        let offset = |before: Option<f64>, after: Option<f64>| match (before, after) {
            (Some(before), Some(after)) if before + after < 2.0 * here => {
                0.5 * (before - after) / (before + after - 2.0 * here)
            }
            _ => 0.0,
        };
        [
            offset(value(-1, 0), value(1, 0)),
            offset(value(0, -1), value(0, 1)),
        ]
    }
}
