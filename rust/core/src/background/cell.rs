//! Level and noise of the sky in one cell of the mesh.

use crate::math::widest::{Work, run_widest};

/// Half of the histogram's range in standard deviations.
const RANGE_SIGMA: f64 = 5.0;
/// Pixels per histogram bin near the peak of a Gaussian.
const PIXELS_PER_BIN: f64 = 4.0;
const MAX_BINS: usize = 4096;
/// Pixels farther than this from the first mean do not shape the histogram.
const FIRST_CLIP_SIGMA: f64 = 2.0;
const MAX_CLIPS: usize = 100;
/// Moments about a value that is farther than this from their mean lose too many digits [sigma].
const FARTHEST_PIVOT: f64 = 1e3;
/// Relative change of sigma at which the clipping has converged.
const CONVERGED: f64 = 1e-4;
/// From this `|mean - median| / sigma` on a cell is crowded, and the mode estimator is left for the median.
const CROWDED: f64 = 0.3;

/// Level and noise of the sky in a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sky {
    /// Mode of the pixels, or their median in a crowded cell.
    pub level: f64,
    /// Standard deviation of the pixels that were kept.
    pub rms: f64,
}

/// Sky of the good pixels of a cell: clipped histogram, mode `2.5 median - 1.5 mean`.
///
/// # Source
/// Bertin & Arnouts 1996, A&AS 117, 393, section 3; the range and the bins of the histogram are those of `SExtractor`.
pub(super) fn sky_of(values: &[f32], clip_sigma: f64) -> Option<Sky> {
    let first = Moments::of(values, f32::NEG_INFINITY, f32::INFINITY)?;
    let reach = FIRST_CLIP_SIGMA * first.sigma;
    let core = Moments::of(
        values,
        (first.mean - reach) as f32,
        (first.mean + reach) as f32,
    )
    .unwrap_or(first);
    if core.sigma <= 0.0 {
        return Some(Sky {
            level: core.mean,
            rms: 0.0,
        });
    }
    let histogram = Histogram::of(values, core);
    let clipped = histogram.clip(clip_sigma);
    Some(Sky {
        level: histogram.zero + clipped.mode() * histogram.scale,
        rms: clipped.sigma * histogram.scale,
    })
}

#[derive(Clone, Copy)]
struct Moments {
    n: usize,
    mean: f64,
    sigma: f64,
}

impl Moments {
    /// Mean and standard deviation of the values in `[low, high]`.
    fn of(values: &[f32], low: f32, high: f32) -> Option<Self> {
        // A pivot near the values keeps the difference of squares exact enough for a high sky; the first one may be a
        // bright star's.
        let pivot = f64::from(*values.first()?);
        let found = Self::about(values, low, high, pivot)?;
        if (found.mean - pivot).abs() > FARTHEST_PIVOT * found.sigma {
            Self::about(values, low, high, found.mean)
        } else {
            Some(found)
        }
    }

    fn about(values: &[f32], low: f32, high: f32, pivot: f64) -> Option<Self> {
        let [n, sum, squares] = run_widest(PowerSums {
            values,
            low,
            high,
            pivot,
        });
        if n == 0.0 {
            return None;
        }
        let mean = sum / n;
        let variance = squares / n - mean * mean;
        Some(Self {
            n: n as usize,
            mean: mean + pivot,
            sigma: variance.max(0.0).sqrt(),
        })
    }
}

/// Number of the values in `[low, high]`, and the sums of their distances from a pivot and of the squares of these.
struct PowerSums<'a> {
    values: &'a [f32],
    low: f32,
    high: f32,
    pivot: f64,
}

impl Work for PowerSums<'_> {
    type Output = [f64; 3];

    #[inline(always)]
    fn run(self) -> [f64; 3] {
        const LANES: usize = 16;
        let mut sums = [[0.0; LANES]; 3];
        let mut add = |lane: usize, value: f32| {
            let is_in = (self.low..=self.high).contains(&value);
            let weight = if is_in { 1.0 } else { 0.0 };
            let d = (f64::from(value) - self.pivot) * weight;
            sums[0][lane] += weight;
            sums[1][lane] += d;
            sums[2][lane] += d * d;
        };
        let (chunks, rest) = self.values.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, &value) in chunk.iter().enumerate() {
                add(lane, value);
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            add(lane, value);
        }
        sums.map(|lanes| lanes.iter().sum())
    }
}

/// The bins of values, `n_bins` for those out of range.
struct Places<'a> {
    values: &'a [f32],
    zero: f64,
    per_bin: f64,
    n_bins: usize,
    place: &'a mut [i32],
}

impl Work for Places<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let end = self.n_bins as f64;
        for (place, &value) in self.place.iter_mut().zip(self.values) {
            let bin = (f64::from(value) - self.zero) * self.per_bin + 0.5;
            let is_in = (0.0..end).contains(&bin);
            *place = if is_in { bin } else { end } as i32;
        }
    }
}

/// Cumulative sums over the bins `i` of a histogram `h`: entry `k` holds the sums of `h`, `h i`, `h i^2` over `i < k`.
struct Histogram {
    zero: f64,
    scale: f64,
    sums: Vec<[u64; 3]>,
}

struct Clipped {
    mean: f64,
    median: f64,
    sigma: f64,
}

impl Histogram {
    fn of(values: &[f32], core: Moments) -> Self {
        let density = (2.0 / std::f64::consts::PI).sqrt() * RANGE_SIGMA / PIXELS_PER_BIN;
        let n_bins = ((density * core.n as f64) as usize + 1).min(MAX_BINS);
        let scale = 2.0 * RANGE_SIGMA * core.sigma / n_bins as f64;
        let zero = core.mean - RANGE_SIGMA * core.sigma;
        let per_bin = 1.0 / scale;
        // The last bin holds what is out of range.
        let mut bins = vec![0_u32; n_bins + 1];
        let mut place = [0; 64];
        for values in values.chunks(place.len()) {
            run_widest(Places {
                values,
                zero,
                per_bin,
                n_bins,
                place: &mut place,
            });
            for &bin in &place[..values.len()] {
                bins[bin as usize] += 1;
            }
        }
        bins.truncate(n_bins);
        let mut sums = vec![[0; 3]; n_bins + 1];
        let mut sum = [0_u64; 3];
        for ((i, &h), next) in (0..).zip(&bins).zip(&mut sums[1..]) {
            let h = u64::from(h);
            sum = [sum[0] + h, sum[1] + h * i, sum[2] + h * i * i];
            *next = sum;
        }
        Self { zero, scale, sums }
    }

    /// Sum over the bins `i < k` of `h`.
    fn count(&self, k: usize) -> u64 {
        self.sums[k][0]
    }

    fn bin(&self, i: usize) -> u64 {
        if i + 1 < self.sums.len() {
            self.count(i + 1) - self.count(i)
        } else {
            0
        }
    }

    /// Median of the bins `low..=high`: the boundary between the bins that hold the lower and the upper half, moved by
    /// the difference of the halves.
    fn median(&self, low: usize, high: usize) -> f64 {
        let (below, above) = (self.count(low), self.count(high + 1));
        let half = u64::midpoint(below, above + 1);
        let middle = low + self.sums[low + 1..=high + 1].partition_point(|s| s[0] < half);
        let goes_low = self.count(middle) - below < above - self.count(middle + 1);
        let first_upper = middle + usize::from(goes_low);
        let lower = (self.count(first_upper) - below) as f64;
        let upper = (above - self.count(first_upper)) as f64;
        let beside = self
            .bin(first_upper)
            .max(first_upper.checked_sub(1).map_or(0, |i| self.bin(i)));
        first_upper as f64 - 0.5 + (upper - lower) / (2.0 * beside.max(1) as f64)
    }

    /// Clip around the median until sigma stays; all numbers in bins.
    fn clip(&self, clip_sigma: f64) -> Clipped {
        let last = self.sums.len() - 2;
        let (mut low, mut high) = (0, last);
        let mut clipped = Clipped {
            mean: 0.0,
            median: 0.0,
            sigma: 10.0 * last as f64,
        };
        let mut before = 1.0;
        for _ in 0..MAX_CLIPS {
            if clipped.sigma < 0.1 || (clipped.sigma / before - 1.0).abs() <= CONVERGED {
                break;
            }
            before = clipped.sigma;
            let [n, first, second] =
                std::array::from_fn(|k| self.sums[high + 1][k] - self.sums[low][k]);
            if n == 0 {
                break;
            }
            let mean = first as f64 / n as f64;
            let square = second as f64 / n as f64;
            clipped = Clipped {
                mean,
                median: self.median(low, high),
                sigma: (square - mean * mean).max(0.0).sqrt(),
            };
            let reach = clip_sigma * clipped.sigma;
            low = (clipped.median - reach + 0.5).clamp(0.0, last as f64) as usize;
            high = (clipped.median + reach + 0.5).clamp(low as f64, last as f64) as usize;
        }
        clipped
    }
}

impl Clipped {
    fn mode(&self) -> f64 {
        if self.sigma <= 0.0 {
            self.mean
        } else if ((self.mean - self.median) / self.sigma).abs() < CROWDED {
            2.5 * self.median - 1.5 * self.mean
        } else {
            self.median
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_cell_has_no_noise() {
        let sky = sky_of(&[7.0; 100], 3.0).unwrap();
        assert_eq!(
            sky,
            Sky {
                level: 7.0,
                rms: 0.0
            }
        );
    }

    #[test]
    fn an_empty_cell_has_no_sky() {
        assert_eq!(sky_of(&[], 3.0), None);
    }

    #[test]
    fn a_very_bright_first_pixel_leaves_level_and_noise() {
        let mut values: Vec<f32> = (0..4096)
            .map(|i| 0.005 * ((i * 7919) % 1000) as f32 / 1000.0)
            .collect();
        let expected = sky_of(&values[1..], 3.0).unwrap();
        for bright in [1e6, -1e6, 1e10] {
            values[0] = bright;
            let sky = sky_of(&values, 3.0).unwrap();
            assert!((sky.rms / expected.rms - 1.0).abs() < 1e-3, "{sky:?}");
            assert!((sky.level - expected.level).abs() < 1e-5, "{sky:?}");
        }
    }

    #[test]
    fn stars_do_not_lift_the_level() {
        let mut values: Vec<f32> = (0..4000)
            .map(|i| 100.0 + ((i * 7919) % 1000) as f32 / 1000.0)
            .collect();
        values.extend([5000.0; 40]);
        let sky = sky_of(&values, 3.0).unwrap();
        assert!((sky.level - 100.5).abs() < 0.01, "{sky:?}");
        assert!((sky.rms - 1.0 / 12_f64.sqrt()).abs() < 0.01, "{sky:?}");
    }
}
