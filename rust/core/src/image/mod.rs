//! Pixels of an image in memory.

use rayon::prelude::*;

use crate::error::{Kind, RoomError};
use crate::interrupt;

/// What can be wrong with the pixels handed over.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// An image without pixels, or whose length is not that of its shape.
    #[error("{name}: shape {shape:?} is not allowed, it must be two positive numbers (ny, nx)")]
    Empty {
        /// The argument.
        name: &'static str,
        /// Its shape.
        shape: (usize, usize),
    },
    /// Two images that belong together differ in shape.
    #[error("{name}: shape {found:?} is not allowed, it must be {expected:?}")]
    Shape {
        /// The argument.
        name: &'static str,
        /// Its shape.
        found: (usize, usize),
        /// The shape that is needed.
        expected: (usize, usize),
    },
}

impl RoomError for ImageError {
    fn kind(&self) -> Kind {
        Kind::InvalidInput
    }
}

/// A borrowed image, row after row, with at least one pixel.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a, T> {
    data: &'a [T],
    ny: usize,
    nx: usize,
}

impl<'a, T> Plane<'a, T> {
    /// The pixels `data` as an image of `shape` `(ny, nx)`; `name` is the argument's name for the error.
    ///
    /// # Errors
    /// [`ImageError::Empty`] when there is no pixel, or when their number is not that of the shape.
    pub fn new(
        name: &'static str,
        data: &'a [T],
        shape: (usize, usize),
    ) -> Result<Self, ImageError> {
        let (ny, nx) = shape;
        if data.is_empty() || ny.checked_mul(nx) != Some(data.len()) {
            return Err(ImageError::Empty { name, shape });
        }
        Ok(Self { data, ny, nx })
    }

    /// `(ny, nx)`.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.ny, self.nx)
    }

    /// All pixels, row after row.
    #[must_use]
    pub fn pixels(&self) -> &'a [T] {
        self.data
    }

    /// The row `y`.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [T] {
        &self.data[y * self.nx..(y + 1) * self.nx]
    }

    /// This image, if it has the shape of another one.
    ///
    /// # Errors
    /// [`ImageError::Shape`] when it has not.
    pub fn of_shape(
        self,
        name: &'static str,
        expected: (usize, usize),
    ) -> Result<Self, ImageError> {
        if self.shape() == expected {
            return Ok(self);
        }
        Err(ImageError::Shape {
            name,
            found: self.shape(),
            expected,
        })
    }
}

/// An owned image, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Image<T> {
    data: Vec<T>,
    ny: usize,
    nx: usize,
}

impl<T: Copy + Default + Send> Image<T> {
    /// An image of `shape` `(ny, nx)` full of `T::default()`.
    #[must_use]
    pub fn empty(shape: (usize, usize)) -> Self {
        Self {
            data: vec![T::default(); shape.0 * shape.1],
            ny: shape.0,
            nx: shape.1,
        }
    }

    /// `(ny, nx)`.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.ny, self.nx)
    }

    /// All pixels, row after row.
    #[must_use]
    pub fn pixels(&self) -> &[T] {
        &self.data
    }

    /// All pixels, row after row.
    pub fn pixels_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The pixels without the shape.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.data
    }

    /// The image as a [`Plane`].
    #[must_use]
    pub fn view(&self) -> Plane<'_, T> {
        Plane {
            data: &self.data,
            ny: self.ny,
            nx: self.nx,
        }
    }

    /// Fill blocks of `n_rows` rows in parallel and collect, in order, what `fill` returns for each. `fill` gets the
    /// number of the block's first row and the pixels of the block.
    pub fn fill_blocks<R: Send>(
        &mut self,
        n_rows: usize,
        fill: impl Fn(usize, &mut [T]) -> R + Sync,
    ) -> Vec<R> {
        self.data
            .par_chunks_mut(self.nx.max(1) * n_rows)
            .enumerate()
            .map(|(block, pixels)| {
                interrupt::poll();
                fill(block * n_rows, pixels)
            })
            .collect()
    }
}
