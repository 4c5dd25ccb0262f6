//! All orders of all sources of a frame.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use rayon::prelude::*;

use super::GrismError;
use super::columns::Columns;
use super::operator::Operator;
use super::order::{Order, Place};
use super::sensitivity::Sensitivity;
use super::stamp::Stamp;
use crate::interrupt;

/// Sources that are drawn before they are added to the frame; a constant, so that sums do not depend on threads.
const BLOCK: usize = 64;

/// The spectrum of a source.
#[derive(Clone, Debug)]
pub struct Spectrum {
    /// Flux densities [erg/s/cm2/A] along wavelength [Angstrom].
    pub flux: Sensitivity,
    /// The unit of the image: stamp times spectrum is multiplied with this.
    pub scale: f64,
}

/// A source of a frame.
#[derive(Clone, Debug)]
pub struct FrameSource {
    /// Its label.
    pub label: i32,
    /// First row and column of its stamp, and how many of both.
    pub window: [usize; 3],
    /// Where it is.
    pub place: Place,
    /// Which orders are drawn, and by how much offsets are shifted in each.
    pub orders: Vec<Option<f64>>,
    /// Its spectrum; without one, the image times a constant one of 1.
    pub spectrum: Option<Spectrum>,
}

/// A dispersed order and where it begins.
struct Patch {
    at: [i64; 2],
    image: Array2<f64>,
}

/// Draw all sources: the image that a grism makes of a frame.
///
/// # Errors
/// When shapes differ, or a stamp is not within the frame.
pub fn render_frame(
    image: ArrayView2<f32>,
    labels: ArrayView2<i32>,
    orders: &[Order],
    sources: &[FrameSource],
    operator: Operator,
) -> Result<Array2<f64>, GrismError> {
    let (ny, nx) = image.dim();
    if labels.dim() != (ny, nx) {
        return Err(GrismError::Shape {
            name: "segmentation",
            found: [labels.nrows(), labels.ncols()],
            wanted: [ny, nx],
        });
    }
    for (i, source) in sources.iter().enumerate() {
        let [y, x, size] = source.window;
        if y + size > ny || x + size > nx || source.orders.len() != orders.len() {
            return Err(GrismError::Source(i));
        }
    }
    let mut frame = Array2::zeros((ny, nx));
    for block in sources.chunks(BLOCK) {
        interrupt::poll();
        let drawn: Vec<Vec<Patch>> = block
            .par_iter()
            .map(|source| patches(source, image, labels, orders, operator))
            .collect::<Result<_, _>>()?;
        for patch in drawn.iter().flatten() {
            add(patch, frame.view_mut());
        }
    }
    Ok(frame)
}

fn patches(
    source: &FrameSource,
    image: ArrayView2<f32>,
    labels: ArrayView2<i32>,
    orders: &[Order],
    operator: Operator,
) -> Result<Vec<Patch>, GrismError> {
    let [y, x, size] = source.window;
    let cut = s![y..y + size, x..x + size];
    let stamp = Stamp::new(image.slice(cut), labels.slice(cut), source.label, operator)?;
    let (height, width) = (stamp.values.nrows() as i64, stamp.values.ncols() as i64);
    let mut out = Vec::new();
    for (order, shift) in orders.iter().zip(&source.orders) {
        let Some(shift) = shift else {
            continue;
        };
        let place = Place {
            x_shift: *shift,
            ..source.place
        };
        let columns = Columns::new(order, &place, operator);
        let spectrum = source.spectrum.as_ref();
        let mut light = columns.light(order.sensitivity(), spectrum.map(|s| &s.flux));
        if let Some(spectrum) = spectrum {
            for value in &mut light {
                *value *= spectrum.scale;
            }
        }
        let (first, end) = match operator {
            // grizli keeps the rows of the stamp.
            Operator::Grizli => (0, size as i64),
            Operator::Spline => {
                let low = columns.rows().iter().min().copied().unwrap_or(0);
                let high = columns.rows().iter().max().copied().unwrap_or(0);
                (stamp.origin[0] + low, stamp.origin[0] + height + high + 3)
            }
        };
        let left = stamp.origin[1] + columns.first();
        let n_columns = width + columns.len() as i64;
        let mut image = Array2::zeros(((end - first) as usize, n_columns as usize));
        columns.draw(&stamp, &light, [-first, -left], image.view_mut());
        out.push(Patch {
            at: [y as i64 + first, x as i64 + left],
            image,
        });
    }
    Ok(out)
}

fn add(patch: &Patch, mut frame: ArrayViewMut2<f64>) {
    let overlap = |at: i64, n: usize, size: usize| {
        let from = (-at).clamp(0, n as i64);
        let end = (size as i64 - at).clamp(from, n as i64);
        (from as usize, end as usize)
    };
    let (y0, y1) = overlap(patch.at[0], patch.image.nrows(), frame.nrows());
    let (x0, x1) = overlap(patch.at[1], patch.image.ncols(), frame.ncols());
    if y0 == y1 || x0 == x1 {
        return;
    }
    let to = |at: i64, i: usize| (at + i as i64) as usize;
    let mut target = frame.slice_mut(s![
        to(patch.at[0], y0)..to(patch.at[0], y1),
        to(patch.at[1], x0)..to(patch.at[1], x1)
    ]);
    target += &patch.image.slice(s![y0..y1, x0..x1]);
}
