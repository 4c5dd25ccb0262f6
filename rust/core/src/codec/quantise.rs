//! Rounding of images to a quantum far below their noise, so that they compress.

/// Exponent that says: nothing was rounded.
pub const LOSSLESS: i8 = -128;

/// Noise over quantum: the rounding error is at most sigma / 32.
const PARTS: f64 = 16.0;
/// Standard deviation over median absolute deviation of a Gaussian.
const SIGMA_PER_MAD: f64 = 1.4826;

/// Round an image in place to multiples of `2^e`, with `2^e <= sigma / 16 < 2^(e+1)`, and return `e`.
///
/// `sigma` is 1.4826 times the median absolute deviation of the finite pixels. NaN and infinities are kept. An image
/// without finite pixels, with a deviation of zero, or whose quantum is out of range is left as it is: [`LOSSLESS`].
///
/// # Source
/// White & Greenfield 1999 (ASP Conf. 172, 125) and Pence et al. 2010 (PASP 122, 1065, section 2) for noise over q
/// as the measure of what rounding costs; a power of two makes it exact in binary floating point.
pub fn quantise(values: &mut [f32]) -> i8 {
    let mut finite: Vec<f64> = values
        .iter()
        .filter(|v| v.is_finite())
        .map(|&v| f64::from(v))
        .collect();
    let Some(centre) = median(&mut finite) else {
        return LOSSLESS;
    };
    for value in &mut finite {
        *value = (*value - centre).abs();
    }
    let sigma = SIGMA_PER_MAD * median(&mut finite).unwrap_or(0.0);
    let Some(exponent) = floor_log2(sigma / PARTS) else {
        return LOSSLESS;
    };
    let quantum = f64::from(exponent).exp2();
    for value in values.iter_mut().filter(|v| v.is_finite()) {
        // Exact: the quotient by a power of two, and a multiple of the quantum below 2^24 quanta; larger values are
        // multiples already. Adding zero makes -0 into 0.
        *value = ((f64::from(*value) / quantum).round_ties_even() * quantum + 0.0) as f32;
    }
    exponent
}

/// The exponent of the largest power of two that is at most `x`, when it fits; exact, unlike a logarithm.
fn floor_log2(x: f64) -> Option<i8> {
    if !x.is_normal() || x < 0.0 {
        return None;
    }
    let exponent = ((x.to_bits() >> 52) as i32 & 0x7ff) - 1023;
    i8::try_from(exponent).ok().filter(|&e| e > LOSSLESS)
}

/// The median; the mean of the middle two for an even number of values.
fn median(values: &mut [f64]) -> Option<f64> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let (below, &mut upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn exponent_is_exact_at_powers_of_two() {
        assert_eq!(floor_log2(8.0), Some(3));
        assert_eq!(floor_log2(8.0_f64.next_down()), Some(2));
        assert_eq!(floor_log2(2.0_f64.powi(-127)), Some(-127));
        assert_eq!(floor_log2(2.0_f64.powi(-128)), None);
        assert_eq!(floor_log2(0.0), None);
    }

    #[test]
    fn constant_and_empty_images_are_left_alone() {
        let mut constant = [1.3_f32; 9];
        assert_eq!(quantise(&mut constant), LOSSLESS);
        assert!(constant.iter().all(|&v| v == 1.3));
        assert_eq!(quantise(&mut [f32::NAN; 4]), LOSSLESS);
        assert_eq!(quantise(&mut []), LOSSLESS);
    }
}
