//! What input pixels hand on, and who takes it.

/// Pixels that are added together.
pub const CHUNK: usize = 4;

/// The sums of `w` and of `w d` of one output pixel.
pub type Pair = [f64; 2];

/// What one input pixel hands on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drop {
    /// Weight.
    pub weight: f64,
    /// Value.
    pub value: f64,
    /// Variance of the value; 0 when there is none.
    pub variance: f64,
    /// Data-quality bits; 0 when there are none.
    pub dq: u32,
}

/// What takes the shares of drops in output pixels.
pub trait Sink {
    /// The shares of the next drop follow.
    fn begin(&mut self, _drop: &Drop) {}

    /// What a drop leaves in a row, from a column on.
    fn add(&mut self, drop: &Drop, row: usize, column: usize, shares: &[f64]);

    /// As [`Sink::add`], with shares `across` times `height`; zeros fill the last chunk.
    #[inline]
    fn add_product(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        across: &[[f64; CHUNK]],
        height: f64,
    ) {
        for (k, widths) in across.iter().enumerate() {
            let shares = widths.map(|width| width * height);
            self.add(drop, row, column + k * CHUNK, &shares);
        }
    }

    /// As [`Sink::add`], for a row whose length the compiler knows; shares of 0 may lie beyond the output.
    #[inline]
    fn add_box<const N: usize>(
        &mut self,
        drop: &Drop,
        row: usize,
        column: usize,
        shares: &[f64; N],
    ) {
        self.add(drop, row, column, shares);
    }
}
