//! Where a wavelength falls, relative to the place of its source.

use super::GrismError;
use super::arc::length;
use super::field::Field;

/// Below this, a rotated trace is drawn with the small-angle formula.
const SMALL_TURN: f64 = 5e-8;
const SMALL_BEND: f64 = 1e-8;
const N_STEPS: usize = 60;

/// Fields of a polynomial along the trace, one for each power.
fn fields(name: &'static str, rows: Vec<Vec<f64>>) -> Result<Vec<Field>, GrismError> {
    rows.into_iter().map(|row| Field::new(name, row)).collect()
}

fn at(fields: &[Field], x: f64, y: f64) -> Vec<f64> {
    fields.iter().map(|field| field.at(x, y)).collect()
}

fn horner(c: &[f64], t: f64) -> f64 {
    c.iter().rev().fold(0.0, |sum, v| sum * t + v)
}

/// Powers are added from the lowest, as numpy adds them.
fn rising(start: f64, c: &[f64], x: f64) -> f64 {
    let power = |i: usize| match i {
        0 => 1.0,
        1 => x,
        2 => x * x,
        _ => x.powf(i as f64),
    };
    c.iter()
        .enumerate()
        .fold(start, |sum, (i, v)| sum + v * power(i))
}

/// A trace and its wavelengths, as aXe writes them.
///
/// # Source
/// The aXe manual: `dy = YOFF + sum DYDX_i (dx - XOFF)^i`, `wave = sum DLDP_i p^i` with `p` the length along the trace.
#[derive(Clone, Debug)]
pub struct Polynomial {
    reference: [f64; 2],
    x_offset: Field,
    y_offset: Field,
    dydx: Vec<Field>,
    dldp: Vec<Field>,
    degree: i64,
    wheel: Option<f64>,
}

impl Polynomial {
    /// `degree` is the degree of the trace that the file states; `wheel` the position [deg] for which it holds.
    ///
    /// # Errors
    /// When a list of coefficients has a length that no polynomial of the place has.
    pub fn new(
        reference: [f64; 2],
        x_offset: Vec<f64>,
        y_offset: Vec<f64>,
        dydx: Vec<Vec<f64>>,
        dldp: Vec<Vec<f64>>,
        degree: i64,
        wheel: Option<f64>,
    ) -> Result<Self, GrismError> {
        Ok(Self {
            reference,
            x_offset: Field::new("XOFF", x_offset)?,
            y_offset: Field::new("YOFF", y_offset)?,
            dydx: fields("DYDX", dydx)?,
            dldp: fields("DLDP", dldp)?,
            degree,
            wheel,
        })
    }

    fn evaluate(&self, x: f64, y: f64, dx: &[f64], wheel: Option<f64>) -> Vec<[f64; 2]> {
        let (xi, yi) = (x - self.reference[0], y - self.reference[1]);
        let (x_offset, y_offset) = (self.x_offset.at(xi, yi), self.y_offset.at(xi, yi));
        let (trace, waves) = (at(&self.dydx, xi, yi), at(&self.dldp, xi, yi));
        let wave = |along: f64| rising(0.0, &waves, length(&trace, along));
        let turn = wheel.zip(self.wheel).map_or(0.0, |(wheel, reference)| {
            -((wheel - reference) / 180.0 * std::f64::consts::PI)
        });
        let is_turned = turn != 0.0 && self.degree <= 2;
        dx.iter()
            .map(|&dx| {
                let dy = rising(y_offset, &trace, dx - x_offset);
                if !is_turned {
                    return [dy, wave(dx - x_offset)];
                }
                let along = (dx - x_offset) / turn.cos();
                let bend = trace.get(2).copied().unwrap_or(0.0);
                let is_simple = 1.0 - turn.cos() < SMALL_TURN || bend.abs() < SMALL_BEND;
                if is_simple || self.degree < 2 {
                    return [dy + (dx - x_offset) * turn.tan(), wave(along)];
                }
                // The root of a quadratic that is near zero, without taking the difference of large numbers.
                let beta = trace[1] + 2.0 * bend * along - 1.0 / turn.tan();
                let chi = trace[0] + trace[1] * along + bend * along * along;
                let root = (beta * beta - 4.0 * bend * chi).sqrt();
                let far = if turn < 0.0 {
                    -beta - root
                } else {
                    -beta + root
                };
                let near = 2.0 * chi / far;
                [
                    dx * turn.tan() + near / turn.tan() / turn.cos(),
                    wave(along + near),
                ]
            })
            .collect()
    }
}

/// Quarters of a turn, clockwise, that make wavelengths rise with x, and the centre.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// 0 to 3.
    pub quarters: u8,
    /// Fixed point `x, y`.
    pub centre: [f64; 2],
}

impl Turn {
    fn apply(self, quarters: u8, at: [f64; 2]) -> [f64; 2] {
        let [x, y] = [at[0] - self.centre[0], at[1] - self.centre[1]];
        let [x, y] = match quarters % 4 {
            0 => [x, y],
            1 => [y, -x],
            2 => [-x, -y],
            _ => [-y, x],
        };
        [x + self.centre[0], y + self.centre[1]]
    }

    /// From the detector to the turned frame.
    #[must_use]
    pub fn forward(self, at: [f64; 2]) -> [f64; 2] {
        self.apply(self.quarters, at)
    }

    /// Back to the detector.
    #[must_use]
    pub fn reverse(self, at: [f64; 2]) -> [f64; 2] {
        self.apply(4 - self.quarters % 4, at)
    }
}

/// Polynomials of a parameter `t` along the trace, in the frame of the detector.
#[derive(Clone, Debug)]
struct Curve {
    x: Vec<Field>,
    y: Vec<Field>,
    wave: Vec<Field>,
}

/// A trace and its wavelengths as functions of a parameter, as GRISMCONF writes them.
///
/// # Source
/// Pirzkal & Ryan 2017, WFC3 ISR 2017-01: `x' - x = DISPX(x, y; t)`, `y' - y = DISPY(x, y; t)`, `wave = DISPL(x, y; t)`.
#[derive(Clone, Debug)]
pub struct Parametric {
    curve: Curve,
    turn: Turn,
    offset: Option<Field>,
    wheel: Option<(f64, Curve, f64)>,
    to_angstrom: f64,
}

/// `DISPX`, `DISPY` and `DISPL`: coefficients of the place for each power of `t`.
pub type CurveTerms = [Vec<Vec<f64>>; 3];

impl Curve {
    fn new(terms: CurveTerms) -> Result<Self, GrismError> {
        let [x, y, wave] = terms;
        for (name, rows) in [("DISPX", &x), ("DISPY", &y), ("DISPL", &wave)] {
            if rows.is_empty() {
                return Err(GrismError::Length {
                    name,
                    found: 0,
                    wanted: "one or more",
                });
            }
        }
        Ok(Self {
            x: fields("DISPX", x)?,
            y: fields("DISPY", y)?,
            wave: fields("DISPL", wave)?,
        })
    }
}

/// Where a nearly straight polynomial has a value.
fn solve(c: &[f64], value: f64) -> f64 {
    let slope = |t: f64| {
        c.iter()
            .enumerate()
            .skip(1)
            .rev()
            .fold(0.0, |sum, (i, v)| sum * t + i as f64 * v)
    };
    let constant = c[0];
    let mut t = (value - constant) / c.get(1).copied().unwrap_or(0.0);
    for _ in 0..N_STEPS {
        let step = (horner(c, t) - value) / slope(t);
        t -= step;
        if step.abs() <= 1e-15 * t.abs().max(1.0) {
            break;
        }
    }
    t
}

impl Parametric {
    /// `offset` is added to the turned `dy`; `wheel` is the position [deg] for which the file holds, the curve of the
    /// first order and the wavelength around whose place traces turn. Wavelengths times `to_angstrom` are Angstrom.
    ///
    /// # Errors
    /// When a list of coefficients has a length that no polynomial of the place has.
    pub fn new(
        terms: CurveTerms,
        turn: Turn,
        offset: Option<Vec<f64>>,
        wheel: Option<(f64, CurveTerms, f64)>,
        to_angstrom: f64,
    ) -> Result<Self, GrismError> {
        Ok(Self {
            curve: Curve::new(terms)?,
            turn,
            offset: offset
                .map(|terms| Field::new("offset", terms))
                .transpose()?,
            wheel: wheel
                .map(|(at, terms, pivot)| Ok((at, Curve::new(terms)?, pivot)))
                .transpose()?,
            to_angstrom,
        })
    }

    fn evaluate(&self, x: f64, y: f64, dx: &[f64], wheel: Option<f64>) -> Vec<[f64; 2]> {
        let on = self.turn.reverse([x, y]);
        let of = |fields: &[Field]| at(fields, on[0], on[1]);
        let (cx, cy, cw) = (of(&self.curve.x), of(&self.curve.y), of(&self.curve.wave));
        let (across, sign) = match self.turn.quarters % 4 {
            0 => (&cx, 1.0),
            1 => (&cy, 1.0),
            2 => (&cx, -1.0),
            _ => (&cy, -1.0),
        };
        let extra = self.offset.as_ref().map_or(0.0, |field| field.at(x, y));
        let turned = self
            .wheel
            .as_ref()
            .zip(wheel)
            .map(|((reference, first, pivot), wheel)| {
                let t = solve(&of(&first.wave), *pivot);
                let origin = [horner(&of(&first.x), t), horner(&of(&first.y), t)];
                ((wheel - reference).to_radians(), origin)
            });
        dx.iter()
            .map(|&dx| {
                let t = solve(across, sign * dx);
                let mut shift = [horner(&cx, t), horner(&cy, t)];
                if let Some((angle, origin)) = turned {
                    let [u, v] = [shift[0] - origin[0], shift[1] - origin[1]];
                    let (sin, cos) = angle.sin_cos();
                    shift = [u * cos + v * sin + origin[0], v * cos - u * sin + origin[1]];
                }
                let there = self.turn.forward([on[0] + shift[0], on[1] + shift[1]]);
                [there[1] - y + extra, horner(&cw, t) * self.to_angstrom]
            })
            .collect()
    }
}

/// A trace with its wavelengths.
#[derive(Clone, Debug)]
pub enum Law {
    /// As aXe.
    Polynomial(Polynomial),
    /// As GRISMCONF.
    Parametric(Parametric),
}

impl Law {
    /// `dy` [pix] and wavelength [Angstrom] at offsets `dx` from a source at `x, y`.
    #[must_use]
    pub fn evaluate(&self, x: f64, y: f64, dx: &[f64], wheel: Option<f64>) -> Vec<[f64; 2]> {
        match self {
            Self::Polynomial(law) => law.evaluate(x, y, dx, wheel),
            Self::Parametric(law) => law.evaluate(x, y, dx, wheel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_and_back_is_nothing() {
        for quarters in 0..4 {
            let turn = Turn {
                quarters,
                centre: [1024.5, 1024.5],
            };
            assert_eq!(turn.reverse(turn.forward([3.0, 77.0])), [3.0, 77.0]);
        }
    }

    #[test]
    fn bent_polynomials_are_inverted() {
        let c = [3.0, 900.0, 12.0, -4.0];
        for t in [-0.2, 0.0, 0.4, 1.1] {
            assert!((solve(&c, horner(&c, t)) - t).abs() < 1e-14);
        }
    }

    #[test]
    fn a_turned_straight_trace_is_the_rotated_line() {
        let law = Polynomial::new(
            [0.0; 2],
            vec![0.0],
            vec![0.0],
            vec![vec![2.0], vec![0.01], vec![2e-6]],
            vec![vec![9000.0], vec![45.0]],
            2,
            Some(300.0),
        )
        .unwrap();
        let plain = law.evaluate(5.0, 6.0, &[100.0], None)[0];
        let near = law.evaluate(5.0, 6.0, &[100.0], Some(300.0 + 1e-6))[0];
        assert!((plain[0] - near[0]).abs() < 1e-5 && (plain[1] - near[1]).abs() < 1e-4);
        // Points of the turned trace, turned back, lie on the trace.
        let turn = 0.3_f64.to_radians();
        for dx in [50.0, 100.0, 150.0] {
            let [dy, _] = law.evaluate(5.0, 6.0, &[dx], Some(300.3))[0];
            let (u, v) = (
                dx * turn.cos() - dy * turn.sin(),
                dx * turn.sin() + dy * turn.cos(),
            );
            let on = 2.0 + 0.01 * u + 2e-6 * u * u;
            assert!((on - v).abs() < 2e-4, "{on} {v}");
        }
    }
}
