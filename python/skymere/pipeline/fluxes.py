"""Fluxes of a band as rows and arrays of the product ``flux``, and the models that they are measured with."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.lake import Lake, Run
from skymere.photometry import ForcedPhotometry
from skymere.profiles import profiles_on_sky
from skymere.profiles.table import PARAMETERS
from skymere.wcs import Grid

__all__ = ["FLAGS", "BandFluxes", "band_fluxes", "failed_band", "models_for", "write_fluxes"]

FLAGS = MappingProxyType({"no_profile": 1})
# Models reach beyond their centres: sources so far outside of an image may shine on it [arcsec].
_MARGIN_ARCSEC = 10.0
_MODEL = ("source_id", "tile", "ra", "dec", "kind", "attempt")
_SHAPE = ("r_eff", "sersic_index", "ellipticity", "pa_sky", "moffat_beta")
_ERRORS = ("r_eff_err", "sersic_index_err", "ellipticity_err", "pa_err", "moffat_beta_err")


def models_for(lake: Lake, grid: Grid, band: str) -> pl.DataFrame:
    """Return the models of all sources of a lake on an image, or near it, of any tile.

    Parameters
    ----------
    lake : Lake
        Its best profiles are taken.
    grid : Grid
        The image.
    band : str
        Band in which the profiles were fitted.

    Returns
    -------
    polars.DataFrame
        What `skymere.photometry.forced_photometry` takes, and ``tile``, ``attempt``, ``has_profile``. Sources whose fit
        failed are points, so that their neighbours are measured with them; sums of profiles have a row for each.
    """
    ra, dec = grid.corners().T
    middle_x, middle_y = (np.array([(n - 1) / 2]) for n in grid.shape[::-1])
    ra0, dec0 = (float(v[0]) for v in grid.sky(middle_x, middle_y))
    reach = float(np.hypot((ra - ra0 + 180.0) % 360.0 - 180.0, dec - dec0).max()) * 3600.0 + _MARGIN_ARCSEC
    rows = (
        lake.cone("profile", ra0, dec0, radius_arcsec=reach)
        .filter(pl.col("band") == band, pl.col("is_best"))
        .select(*_MODEL, *_SHAPE, *_ERRORS, "flux", "components", "status")
        .sort("source_id")
        .collect()
    )
    x, y = grid.pixels(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    margin = _MARGIN_ARCSEC / grid.scale_arcsec
    near = (x > -margin) & (y > -margin) & (x < grid.shape[1] - 1 + margin) & (y < grid.shape[0] - 1 + margin)
    is_ok = pl.col("status") == "ok"
    models = (
        rows.filter(pl.Series(near))
        .with_columns(
            kind=pl.when(is_ok).then("kind").otherwise(pl.lit("point")),
            has_profile=is_ok,
            pa_sky_err=pl.col("pa_err"),
            component=pl.lit(0),
        )
        .drop("status", "pa_err")
    )
    sums = [_parts(lake, row, models.columns) for row in models.filter(pl.col("kind") == "sum").iter_rows(named=True)]
    every = pl.concat([models.filter(pl.col("kind") != "sum"), *sums], how="vertical_relaxed")
    return every.drop("components").sort("source_id", "component")


def _parts(lake: Lake, row: dict[str, Any], columns: list[str]) -> pl.DataFrame:
    """Return the components of a sum of profiles, on the sky."""
    fitted = pl.DataFrame(json.loads(row["components"]), infer_schema_length=None)
    numbers = [name for name in fitted.columns if name in PARAMETERS or name.endswith("_err") or name == "beta"]
    fitted = fitted.with_columns(pl.col(numbers).cast(pl.Float64).fill_null(float("nan")))
    # Errors of shapes go with covariances, which the lake keeps of the brightest one only.
    blank = np.zeros((fitted.height, len(PARAMETERS), len(PARAMETERS)))
    found = profiles_on_sky(fitted.with_columns(covariance=blank), lake.tiles[row["tile"]].grid)
    same = ("source_id", "tile", "attempt", "has_profile")
    return found.with_columns(
        *(pl.lit(row[name]).alias(name) for name in same),
        moffat_beta=pl.col("beta"),
        moffat_beta_err=pl.col("beta_err"),
        components=pl.lit(""),
    ).select(columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class BandFluxes:
    """What a band gives to the lake.

    Parameters
    ----------
    band : str
        The band.
    rows : polars.DataFrame
        Rows of ``flux``, those of the tile.
    grid : Grid, optional
        Pixels of the images.
    found : ForcedPhotometry, optional
        What was measured; None when the band failed as a whole.
    """

    band: str
    rows: pl.DataFrame
    grid: Grid | None = None
    found: ForcedPhotometry | None = None


def band_fluxes(
    found: ForcedPhotometry,
    models: pl.DataFrame,
    *,
    band: str,
    tile: str,
    grid: Grid,
    image_unit: str,
    zero_point_ab: float,
) -> BandFluxes:
    """Return the fluxes of a band as rows: those of the sources of a tile, and of new ones that it owns.

    Parameters
    ----------
    found : ForcedPhotometry
        From `skymere.photometry.forced_photometry`.
    models : polars.DataFrame
        What it was measured with, from `models_for`.
    band, tile : str
        Which.
    grid : Grid
        Of the image.
    image_unit : str
        FITS unit of the image.
    zero_point_ab : float
        AB magnitude of one unit.
    """
    table = found.table.with_row_index("band_row")
    known = models.select("source_id", "tile", "attempt", "has_profile").unique("source_id", maintain_order=True)
    rows = table.join(known, on="source_id", how="left", maintain_order="left")
    new = rows["is_added"].to_numpy()
    x, y = (rows[name].fill_null(np.nan).to_numpy() for name in ("x", "y"))
    shift = found.shift.at(np.nan_to_num(x), np.nan_to_num(y), grid.shape)
    east_err, north_err = found.shift.error_arcsec
    ra, dec = np.full(len(x), np.nan), np.full(len(x), np.nan)
    if new.any():
        # Places of sources are those of the models: without the shift of this band.
        ra[new], dec[new] = grid.sky(x[new], y[new])
        dec[new] -= shift[new, 1] / 3600.0
        ra[new] -= shift[new, 0] / 3600.0 / np.cos(np.deg2rad(dec[new]))
    number = -np.cumsum(new)
    rows = rows.with_columns(
        source_id=pl.when("is_added").then(pl.Series(number)).otherwise("source_id"),
        tile=pl.when("is_added").then(pl.lit(tile)).otherwise("tile"),
        ra=pl.Series(ra).fill_nan(None),
        dec=pl.Series(dec).fill_nan(None),
        band=pl.lit(band),
        method=pl.lit("model"),
        image_unit=pl.lit(image_unit),
        zero_point_ab=pl.lit(zero_point_ab),
        calibration=pl.lit(1.0),
        error_floor=pl.lit(0.0),
        profile_attempt=pl.col("attempt"),
        flags=pl.when(pl.col("has_profile").fill_null(value=True)).then(0).otherwise(FLAGS["no_profile"]),
        err_sim_accuracy=pl.when(pl.col("n_sim") > 0).then(1 / (2.0 * pl.col("n_sim")).sqrt()),
        shift_method=pl.lit(found.shift.method),
        shift_east=pl.Series(shift[:, 0]),
        shift_north=pl.Series(shift[:, 1]),
        shift_east_err=pl.lit(east_err),
        shift_north_err=pl.lit(north_err),
        shift_scatter=pl.lit(found.shift.scatter_arcsec),
        n_anchors=pl.lit(len(found.shift.anchors)),
    ).fill_nan(None)
    return BandFluxes(band=band, rows=rows.filter(pl.col("tile") == tile), grid=grid, found=found)


def failed_band(models: pl.DataFrame, *, band: str, tile: str, why: str) -> BandFluxes:
    """Return the rows of a band that could not be measured at all: one for each source of the tile that says why."""
    rows = (
        models.unique("source_id", maintain_order=True)
        .filter(pl.col("tile") == tile)
        .select(
            "source_id",
            "tile",
            profile_attempt=pl.col("attempt"),
            band=pl.lit(band),
            method=pl.lit("model"),
            status=pl.lit("failed"),
            message=pl.lit(why),
            image_unit=pl.lit(""),
            flags=pl.lit(0),
        )
    )
    return BandFluxes(band=band, rows=rows)


def write_fluxes(run: Run, bands: Sequence[BandFluxes]) -> None:
    """Write residuals, covariances and noise of bands, and publish their rows.

    Parameters
    ----------
    run : Run
        Of the product ``flux``.
    bands : sequence of BandFluxes
        The bands of a tile.
    """
    frames = []
    for one in bands:
        rows = one.rows
        if one.found is not None and one.grid is not None:
            rows = rows.with_row_index("cov_row")
            _write_arrays(run, one, one.found, one.grid, rows)
        frames.append(run.fit(rows))
    run.annotate("", {"flags": dict(FLAGS)})
    run.count(n_pixels=sum(math.prod(one.grid.shape) for one in bands if one.grid is not None))
    run.publish(pl.concat(frames).sort("source_id", "band", "method"))


def _write_arrays(run: Run, one: BandFluxes, found: ForcedPhotometry, grid: Grid, rows: pl.DataFrame) -> None:
    band = one.band
    run.annotate(band, {"wcs": grid.cards(), "shift": _shift_attributes(found), "warnings": list(found.warnings)})
    run.write(f"{band}/residual", found.residual, unit=rows["image_unit"][0] if rows.height else "")
    if found.shift_residual is not None:
        run.write(f"{band}/shift_residual", found.shift_residual, unit=rows["image_unit"][0] if rows.height else "")
    picked = rows["band_row"].to_numpy()
    neighbours, values, edges = _pairs(found, picked)
    renamed = dict(zip(found.table["source_id"].to_list(), _names(found), strict=True))
    run.write(f"{band}/source_id", rows["source_id"].to_numpy())
    run.write(f"{band}/covariance", values)
    run.write(f"{band}/neighbour", np.array([renamed[i] for i in neighbours.tolist()], np.int64))
    run.write(f"{band}/covariance_offset", edges)
    if found.flux_mc is not None:
        run.write(f"{band}/flux_mc", found.flux_mc[picked])
    if len(found.noise_positions):
        run.write(f"{band}/noise_position", found.noise_positions)


def _names(found: ForcedPhotometry) -> list[int]:
    """Return the identifiers in the lake of all sources of a band; those of other tiles keep theirs."""
    new = found.table["is_added"].to_numpy()
    return [int(i) for i in np.where(new, -np.cumsum(new), found.table["source_id"].to_numpy())]


def _pairs(
    found: ForcedPhotometry, picked: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return neighbours and covariances of some sources, one after the other, and where each begins."""
    pairs = found.covariance
    lengths = np.diff(pairs.offset)[picked]
    edges = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    starts = np.repeat(pairs.offset[picked] - edges[:-1], lengths)
    at = starts + np.arange(edges[-1])
    return pairs.neighbour[at], pairs.covariance[at], edges


def _shift_attributes(found: ForcedPhotometry) -> dict[str, Any]:
    """Return the field of shifts as JSON."""
    shift = found.shift
    return {
        "method": shift.method,
        "powers": [list(p) for p in shift.powers],
        "coefficients_arcsec": shift.coefficients.tolist(),
        "anchors": [int(i) for i in shift.anchors],
        "n_iterations": shift.n_iterations,
    }
