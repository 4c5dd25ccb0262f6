//! Rounding of weights, whose relative precision is what matters.

/// Explicit bits of the mantissa that are kept.
const KEPT: u32 = 7;
const DROPPED: u32 = f32::MANTISSA_DIGITS - 1 - KEPT;

/// Round weights in place to 7 bits of mantissa, a relative error of at most 2^-8. NaN and infinities are kept.
///
/// # Source
/// Klöwer et al. 2021 (Nature Computational Science 1, 713), rounding to nearest, ties to even.
pub fn round_weights(values: &mut [f32]) {
    for value in values.iter_mut().filter(|v| v.is_finite()) {
        let bits = value.to_bits();
        let half = (1 << (DROPPED - 1)) - 1 + ((bits >> DROPPED) & 1);
        let rounded = f32::from_bits((bits + half) & !((1 << DROPPED) - 1));
        // The largest numbers would round to infinity.
        if rounded.is_finite() {
            *value = rounded;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_and_keeps_what_is_not_finite() {
        let mut values = [1.0 + 1.0 / 512.0, 0.0, f32::INFINITY, f32::MAX, -3.0];
        round_weights(&mut values);
        assert_eq!(values, [1.0, 0.0, f32::INFINITY, f32::MAX, -3.0]);
    }
}
