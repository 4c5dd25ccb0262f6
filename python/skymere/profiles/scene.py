"""All sources of an image fitted together with their neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_mask
from skymere._rust import profiles as _rust
from skymere.errors import InvalidInputError
from skymere.profiles.component import Component
from skymere.profiles.fit import FitParams
from skymere.profiles.pixels import ScaledPixels, scaled_pixels
from skymere.profiles.plan import SourcePlan, plan_words, start_of
from skymere.profiles.response import AnyPsf, Response, response_of
from skymere.profiles.table import PARAMETERS, outer_values, source_fluxes, table_of_kinds

__all__ = ["SceneFit", "SceneParams", "fit_scene"]

_LARGEST_LABEL = int(np.iinfo(np.int32).max)


@dataclass(frozen=True, kw_only=True)
class SceneParams:
    """Parameters of `fit_scene`.

    Parameters
    ----------
    fits : FitParams
        Of every source; by default no flux is negative.
    min_half_pix : float
        Least half side of a stamp [pix]: by default 1.5 arcsec of pixels of 0.06 arcsec.
    half_radii : float
        Half side in units of ``sqrt(area / pi)`` of the segment. Stamps grow until they hold their own source.
    model_reach : float
        Models are drawn, and subtracted before fainter sources are fitted, in windows of so many sides of the stamp.
    max_radii : float
        Largest half-light radius in units of ``sqrt(area / pi)`` of the segment, for sources without a plan: what is
        no galaxy, such as a piece of a spike, would otherwise become one as large as the stamp (B4.8).
    max_members : int
        Most sources that are fitted together: the brightest of those on the stamp. Neighbours that are asked for count
        without limit.
    n_passes : int
        How often all groups are fitted: from the second time on with the models of all others subtracted.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    fits: FitParams = field(default_factory=lambda: FitParams(flux=(0.0, float("inf"))))
    min_half_pix: float = 25.0
    half_radii: float = 2.0
    model_reach: float = 3.0
    max_radii: float = 2.5
    max_members: int = 8
    n_passes: int = 1

    def __post_init__(self) -> None:
        least = {
            "min_half_pix": 5.0,
            "half_radii": 1.0,
            "model_reach": 1.0,
            "max_radii": 0.1,
            "max_members": 1,
            "n_passes": 1,
        }
        for name, lowest in least.items():
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= lowest):
                msg = f"{name}: {value} is not allowed, it must be {lowest:g} or more"
                raise InvalidInputError(msg)
            if isinstance(lowest, int) and value != int(value):
                msg = f"{name}: {value} is not allowed, it must be a whole number"
                raise InvalidInputError(msg)

    def fits_of(self, area_pix: int) -> FitParams:
        """Return the parameters of the fit of a source without a plan, whose segment has so many pixels."""
        low, high = self.fits.r_eff_pix
        largest = self.max_radii * float(np.sqrt(area_pix / np.pi))
        return replace(self.fits, r_eff_pix=(low, min(high, max(largest, low))))


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneFit:
    """What `fit_scene` found, and every attempt of `skymere.profiles.refit` since.

    Parameters
    ----------
    table : polars.DataFrame
        A row for each component of each attempt of each segment, in the order of ``label``, ``attempt``, ``component``;
        most sources have one component. ``parent_attempt`` is the attempt that it started from (null for the first),
        ``is_best`` marks the one attempt of a label that is in the model, ``group`` is the label of the brightest of
        the ``n_group`` sources that were fitted together and ``members`` their labels, ``is_held`` is for what was not
        fitted; then ``kind`` and the columns of `fit_components` but for the covariance with others, with ``x``, ``y``
        on the image. ``chi2``, ``dof``, ``sky`` and counts are those of the group; a tilted sky has the level ``sky``
        at the centroid of the light on the group's brightest segment. ``source_flux`` and ``source_flux_err`` are the
        light of all components of a source with their covariance, on each of its rows. ``start`` holds start values,
        bounds and fixed parameters as JSON.
    model : ndarray, float32, shape (ny, nx)
        Sum of the models of the best attempts, without the sky.
    residual : ndarray, float32, shape (ny, nx)
        The data less the model.
    labels : ndarray, int32, shape (ny, nx)
        The segments.
    response : Response
        The PSF.
    params : SceneParams
        How it was fitted.
    masks : mapping
        Masks of single sources by ``(label, attempt)``.
    """

    table: pl.DataFrame
    model: NDArray[np.float32]
    residual: NDArray[np.float32]
    labels: NDArray[np.int32]
    response: Response
    params: SceneParams
    masks: Mapping[tuple[int, int], NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said about the whole."""
        return tuple(text for text in (self.response.warning,) if text)


def fit_scene(
    data: ArrayLike,
    error: ArrayLike,
    *,
    labels: ArrayLike,
    psf: AnyPsf,
    psf_has_pixel: bool = True,
    mask: ArrayLike | None = None,
    sources: Sequence[SourcePlan] = (),
    params: SceneParams | None = None,
) -> SceneFit:
    """Fit a Sersic profile to every segment of an image, together with its neighbours, the brightest first.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx)
        An image without its background; what is left of it is fitted on every stamp.
    error : array_like, float32, shape (ny, nx), or float [unit of the data]
        1 sigma, the noise of the sources included; pixels without a positive and finite one do not count.
    labels : array_like, int32, shape (ny, nx)
        The segment of each pixel, 0 = sky.
    psf : Psf, PsfGrid or array_like, float64, shape (py, px)
        Point-spread function, as in `render_sersic`. Of a `skymere.psf.PsfGrid`, whose places are pixels of the image,
        every group takes the PSF at its brightest source.
    psf_has_pixel : bool, optional
        Whether an array holds the response of a pixel.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    sources : sequence of SourcePlan, optional
        Sources that are not fitted like the others: other components, starts, bounds, neighbours or masks, or held.
    params : SceneParams, optional
        Stamps, groups, bounds.

    Returns
    -------
    SceneFit
        With the attempt 0 of every segment.

    Raises
    ------
    InvalidInputError
        When shapes differ, labels are negative or larger than int32 holds, the PSF cannot be used, or a plan has an
        unknown label.
    NoDataError
        When no pixel of the image counts.

    Notes
    -----
    The stamp of a source has the half side ``max(min_half_pix, half_radii sqrt(area / pi))``. Neighbours whose segments
    lie on it are fitted alone, the others masked, and then all together from there; those that touch its edge are
    masked. Models of brighter groups are subtracted before; the second pass begins with the first one's results and
    subtracts the models of all others. A group waits for brighter ones whose windows reach its
    stamp and for nothing else, so results are the same for any number of threads. A source that cannot be fitted, or of
    whose segment no pixel counts, is a row with a status, and its neighbours are still fitted; where a group cannot be
    fitted together, its rows are what was fitted alone.
    """
    params = params or SceneParams()
    pixels = scaled_pixels(data, error, n_dims=(2,), is_counts=params.fits.is_counts)
    segments = as_segments(labels, pixels.data.shape)
    response = response_of(psf, has_pixel=psf_has_pixel, may_change=True)
    table, model = run_scene(pixels, segments, response, mask, sources, params)
    table = table.with_columns(
        pl.lit(0, pl.Int16).alias("attempt"), pl.lit(None, pl.Int16).alias("parent_attempt"), is_best=pl.lit(value=True)
    ).select(ORDER)
    masks = {(plan.label, 0): np.asarray(plan.mask, np.bool_) for plan in sources if plan.mask is not None}
    image = np.asarray(data, np.float32)
    return SceneFit(
        table=table,
        model=model,
        residual=image - model,
        labels=segments,
        response=response,
        params=params,
        masks=masks,
    )


_FIRST = (
    "label",
    "attempt",
    "parent_attempt",
    "is_best",
    "component",
    "kind",
    "group",
    "n_group",
    "members",
    "is_held",
)
ORDER = [*_FIRST, pl.exclude(_FIRST)]


def as_segments(labels: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return labels as the kernel takes them, or say why they are none."""
    segments = np.asarray(labels)
    if segments.shape != shape or segments.dtype.kind not in "iu":
        msg = f"labels: {segments.dtype} of shape {segments.shape} is not allowed, only integers of shape {shape} are"
        raise InvalidInputError(msg)
    if segments.min() < 0 or segments.max() > _LARGEST_LABEL:
        msg = (
            f"labels: values from {segments.min()} to {segments.max()} are not allowed, they must be from 0 to"
            f" {_LARGEST_LABEL}"
        )
        raise InvalidInputError(msg)
    return np.ascontiguousarray(segments, np.int32)


def run_scene(
    pixels: ScaledPixels,
    segments: NDArray[np.int32],
    response: Response,
    mask: ArrayLike | None,
    plans: Sequence[SourcePlan],
    params: SceneParams,
) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Return the rows of all components and the sum of the models."""
    shape = (pixels.data.shape[0], pixels.data.shape[1])
    present = set(np.unique(segments).tolist()) - {0}
    words = plan_words(plans, params.fits, pixels.unit, shape, present)
    found, joint, label, members, model = _rust.fit_scene(
        pixels.data,
        pixels.variance,
        None if mask is None else as_mask(mask, "mask", shape=shape),
        segments,
        response.keywords(),
        words,
        params.fits.keywords(pixels.unit),
        {
            "sizes": (params.min_half_pix, params.half_radii, params.model_reach),
            "max_radii": params.max_radii,
            "max_members": int(params.max_members),
            "n_passes": int(params.n_passes),
        },
    )
    known = {plan.label: plan for plan in plans}
    default = SourcePlan(label=0)
    rows: list[tuple[SourcePlan, int, Component, int, list[int]]] = []
    n_components: list[int] = []
    for one, together in zip(label, members, strict=True):
        plan = known.get(one, default)
        numbers = [(i, c) for i, c in enumerate(plan.components) if not c.is_sky]
        rows += [(plan, i, c, one, together) for i, c in numbers]
        n_components.append(len(numbers))
    started = outer_values(found[4], pixels.unit)
    areas = np.bincount(segments.ravel())
    starts = [
        start_of(
            c,
            dict(zip(PARAMETERS, row, strict=True)),
            params.fits if one in known else params.fits_of(int(areas[one])),
            is_held=plan.is_held,
            sky=next((part for part in plan.components if part.is_sky), None),
        )
        for (plan, _, c, one, _), row in zip(rows, started, strict=True)
    ]
    names = pl.DataFrame(
        {
            "label": [row[3] for row in rows],
            "component": [row[1] for row in rows],
            "group": [row[4][0] for row in rows],
            "n_group": [len(row[4]) for row in rows],
            "members": [row[4] for row in rows],
            "is_held": [row[0].is_held for row in rows],
        },
        schema={
            "label": pl.Int32,
            "component": pl.Int16,
            "group": pl.Int32,
            "n_group": pl.Int32,
            "members": pl.List(pl.Int32),
            "is_held": pl.Boolean,
        },
    )
    table = table_of_kinds(found, [row[2].kind for row in rows], unit=pixels.unit)
    light = source_fluxes(table["flux"].to_numpy(), joint, n_components, pixels.unit)
    more = {"source_flux": light[0], "source_flux_err": light[1], "start": pl.Series(starts, dtype=pl.String)}
    table = pl.concat([names, table, pl.DataFrame(more)], how="horizontal")
    return table, model if pixels.unit == 1.0 else model * np.float32(pixels.unit)
