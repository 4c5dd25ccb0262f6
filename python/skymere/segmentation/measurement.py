"""The source table: positions, shapes, fluxes and flags of all segments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._rust import segmentation as _rust
from skymere.datamodels import Mosaic, SegmentationMap, SourceCatalog
from skymere.errors import InvalidInputError
from skymere.segmentation.apertures import Neighbours, check_neighbours
from skymere.segmentation.kernels import PYRAMID, KernelValues, as_kernel, freeze_kernel
from skymere.segmentation.magnitudes import magnitudes
from skymere.segmentation.on_grid import SAME_GRID_PIX, distance_pix
from skymere.segmentation.other_grids import measure_other_grid
from skymere.segmentation.planes import MeasureImage, parts_of
from skymere.segmentation.sky import sky_positions
from skymere.segmentation.sky_level import add_sky_error, checked_sky_errors
from skymere.wcs import Grid

__all__ = ["MeasureParams", "Measured", "catalog_of", "held_shapes", "measure", "measured"]

_EXTENDED = {"flux_auto_err_total", "flux_total", "flux_total_err"}
_SHAPE = ("x", "y", "a", "b", "theta", "kron_radius")
# Centres lie on a lattice, so that their offsets from pixels are exact in any window.
_STEPS_PER_PIXEL = 2.0**32


@dataclass(frozen=True, kw_only=True)
class MeasureParams:
    """Parameters of `measure`; the numbers are SExtractor's defaults.

    Parameters
    ----------
    aperture_diameters_pix : tuple of float
        Diameters of the circular apertures [pix].
    kron_factor : float
        The Kron aperture is this many first moments of the light large.
    kron_min_radius : float
        Its smallest radius, in units of the source's ellipse.
    kron_extent : float
        The first moment is taken within this radius, in units of the source's ellipse.
    neighbours : str
        What pixels of other sources count; see `aperture_flux`.
    kernel : tuple of tuple of float, or None
        Filter of the detection image for positions and ellipses, best that of the detection; None is none.
    extended : bool
        Whether to measure what takes longer than all the rest: windowed centroids, concentrations, total fluxes and
        the noise that the shape of the Kron aperture has.
    has_moving_edges : bool
        Whether segments end where the noise lets them, as those of a detection do, which adds to the errors of centres;
        not so when people drew them.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    aperture_diameters_pix: tuple[float, ...] = (5.0, 10.0)
    kron_factor: float = 2.5
    kron_min_radius: float = 3.5
    kron_extent: float = 6.0
    neighbours: Neighbours = "mirror"
    kernel: KernelValues | None = PYRAMID
    extended: bool = True
    has_moving_edges: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "aperture_diameters_pix", tuple(float(d) for d in self.aperture_diameters_pix))
        named = {f"aperture_diameters_pix[{i}]": d for i, d in enumerate(self.aperture_diameters_pix)}
        named |= {name: getattr(self, name) for name in ("kron_factor", "kron_min_radius", "kron_extent")}
        for name, value in named.items():
            if not (value > 0 and np.isfinite(value)):
                msg = f"{name}: {value} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        check_neighbours(self.neighbours)
        if self.kernel is not None:
            object.__setattr__(self, "kernel", freeze_kernel(self.kernel))


def measure(
    segmentation: SegmentationMap,
    images: Mapping[str, Mosaic | MeasureImage],
    *,
    detection: str | Mosaic | MeasureImage | None = None,
    shapes: pl.DataFrame | None = None,
    saturated: Mapping[str, ArrayLike] | None = None,
    sky_errors: Mapping[str, float] | None = None,
    params: MeasureParams | None = None,
) -> SourceCatalog:
    """Measure every segment in every band.

    Parameters
    ----------
    segmentation : SegmentationMap
        The segments.
    images : mapping of str to Mosaic or MeasureImage
        The bands, background-subtracted. Those whose grid is not that of the segmentation may have any scale, rotation
        and flip; the segmentation then needs a grid, too.
    detection : str, Mosaic or MeasureImage, optional
        Image on which positions, ellipses, Kron radii and half-light radii are measured: the name of a band or another
        image on the pixels of the segmentation, such as a stack of bands; the first such band when absent.
    shapes : polars.DataFrame, optional
        Centres, ellipses and Kron radii to be kept instead of measured: columns ``label, x, y, a, b, theta,
        kron_radius`` as in the table that is returned, with a row for every label.
    saturated : mapping of str to array_like, optional
        By band, the mask of saturated pixels or the level [unit of the data] from which they are.
    sky_errors : mapping of str to float, optional
        By band on the pixels of the segmentation, one sigma of the level of the sky that was taken off [unit of the
        data], where the image has weights for a weight of 1: it goes with the root of their inverse.
    params : MeasureParams, optional
        Apertures and neighbours.

    Returns
    -------
    SourceCatalog
        Its ``table`` has one row per label, increasing. ``label``; ``x``, ``x_err``, ``y``, ``y_err`` [pix], 0-based;
        ``xy_cov`` [pix^2], the covariance of both errors; when the segmentation has a grid ``ra``, ``dec`` [deg] with
        ``ra_err`` (on the sky, cos(dec) included), ``dec_err`` [arcsec] and their covariance ``ra_dec_cov``
        [arcsec^2]; ``x_win``, ``y_win`` [pix], centroid in a Gaussian window, with errors and ``xy_win_cov``;
        ``x_peak``, ``y_peak`` [pix], brightest pixel; ``area`` [pix]; ``x2``, ``y2``, ``xy`` [pix^2]; ``a``, ``b``
        [pix]; ``theta`` [deg], from x towards y; ``elongation`` = a / b; ``kron_radius``, radius of the Kron aperture
        in units of a and b; ``r_half``, ``r_20``, ``r_80`` [pix], circles with 50, 20 and 80 % of the Kron flux;
        ``concentration`` = 5 log10(r_80 / r_20); ``flags``, see `SourceFlag`.

        For every band ``flux_iso_{band}``, ``flux_auto_{band}``, ``flux_total_{band}``, ``flux_aper1_{band}`` ... [uJy,
        or the image's unit when its zero point is unknown], each followed by its ``*_err_{band}``;
        ``flux_auto_err_total_{band}``, the error with the noise of the Kron aperture's shape; ``peak_{band}`` [as the
        fluxes, per pixel]; where the zero point is known ``mag_auto_{band}``, ``mag_total_{band}`` [AB] with errors,
        NaN for fluxes that are not positive; ``flags_{band}``.

    Raises
    ------
    InvalidInputError
        When there is no band, none on the pixels of the segmentation and no detection image, the shapes differ or a
        label is negative.

    Notes
    -----
    On a grid of its own a band is measured at the same places of the sky: centres through both WCS, ellipses with the
    derivatives there, circles with the same radius in arcsec (``aperture_diameters_pix`` are pixels of the
    segmentation), segments as `labels_on_grid` brings them over, errors from the band's own noise. It has no
    ``flux_total`` and no ``flux_auto_err_total``, and NaN for ``flux_iso`` and ``peak`` of segments that own no pixel.

    Every flux and centre is a sum ``sum u d`` over pixels, with the overlaps of an aperture (and those of the pixels
    that one stands in for), 1 in a segment, or ``(x - x0) / sum f`` carried through the filter. Its variance is
    ``R^2 sum u^2 s^2`` with ``noise_correlation`` R, or ``sum_ij u_i u_j C_ij`` where a mosaic has its noise
    covariance C (`skymere.datamodels.NoiseCovariance.sum_variance`). In the sum of a centre the pixels at the edge of a
    segment count ``1 + (-t dA / dt) / n`` times, with its threshold t, the number A of pixels above t and the number n
    of those at the edge: noise moves the edge of a detected segment, and the light at it. Blends end at their saddles,
    whose noise counts.
    The error of a sky level goes with the area: ``(A s_sky)^2`` is added to the variance of a flux, for ``flux_total``
    with the area of the Kron aperture times ``flux_total / flux_auto``.
    Errors of fluxes hold for apertures that stay where they are. ``flux_auto_err_total`` adds what the second moments
    and the first Kron moment do to the flux, each with its derivatives by the pixels.

    ``flux_total`` is that of a Sersic profile out to 8 half-light radii, fitted to the light in ten elliptical zones
    out to 1.6 Kron radii on the detection image, with weak priors on radius and index, and scaled to each band. Its
    error is that about the true flux: noise, what the priors leave open, 0.95 % by which a zone may differ from the
    profile, and neighbours' wings.
    The window of ``x_win`` has a full width at half maximum of ``2 r_half``.

    References
    ----------
    Bertin & Arnouts 1996, A&AS 117, 393, section 6. Conselice 2003, ApJS 147, 1, for the concentration.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import MeasureImage, detect, measure
    >>> y, x = np.mgrid[:64, :64]
    >>> image = (100 * np.exp(-((x - 30.0) ** 2 + (y - 20.0) ** 2) / 8)).astype(np.float32)
    >>> catalog = measure(detect(image, error=1.0), {"r": MeasureImage(data=image, error=1.0)})
    >>> round(catalog.table["x"][0], 6)
    30.0
    """
    params = params or MeasureParams()
    if not images:
        msg = "images: at least one band is needed"
        raise InvalidInputError(msg)
    saturated = dict(saturated or {})
    if not saturated.keys() <= images.keys():
        msg = f"saturated: {sorted(saturated.keys() - images.keys())} are no bands, it must be some of {list(images)}"
        raise InvalidInputError(msg)
    grids = {band: _other_grid(image, segmentation) for band, image in images.items()}
    if detection is not None and not isinstance(detection, str) and _other_grid(detection, segmentation) is not None:
        msg = "detection: its grid is another, it must be that of the segmentation"
        raise InvalidInputError(msg)
    found = measured(
        segmentation.labels,
        {band: image for band, image in images.items() if grids[band] is None},
        detection=detection,
        saturated={band: mask for band, mask in saturated.items() if grids[band] is None},
        sky_errors=sky_errors,
        shapes=None if shapes is None else held_shapes(shapes, segmentation.ids),
        params=params,
    )
    return catalog_of(
        _with_other_grids(found, segmentation, images, grids, saturated, params), segmentation.grid, params
    )


def _other_grid(image: Mosaic | MeasureImage, segmentation: SegmentationMap) -> Grid | None:
    """Return the grid of an image that is not on the pixels of the segmentation, else None."""
    grid = getattr(image, "grid", None)
    if grid is None or segmentation.grid is None:
        return None
    is_same = segmentation.grid is grid or distance_pix(segmentation.grid, grid) < SAME_GRID_PIX
    return None if is_same else grid


def _numbers(params: MeasureParams) -> dict[str, Any]:
    """Return the parameters as the kernel takes them."""
    return {
        "aperture_radii": [0.5 * d for d in params.aperture_diameters_pix],
        "kron_factor": params.kron_factor,
        "kron_min_radius": params.kron_min_radius,
        "kron_extent": params.kron_extent,
        "neighbours": params.neighbours,
        "is_extended": params.extended,
        "has_moving_edges": params.has_moving_edges,
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What the kernels found, before units and names.

    Parameters
    ----------
    columns : dict
        By name, those of a band in lists under ``bands``; positions count from the first pixel.
    has_zero_point : mapping of str to bool
        By band, whether fluxes are in uJy.
    """

    columns: dict[str, Any]
    has_zero_point: Mapping[str, bool]


def _with_other_grids(
    found: Measured,
    segmentation: SegmentationMap,
    images: Mapping[str, Mosaic | MeasureImage],
    grids: Mapping[str, Grid | None],
    saturated: Mapping[str, ArrayLike],
    params: MeasureParams,
) -> Measured:
    """Add the bands whose pixels are others; all stand in the order of the images."""
    here = dict(zip(found.has_zero_point, found.columns["bands"], strict=True))
    has_zero_point = dict(found.has_zero_point)
    for band, grid in grids.items():
        if grid is not None:
            parts = parts_of(images[band], f"images[{band!r}]", saturated=saturated.get(band))
            here[band] = measure_other_grid(segmentation, found.columns, parts, grid, _numbers(params))
            has_zero_point[band] = parts.has_zero_point
    return Measured(
        columns={**found.columns, "bands": [here[band] for band in images]},
        has_zero_point={band: has_zero_point[band] for band in images},
    )


def measured(
    labels: NDArray[np.int32],
    images: Mapping[str, Mosaic | MeasureImage],
    *,
    detection: str | Mosaic | MeasureImage | None,
    saturated: Mapping[str, ArrayLike] | None,
    sky_errors: Mapping[str, float] | None = None,
    shapes: NDArray[np.float64] | None,
    params: MeasureParams,
    wanted: NDArray[np.int32] | None = None,
) -> Measured:
    """Measure the segments, or those that are wanted, for which `held_shapes` may have held the ``shapes``.

    Raises
    ------
    InvalidInputError
        As `measure`.
    """
    shape = (labels.shape[0], labels.shape[1])
    saturated = dict(saturated or {})
    if not saturated.keys() <= images.keys():
        msg = f"saturated: {sorted(saturated.keys() - images.keys())} are no bands, it must be some of {list(images)}"
        raise InvalidInputError(msg)
    levels = checked_sky_errors(sky_errors, list(images))
    bands = {
        band: parts_of(image, f"images[{band!r}]", shape=shape, saturated=saturated.get(band))
        for band, image in images.items()
    }
    if detection is None and not images:
        msg = "detection: is missing, and none of the bands is on the pixels of the segmentation"
        raise InvalidInputError(msg)
    chosen = next(iter(images)) if detection is None else detection
    if isinstance(chosen, str):
        if chosen not in bands:
            rule = f"it must be an image, or one of the bands {list(bands)}"
            msg = f"detection: {chosen!r} is not a band on the pixels of the segmentation, {rule}"
            raise InvalidInputError(msg)
        detected = bands[chosen]
    else:
        detected = parts_of(chosen, "detection", shape=shape)
    columns = _rust.measure(
        labels,
        detected,
        None if params.kernel is None else as_kernel(params.kernel),
        list(bands.values()),
        shapes,
        wanted,
        **_numbers(params),
    )
    for (band, image), of_band in zip(images.items(), columns["bands"], strict=True):
        if band in levels:
            add_sky_error(
                of_band, columns, levels[band] * bands[band].scale, image.weight, params.aperture_diameters_pix
            )
    return Measured(columns=columns, has_zero_point={band: parts.has_zero_point for band, parts in bands.items()})


def held_shapes(shapes: pl.DataFrame, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the rows ``(x, y, a, b, theta, kron_radius)`` of some labels, theta in radians.

    Raises
    ------
    InvalidInputError
        When a column or the row of a label is missing.
    """
    missing = [name for name in ("label", *_SHAPE) if name not in shapes.columns]
    if missing:
        msg = f"shapes: columns {missing} are missing from {shapes.columns}"
        raise InvalidInputError(msg)
    wanted = pl.DataFrame({"label": labels}, schema={"label": pl.Int64})
    held = shapes.select(pl.col("label").cast(pl.Int64), *_SHAPE).unique("label")
    rows = wanted.join(held, on="label", how="left", maintain_order="left")
    values = rows.select(_SHAPE).cast(pl.Float64).to_numpy().copy()
    unknown = ~np.isfinite(values).all(axis=1)
    if unknown.any():
        msg = f"shapes: label {rows['label'][int(np.argmax(unknown))]} has no complete row"
        raise InvalidInputError(msg)
    values[:, :2] = np.rint(values[:, :2] * _STEPS_PER_PIXEL) / _STEPS_PER_PIXEL
    values[:, 4] = np.deg2rad(values[:, 4])
    return np.ascontiguousarray(values)


def catalog_of(measured: Measured, grid: Grid | None, params: MeasureParams) -> SourceCatalog:
    """Return the table of what was measured."""
    found = measured.columns
    columns = {name: found[name] for name in ("label", "x", "x_err", "y", "y_err", "xy_cov")}
    if grid is not None:
        columns |= sky_positions(grid, found)
    if params.extended:
        columns |= {name: found[name] for name in ("x_win", "x_win_err", "y_win", "y_win_err", "xy_win_cov")}
    columns |= {name: found[name] for name in ("x_peak", "y_peak")}
    columns |= {name: found[name] for name in ("area", "x2", "y2", "xy", "a", "b")}
    columns["theta"] = np.rad2deg(found["theta"])
    columns["elongation"] = found["a"] / found["b"]
    columns |= {name: found[name] for name in ("kron_radius", "r_half")}
    if params.extended:
        columns |= {name: found[name] for name in ("r_20", "r_80")}
        columns["concentration"] = 5.0 * np.log10(found["r_80"] / found["r_20"])
    columns["flags"] = found["flags"].astype(np.int32)
    for (band, has_zero_point), of_band in zip(measured.has_zero_point.items(), found["bands"], strict=True):
        fluxes = {name: column for name, column in of_band.items() if params.extended or name not in _EXTENDED}
        if has_zero_point:
            fluxes |= magnitudes(fluxes)
        columns |= {f"{name}_{band}": column for name, column in fluxes.items() if name != "flags"}
        columns[f"flags_{band}"] = of_band["flags"].astype(np.int32)
    return SourceCatalog(table=pl.DataFrame(columns), bands=tuple(measured.has_zero_point))
