//! A point-spread function that may change over an image.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use rayon::prelude::*;

use super::ProfileError;
use super::convolved::{Convolver, Response};
use crate::image::Plane;

/// Images of the PSF at the nodes of a grid of places.
pub struct Psfs<'a> {
    images: Vec<Plane<'a, f64>>,
    x: Vec<f64>,
    y: Vec<f64>,
    centre: (f64, f64),
    oversampling: usize,
    has_pixel: bool,
}

impl<'a> Psfs<'a> {
    /// Images below each other, node row after node row, at places that increase; one image for one node. The other
    /// arguments are those of [`Response`].
    ///
    /// # Errors
    /// When there are not as many rows as the nodes need, or a pixel is not finite.
    pub fn new(
        all: Plane<'a, f64>,
        x: Vec<f64>,
        y: Vec<f64>,
        centre: (f64, f64),
        oversampling: usize,
        has_pixel: bool,
    ) -> Result<Self, ProfileError> {
        let (n_nodes, (ny, nx)) = (x.len() * y.len(), all.shape());
        if n_nodes == 0 || ny % n_nodes != 0 {
            return Err(ProfileError::Nodes(ny, n_nodes));
        }
        let each = ny / n_nodes;
        let images = all
            .pixels()
            .chunks_exact((each * nx).max(1))
            .map(|pixels| Plane::new("psf", pixels, (each, nx)))
            .collect::<Result<Vec<_>, _>>()?;
        if !all.pixels().iter().all(|v| v.is_finite()) {
            return Err(ProfileError::Psf);
        }
        Ok(Self {
            images,
            x,
            y,
            centre,
            oversampling,
            has_pixel,
        })
    }

    /// Whether it is the same everywhere.
    fn is_constant(&self) -> bool {
        self.images.len() == 1
    }

    /// What draws stamps of `shape` behind the PSF of a place: bilinear between nodes, constant outside of them.
    ///
    /// # Errors
    /// When the PSF cannot be used.
    pub fn convolver(
        &self,
        (x, y): (f64, f64),
        shape: (usize, usize),
    ) -> Result<Convolver, ProfileError> {
        let pixels = self.at(x, y);
        let response = Response {
            image: Plane::new("psf", &pixels, self.images[0].shape())?,
            centre: self.centre,
            oversampling: self.oversampling,
            has_pixel: self.has_pixel,
        };
        Convolver::new(&response, shape)
    }

    fn at(&self, x: f64, y: f64) -> Cow<'a, [f64]> {
        if self.is_constant() {
            return Cow::Borrowed(self.images[0].pixels());
        }
        let mut sum = vec![0.0; self.images[0].pixels().len()];
        for (j, wy) in around(&self.y, y) {
            for (i, wx) in around(&self.x, x) {
                let image = &self.images[j * self.x.len() + i];
                for (sum, value) in sum.iter_mut().zip(image.pixels()) {
                    *sum += wx * wy * value;
                }
            }
        }
        Cow::Owned(sum)
    }

    /// Half side of the square around the source that holds a part of the light of the widest image [pix].
    pub(super) fn half(&self, part: f64) -> f64 {
        let of_one = |image: &Plane<'_, f64>| {
            let (ny, nx) = image.shape();
            let total: f64 = image.pixels().iter().sum();
            let (cy, cx) = self.centre;
            let mut rings: Vec<(f64, f64)> = (0..ny * nx)
                .map(|i| {
                    let (dy, dx) = ((i / nx) as f64 - cy, (i % nx) as f64 - cx);
                    (dx.hypot(dy), image.pixels()[i])
                })
                .collect();
            rings.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut within = 0.0;
            let found = rings.iter().find(|ring| {
                within += ring.1;
                within >= part * total
            });
            found.or(rings.last()).map_or(0.0, |ring| ring.0)
        };
        let widest = self.images.iter().map(of_one).fold(0.0, f64::max);
        widest / self.oversampling as f64
    }
}

/// Nodes around a value and their weights.
fn around(places: &[f64], value: f64) -> Vec<(usize, f64)> {
    let last = places.len() - 1;
    let after = places.partition_point(|&p| p <= value);
    if after == 0 || after > last {
        return vec![(if after == 0 { 0 } else { last }, 1.0)];
    }
    let part = (value - places[after - 1]) / (places[after] - places[after - 1]);
    vec![(after - 1, 1.0 - part), (after, part)]
}

/// Convolvers of square stamps, shared where the PSF is the same everywhere.
pub(super) struct Convolvers<'a> {
    psfs: &'a Psfs<'a>,
    shared: BTreeMap<usize, Convolver>,
}

/// One that is shared, or was made for a place.
pub(super) enum Ready<'a> {
    Shared(&'a Convolver),
    Own(Box<Convolver>),
}

impl Deref for Ready<'_> {
    type Target = Convolver;

    fn deref(&self) -> &Convolver {
        match self {
            Self::Shared(one) => one,
            Self::Own(one) => one,
        }
    }
}

impl<'a> Convolvers<'a> {
    /// For stamps of these sides.
    pub(super) fn new(
        psfs: &'a Psfs<'a>,
        sides: impl Iterator<Item = usize>,
    ) -> Result<Self, ProfileError> {
        let mut shared: BTreeMap<usize, Option<Convolver>> = BTreeMap::new();
        if psfs.is_constant() {
            shared.extend(sides.map(|side| (side, None)));
        }
        shared.par_iter_mut().try_for_each(|(&side, slot)| {
            *slot = Some(psfs.convolver((0.0, 0.0), (side, side))?);
            Ok::<_, ProfileError>(())
        })?;
        let shared = shared.into_iter();
        Ok(Self {
            psfs,
            shared: shared.filter_map(|(side, c)| Some((side, c?))).collect(),
        })
    }

    pub(super) fn at(&self, place: (f64, f64), side: usize) -> Result<Ready<'_>, ProfileError> {
        match self.shared.get(&side) {
            Some(one) => Ok(Ready::Shared(one)),
            None => Ok(Ready::Own(Box::new(
                self.psfs.convolver(place, (side, side))?,
            ))),
        }
    }
}
