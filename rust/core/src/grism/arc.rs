//! Length along a trace.

/// Nodes and weights of a Gauss-Legendre rule on (-1, 1).
const NODES: [(f64, f64); 5] = [
    (0.0, 0.568_888_888_888_888_9),
    (0.538_469_310_105_683_1, 0.478_628_670_499_366_5),
    (-0.538_469_310_105_683_1, 0.478_628_670_499_366_5),
    (0.906_179_845_938_664, 0.236_926_885_056_189_1),
    (-0.906_179_845_938_664, 0.236_926_885_056_189_1),
];
/// A trace bends little within this many pixels.
const STEP: f64 = 64.0;

/// Length from 0 to `x` of a trace `sum_i c_i x^i`.
pub(super) fn length(c: &[f64], x: f64) -> f64 {
    let degree = c.iter().rposition(|&v| v != 0.0).unwrap_or(0);
    match degree {
        0 => x,
        1 => (1.0 + c[1] * c[1]).sqrt() * x,
        2 => {
            let twice = |u: f64| u * (1.0 + u * u).sqrt() + u.asinh();
            let (first, last) = (c[1], c[1] + 2.0 * c[2] * x);
            twice(last) / (4.0 * c[2]) - twice(first) / (4.0 * c[2])
        }
        _ => numerical(c, x),
    }
}

fn numerical(c: &[f64], x: f64) -> f64 {
    let n = (x.abs() / STEP).ceil().max(1.0);
    let half = 0.5 * x / n;
    let slope = |x: f64| {
        c.iter()
            .enumerate()
            .skip(1)
            .rev()
            .fold(0.0, |sum, (i, v)| sum * x + i as f64 * v)
    };
    (0..n as usize)
        .map(|k| {
            let middle = (2.0 * k as f64 + 1.0) * half;
            NODES
                .iter()
                .map(|(at, weight)| {
                    weight * half * (1.0 + slope(middle + half * at).powi(2)).sqrt()
                })
                .sum::<f64>()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bent_traces_have_the_length_of_their_formula() {
        let c = [2.0, -5e-3, 1.6e-4];
        for x in [-300.0, -1.0, 0.0, 77.5, 900.0] {
            let exact = length(&c, x);
            assert!((numerical(&c, x) - exact).abs() < 1e-9, "{x}");
        }
        assert!((length(&[0.0, 0.75], 4.0) - 5.0).abs() < 1e-15);
        assert_eq!(length(&[3.0], 4.0), 4.0);
        let cubic = length(&[0.0, 0.0, 1e-5, 1e-8], 500.0);
        assert!(cubic > 500.0 && cubic < 500.1);
    }
}
