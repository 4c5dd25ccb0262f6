//! How far from its centre a source was looked at.

use super::measure::MeasureParams;
use super::moments::Ellipse;
use super::shape_noise::half_ring;
use super::total;
use super::window;

/// Pixels that a source touches beyond its apertures: the other half of an outermost pixel, and the pixel opposite to
/// it.
const ROUNDING: f64 = 2.0;

/// Half widths along x and y of the window around its centre on which the measurement of a source depends, its segment
/// apart [pix]: apertures, the zones of the total flux, the windowed centroid, and the pixels opposite to all of them.
pub(super) fn reach(
    ellipse: &Ellipse,
    kron_radius: f64,
    half_light_radius: f64,
    params: &MeasureParams,
) -> [f64; 2] {
    let edges = [params.kron.extent, kron_radius].map(|k| k + half_ring(ellipse, k));
    let mut axes = edges[0].max(edges[1]);
    let mut circle = kron_radius * ellipse.a;
    circle = params.aperture_radii.iter().copied().fold(circle, f64::max);
    if params.is_extended {
        axes = axes.max(total::reach(kron_radius));
        // Without a half-light radius there is no window: a maximum leaves out NaN.
        circle = circle.max(window::reach(half_light_radius));
    }
    [ellipse.x2, ellipse.y2].map(|variance| (axes * variance.sqrt()).max(circle) + ROUNDING)
}
