"""How well a simulated survey was recovered."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["match_sources", "score_cosmic_rays", "score_detections", "score_sources"]


def match_sources(
    truth: pl.DataFrame, sources: pl.DataFrame, *, radius_arcsec: float = 0.3
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row numbers of truth and of sources that are each other's nearest neighbours within a radius.

    Parameters
    ----------
    truth, sources : polars.DataFrame
        With ``ra, dec`` [deg].
    radius_arcsec : float, optional
        Largest separation.
    """
    from astropy.coordinates import SkyCoord

    if truth.is_empty() or sources.is_empty():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ours = SkyCoord(sources["ra"].to_numpy(), sources["dec"].to_numpy(), unit="deg")
    theirs = SkyCoord(truth["ra"].to_numpy(), truth["dec"].to_numpy(), unit="deg")
    forward, separation, _ = theirs.match_to_catalog_sky(ours)
    backward, _, _ = ours.match_to_catalog_sky(theirs)
    rows = np.arange(truth.height)
    mutual = (backward[forward] == rows) & (separation.arcsec <= radius_arcsec)
    return rows[mutual], forward[mutual].astype(np.int64)


def score_detections(truth: pl.DataFrame, sources: pl.DataFrame, *, radius_arcsec: float = 0.6) -> dict[str, float]:
    """Count detections without a true source.

    Parameters
    ----------
    truth, sources : polars.DataFrame
        With ``ra, dec`` [deg].
    radius_arcsec : float, optional
        A detection within this distance of any true source is not false.

    Returns
    -------
    dict
        ``n_detected, n_false, purity``.
    """
    from astropy.coordinates import SkyCoord

    n_detected = n_false = sources.height
    if n_detected and truth.height:
        ours = SkyCoord(sources["ra"].to_numpy(), sources["dec"].to_numpy(), unit="deg")
        theirs = SkyCoord(truth["ra"].to_numpy(), truth["dec"].to_numpy(), unit="deg")
        n_false = int((ours.match_to_catalog_sky(theirs)[1].arcsec > radius_arcsec).sum())
    purity = 1.0 - n_false / n_detected if n_detected else float("nan")
    return {"n_detected": n_detected, "n_false": n_false, "purity": purity}


def score_sources(
    truth: pl.DataFrame,
    sources: pl.DataFrame,
    *,
    band: str,
    edges: Sequence[float] = (18.0, 20.0, 22.0, 23.0, 24.0, 25.0, 26.0, 27.0),
    flux: str = "flux_auto",
    true_flux: str = "flux",
) -> pl.DataFrame:
    """Compare measured with true fluxes in bins of true magnitude.

    Parameters
    ----------
    truth : polars.DataFrame
        As `draw_scene` gives it.
    sources : polars.DataFrame
        Rows of the ``source`` table.
    band : str
        The band to compare.
    edges : sequence of float, optional
        Limits of the magnitude bins.
    flux : str, optional
        Name of the measured flux, without the band; its error is ``{flux}_err``.
    true_flux : str, optional
        Name of the true one.

    Returns
    -------
    polars.DataFrame
        For each bin: ``mag, n_true, completeness``, ``bias`` (median of measured / true - 1), ``pull_median`` and
        ``pull_sigma`` (1.4826 MAD) of (measured - true) / error.
    """
    i_truth, i_source = match_sources(truth, sources)
    mag = truth[f"mag_{band}"].to_numpy()
    true = truth[f"{true_flux}_{band}"].to_numpy()[i_truth]
    measured = sources[f"{flux}_{band}"].cast(pl.Float64).to_numpy()[i_source]
    error = sources[f"{flux}_err_{band}"].cast(pl.Float64).to_numpy()[i_source]
    rows = []
    for low, high in pairwise(edges):
        n_true = int(((mag >= low) & (mag < high)).sum())
        here = (mag[i_truth] >= low) & (mag[i_truth] < high)
        usable = here & np.isfinite(measured) & np.isfinite(error) & (error > 0)
        pull = (measured[usable] - true[usable]) / error[usable]
        centre = float(np.median(pull)) if pull.size else float("nan")
        rows.append(
            {
                "mag": f"{low:g}-{high:g}",
                "n_true": n_true,
                "completeness": float(here.sum() / n_true) if n_true else float("nan"),
                "bias": float(np.median(measured[usable] / true[usable]) - 1.0) if pull.size else float("nan"),
                "pull_median": centre,
                "pull_sigma": float(1.4826 * np.median(np.abs(pull - centre))) if pull.size else float("nan"),
            }
        )
    return pl.DataFrame(rows)


def score_cosmic_rays(
    flagged: Mapping[str, NDArray[np.bool_]],
    true: Mapping[str, NDArray[np.bool_]],
    usable: Mapping[str, NDArray[np.bool_]],
) -> dict[str, float]:
    """Compare flagged with true cosmic-ray pixels, all keyed by exposure.

    Parameters
    ----------
    flagged, true, usable : mapping of str to ndarray of bool, shape (ny, nx)
        What was rejected, what was hit, and which pixels count.

    Returns
    -------
    dict
        ``n_true, completeness, false_per_exposure, false_fraction``.
    """
    n_true = n_hit = n_false = n_clean = 0
    for name, mask in flagged.items():
        use, hit = usable[name], true[name]
        n_true += int((use & hit).sum())
        n_hit += int((use & hit & mask).sum())
        n_false += int((use & ~hit & mask).sum())
        n_clean += int((use & ~hit).sum())
    return {
        "n_true": n_true,
        "completeness": n_hit / n_true if n_true else float("nan"),
        "false_per_exposure": n_false / len(flagged) if flagged else float("nan"),
        "false_fraction": n_false / n_clean if n_clean else float("nan"),
    }
