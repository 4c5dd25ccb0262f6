//! From the name of a kernel to the code that is compiled for it.

use super::ResampleError;
use super::drizzle::Input;
use super::kernels::{Kernel, Point, Spread};
use super::scale;
use super::separable::{Boxcar, Gaussian, Lanczos, Separable};
use super::square::Square;

/// Work that is compiled once for each kernel.
pub(super) trait WithSpread {
    /// What comes out.
    type Output;

    /// Do it with the kernel that `make` makes, one for each thread.
    fn run<S: Spread>(self, make: impl Fn() -> S + Sync) -> Self::Output;
}

/// Do `work` with a kernel for the pixels of an exposure.
///
/// # Errors
/// [`ResampleError::Number`] for a scale ratio that is not allowed, [`ResampleError::NoScale`] when it cannot be
/// measured.
pub(super) fn with_spread<W: WithSpread>(
    kernel: Kernel,
    input: &Input<'_>,
    work: W,
) -> Result<W::Output, ResampleError> {
    let ratio = if kernel.needs_scale() {
        scale_ratio(input)?
    } else {
        1.0
    };
    Ok(match kernel {
        Kernel::Square { pixfrac } => work.run(|| Square::new(pixfrac)),
        Kernel::Turbo { pixfrac } => work.run(|| Separable::new(Boxcar::new(pixfrac, ratio))),
        Kernel::Gaussian { pixfrac } => work.run(|| Separable::new(Gaussian::new(pixfrac, ratio))),
        Kernel::Lanczos { order, step } => {
            work.run(|| Separable::new(Lanczos::new(order, ratio, step)))
        }
        Kernel::Point => work.run(Point::default),
    })
}

/// The side of an output pixel in input pixels, as given or as measured.
fn scale_ratio(input: &Input<'_>) -> Result<f64, ResampleError> {
    let ratio = match input.pixel_scale_ratio {
        Some(ratio) => ratio,
        None => scale::pixel_scale_ratio(&input.pixmap)?,
    };
    if !(ratio > 0.0 && ratio.is_finite()) {
        return Err(ResampleError::Number {
            name: "pixel_scale_ratio",
            value: ratio,
            wanted: "positive",
        });
    }
    Ok(ratio)
}
