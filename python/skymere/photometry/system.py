"""The linear system of a band: templates of all sources and a smooth sky."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skymere._rust import photometry as _rust
from skymere.photometry.band import Band
from skymere.photometry.bounds import non_negative
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.external import ExternalModels
from skymere.photometry.models import Models, pixel_rows
from skymere.photometry.params import PhotometryParams

__all__ = ["Scene", "Solution", "powers_of", "scene_of", "solve"]

# Of several sources that cannot be told apart those that make up more than this part are named.
_LEAST_SHARE = 0.01


def powers_of(degree: int) -> list[tuple[int, int]]:
    """Return the powers of x and y of a polynomial, none for a degree of -1."""
    return [(total - y, y) for total in range(degree + 1) for y in range(total + 1)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Models on a band, and what draws them."""

    models: Models
    band: Band
    psf: EffectivePsf
    external: ExternalModels
    params: PhotometryParams
    drawer: _rust.Drawer

    def rows(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the kernel's rows of all components, one after the other."""
        return np.ascontiguousarray(pixel_rows(self.models, self.band.grid, shift)).ravel()

    @property
    def owners(self) -> list[int]:
        """Row of the source of each component."""
        owners: list[int] = self.models.parts.owner.tolist()
        return owners

    def draw(self, shift: NDArray[np.float64], *, has_moves: bool = True) -> _rust.Templates:
        """Return the templates of models that lie ``shift`` arcsec, ``(n, 2)`` east and north, from their places."""
        made = self.external.stamps(self.models, self.band, self.psf, self.params, shift)
        values, by_x, by_y = (np.ascontiguousarray(plane) for plane in made.planes)
        return self.drawer.templates(
            self.rows(shift),
            self.owners,
            len(self.models),
            has_moves=has_moves,
            given=made.given,
            windows=made.windows,
            values=values,
            by_x=by_x,
            by_y=by_y,
        )


def scene_of(
    models: Models, band: Band, psf: EffectivePsf, external: ExternalModels, params: PhotometryParams
) -> Scene:
    """Return the models on a band."""
    drawer = _rust.Drawer(
        psf.images,
        psf.x,
        psf.y,
        band.shape,
        oversampling=psf.oversampling,
        enclosed=params.light_in_stamp,
        max_half=params.max_stamp_pix,
    )
    return Scene(models=models, band=band, psf=psf, external=external, params=params, drawer=drawer)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverse:
    """Covariances of sources, of overlapping pairs, with columns and among columns."""

    variance: NDArray[np.float64]
    pairs: NDArray[np.float64]
    border: NDArray[np.float64]
    corner: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """Fluxes in the unit of the image, levels of the columns, and the factor that gives their covariances."""

    templates: _rust.Templates
    normal: _rust.Normal
    factor: _rust.Factor
    flux: NDArray[np.float64]
    """0 for what was not solved."""
    levels: NDArray[np.float64]
    message: list[str]
    at_bound: NDArray[np.bool_]
    """Sources whose flux would be negative."""
    noise_factor: float
    planes: list[NDArray[np.float32]]
    """Columns beyond the sky."""

    @cached_property
    def inverse(self) -> "Inverse":
        """Covariances, which are computed when somebody asks for them."""
        n, k = self.flux.size, self.levels.size
        variance, pairs, border, corner = self.factor.inverse(self.templates.neighbours().size)
        square = self.noise_factor**2
        corner = corner.reshape(k, k) * square
        corner[self.is_undetermined, :] = np.nan
        corner[:, self.is_undetermined] = np.nan
        return Inverse(
            variance=variance * square,
            pairs=pairs * square,
            border=border.reshape(n, k) * square,
            corner=corner,
        )

    @property
    def is_undetermined(self) -> NDArray[np.bool_]:
        """Columns that the sources and other columns make up: their levels are 0, their variances NaN."""
        failed = np.array(self.factor.failed, np.int64) - self.flux.size
        found = np.zeros(self.levels.size, bool)
        found[failed[failed >= 0]] = True
        return found

    @property
    def stacked(self) -> NDArray[np.float32] | None:
        """Columns beyond the sky below each other; None without."""
        return np.concatenate(self.planes) if self.planes else None

    @property
    def is_solved(self) -> NDArray[np.bool_]:
        """Sources that have a flux."""
        return np.array([not text for text in self.message], bool)


def assemble(
    band: Band,
    templates: _rust.Templates,
    powers: list[tuple[int, int]],
    planes: list[NDArray[np.float32]],
    rows: int | None,
) -> _rust.Normal:
    """Return the normal equations, made of so many rows of the image at a time."""
    normal = _rust.Normal(templates, len(powers) + len(planes))
    ny, step = band.shape[0], rows or band.shape[0]
    for first in range(0, ny, step):
        part = slice(first, min(first + step, ny))
        stacked = np.concatenate([plane[part] for plane in planes]) if planes else None
        normal.add(templates, band.data[part], band.weight[part], powers, stacked, first)
    return normal


def solve(scene: Scene, templates: _rust.Templates, *, planes: list[NDArray[np.float32]] | None = None) -> Solution:
    """Fit all templates, the sky and further columns to a band.

    Notes
    -----
    ``A^T W A x = A^T W d`` with a template or a column in each column of A. Variances are those of all sources
    together, also where fluxes are kept from becoming negative.
    """
    models, band, params = scene.models, scene.band, scene.params
    powers = powers_of(params.background_degree)
    normal = assemble(band, templates, powers, planes or [], params.block_rows)
    diagonal, right = normal.diagonal(), normal.right()
    message = list(models.message)
    for i in np.flatnonzero(diagonal <= 0):
        if not message[i]:
            outside = templates.window(int(i)) is None
            message[i] = "outside of the image" if outside else "no pixel with a weight"
    active = np.array([not text for text in message], bool)
    factor = _rust.Factor(normal, templates, active)
    found = factor.solve(right)
    _name_dependent(models, normal, templates, factor, diagonal, message)
    n = len(models)
    at_bound = np.zeros(n, bool)
    if params.is_non_negative:
        bounded = non_negative(normal, templates, active & ~_is_failed(factor, n), found)
        found, at_bound = bounded.values, bounded.at_bound
        for i in np.flatnonzero(bounded.is_unsettled):
            message[i] = message[i] or "its flux did not settle at or above 0"
    return Solution(
        templates=templates,
        normal=normal,
        factor=factor,
        flux=found[:n],
        levels=found[n:],
        message=message,
        at_bound=at_bound,
        noise_factor=band.noise_factor,
        planes=planes or [],
    )


def _is_failed(factor: _rust.Factor, n: int) -> NDArray[np.bool_]:
    failed = np.zeros(n, bool)
    failed[[i for i in factor.failed if i < n]] = True
    return failed


def _name_dependent(
    models: Models,
    normal: _rust.Normal,
    templates: _rust.Templates,
    factor: _rust.Factor,
    diagonal: NDArray[np.float64],
    message: list[str],
) -> None:
    """Say of sources that cannot be told apart which they are: the one without a pivot is a sum of the others."""
    n = len(models)
    for i in factor.failed:
        unit = np.zeros(normal.right().size)
        unit[i] = 1.0
        column = normal.multiply(templates, unit)
        shares = factor.solve(column)
        parts = np.abs(shares[:n]) * np.sqrt(diagonal / column[i]) if column[i] > 0 else np.zeros(n)
        # A column of the sky or of the shift comes after all sources: those that make it up are told from nothing.
        own = [int(i)] if i < n else []
        others = [int(j) for j in np.flatnonzero(parts > _LEAST_SHARE) if j != i]
        group = sorted(models.source_id[[*own, *others]].tolist()) if own else []
        for j in (*own, *others):
            rest = [str(one) for one in group if one != models.source_id[j]]
            told = f"source {', '.join(rest)}" if rest else "the background"
            message[j] = f"its light cannot be told from that of {told}"
