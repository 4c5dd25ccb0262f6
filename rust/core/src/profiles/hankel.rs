//! Fourier transforms of circular profiles, from a table for each family.

use std::sync::LazyLock;

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::moffat::half_light;
use super::octaves::{Cubic, Octaves};
use super::profile::Family;
use super::sersic::scale;
use crate::math::gamma::{ln_gamma, ln_gamma_complex};

/// Number of shapes of a table: equal steps of the family's coordinate between its limits, and a little more.
const N_SHAPES: usize = 97;
const MARGIN: f64 = 0.01;
/// Frequencies at which transforms are made, in units of `1 / r_e`: a period of the logarithm.
const PERIOD: f64 = 40.0;
const N_PERIOD: usize = 10_240;
const STEP_K: f64 = PERIOD / N_PERIOD as f64;
/// Squared frequencies between which they are kept, as powers of 2.
const OCTAVES: (f64, f64) = (-32.0, 28.0);
/// Step of the coordinate of the shape for derivatives.
const STEP: f64 = 1e-4;

/// Nodes of the squared frequency.
type Squared = Octaves<5>;

/// A transform and its derivatives by the logarithm of frequency and the coordinate of the shape, and by both.
type Node = [f64; 4];

/// The transform of a profile of unit flux and `r_e` at a logarithm of the frequency, and its derivatives by that
/// logarithm and by the index or exponent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transformed {
    pub value: f64,
    pub by_ln_k: f64,
    pub by_n: f64,
}

impl Transformed {
    /// Of the frequency 0: all light.
    pub(super) const OF_ALL: Self = Self {
        value: 1.0,
        by_ln_k: 0.0,
        by_n: 0.0,
    };
}

/// Made by one thread: one of several that waits for others could be given work that waits for the table.
static SERSIC: LazyLock<Vec<Node>> = LazyLock::new(|| table(Family::Sersic));
static MOFFAT: LazyLock<Vec<Node>> = LazyLock::new(|| table(Family::Moffat));

fn table(family: Family) -> Vec<Node> {
    let (first, step) = shapes(family);
    (0..N_SHAPES)
        .flat_map(|i| row(family, first + step * i as f64))
        .collect()
}

/// First coordinate of the shapes of a table, and their step.
fn shapes(family: Family) -> (f64, f64) {
    let (low, high) = family.limits();
    let first = family.coordinate(low) - MARGIN;
    let last = family.coordinate(high) + MARGIN;
    (first, (last - first) / (N_SHAPES - 1) as f64)
}

/// The first and the last cell of squared frequencies.
fn cells() -> (usize, usize) {
    (
        Squared::cell(OCTAVES.0.exp2()),
        Squared::cell(OCTAVES.1.exp2()) - 1,
    )
}

/// `k^(2-s)` times the part of the integrand below at `s = 1 + i t`, for a coordinate of the shape.
///
/// With a profile as an inverse Mellin transform the Hankel transform of every power is known. For
/// `I(r) = C exp(-b r^(1/n))`
/// `F(k) = b^(2n) / Gamma(2n) / (2 pi) int b^(-n s) Gamma(n s) 2^(1-s) Gamma(1 - s/2) / Gamma(s/2) k^(s-2) dt`
/// and for `I(r) = C (1 + (r / a)^2)^-beta`
/// `F(k) = a^-2 / Gamma(beta - 1) / (2 pi) int a^s Gamma(beta - s/2) 2^(1-s) Gamma(1 - s/2) k^(s-2) dt`,
/// which is `2 (a k / 2)^(beta-1) K_(beta-1)(a k) / Gamma(beta - 1)`.
fn ln_integrand(family: Family, coordinate: f64, t: f64) -> Complex<f64> {
    let s = Complex::new(1.0, t);
    if family == Family::Moffat {
        // The coordinate is that of beta - 1, which does not lose digits.
        let wing = coordinate.exp();
        let ln_a = -half_light(1.0 + wing).ln();
        return (s - 2.0) * ln_a - ln_gamma(wing)
            + ln_gamma_complex(1.0 + wing - 0.5 * s)
            + (1.0 - s) * std::f64::consts::LN_2
            + ln_gamma_complex(1.0 - 0.5 * s);
    }
    let n = coordinate.exp();
    let b = scale(n);
    2.0 * n * b.ln() - ln_gamma(2.0 * n) - s * (n * b.ln())
        + ln_gamma_complex(s * n)
        + (1.0 - s) * std::f64::consts::LN_2
        + ln_gamma_complex(1.0 - 0.5 * s)
        - ln_gamma_complex(0.5 * s)
}

/// The transforms of a shape at all frequencies: the integral along `Re s = 1` by the trapezoidal rule, which a Fourier
/// transform evaluates at equal steps of the logarithm of the frequency. It errs by what `k F` has one period away.
///
/// # Source
/// Erdelyi et al. 1954, Tables of Integral Transforms I, 6.8 (27), for powers of r; Hamilton 2000, MNRAS 312, 257, for
/// the logarithmic grid.
fn row(family: Family, coordinate: f64) -> Vec<Node> {
    let half = N_PERIOD / 2;
    let mut line = vec![[Complex::new(0.0, 0.0); 4]; half + 1];
    for (j, line) in line.iter_mut().enumerate().take(half) {
        let t = std::f64::consts::TAU * j as f64 / PERIOD;
        let ln = ln_integrand(family, coordinate, t);
        if ln.re < -80.0 {
            break;
        }
        // The middle of the period is the frequency 1.
        let sign = if j % 2 == 0 { 1.0 } else { -1.0 };
        let value = ln.exp() * sign / PERIOD;
        let [low, high] = [-STEP, STEP].map(|step| ln_integrand(family, coordinate + step, t));
        let by_shape = (high - low).exp().ln() * (0.5 / STEP);
        let by_ln_k = Complex::new(-1.0, t);
        *line = [
            value,
            value * by_ln_k,
            value * by_shape,
            value * by_ln_k * by_shape,
        ];
    }
    let inverse = RealFftPlanner::new().plan_fft_inverse(N_PERIOD);
    let mut out = inverse.make_output_vec();
    let columns: [Vec<f64>; 4] = std::array::from_fn(|m| {
        let mut spectrum: Vec<Complex<f64>> = line.iter().map(|l| l[m]).collect();
        spectrum[0].im = 0.0;
        // Lengths are those of the plan, the one thing that can fail.
        let done = inverse.process(&mut spectrum, &mut out);
        debug_assert!(done.is_ok());
        let ln_k = |i: usize| STEP_K * (i as f64 - half as f64);
        (0..N_PERIOD).map(|i| out[i] * (-ln_k(i)).exp()).collect()
    });
    let (first, last) = cells();
    (first..=last + 1)
        .map(|cell| {
            let place = 0.5 * Squared::node(cell).ln() / STEP_K + half as f64;
            let i = place as usize;
            let t = place - i as f64;
            let sum = |w: &[f64; 4], m: usize| {
                let (value, slope) = (&columns[m], &columns[m + 1]);
                w[0] * value[i]
                    + w[1] * value[i + 1]
                    + STEP_K * (w[2] * slope[i] + w[3] * slope[i + 1])
            };
            let (w, d) = (hermite(t), hermite_slope(t));
            let of = |m: usize| (sum(&w, m), sum(&d, m) / STEP_K);
            let ((value, by_ln_k), (by_shape, by_both)) = (of(0), of(2));
            [value, by_ln_k, by_shape, by_both]
        })
        .collect()
}

/// Values and slopes of a cubic polynomial with given ends: weights of both values and of both slopes.
fn hermite(t: f64) -> [f64; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        2.0 * t3 - 3.0 * t2 + 1.0,
        3.0 * t2 - 2.0 * t3,
        t3 - 2.0 * t2 + t,
        t3 - t2,
    ]
}

fn hermite_slope(t: f64) -> [f64; 4] {
    let t2 = t * t;
    [
        6.0 * t2 - 6.0 * t,
        6.0 * t - 6.0 * t2,
        3.0 * t2 - 4.0 * t + 1.0,
        3.0 * t2 - 2.0 * t,
    ]
}

/// The transforms of one shape.
pub(super) struct Hankel {
    /// Squared frequencies between which it is known.
    range: (f64, f64),
    first: usize,
    /// For each cell of the squared frequency the transform, and its derivative by index or exponent.
    cells: Vec<[Cubic; 2]>,
}

impl Hankel {
    /// For squared frequencies in units of `1 / r_e^2` between two.
    pub(super) fn new(family: Family, n: f64, from: f64, to: f64) -> Self {
        let (least, largest) = cells();
        let within = |x: f64| Squared::cell(x.max(0.0)).clamp(least, largest);
        let (first, last) = (within(from), within(to));
        let (lowest, step) = shapes(family);
        let place = ((family.coordinate(n) - lowest) / step).clamp(0.0, (N_SHAPES - 1) as f64);
        let i = (place as usize).min(N_SHAPES - 2);
        let table = match family {
            Family::Sersic => &SERSIC,
            Family::Moffat => &MOFFAT,
        };
        let (w, d) = (hermite(place - i as f64), hermite_slope(place - i as f64));
        let n_nodes = largest - least + 2;
        let row =
            |i: usize| &table[i * n_nodes..(i + 1) * n_nodes][first - least..=last + 1 - least];
        let by_n = 1.0 / (step * family.slope(n));
        let end = |a: &Node, b: &Node| {
            let value = |w: &[f64; 4], m: usize| {
                w[0] * a[m] + w[1] * b[m] + step * (w[2] * a[m + 2] + w[3] * b[m + 2])
            };
            // Derivatives by the logarithm of the squared frequency.
            [
                [value(&w, 0), 0.5 * value(&w, 1)],
                [value(&d, 0) * by_n, 0.5 * value(&d, 1) * by_n],
            ]
        };
        let mut ends = row(i).iter().zip(row(i + 1)).map(|(a, b)| end(a, b));
        let mut low = ends.next().unwrap_or_default();
        let cells = ends
            .enumerate()
            .map(|(k, high)| {
                let cell = [0, 1].map(|m| Squared::cubic(first + k, low[m], high[m]));
                low = high;
                cell
            })
            .collect();
        Self {
            range: (Squared::node(first), Squared::node(last + 1).next_down()),
            first,
            cells,
        }
    }

    /// The transform at a squared frequency.
    #[inline(always)]
    pub(super) fn at(&self, k2: f64) -> Transformed {
        let k2 = k2.clamp(self.range.0, self.range.1);
        let (cell, t) = (Squared::cell(k2), Squared::place(k2));
        let [value, by_n] = &self.cells[cell - self.first];
        Transformed {
            value: value.at(t),
            by_ln_k: 2.0 * value.slope(t) * Squared::over_length(cell, t),
            by_n: by_n.at(t),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::Radial;
    use super::super::sersic::SersicRadial;
    use super::*;

    fn of(family: Family, n: f64, k: f64) -> Transformed {
        Hankel::new(family, n, k * k, k * k).at(k * k)
    }

    fn at(n: f64, k: f64) -> Transformed {
        of(Family::Sersic, n, k)
    }

    /// `J_0` by its integral over half a turn, which the midpoint rule sums to rounding.
    fn bessel_j0(x: f64) -> f64 {
        let n = 40 + 2 * x.abs() as usize;
        let angle = |i: usize| std::f64::consts::PI * (i as f64 + 0.5) / n as f64;
        (0..n).map(|i| (x * angle(i).sin()).cos()).sum::<f64>() / n as f64
    }

    #[test]
    fn gaussians_and_exponentials_have_their_known_transforms() {
        for k in [1e-3, 0.1, 0.7, 2.0, 4.0] {
            // r_e = sigma sqrt(2 ln 2) = 1.
            let gaussian = (-k * k / (4.0 * std::f64::consts::LN_2)).exp();
            assert!((at(0.5, k).value - gaussian).abs() < 1e-7, "{k}");
            let scaled = k / 1.678_346_990_016_661;
            let exponential = (1.0 + scaled * scaled).powf(-1.5);
            assert!((at(1.0, k).value - exponential).abs() < 1e-7, "{k}");
        }
    }

    #[test]
    fn transforms_are_integrals_over_the_profile() {
        for n in [0.13, 0.3, 0.8, 2.3, 4.0, 6.1, 9.0] {
            let radial = Radial::Sersic(SersicRadial::new(1.0, n));
            for k in [0.03, 0.5, 3.0, 9.0] {
                // In the logarithm of r the profile is smooth.
                let (steps, from, to) = (20_000, -25.0, n * (60.0 / scale(n)).ln());
                let step = (to - from) / f64::from(steps);
                let sum: f64 = (0..steps)
                    .map(|i| (from + (f64::from(i) + 0.5) * step).exp())
                    .map(|r| {
                        std::f64::consts::TAU * r * r * radial.value(r) * bessel_j0(k * r) * step
                    })
                    .sum();
                let found = at(n, k).value;
                assert!((found - sum).abs() < 2e-6, "{n} {k}: {found} {sum}");
            }
        }
    }

    #[test]
    fn moffats_of_half_odd_order_have_their_closed_forms() {
        // K_(1/2)(z) = sqrt(pi / 2 z) exp(-z) and K_(3/2)(z) = K_(1/2)(z) (1 + 1 / z).
        for k in [1e-3, 0.1, 0.7, 2.0, 6.0] {
            for (beta, factor) in [(1.5, 0.0), (2.5, 1.0)] {
                let z = k / half_light(beta);
                let expected = (1.0 + factor * z) * (-z).exp();
                let found = of(Family::Moffat, beta, k).value;
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{beta} {k}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn derivatives_are_differences() {
        for (family, n) in [
            (Family::Sersic, 0.4_f64),
            (Family::Sersic, 1.0),
            (Family::Sersic, 3.7),
            (Family::Moffat, 1.3),
            (Family::Moffat, 4.0),
        ] {
            for k in [0.2_f64, 1.5, 8.0] {
                let h = 1e-3;
                let found = of(family, n, k);
                let at = |n: f64, k: f64| of(family, n, k).value;
                let by_ln_k = (at(n, k * f64::exp(h)) - at(n, k * f64::exp(-h))) / (2.0 * h);
                let by_n = (at(n + h, k) - at(n - h, k)) / (2.0 * h);
                assert!(
                    (found.by_ln_k - by_ln_k).abs() < 1e-5,
                    "{family:?} {n} {k}: {found:?} {by_ln_k}"
                );
                assert!(
                    (found.by_n - by_n).abs() < 1e-5,
                    "{family:?} {n} {k}: {found:?} {by_n}"
                );
            }
        }
    }
}
