//! Positions whose offsets from pixels are the same numbers in any window of an image.
//!
//! A centre is a multiple of 2^-32 pixels. Its difference from a whole pixel is then exact, so that it does not depend
//! on how far away the first pixel is, as long as the image has fewer than 2^20 pixels along a side.

const STEPS_PER_PIXEL: f64 = 4_294_967_296.0;

/// The nearest position of the lattice.
pub(super) fn snapped(position: f64) -> f64 {
    (position * STEPS_PER_PIXEL).round() / STEPS_PER_PIXEL
}

/// `floor(centre + offset)`, rounded as if the centre lay in the first pixel.
pub(super) fn floor_at(centre: f64, offset: f64) -> f64 {
    let pixel = centre.floor();
    pixel + (centre - pixel + offset).floor()
}

/// `ceil(centre + offset)`, rounded as if the centre lay in the first pixel.
pub(super) fn ceil_at(centre: f64, offset: f64) -> f64 {
    -floor_at(-centre, -offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_do_not_depend_on_the_first_pixel() {
        let near = snapped(7.123_456_789_012_345);
        for first in [1.0, 1000.0, 700_001.0] {
            let far = snapped(near + first);
            assert_eq!(far - first, near);
            assert_eq!((first + 9.0) - far, 9.0 - near);
            for reach in [0.3, 7.123_456_789_012_345, 80.7] {
                assert_eq!(floor_at(far, -reach) - first, floor_at(near, -reach));
                assert_eq!(ceil_at(far, reach) - first, ceil_at(near, reach));
            }
        }
        assert_eq!((floor_at(2.5, -1.0), ceil_at(2.5, 1.0)), (1.0, 4.0));
        assert!(snapped(f64::NAN).is_nan() && floor_at(f64::NAN, 1.0).is_nan());
    }
}
