//! Polynomials of the place in the field, as aXe writes them.

use super::GrismError;

/// `a0 + a1 x + a2 y + a3 x^2 + a4 x y + a5 y^2 + ...`
#[derive(Clone, Debug, Default)]
pub(super) struct Field(Vec<f64>);

impl Field {
    pub(super) fn new(name: &'static str, terms: Vec<f64>) -> Result<Self, GrismError> {
        let n = terms.len();
        let degree = ((1.0 + 8.0 * n as f64).sqrt() as usize - 1) / 2;
        if n == 0 || degree * (degree + 1) / 2 != n {
            return Err(GrismError::Length {
                name,
                found: n,
                wanted: "1, 3, 6, 10, 15 or another triangular number",
            });
        }
        Ok(Self(terms))
    }

    /// Terms are added in the order in which numpy adds them, so that results have the same bits.
    pub(super) fn at(&self, x: f64, y: f64) -> f64 {
        let mut terms = self.0.iter();
        let mut parts = Vec::with_capacity(self.0.len());
        let mut degree = 0;
        while parts.len() < self.0.len() {
            for of_y in 0..=degree {
                if let Some(term) = terms.next() {
                    let power = x.powf(f64::from(degree - of_y)) * y.powf(f64::from(of_y));
                    parts.push(power * term);
                }
            }
            degree += 1;
        }
        pairwise(&parts)
    }
}

/// The sum of up to 128 numbers: eight at a time, then the rest.
fn pairwise(parts: &[f64]) -> f64 {
    let whole = parts.len() / 8 * 8;
    if whole == 0 {
        return parts.iter().sum();
    }
    let mut r: [f64; 8] = std::array::from_fn(|i| parts[i]);
    for eight in parts[8..whole].chunks_exact(8) {
        for (sum, part) in r.iter_mut().zip(eight) {
            *sum += part;
        }
    }
    let sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    parts[whole..].iter().fold(sum, |sum, part| sum + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_stand_in_the_order_of_axe() {
        let field = Field::new("a", (1..=10).map(f64::from).collect()).unwrap();
        let (x, y) = (2.0, 3.0);
        let wanted = 1.0 + 2.0 * x + 3.0 * y + 4.0 * x * x + 5.0 * x * y + 6.0 * y * y;
        let cubic = 7.0 * x * x * x + 8.0 * x * x * y + 9.0 * x * y * y + 10.0 * y * y * y;
        assert_eq!(field.at(x, y), wanted + cubic);
        assert!(Field::new("a", vec![1.0, 2.0]).is_err());
        assert!(Field::new("a", vec![]).is_err());
    }
}
