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
    let exponent = quantum_exponent(values);
    round_to_quantum(values, exponent);
    exponent
}

/// The exponent of the quantum to which [`quantise`] rounds an image.
#[must_use]
pub fn quantum_exponent(values: &[f32]) -> i8 {
    let Some(centre) = median(values) else {
        return LOSSLESS;
    };
    exponent_of_deviation(values, centre)
        .and_then(|e| i8::try_from(e).ok())
        .filter(|&e| e > LOSSLESS)
        .unwrap_or(LOSSLESS)
}

/// Round values in place to multiples of `2^exponent`, ties to even; [`LOSSLESS`] leaves them as they are.
pub fn round_to_quantum(values: &mut [f32], exponent: i8) {
    /// Adding and subtracting it rounds a smaller positive number to an integer; larger ones are integers.
    const TO_INTEGER: f32 = (1_u32 << 23) as f32;
    if exponent == LOSSLESS {
        return;
    }
    // Products with powers of two are exact; what overflows is kept, what underflows is rounded to 0.
    let quantum = f32::from(exponent).exp2();
    let per_quantum = (-f32::from(exponent)).exp2();
    for value in values {
        let quanta = *value * per_quantum;
        let rounded = ((quanta.abs() + TO_INTEGER) - TO_INTEGER).copysign(quanta);
        // NaN and infinities fail the comparison. Adding zero makes -0 into 0.
        *value = if quanta.abs() < TO_INTEGER {
            rounded * quantum + 0.0
        } else {
            *value
        };
    }
}

/// The exponent of `1.4826 m / 16`, where `m` is the median distance of the finite values from `centre`.
///
/// Only the power of two is wanted, and rounding never changes the order of two products, so it is enough to count
/// how many values have each exponent. Where the two middle values differ in it, their mean decides.
fn exponent_of_deviation(values: &[f32], centre: f64) -> Option<i32> {
    likely_exponent(values, centre).or_else(|| exponent_by_counting(values, centre))
}

fn exponent_by_counting(values: &[f32], centre: f64) -> Option<i32> {
    let scaled = |value: f32| scaled_deviation(value, centre);
    let mut counts = [0_u32; 2048];
    for &value in values {
        // NaN and infinities all go to the last place.
        counts[exponent_bits(scaled(value))] += 1;
    }
    let n = counts[..2047].iter().map(|&c| c as usize).sum::<usize>();
    let upper = place_of(&counts, n / 2)?;
    let lower = if n % 2 == 1 {
        upper
    } else {
        place_of(&counts, n / 2 - 1)?
    };
    let bits = if lower == upper {
        upper
    } else {
        let finite = values.iter().filter(|v| v.is_finite());
        let mut distances: Vec<f64> = finite.map(|&v| (f64::from(v) - centre).abs()).collect();
        let (below, &mut high, _) = distances.select_nth_unstable_by(n / 2, f64::total_cmp);
        let low = below.iter().copied().fold(0.0, f64::max);
        exponent_bits(SIGMA_PER_MAD * f64::midpoint(low, high) / PARTS)
    };
    // Zero and subnormal numbers have no exponent.
    (bits > 0).then(|| bits as i32 - 1023)
}

fn scaled_deviation(value: f32, centre: f64) -> f64 {
    SIGMA_PER_MAD * (f64::from(value) - centre).abs() / PARTS
}

/// The exponent that a sample suggests, when counting all values proves it.
// Both comparisons are made always, so that the loop has no branch.
#[allow(clippy::needless_bitwise_bool)]
fn likely_exponent(values: &[f32], centre: f64) -> Option<i32> {
    let mut sample: Vec<f64> = sample(values)
        .map(|v| scaled_deviation(v, centre))
        .collect();
    let n = sample.len();
    let (_, &mut likely, _) = sample
        .get_mut(..)
        .filter(|s| !s.is_empty())?
        .select_nth_unstable_by(n / 2, f64::total_cmp);
    let bits = exponent_bits(likely);
    if bits == 0 || bits >= 2046 {
        return None;
    }
    let power = |bits: usize| f64::from_bits((bits as u64) << 52);
    if scaled_deviation(centre as f32, centre) >= power(bits) {
        return None;
    }
    let (near, far) = (
        interval(centre, power(bits)),
        interval(centre, power(bits + 1)),
    );
    let (mut all, mut small, mut large) = (0_u32, 0_u32, 0_u32);
    for &value in values {
        all += u32::from(value.abs() <= f32::MAX);
        small += u32::from((value >= near.0) & (value <= near.1));
        large += u32::from((value >= far.0) & (value <= far.1));
    }
    let middle = all.checked_sub(1)? / 2..=all / 2;
    let proven = small <= *middle.start() && *middle.end() < large;
    proven.then(|| bits as i32 - 1023)
}

/// The smallest and the largest number whose scaled deviation is below a limit, around a centre that is such a number.
///
/// The deviation grows to both sides, so bisection over all numbers in their order finds where it reaches the limit.
fn interval(centre: f64, limit: f64) -> (f32, f32) {
    let at = order_key(centre as f32);
    let edge = |mut inside: u32, mut outside: u32| {
        while inside.abs_diff(outside) > 1 {
            let key = inside.midpoint(outside);
            if scaled_deviation(from_key(key), centre) < limit {
                inside = key;
            } else {
                outside = key;
            }
        }
        from_key(inside)
    };
    (
        edge(at, order_key(f32::NEG_INFINITY)),
        edge(at, order_key(f32::INFINITY)),
    )
}

/// Every n-th value, about a thousand, without those that are not finite.
fn sample(values: &[f32]) -> impl Iterator<Item = f32> + '_ {
    let step = (values.len() / 1024).max(1) | 1;
    values
        .iter()
        .step_by(step)
        .copied()
        .filter(|v| v.is_finite())
}

/// The biased exponent of a positive number; 2047 for NaN and infinities.
fn exponent_bits(x: f64) -> usize {
    (x.to_bits() >> 52) as usize & 0x7ff
}

/// The place at which the value of this rank is counted.
fn place_of(counts: &[u32], rank: usize) -> Option<usize> {
    let mut seen = 0;
    counts.iter().position(|&count| {
        seen += count as usize;
        seen > rank
    })
}

/// The median of the finite values; the mean of the middle two for an even number of values.
fn median(values: &[f32]) -> Option<f64> {
    likely_median(values).or_else(|| any_median(values))
}

/// The median, when it lies between two numbers that a sample suggests.
// Both comparisons are made always, so that the loop has no branch.
#[allow(clippy::needless_bitwise_bool)]
fn likely_median(values: &[f32]) -> Option<f64> {
    let mut sample: Vec<f32> = sample(values).collect();
    sample.sort_unstable_by(f32::total_cmp);
    // Four standard deviations of the rank of the median in a sample of 1024.
    let (middle, away) = (sample.len() / 2, sample.len() / 16);
    let low = *sample.get(middle.checked_sub(away)?)?;
    let high = *sample.get(middle + away)?;
    let mut near = vec![0.0_f32; values.len() + 1];
    let (mut all, mut below, mut found) = (0_usize, 0_usize, 0_usize);
    for &value in values {
        all += usize::from(value.abs() <= f32::MAX);
        below += usize::from((value >= f32::MIN) & (value < low));
        // Without a branch: what is not between is overwritten by the next value.
        near[found] = value;
        found += usize::from((value >= low) & (value <= high));
    }
    let rank = (all / 2).checked_sub(below)?;
    let candidates = near.get_mut(..found)?;
    if rank >= found || (all % 2 == 0 && rank == 0) {
        return None;
    }
    let (before, &mut upper, _) = candidates.select_nth_unstable_by(rank, f32::total_cmp);
    if all % 2 == 1 {
        return Some(f64::from(upper));
    }
    let lower = before.iter().copied().fold(f32::MIN, f32::max);
    Some(f64::midpoint(f64::from(lower), f64::from(upper)))
}

/// The median by counting leading bits, which leaves few candidates.
fn any_median(values: &[f32]) -> Option<f64> {
    const SHIFT: u32 = 21;
    let mut counts = [0_u32; 1 << (32 - SHIFT)];
    let mut n = 0;
    for value in values.iter().filter(|v| v.is_finite()) {
        counts[(order_key(*value) >> SHIFT) as usize] += 1;
        n += 1;
    }
    let upper = place_of(&counts, n / 2)?;
    let lower = place_of(&counts, (n - 1) / 2)?;
    let before: usize = counts[..lower].iter().map(|&c| c as usize).sum();
    let mut keys: Vec<u32> = values
        .iter()
        .filter(|v| v.is_finite())
        .map(|&v| order_key(v))
        .filter(|key| (lower..=upper).contains(&((key >> SHIFT) as usize)))
        .collect();
    let (below, &mut high, _) = keys.select_nth_unstable(n / 2 - before);
    if n % 2 == 1 {
        return Some(f64::from(from_key(high)));
    }
    let low = below.iter().copied().max().unwrap_or(high);
    Some(f64::midpoint(
        f64::from(from_key(low)),
        f64::from(from_key(high)),
    ))
}

/// Unsigned integers in the order of the numbers.
fn order_key(value: f32) -> u32 {
    let bits = value.to_bits();
    bits ^ if bits >> 31 == 1 { u32::MAX } else { 1 << 31 }
}

fn from_key(key: u32) -> f32 {
    f32::from_bits(key ^ if key >> 31 == 1 { 1 << 31 } else { u32::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&[3.0, 1.0, f32::NAN, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, -1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[-4.0, -1.0]), Some(-2.5));
        assert_eq!(median(&[f32::INFINITY]), None);
    }

    #[test]
    fn exponent_is_exact_at_powers_of_two() {
        // The deviations are 1 and 1: sigma / 16 = 0.0927.
        assert_eq!(quantum_exponent(&[1.0, 3.0]), -4);
        let scale = 16.0 / SIGMA_PER_MAD;
        for (deviation, wanted) in [(scale * 1.01, 0), (scale * 0.99, -1), (scale * 2.01, 1)] {
            let half = deviation as f32;
            assert_eq!(quantum_exponent(&[-half, half]), wanted);
        }
        assert_eq!(quantum_exponent(&[0.0, 1e-38, -1e-38, 3e-39]), LOSSLESS);
    }

    #[test]
    fn counting_agrees_with_sorting() {
        let mut state = 7_u32;
        for n in 1..200 {
            let values: Vec<f32> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    f32::from_bits(state)
                })
                .map(|v| if v.abs() < 1e30 { v } else { f32::NAN })
                .collect();
            let sorted_median = |mut all: Vec<f64>| {
                all.sort_by(f64::total_cmp);
                let n = all.len();
                (n > 0).then(|| f64::midpoint(all[n / 2], all[(n - 1) / 2]))
            };
            let finite: Vec<f64> = values
                .iter()
                .filter(|v| v.is_finite())
                .map(|&v| v.into())
                .collect();
            let centre = sorted_median(finite.clone());
            assert_eq!(median(&values), centre);
            let mad =
                centre.and_then(|c| sorted_median(finite.iter().map(|v| (v - c).abs()).collect()));
            let wanted = mad.map(|m| (SIGMA_PER_MAD * m / PARTS).log2().floor());
            let found = quantum_exponent(&values);
            match wanted {
                Some(e) if (-127.0..=127.0).contains(&e) => assert_eq!(f64::from(found), e),
                _ => assert_eq!(found, LOSSLESS),
            }
        }
    }

    #[test]
    fn short_cuts_agree_with_counting() {
        let mut state = 9_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        let mut proven = 0;
        for k in 0..60 {
            let sigma = (f64::from(k) / 7.0 - 4.0).exp();
            let mut values: Vec<f32> = (0..4000 + k)
                .map(|_| ((next() + next() + next() - 1.5) * sigma + sigma) as f32)
                .collect();
            values[17] = f32::NAN;
            values[18] = f32::NEG_INFINITY;
            values[19] = f32::INFINITY;
            if k % 3 == 0 {
                values[100..1000].fill(f32::NAN);
            }
            let found = likely_median(&values);
            proven += usize::from(found.is_some());
            let centre = any_median(&values).unwrap();
            assert!(found.is_none_or(|m| m == centre));
            let slow = exponent_by_counting(&values, centre);
            let fast = likely_exponent(&values, centre);
            proven += usize::from(fast.is_some());
            assert!(fast.is_none() || fast == slow);
        }
        assert!(proven > 90);
        assert_eq!(likely_median(&vec![0.0; 5000]), Some(0.0));
        assert_eq!(likely_exponent(&vec![0.0; 5000], 0.0), None);
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
