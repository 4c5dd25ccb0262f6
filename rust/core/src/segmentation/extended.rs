//! What takes longer than a flux: windowed centroids, radii of fractions of the light, total fluxes, and the noise that
//! the shape brings into Kron fluxes.

use super::aperture::{Footprint, Photometer};
use super::kron::KronParams;
use super::label::Run;
use super::light_radius::{Lit, light_radius};
use super::moments::Ellipse;
use super::position::Unfiltered;
use super::shape_noise::ShapeNoise;
use super::total::{Annuli, Total, totals};
use super::window::{WindowedCentre, windowed_centre};

/// Memory that sources use one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    pub footprint: Footprint,
    pub light: Vec<Lit>,
    pub annuli: Annuli,
}

/// The columns of one band.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExtendedBand {
    /// Error of the Kron flux with that of the aperture's shape.
    pub auto_error: f64,
    pub total: Total,
}

/// The columns of a source.
#[derive(Clone, Debug)]
pub(super) struct Extended {
    pub window: WindowedCentre,
    /// Radii of the circles with 20 and 80 per cent of the light.
    pub radii: [f64; 2],
    pub bands: Vec<ExtendedBand>,
}

/// A measured source, of which more is to be known.
pub(super) struct Source<'a> {
    pub label: i32,
    pub runs: &'a [Run],
    pub ellipse: &'a Ellipse,
    pub kron: &'a KronParams,
    pub kron_radius: f64,
    /// Kron flux on the detection image.
    pub flux: f64,
    pub half_light_radius: f64,
    /// Whether the Kron aperture was held, so that it has no noise.
    pub is_held: bool,
}

impl Extended {
    /// Measure a source; the footprint in `scratch` is its Kron aperture.
    pub(super) fn of(
        source: &Source<'_>,
        unfiltered: &Unfiltered<'_>,
        bands: &[Photometer<'_>],
        valued: impl Iterator<Item = (usize, usize, f32)> + Clone,
        scratch: &mut Scratch,
    ) -> Self {
        let detection = unfiltered.photometer;
        let (label, ellipse) = (source.label, source.ellipse);
        let noise = shape_noise(source, unfiltered, valued);
        let auto_errors: Vec<f64> = bands
            .iter()
            .map(|band| {
                let held = band.factors(&scratch.footprint, label);
                match &noise {
                    Some(noise) => noise.flux_error(band, &held),
                    None => band.variance_of_sum(&held).sqrt(),
                }
            })
            .collect();
        let centre = (ellipse.x, ellipse.y);
        let without_errors = Photometer {
            variance: None,
            correlation: None,
            ..*detection
        };
        let reach = source.kron_radius * ellipse.a;
        let radii = [0.2, 0.8].map(|fraction| {
            light_radius(
                &without_errors,
                centre,
                label,
                (source.flux, fraction),
                reach,
                &mut scratch.light,
            )
        });
        let window = if source.half_light_radius.is_finite() {
            windowed_centre(detection, label, centre, source.half_light_radius)
        } else {
            WindowedCentre::UNKNOWN
        };
        scratch
            .annuli
            .lay(ellipse, source.kron_radius, detection.data.shape());
        let totals = totals(
            &scratch.annuli,
            detection,
            bands,
            (label, ellipse),
            noise.as_ref(),
        );
        let bands = auto_errors.into_iter().zip(totals);
        Self {
            window,
            radii,
            bands: bands
                .map(|(auto_error, total)| ExtendedBand { auto_error, total })
                .collect(),
        }
    }
}

/// How the shape of a source moves with the pixels; None when it is held or nothing is known about its noise.
fn shape_noise<'a>(
    source: &Source<'_>,
    unfiltered: &Unfiltered<'a>,
    valued: impl Iterator<Item = (usize, usize, f32)> + Clone,
) -> Option<ShapeNoise<'a>> {
    if source.is_held || unfiltered.photometer.variance.is_none() {
        return None;
    }
    ShapeNoise::new(
        unfiltered,
        source.runs,
        valued,
        source.ellipse,
        source.label,
        (source.kron, source.kron_radius),
    )
}
