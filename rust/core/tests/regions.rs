//! Properties of shapes and their pixels.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use skymere_core::image::Plane;
use skymere_core::regions::{Membership, Shape, outlines, stamp};

fn pixels(shape: &Shape, size: (usize, usize), membership: Membership) -> Vec<bool> {
    let found = stamp(shape, size, membership);
    let nx = found.inside.shape().1;
    let mut all = vec![false; size.0 * size.1];
    for (i, &inside) in found.inside.pixels().iter().enumerate() {
        all[(found.y0 + i / nx) * size.1 + found.x0 + i % nx] = inside;
    }
    all
}

fn membership() -> impl Strategy<Value = Membership> {
    prop_oneof![Just(Membership::Centre), Just(Membership::Corners)]
}

proptest! {
    #[test]
    fn outlines_joined_to_one_line_hold_exactly_the_pixels_of_the_mask(
        mask in prop::collection::vec(any::<bool>(), 15 * 11),
    ) {
        let size = (11, 15);
        let lines = outlines(Plane::new("mask", &mask, size).unwrap(), 0.0);
        let Some(first) = lines.first().map(|line| line[0]) else {
            prop_assert!(!mask.contains(&true));
            return Ok(());
        };
        let path: Vec<[f64; 2]> = lines
            .iter()
            .flat_map(|line| line.iter().copied().chain([line[0], first]))
            .collect();
        let shape = Shape::polygon(path).unwrap();
        prop_assert_eq!(pixels(&shape, size, Membership::Centre), mask);
    }

    #[test]
    fn a_shape_that_moves_by_whole_pixels_takes_its_pixels_with_it(
        x in 20.0..40.0_f64, y in 20.0..40.0_f64, a in 1.0..15.0_f64, b in 1.0..15.0_f64, turn in 0.0..6.3_f64,
        rule in membership(),
    ) {
        let (sin, cos) = turn.sin_cos();
        let to_unit = [[cos / a, sin / a], [-sin / b, cos / b]];
        let size = (100, 100);
        for make in [
            |c, m| Shape::ellipse(c, m, 0.0).unwrap(),
            |c, m| Shape::ellipse(c, m, 0.5).unwrap(),
            |c, m| Shape::rectangle(c, m).unwrap(),
        ] {
            let here = pixels(&make([x, y], to_unit), size, rule);
            let there = pixels(&make([x + 32.0, y + 16.0], to_unit), size, rule);
            let differ = (0..100 - 16)
                .flat_map(|v| (0..100 - 32).map(move |u| (v, u)))
                .filter(|&(v, u)| here[v * 100 + u] != there[(v + 16) * 100 + u + 32])
                .count();
            // A pixel on the outline may change sides by rounding.
            prop_assert!(differ <= 1);
        }
    }

    #[test]
    fn three_corners_lie_in_what_centres_hold_for_convex_shapes(
        x in 20.0..40.0_f64, y in 20.0..40.0_f64, a in 1.0..15.0_f64, b in 1.0..15.0_f64,
    ) {
        let shape = Shape::ellipse([x, y], [[1.0 / a, 0.0], [0.0, 1.0 / b]], 0.0).unwrap();
        let centres = pixels(&shape, (60, 60), Membership::Centre);
        let corners = pixels(&shape, (60, 60), Membership::Corners);
        // Two opposite corners of the three are inside, and so is their middle, the centre.
        prop_assert!(corners.iter().zip(&centres).all(|(&corner, &centre)| centre || !corner));
    }

    #[test]
    fn no_number_makes_a_stamp_leave_the_image(
        numbers in prop::collection::vec(any::<f64>(), 6), nx in 1..40_usize, ny in 1..40_usize,
        rule in membership(),
    ) {
        let n = &numbers;
        let vertices = vec![[n[0], n[1]], [n[2], n[3]], [n[4], n[5]]];
        for shape in [
            Shape::ellipse([n[0], n[1]], [[n[2], n[3]], [n[4], n[5]]], 0.0),
            Shape::rectangle([n[0], n[1]], [[n[2], n[3]], [n[4], n[5]]]),
            Shape::polygon(vertices),
        ].into_iter().flatten() {
            let found = stamp(&shape, (ny, nx), rule);
            let (sy, sx) = found.inside.shape();
            prop_assert!(found.y0 + sy <= ny && found.x0 + sx <= nx);
        }
    }
}
