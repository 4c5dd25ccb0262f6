//! From shapes to pixels.

use super::{RegionError, Shape};
use crate::image::Image;

/// Rows in one block of work.
const BLOCK_ROWS: usize = 64;

/// The pixels of a shape inside the smallest window that holds it; 0 x 0 when the shape lies outside the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// First row of the window.
    pub y0: usize,
    /// First column of the window.
    pub x0: usize,
    /// True where a pixel belongs to the shape.
    pub inside: Image<bool>,
}

/// Which pixels belong to a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Those whose centre lies inside, as in DS9: on average over all places, the area of the shape.
    Centre,
    /// Those with at least three of their four corners inside, as in `make_detect` and its companions: the area of a
    /// circle of radius 5 is 12 % too small.
    Corners,
}

impl Membership {
    /// The rule called `name`.
    ///
    /// # Errors
    /// [`RegionError::Membership`] when there is none.
    pub fn from_name(name: &str) -> Result<Self, RegionError> {
        match name {
            "centre" => Ok(Self::Centre),
            "corners" => Ok(Self::Corners),
            _ => Err(RegionError::Membership(name.to_owned())),
        }
    }
}

/// The pixels of an image of `shape` `(ny, nx)` that belong to a region.
#[must_use]
pub fn stamp(region: &Shape, shape: (usize, usize), membership: Membership) -> Stamp {
    let [along_x, along_y] = region.bounds();
    let (Some((x0, x1)), Some((y0, y1))) = (window(along_x, shape.1), window(along_y, shape.0))
    else {
        return Stamp {
            y0: 0,
            x0: 0,
            inside: Image::empty((0, 0)),
        };
    };
    let nx = x1 - x0;
    let mut inside = Image::empty((y1 - y0, nx));
    inside.fill_blocks(BLOCK_ROWS, |first, pixels| match membership {
        Membership::Centre => {
            for (row, line) in pixels.chunks_exact_mut(nx).enumerate() {
                region.row((y0 + first + row) as f64, x0 as f64, line);
            }
        }
        Membership::Corners => {
            let corners = |row: usize| {
                let mut line = vec![false; nx + 1];
                region.row((y0 + first + row) as f64 - 0.5, x0 as f64 - 0.5, &mut line);
                line
            };
            let mut below = corners(0);
            for (row, line) in pixels.chunks_exact_mut(nx).enumerate() {
                let above = corners(row + 1);
                for (x, pixel) in line.iter_mut().enumerate() {
                    let four = [below[x], below[x + 1], above[x], above[x + 1]];
                    *pixel = four.into_iter().filter(|&c| c).count() >= 3;
                }
                below = above;
            }
        }
    });
    Stamp { y0, x0, inside }
}

/// The pixels along one axis of length `n` that an interval touches.
fn window([low, high]: [f64; 2], n: usize) -> Option<(usize, usize)> {
    let first = (low + 0.5).floor().max(0.0);
    let end = ((high + 0.5).floor() + 1.0).min(n as f64);
    (first < end).then_some((first as usize, end as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(x: f64, y: f64, r: f64) -> Shape {
        Shape::ellipse([x, y], [[1.0 / r, 0.0], [0.0, 1.0 / r]], 0.0).unwrap()
    }

    fn area(region: &Shape, membership: Membership) -> usize {
        let found = stamp(region, (100, 100), membership);
        found.inside.pixels().iter().filter(|&&p| p).count()
    }

    /// Mean area of a circle of radius 5 over many places, over what it should be.
    fn mean_area(membership: Membership) -> f64 {
        let places: Vec<f64> = (0..20).map(|i| 40.0 + f64::from(i) * 0.05).collect();
        let areas = places.iter().flat_map(|&x| {
            places
                .iter()
                .map(move |&y| area(&circle(x, y, 5.0), membership) as f64)
        });
        areas.sum::<f64>() / 400.0 / (std::f64::consts::PI * 25.0)
    }

    #[test]
    fn centres_keep_the_area_of_a_circle_and_corners_lose_some() {
        assert!((mean_area(Membership::Centre) - 1.0).abs() < 0.01);
        assert!((mean_area(Membership::Corners) - 0.88).abs() < 0.01);
    }

    #[test]
    fn a_pixel_needs_three_corners() {
        let triangle = Shape::polygon(vec![[-0.5, -0.5], [9.6, -0.5], [-0.5, 9.6]]).unwrap();
        // A triangle of 10.1 pixels along each side: the pixels of the diagonal have three corners in it.
        assert_eq!(area(&triangle, Membership::Corners), 55);
        let below = Shape::polygon(vec![[-0.5, -0.5], [9.4, -0.5], [-0.5, 9.4]]).unwrap();
        assert_eq!(area(&below, Membership::Corners), 45);
    }

    #[test]
    fn whole_pixels_of_a_box_are_its_area() {
        let whole = Shape::rectangle([20.0, 30.0], [[1.0 / 5.5, 0.0], [0.0, 1.0 / 2.5]]).unwrap();
        assert_eq!(area(&whole, Membership::Corners), 55);
        assert_eq!(area(&whole, Membership::Centre), 55);
    }

    #[test]
    fn what_lies_outside_has_an_empty_window_and_what_sticks_out_is_cut() {
        for x in [-20.0, 1e300] {
            let far = stamp(&circle(x, 50.0, 5.0), (100, 100), Membership::Centre);
            assert_eq!(far.inside.shape(), (0, 0));
        }
        let cut = stamp(&circle(0.0, 0.0, 1e6), (100, 100), Membership::Corners);
        assert_eq!(cut.inside.shape(), (100, 100));
        assert!(cut.inside.pixels().iter().all(|&p| p));
    }

    #[test]
    fn an_annulus_is_what_two_circles_leave() {
        let ring = Shape::ellipse([50.0, 50.0], [[0.05, 0.0], [0.0, 0.05]], 0.5).unwrap();
        let expected = std::f64::consts::PI * (400.0 - 100.0);
        assert!((area(&ring, Membership::Centre) as f64 / expected - 1.0).abs() < 0.03);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let unit = [[1.0, 0.0], [0.0, 1.0]];
        assert!(Shape::ellipse([0.0, f64::NAN], unit, 0.0).is_err());
        assert!(Shape::ellipse([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], 0.0).is_err());
        assert!(Shape::ellipse([0.0, 0.0], unit, 1.0).is_err());
        assert!(Shape::rectangle([0.0, 0.0], [[0.0, 0.0], [0.0, 1.0]]).is_err());
        assert!(Shape::polygon(vec![[0.0, 0.0], [1.0, 0.0]]).is_err());
        assert!(Membership::from_name("edges").is_err());
    }
}
