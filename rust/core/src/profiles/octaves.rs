//! Functions of a positive number from cubic polynomials between nodes that lie equally within every octave: the bits of
//! a number say between which nodes it lies, without a logarithm.

/// Nodes `2^BITS` to an octave.
pub(super) struct Octaves<const BITS: u32>;

const MANTISSA: u32 = 52;

impl<const BITS: u32> Octaves<BITS> {
    const SHIFT: u32 = MANTISSA - BITS;
    const PER_OCTAVE: usize = 1 << BITS;

    /// Number of the cell of a positive number, counted from that of the least one.
    #[inline(always)]
    pub(super) fn cell(x: f64) -> usize {
        (x.to_bits() >> Self::SHIFT) as usize
    }

    /// The number at which a cell begins.
    pub(super) fn node(cell: usize) -> f64 {
        f64::from_bits((cell as u64) << Self::SHIFT)
    }

    /// Where a number lies in its cell, from 0 to 1.
    #[inline(always)]
    pub(super) fn place(x: f64) -> f64 {
        const FRACTION: u64 = (1 << MANTISSA) - 1;
        let fraction = (x.to_bits() << BITS) & FRACTION;
        f64::from_bits(fraction | 1.0_f64.to_bits()) - 1.0
    }

    /// A number over the length of its cell: what turns derivatives by the place into those by the logarithm.
    #[inline(always)]
    pub(super) fn over_length(cell: usize, place: f64) -> f64 {
        (Self::PER_OCTAVE + cell % Self::PER_OCTAVE) as f64 + place
    }

    /// The polynomial of a cell with given ends, from the values and their derivatives by the logarithm there.
    pub(super) fn cubic(cell: usize, low: [f64; 2], high: [f64; 2]) -> Cubic {
        let slopes = [
            low[1] / Self::over_length(cell, 0.0),
            high[1] / Self::over_length(cell, 1.0),
        ];
        let rise = high[0] - low[0];
        Cubic([
            low[0],
            slopes[0],
            3.0 * rise - 2.0 * slopes[0] - slopes[1],
            slopes[0] + slopes[1] - 2.0 * rise,
        ])
    }
}

/// A cubic polynomial of the place in a cell: its coefficients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cubic([f64; 4]);

impl Cubic {
    #[inline(always)]
    pub(super) fn at(&self, t: f64) -> f64 {
        let [a, b, c, d] = self.0;
        a + t * (b + t * (c + t * d))
    }

    /// Its derivative by the place.
    #[inline(always)]
    pub(super) fn slope(&self, t: f64) -> f64 {
        let [_, b, c, d] = self.0;
        b + t * (2.0 * c + t * (3.0 * d))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_lies_in_its_cell() {
        type Fine = Octaves<5>;
        for x in [3.1e-9, 0.4999, 0.5, 1.0, 1.7, 2.0, 5.3e7] {
            let (cell, place) = (Fine::cell(x), Fine::place(x));
            let (low, high) = (Fine::node(cell), Fine::node(cell + 1));
            assert!(low <= x && x < high, "{x}: {low} {high}");
            assert!((low + place * (high - low) - x).abs() < 1e-14 * x);
            assert!((Fine::over_length(cell, place) - x / (high - low)).abs() < 1e-12);
        }
    }

    #[test]
    fn cubics_have_the_values_and_slopes_of_their_ends() {
        type Coarse = Octaves<3>;
        // x^3 is a cubic polynomial itself.
        for x in [0.3, 1.0, 1.3, 9.9] {
            let cell = Coarse::cell(x);
            let end = |cell: usize| {
                let cube = Coarse::node(cell).powi(3);
                [cube, 3.0 * cube]
            };
            let cubic = Coarse::cubic(cell, end(cell), end(cell + 1));
            let place = Coarse::place(x);
            assert!((cubic.at(place) / x.powi(3) - 1.0).abs() < 1e-13);
            let by_ln = cubic.slope(place) * Coarse::over_length(cell, place);
            assert!((by_ln / (3.0 * x.powi(3)) - 1.0).abs() < 1e-13);
        }
    }
}
