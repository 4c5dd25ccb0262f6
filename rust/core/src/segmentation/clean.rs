//! Cleaning: detections that the wing of a brighter neighbour explains.

use super::moments::Ellipse;

/// What decides whether a detection is explained by another one.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub ellipse: Ellipse,
    pub n_pixels: usize,
    /// Sum of the filtered pixels.
    pub flux: f64,
    /// Threshold of the segment.
    pub threshold: f64,
    /// What could be subtracted everywhere before fewer pixels than the least area stay above the threshold.
    pub excess: f64,
}

/// Neighbours farther away than this are not asked, in major axes of the brighter one.
const ZONE: f64 = 10.0;

/// Moffat profile `A (1 + alpha r^2)^-beta` through the source's flux and its area at the threshold.
struct Wing {
    amplitude: f64,
    alpha: f64,
    beta: f64,
}

impl Wing {
    fn of(source: &Candidate, beta: f64) -> Self {
        let unit_area = std::f64::consts::PI * source.ellipse.a * source.ellipse.b;
        let amplitude = source.flux / (2.0 * unit_area);
        let alpha = ((amplitude / source.threshold).powf(1.0 / beta) - 1.0) * unit_area
            / source.n_pixels as f64;
        Self {
            amplitude,
            alpha,
            beta,
        }
    }

    fn value(&self, radius_squared: f64) -> f64 {
        let base = 1.0 + self.alpha * radius_squared;
        if base > 1.0 {
            self.amplitude * base.powf(-self.beta)
        } else {
            0.0
        }
    }
}

/// For every source the brighter one that explains it, if there is one; that one is not explained itself.
///
/// # Source
/// Bertin & Arnouts 1996, A&AS 117, 393, section 5 (`CLEAN`).
pub(super) fn explained_by(sources: &[Candidate], beta: f64) -> Vec<Option<usize>> {
    let mut by_flux: Vec<usize> = (0..sources.len()).collect();
    by_flux.sort_by(|&i, &j| sources[j].flux.total_cmp(&sources[i].flux).then(i.cmp(&j)));
    let mut by_row: Vec<usize> = (0..sources.len()).collect();
    by_row.sort_by(|&i, &j| sources[i].ellipse.y.total_cmp(&sources[j].ellipse.y));
    let mut eater = vec![None; sources.len()];
    for i in by_flux {
        if eater[i].is_some() {
            continue;
        }
        crate::interrupt::poll();
        let bright = &sources[i];
        let wing = Wing::of(bright, beta);
        let zone = ZONE * bright.ellipse.a;
        let first = by_row.partition_point(|&j| sources[j].ellipse.y < bright.ellipse.y - zone);
        for &j in &by_row[first..] {
            let faint = &sources[j];
            let (dx, dy) = (
                faint.ellipse.x - bright.ellipse.x,
                faint.ellipse.y - bright.ellipse.y,
            );
            if dy > zone {
                break;
            }
            if eater[j].is_none()
                && faint.flux < bright.flux
                && dx * dx + dy * dy <= zone * zone
                && wing.value(bright.ellipse.radius_squared(dx, dy)) > faint.excess
            {
                eater[j] = Some(i);
            }
        }
    }
    eater
}
