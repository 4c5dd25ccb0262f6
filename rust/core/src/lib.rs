//! Every algorithm of skymere, over plain arrays: no Python, no files, no network.
//!
//! Images are indexed `[y, x]`; pixel coordinates `x, y` are 0-based with the centre of a pixel at an integer.
//! Every function gives the same bits for any number of threads.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod align;
pub mod background;
pub mod codec;
pub mod error;
pub mod grism;
pub mod image;
pub mod interrupt;
pub mod math;
pub mod outliers;
pub mod photometry;
pub mod profiles;
pub mod regions;
pub mod resample;
pub mod segmentation;
pub mod slit;
pub mod spectra;
pub mod wcs;
