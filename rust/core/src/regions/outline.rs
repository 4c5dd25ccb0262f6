//! From masks to polygons.

use crate::image::Plane;
use crate::interrupt;

type Point = [f64; 2];

/// A lattice point between pixels and the direction in which the outline leaves it, inside on its left.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    x: usize,
    y: usize,
    /// 0 along x, 1 along y, 2 against x, 3 against y.
    direction: usize,
}

impl Step {
    /// The step after this one: at corners the outline goes on so that pixels that share one are one component.
    fn next(self, inside: impl Fn(isize, isize) -> bool) -> Self {
        let (dx, dy) = [(1, 0), (0, 1), (-1, 0), (0, -1)][self.direction];
        let (x, y) = (
            self.x.wrapping_add_signed(dx),
            self.y.wrapping_add_signed(dy),
        );
        let (i, j) = (x as isize, y as isize);
        let [left, right] = match self.direction {
            0 => [(i, j), (i, j - 1)],
            1 => [(i - 1, j), (i, j)],
            2 => [(i - 1, j - 1), (i - 1, j)],
            _ => [(i, j - 1), (i - 1, j - 1)],
        };
        let turn = match (inside(left.0, left.1), inside(right.0, right.1)) {
            (_, true) => 3,
            (true, false) => 0,
            (false, false) => 1,
        };
        Self {
            x,
            y,
            direction: (self.direction + turn) % 4,
        }
    }
}

/// The closed outlines of a mask along the edges of its pixels, holes among them, in raster order of their lowest edge.
///
/// Corners that lie within `tolerance` pixels of the line between others are left out (Douglas & Peucker 1973,
/// Cartographica 10, 112). Together, wound around an odd number of times, the outlines hold the pixels of the mask.
#[must_use]
pub fn outlines(mask: Plane<'_, bool>, tolerance: f64) -> Vec<Vec<Point>> {
    let (ny, nx) = mask.shape();
    let inside = |x: isize, y: isize| {
        (0..nx as isize).contains(&x)
            && (0..ny as isize).contains(&y)
            && mask.row(y as usize)[x as usize]
    };
    let mut is_seen = vec![false; nx * ny];
    let mut found = Vec::new();
    for y in 0..ny {
        interrupt::poll();
        for x in 0..nx {
            let is_edge = mask.row(y)[x] && !inside(x as isize, y as isize - 1);
            if !is_edge || is_seen[y * nx + x] {
                continue;
            }
            let start = Step { x, y, direction: 0 };
            let mut corners = Vec::new();
            let mut here = start;
            loop {
                if here.direction == 0 {
                    is_seen[here.y * nx + here.x] = true;
                }
                let next = here.next(inside);
                if next.direction != here.direction {
                    corners.push([next.x as f64 - 0.5, next.y as f64 - 0.5]);
                }
                here = next;
                if here == start {
                    break;
                }
            }
            found.push(simplify(&corners, tolerance));
        }
    }
    found
}

/// A closed line without the corners that lie within `tolerance` of what is left.
fn simplify(corners: &[Point], tolerance: f64) -> Vec<Point> {
    let n = corners.len();
    let Some(&first) = corners.first() else {
        return Vec::new();
    };
    let distance = |p: Point| (p[0] - first[0]).hypot(p[1] - first[1]);
    let Some(far) = (0..n).max_by(|&i, &j| distance(corners[i]).total_cmp(&distance(corners[j])))
    else {
        return Vec::new();
    };
    let at = |i: usize| corners[i % n];
    let mut is_kept = vec![false; n];
    let mut waiting = vec![(0, far), (far, n)];
    while let Some((from, to)) = waiting.pop() {
        is_kept[from % n] = true;
        is_kept[to % n] = true;
        let worst = (from + 1..to)
            .map(|i| (from_segment(at(i), at(from), at(to)), i))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((apart, i)) = worst
            && apart > tolerance
        {
            waiting.extend([(from, i), (i, to)]);
        }
    }
    let left: Vec<Point> = (0..n).filter(|&i| is_kept[i]).map(|i| corners[i]).collect();
    // What is thinner than the tolerance stays as it is.
    if left.len() < 3 {
        corners.to_vec()
    } else {
        left
    }
}

fn from_segment(p: Point, a: Point, b: Point) -> f64 {
    let d = [b[0] - a[0], b[1] - a[1]];
    let dd = d[0] * d[0] + d[1] * d[1];
    let t = if dd > 0.0 {
        (((p[0] - a[0]) * d[0] + (p[1] - a[1]) * d[1]) / dd).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (p[0] - a[0] - t * d[0]).hypot(p[1] - a[1] - t * d[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(rows: &[&str], tolerance: f64) -> Vec<Vec<Point>> {
        let pixels: Vec<bool> = rows
            .iter()
            .flat_map(|r| r.chars().map(|c| c == '#'))
            .collect();
        let shape = (rows.len(), rows[0].len());
        outlines(Plane::new("mask", &pixels, shape).unwrap(), tolerance)
    }

    fn area(outline: &[Point]) -> f64 {
        let next = outline.iter().cycle().skip(1);
        0.5 * outline
            .iter()
            .zip(next)
            .map(|(p, q)| p[0] * q[1] - p[1] * q[0])
            .sum::<f64>()
    }

    #[test]
    fn a_box_has_four_corners_and_its_area() {
        let found = traced(&["....", ".##.", ".##.", "...."], 0.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].len(), 4);
        assert_eq!(area(&found[0]), 4.0);
    }

    #[test]
    fn holes_turn_the_other_way_and_areas_add_up() {
        let found = traced(&["#####", "#...#", "#.#.#", "#...#", "#####"], 0.0);
        assert_eq!(found.len(), 3);
        assert_eq!(found.iter().map(|o| area(o)).sum::<f64>(), 17.0);
    }

    #[test]
    fn pixels_that_share_a_corner_are_one() {
        let found = traced(&["#.", ".#"], 0.0);
        assert_eq!(found.len(), 1);
        assert_eq!(area(&found[0]), 2.0);
    }

    #[test]
    fn stairs_become_lines_within_the_tolerance() {
        let rows: Vec<String> = (0..40)
            .map(|i| format!("{}{}", "#".repeat(i + 1), ".".repeat(39 - i)))
            .collect();
        let lines: Vec<&str> = rows.iter().map(String::as_str).collect();
        let exact = traced(&lines, 0.0);
        let found = traced(&lines, 0.75);
        assert!(exact[0].len() > 70);
        assert!(found[0].len() <= 5, "{:?}", found[0]);
        assert!((area(&found[0]) / area(&exact[0]) - 1.0).abs() < 0.05);
    }
}
