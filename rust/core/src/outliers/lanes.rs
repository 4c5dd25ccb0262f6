//! Pixels side by side in the lanes of vector registers, and their values in order without a branch.

/// Pixels that are treated together.
pub const LANES: usize = 64;

/// One number of each pixel.
pub type Lane<T> = [T; LANES];

/// [`LANES`] values of a row from `x` on; at its end those that are left, put into `room`.
#[inline(always)]
pub fn lane<'a, T: Copy>(row: &'a [T], x: usize, room: &'a mut Lane<T>) -> &'a Lane<T> {
    let rest = &row[x..];
    if let Some(whole) = rest.first_chunk() {
        return whole;
    }
    room[..rest.len()].copy_from_slice(rest);
    room
}

/// `a && b` without a branch.
#[inline(always)]
pub fn both(a: bool, b: bool) -> bool {
    a & b
}

/// An integer that is ordered like the float of these bits (`f32::total_cmp`); its own inverse.
#[inline(always)]
fn key(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The smaller of two values first.
#[inline(always)]
pub fn in_order<T: PartialOrd>(a: T, b: T) -> (T, T) {
    if a < b { (a, b) } else { (b, a) }
}

/// Sort the same places of some planes by a network of comparisons, in registers.
macro_rules! network {
    ($planes:expr, $($name:ident)*; $($a:ident $b:ident),*) => {{
        let [$($name),*] = $planes;
        for l in 0..LANES {
            ($($name[l]),*) = {
                $(let mut $name = $name[l];)*
                $(($a, $b) = in_order($a, $b);)*
                ($($name),*)
            };
        }
    }};
}

#[inline(always)]
fn sort_4(planes: &mut [Lane<i32>; 4]) {
    network!(planes, a b c d; a c, b d, a b, c d, b c);
}

/// 19 comparisons, the least that is possible.
#[inline(always)]
fn sort_8(planes: &mut [Lane<i32>; 8]) {
    network!(planes, a b c d e f g h;
        a c, b d, e g, f h, a e, b f, c g, d h, a b, c d, e f, g h, c e, d f, b e, d g, b c, d e, f g);
}

/// Green's 60 comparisons (Knuth 1998, The Art of Computer Programming 3, section 5.3.4).
#[inline(always)]
fn sort_16(planes: &mut [Lane<i32>; 16]) {
    network!(planes, a b c d e f g h i j k l m n o p;
        a b, c d, e f, g h, i j, k l, m n, o p, a c, b d, e g, f h, i k, j l, m o, n p,
        a e, b f, c g, d h, i m, j n, k o, l p, a i, b j, c k, d l, e m, f n, g o, h p,
        f k, g j, d m, n o, e i, h l, b c, b e, h n, c i, l o, c e, f g, j k, l n, d i, h m,
        g i, k m, d f, h j, d e, f g, h i, j k, l m, g h, i j);
}

/// Batcher's merge exchange for any number of planes (Knuth 1998, section 5.2.2, algorithm M).
#[inline(always)]
fn sort_any(planes: &mut [Lane<i32>]) {
    let n = planes.len();
    let most = n.next_power_of_two() / 2;
    let mut p = most;
    while p > 0 {
        let (mut q, mut r, mut d) = (most, 0, p);
        loop {
            for i in (0..n - d).filter(|i| i & p == r) {
                let (low, high) = planes.split_at_mut(i + d);
                for (a, b) in low[i].iter_mut().zip(&mut high[0]) {
                    (*a, *b) = in_order(*a, *b);
                }
            }
            if q == p {
                break;
            }
            (d, q, r) = (q - p, q / 2, p);
        }
        p /= 2;
    }
}

/// The values of [`LANES`] pixels, each pixel's in order.
pub struct Sorted {
    planes: Vec<Lane<i32>>,
    n: usize,
}

impl Sorted {
    /// Room for at most `n` values of each pixel.
    pub fn new(n: usize) -> Self {
        // Networks have 4, 8 or 16 places.
        let places = if n > 16 {
            n
        } else {
            n.next_power_of_two().max(4)
        };
        Self {
            planes: vec![[i32::MAX; LANES]; places],
            n,
        }
    }

    /// Put in those of the values with number `k` that are wanted; those are not NaN.
    #[inline(always)]
    pub fn put(&mut self, k: usize, values: &Lane<f32>, wanted: &Lane<bool>) {
        let plane = &mut self.planes[k];
        for l in 0..LANES {
            let bits = values[l].to_bits() as i32;
            plane[l] = if wanted[l] { key(bits) } else { i32::MAX };
        }
    }

    /// Sort what was put in; before the next time all numbers are put in again.
    #[inline(always)]
    pub fn sort(&mut self) {
        let planes = &mut self.planes;
        match planes.len() {
            4 => planes.as_chunks_mut().0.iter_mut().for_each(sort_4),
            8 => planes.as_chunks_mut().0.iter_mut().for_each(sort_8),
            16 => planes.as_chunks_mut().0.iter_mut().for_each(sort_16),
            _ => sort_any(planes),
        }
    }

    /// The value with some rank of each pixel; 0 where there is none.
    #[inline(always)]
    pub fn ranked(&self, rank: &Lane<i32>) -> Lane<f32> {
        let mut found = [0; LANES];
        for (r, plane) in self.planes.iter().take(self.n).enumerate() {
            for l in 0..LANES {
                found[l] |= plane[l] & -i32::from(rank[l] == r as i32);
            }
        }
        found.map(|k| f32::from_bits(key(k) as u32))
    }

    /// The sum of `count` values from the rank `first` on.
    #[inline(always)]
    pub fn sum(&self, first: &Lane<i32>, count: &Lane<i32>) -> Lane<f64> {
        let mut sum = [-0.0; LANES];
        for (r, plane) in self.planes.iter().take(self.n).enumerate() {
            for l in 0..LANES {
                let past = r as i32 - first[l];
                let more = sum[l] + f64::from(f32::from_bits(key(plane[l]) as u32));
                sum[l] = if both(past >= 0, past < count[l]) {
                    more
                } else {
                    sum[l]
                };
            }
        }
        sum
    }

    /// The median of `count` values from the rank `first` on, NaN of none; the mean of the two middle ones of an even
    /// number.
    #[inline(always)]
    pub fn median(&self, first: &Lane<i32>, count: &Lane<i32>) -> Lane<f32> {
        let (mut low, mut high) = ([0; LANES], [0; LANES]);
        for l in 0..LANES {
            low[l] = first[l] + ((count[l] - 1) >> 1);
            high[l] = first[l] + (count[l] >> 1);
        }
        let (low, high) = (self.ranked(&low), self.ranked(&high));
        let mut out = [0.0; LANES];
        for l in 0..LANES {
            let middle = f32::midpoint(low[l], high[l]);
            out[l] = if count[l] > 0 { middle } else { f32::NAN };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::widest::{Work, run_widest};

    struct Fill<'a>(&'a mut Sorted, &'a [Lane<f32>], &'a [Lane<bool>]);

    impl Work for Fill<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            let Self(sorted, values, wanted) = self;
            for (k, (values, wanted)) in values.iter().zip(wanted).enumerate() {
                sorted.put(k, values, wanted);
            }
            sorted.sort();
        }
    }

    fn in_place(sorted: &Sorted) -> Vec<Lane<u32>> {
        let rank = |r: usize| sorted.ranked(&[r as i32; LANES]).map(f32::to_bits);
        (0..sorted.n).map(rank).collect()
    }

    #[test]
    fn networks_sort_every_pattern_of_two_values() {
        // What sorts zeros and ones sorts everything (Knuth 1998, section 5.3.4, theorem Z).
        for n in [1, 2, 3, 4, 5, 8, 13, 16, 17] {
            let mut sorted = Sorted::new(n);
            for block in 0..(1_usize << n).div_ceil(LANES) {
                let bit = |l: usize, k: usize| (block * LANES + l) >> k & 1;
                let value = |k| std::array::from_fn(|l| bit(l, k) as f32);
                let all = vec![[true; LANES]; n];
                let values: Vec<_> = (0..n).map(value).collect();
                run_widest(Fill(&mut sorted, &values, &all));
                let found = in_place(&sorted);
                for l in 0..LANES {
                    let n_zeros = (0..n).filter(|k| bit(l, *k) == 0).count();
                    for (r, plane) in found.iter().enumerate() {
                        assert_eq!(plane[l], f32::to_bits(if r < n_zeros { 0.0 } else { 1.0 }));
                    }
                }
            }
        }
    }

    #[test]
    fn every_variant_sorts_as_total_order_does() {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let kinds = [0.0, -0.0, 1.5, -1.5, f32::MIN, f32::MAX, 1e-40, -1e-40, 3e9];
        for n in [1, 4, 7, 8, 11, 16, 23, 40] {
            let mut lanes = || std::array::from_fn(|_| kinds[next() as usize % kinds.len()]);
            let values: Vec<Lane<f32>> = (0..n).map(|_| lanes()).collect();
            let wanted: Vec<Lane<bool>> = (0..n)
                .map(|_| std::array::from_fn(|_| next() % 3 > 0))
                .collect();
            let (mut plain, mut widest) = (Sorted::new(n), Sorted::new(n));
            Fill(&mut plain, &values, &wanted).run();
            run_widest(Fill(&mut widest, &values, &wanted));
            let found = in_place(&plain);
            assert_eq!(found, in_place(&widest));
            for l in 0..LANES {
                let of = |k: usize| wanted[k][l].then_some(values[k][l]);
                let mut expected: Vec<f32> = (0..n).filter_map(of).collect();
                expected.sort_by(f32::total_cmp);
                for (r, value) in expected.iter().enumerate() {
                    assert_eq!(found[r][l], value.to_bits());
                }
            }
        }
    }
}
