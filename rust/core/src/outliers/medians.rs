//! Medians of the 3 x 3 and 5 x 5 pixels around the pixels of a row, by networks of comparisons.

use super::lanes::{LANES, Lane, in_order};
use crate::math::widest::Work;

/// As many rows as columns are in a window, and the medians of every window that they hold, the first one's first.
///
/// There are at least [`LANES`] windows, and no value is NaN in those that matter.
pub struct MedianRow<'a, const SIDE: usize> {
    /// The rows.
    pub rows: [&'a [f32]; SIDE],
    /// `SIDE` - 1 fewer than a row.
    pub out: &'a mut [f32],
}

/// What is left in the middle after some comparisons.
macro_rules! middle {
    ($values:expr; $($name:ident)*; $($a:ident $b:ident),*; $middle:ident) => {{
        let [$(mut $name),*] = $values;
        $(($a, $b) = in_order($a, $b);)*
        let _ = [$($name),*];
        $middle
    }};
}

/// Median of 9 values in 19 comparisons (Paeth 1990, Graphics Gems, p. 171, with those of columns first).
#[inline(always)]
fn median_of_9(values: [f32; 9]) -> f32 {
    middle!(values; a b c d e f g h i;
        b c, e f, h i, a b, d e, g h, b c, e f, h i,
        a d, f i, e h, d g, b e, c f, e h, e c, g e, e c; e)
}

/// Median of 25 values in 103 comparisons: sorted columns, then rows, and of the 13 values that may then be the median
/// what decides between them.
#[inline(always)]
fn median_of_25(values: [f32; 25]) -> f32 {
    middle!(values; a b c d e f g h i j k l m n o p q r s t u v w x y;
        a p, f u, a k, f p, a f, k u, f k, p u, k p, b q, g v, b l, g q, b g, l v, g l, q v, l q,
        c r, h w, c m, h r, c h, m w, h m, r w, m r, d s, i x, d n, i s, d i, n x, i n, s x, n s,
        e t, j y, e o, j t, e j, o y, j o, t y, o t,
        a d, b e, a c, b d, c e, d e, c d, f i, g j, g i, f g, h j, g h, i j, h i,
        k n, l o, k m, l n, k l, m o, l m, n o, m n, p s, q t, p r, q s, p q, r t, q r, r s,
        u x, v y, u w, v x, u v, w y, v w,
        d u, e u, d l, h p, e m, i q, u n, j r, l u, p j, m v, l e, p i, m u, q j, e i, m q, i u, i m; m)
}

/// [`LANES`] windows of some rows and where their medians go, by column; the last ones overlap with those before.
#[inline(always)]
fn windows<'a, const SIDE: usize, const WIDTH: usize>(
    rows: &[&'a [f32]; SIDE],
    x: usize,
    out: &'a mut [f32],
) -> Option<([&'a [f32; WIDTH]; SIDE], &'a mut Lane<f32>)> {
    let x = x.min(out.len().checked_sub(LANES)?);
    let mut found = [rows[0].get(x..)?.first_chunk()?; SIDE];
    for (window, row) in found.iter_mut().zip(rows) {
        *window = row.get(x..)?.first_chunk()?;
    }
    Some((found, out[x..].first_chunk_mut()?))
}

impl Work for MedianRow<'_, 3> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for x in (0..self.out.len()).step_by(LANES) {
            let Some(([a, b, c], out)) = windows::<3, { LANES + 2 }>(&self.rows, x, self.out)
            else {
                return;
            };
            for l in 0..LANES {
                let (m, n) = (l + 1, l + 2);
                out[l] = median_of_9([a[l], a[m], a[n], b[l], b[m], b[n], c[l], c[m], c[n]]);
            }
        }
    }
}

impl Work for MedianRow<'_, 5> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for x in (0..self.out.len()).step_by(LANES) {
            let Some(([a, b, c, d, e], out)) = windows::<5, { LANES + 4 }>(&self.rows, x, self.out)
            else {
                return;
            };
            for l in 0..LANES {
                let (m, n, o, p) = (l + 1, l + 2, l + 3, l + 4);
                out[l] = median_of_25([
                    a[l], a[m], a[n], a[o], a[p], b[l], b[m], b[n], b[o], b[p], c[l], c[m], c[n],
                    c[o], c[p], d[l], d[m], d[n], d[o], d[p], e[l], e[m], e[n], e[o], e[p],
                ]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit `k` of a pattern as a number.
    fn bits<const N: usize>(pattern: u32) -> [f32; N] {
        std::array::from_fn(|k| f32::from(u8::from(pattern >> k & 1 == 1)))
    }

    #[test]
    fn the_middle_is_right_for_every_pattern_of_two_values() {
        // Knuth 1998, The Art of Computer Programming 3, section 5.3.4, theorem Z: then it is for all values.
        for pattern in 0..1_u32 << 9 {
            let expected = f32::from(u8::from(pattern.count_ones() > 4));
            assert_eq!(median_of_9(bits(pattern)), expected);
        }
        for pattern in 0..1_u32 << 25 {
            let expected = f32::from(u8::from(pattern.count_ones() > 12));
            assert_eq!(median_of_25(bits(pattern)), expected);
        }
    }

    #[test]
    fn a_row_of_any_length_is_filled() {
        for n in [LANES, LANES + 1, 3 * LANES - 1] {
            let rows: [Vec<f32>; 5] = std::array::from_fn(|j| {
                (0..n + 4)
                    .map(|i| ((i * 37 + j * 101) % 89) as f32)
                    .collect()
            });
            let mut out = vec![f32::NAN; n];
            MedianRow {
                rows: rows.each_ref().map(|row| &row[..]),
                out: &mut out,
            }
            .run();
            for (x, found) in out.iter().enumerate() {
                let mut window: Vec<f32> =
                    rows.iter().flat_map(|row| row[x..x + 5].to_vec()).collect();
                window.sort_by(f32::total_cmp);
                assert_eq!(*found, window[12]);
            }
        }
    }
}
