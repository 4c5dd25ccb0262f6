"""Fits of a scene as rows of the product ``profile``, and back."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.lake import Lake, Run
from skymere.pipeline.refits import mask_of_edit
from skymere.profiles import SceneFit, SceneParams, fit_scene, profiles_on_sky
from skymere.psf import Psf, PsfGrid

__all__ = [
    "KEPT",
    "ProfileRows",
    "StoredFit",
    "components_of",
    "failed_rows",
    "fit_table",
    "profile_rows",
    "stored_fit",
]

# Parameters of the covariance that the lake keeps, in its order.
KEPT = ("x", "y", "flux", "r_eff_pix", "sersic_index", "ellipticity", "pa", "sky")
_ONE = ("label", "attempt")


@dataclass(frozen=True, kw_only=True)
class ProfileRows:
    """Profiles of a tile as the lake has them.

    Parameters
    ----------
    rows : polars.DataFrame
        Rows of ``profile``: of sources that the tile owns, under their identifiers.
    covariance : ndarray, float64, shape (n, 8, 8)
        Of each row.
    others : list of mapping
        Components of the sources that other tiles own, as `components_of` gives them.
    """

    rows: pl.DataFrame
    covariance: NDArray[np.float64]
    others: list[dict[str, Any]]


def profile_rows(
    lake: Lake,
    tile: str,
    mosaic: Mosaic,
    fit: SceneFit,
    *,
    psf: Psf | PsfGrid,
    psf_id: str,
    edits: Mapping[tuple[int, int], str],
) -> ProfileRows:
    """Return a fit as rows of the lake.

    Parameters
    ----------
    lake : Lake
        Its sources have the identifiers.
    tile : str
        The tile.
    mosaic : Mosaic
        What was fitted.
    fit : SceneFit
        Every attempt of every segment.
    psf : Psf or PsfGrid
        Its PSF.
    psf_id : str
        Name of the PSF.
    edits : mapping of (int, int) to str
        Name of the edit that asked for an attempt, by ``(label, attempt)``.

    Notes
    -----
    A row is an attempt. Of a sum of profiles the columns are those of its brightest component, but for the flux, that
    of all. ``components`` holds all of them.
    """
    known = (
        lake.table("source")
        .filter(pl.col("tile") == tile)
        .select("source_id", pl.col("label").cast(pl.Int32), pl.col("ra").alias("_ra"), pl.col("dec").alias("_dec"))
        .collect()
    )
    ids = dict(known.select("label", "source_id").iter_rows())
    factor = mosaic.noise_correlation
    on_sky = profiles_on_sky(fit.table, mosaic.grid, zero_point_ab=mosaic.zero_point_ab, noise_factor=factor)
    n_parts = on_sky.group_by(_ONE).agg(n_parts=pl.len())
    brightest = (
        on_sky.with_columns(_flux=pl.col("flux").fill_nan(None))
        .sort(*_ONE, "_flux", descending=[False, False, True], nulls_last=True)
        .unique(subset=_ONE, keep="first", maintain_order=True)
        .with_columns(flux="source_flux", flux_err="source_flux_err")
        .drop("source_flux", "source_flux_err", "_flux")
    )
    parts = components_of(fit.table)
    bits = {name: 1 << i for i, name in enumerate(KEPT)} | {"beta": 1 << KEPT.index("sersic_index")}
    rows = (
        brightest.join(n_parts, on=_ONE, maintain_order="left")
        .with_columns(
            bounds_hit=pl.Series([sum(bits.get(n, 0) for n in names) for names in brightest["bounds_hit"].to_list()]),
            group_id=pl.Series([str(ids.get(label, f"{tile}-{label}")) for label in brightest["group"].to_list()]),
            components=pl.Series([_words(parts[key]) for key in brightest.select(_ONE).iter_rows()]),
            edit_id=pl.Series([edits.get(key, "") for key in brightest.select(_ONE).iter_rows()]),
        )
        .join(known, on="label", how="inner", maintain_order="left")
        .with_columns(
            # A fit that failed has no place: the row keeps that of the source.
            ra=pl.when(pl.col("ra").is_finite()).then("ra").otherwise("_ra"),
            dec=pl.when(pl.col("dec").is_finite()).then("dec").otherwise("_dec"),
            kind=pl.when(pl.col("n_parts") > 1).then(pl.lit("sum")).otherwise("kind"),
            band=pl.lit(mosaic.band),
            n_iterations=pl.col("n_evaluations"),
            moffat_beta=pl.col("beta"),
            moffat_beta_err=pl.col("beta_err"),
            flags=pl.lit(0),
            psf_id=pl.lit(psf_id),
            psf_lost_fraction=pl.lit((psf.psfs[0] if isinstance(psf, PsfGrid) else psf).lost),
            noise_factor=pl.lit(factor),
        )
        .sort("source_id", "attempt")
        .with_row_index("covariance_row")
    )
    others = [one for key, found in parts.items() if key[0] not in ids for one in found]
    return ProfileRows(rows=rows, covariance=_covariance(rows, mosaic), others=others)


def failed_rows(lake: Lake, tile: str, band: str, why: str) -> pl.DataFrame:
    """Return a row for each source of a tile that could not be fitted at all.

    Parameters
    ----------
    lake : Lake
        Its sources.
    tile : str
        The tile.
    band : str
        Band that was to be fitted.
    why : str
        The reason.
    """
    sources = lake.table("source").filter(pl.col("tile") == tile).select("source_id", "ra", "dec", "label").collect()
    same = {
        "band": band,
        "attempt": 0,
        "is_best": True,
        "kind": "sersic",
        "status": "failed",
        "message": why,
        "n_group": 1,
        "is_converged": False,
        "bounds_hit": 0,
        "flags": 0,
        "psf_id": "",
        "start": "{}",
        "components": "[]",
    }
    rows = sources.with_columns(pl.lit(value).alias(name) for name, value in same.items())
    return rows.with_columns(group_id=pl.col("source_id").cast(pl.String)).sort("source_id")


def _words(parts: list[dict[str, Any]]) -> str:
    """Return components as text; which attempt is the best one is said by the row, and may change."""
    return json.dumps([{name: value for name, value in one.items() if name != "is_best"} for one in parts])


def _covariance(rows: pl.DataFrame, mosaic: Mosaic) -> NDArray[np.float64]:
    """Return the covariances of the rows, in uJy and with the noise of the image."""
    n, unit = len(KEPT), mosaic.microjansky_per_unit
    found = rows["covariance"].to_numpy()[:, :n, :n] if rows.height else np.zeros((0, n, n))
    scale = np.array([unit if name in ("flux", "sky") else 1.0 for name in KEPT])
    return np.asarray(found * scale * scale[:, None] * mosaic.noise_correlation**2)


def components_of(table: pl.DataFrame) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Return the rows of a `SceneFit` by ``(label, attempt)``, as JSON without NaN.

    Parameters
    ----------
    table : polars.DataFrame
        Of a `SceneFit`; its covariances are left out.
    """
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in table.drop("covariance").iter_rows(named=True):
        kept = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        found.setdefault((row["label"], row["attempt"]), []).append(kept)
    return found


@dataclass(frozen=True, kw_only=True)
class StoredFit:
    """A fit, and which edits it holds already.

    Parameters
    ----------
    fit : SceneFit
        Every attempt.
    made : mapping of (int, int) to str
        Name of the edit that asked for an attempt, by ``(label, attempt)``.
    n_edits : int
        How many edits it holds, the first ones.
    rows : polars.DataFrame, optional
        Rows of ``profile`` that the lake has of it.
    covariance : ndarray, float64, shape (n, 8, 8), optional
        Of these rows.
    """

    fit: SceneFit
    made: Mapping[tuple[int, int], str] = field(default_factory=dict)
    n_edits: int = 0
    rows: pl.DataFrame | None = None
    covariance: NDArray[np.float64] | None = None

    def with_new(self, found: ProfileRows, run: Run) -> ProfileRows:
        """Return the rows that the lake has, their best attempts as they are now, and those of new attempts.

        Parameters
        ----------
        found : ProfileRows
            Rows of all attempts; those that the lake has already stay as they were.
        run : Run
            The run that publishes them.
        """
        new = run.fit(found.rows)
        if self.rows is None or self.covariance is None:
            return replace(found, rows=new)
        key = ["source_id", "attempt"]
        before = self.rows.select(*key, old=pl.col("covariance_row"))
        joined = new.join(before, on=key, how="left", maintain_order="left")
        is_old = joined["old"].is_not_null()
        kept = (
            joined.filter(is_old)
            .select(*key, "is_best", "covariance_row")
            .join(self.rows.drop("is_best", "covariance_row", "run_id"), on=key, maintain_order="left")
        )
        rows = pl.concat([kept.select(new.columns), new.filter(~is_old)]).sort(*key)
        at = joined.filter(is_old)
        covariance = found.covariance.copy()
        covariance[at["covariance_row"].to_numpy()] = self.covariance[at["old"].to_numpy()]
        return replace(found, rows=rows, covariance=covariance)


def stored_fit(
    lake: Lake,
    run: Run,
    mosaic: Mosaic,
    edits: pl.DataFrame,
    *,
    labels: NDArray[np.int32],
    psf: Psf | PsfGrid,
    params: SceneParams,
) -> StoredFit | None:
    """Return the fit that a tile shows, to go on from; None when it must be done anew.

    Parameters
    ----------
    lake : Lake
        The lake.
    run : Run
        The run that is to be done: only a fit of the same inputs and parameters is gone on from.
    mosaic : Mosaic
        What is fitted.
    edits : polars.DataFrame
        Rows of ``profile_edit``; those that the fit holds must be the first ones.
    labels : ndarray, int32, shape (ny, nx)
        The segments.
    psf : Psf or PsfGrid
        The PSF.
    params : SceneParams
        Stamps and when to stop.
    """
    if run.live is None:
        return None
    of_live = (pl.col("run_id") == run.live) & (pl.col("tile") == run.tile) & (pl.col("product") == "profile")
    before = lake.table("run").filter(of_live).collect()
    if before.is_empty() or before["code_version"][0] != run.code_version:
        return None
    *base, done = json.loads(before["inputs"][0])
    *wanted, _ = run.inputs
    names = done.get("edits", [])
    if (
        base != wanted
        or json.loads(before["params"][0]) != run.params
        or names != edits["edit_id"].to_list()[: len(names)]
    ):
        return None
    arrays = lake.arrays("profile", run.tile, run.live)
    if f"{mosaic.band}/model" not in arrays:
        return None
    model, residual = (arrays[f"{mosaic.band}/{name}"][...] for name in ("model", "residual"))
    rows = lake.table("profile").filter(pl.col("tile") == run.tile, pl.col("run_id") == run.live).collect()
    blank = _blank(psf, params)
    table = fit_table(rows, arrays.attributes()["others"], psf=psf)
    made = {(row["label"], row["attempt"]): row["edit_id"] for row in rows.iter_rows(named=True) if row["edit_id"]}
    masks = _masks(table, rows, edits[: len(names)], mosaic)
    fit = replace(blank, table=table, labels=labels, model=model, residual=residual, masks=masks)
    return StoredFit(fit=fit, made=made, n_edits=len(names), rows=rows, covariance=arrays["covariance"][...])


def _plain(tree: Any) -> Any:
    """Return parameters as JSON gives them back."""
    return json.loads(json.dumps(tree))


def _masks(
    table: pl.DataFrame, rows: pl.DataFrame, edits: pl.DataFrame, mosaic: Mosaic
) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Return the masks of attempts: those of the edit that asked for one, or of the attempt that it started from."""
    own: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for edit in edits.iter_rows(named=True):
        mask = mask_of_edit(edit, mosaic)
        mine = rows.filter(pl.col("edit_id") == edit["edit_id"], pl.col("source_id") == edit["source_id"])
        if mask is not None:
            own |= dict.fromkeys(mine.select("label", "attempt").iter_rows(), mask)
    masks: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for label, attempt, parent in (
        table.select("label", "attempt", "parent_attempt").unique().sort("attempt").iter_rows()
    ):
        found = own.get((label, attempt), masks.get((label, parent)))
        if found is not None:
            masks[label, attempt] = found
    return masks


def _blank(psf: Psf | PsfGrid, params: SceneParams | None = None) -> SceneFit:
    """Return a fit without any source."""
    return fit_scene(np.zeros((1, 1)), 1.0, labels=np.zeros((1, 1), np.int32), psf=psf, params=params)


def fit_table(rows: pl.DataFrame, others: Iterable[Mapping[str, Any]], *, psf: Psf | PsfGrid) -> pl.DataFrame:
    """Return the table of a `SceneFit` whose rows the lake has; without covariances, which no fit starts from.

    Parameters
    ----------
    rows : polars.DataFrame
        Rows of ``profile`` of a tile.
    others : iterable of mapping
        Components of the sources that other tiles own.
    psf : Psf or PsfGrid
        Any PSF.
    """
    schema = _blank(psf).table.schema
    kept: Sequence[Mapping[str, Any]] = [
        {**one, "is_best": row["is_best"]}
        for row in rows.select("components", "is_best").iter_rows(named=True)
        for one in json.loads(row["components"])
    ]
    plain = {name: dtype for name, dtype in schema.items() if name != "covariance"}
    table = pl.DataFrame([*kept, *others], schema=plain, orient="row")
    floats = [name for name, dtype in plain.items() if dtype == pl.Float64]
    empty = np.zeros((table.height, *_shape(schema["covariance"])))
    return (
        table.with_columns(pl.col(floats).fill_null(float("nan")))
        .with_columns(covariance=pl.Series(empty, dtype=schema["covariance"]))
        .select(list(schema))
        .sort("label", "attempt", "component")
    )


def _shape(dtype: Any) -> tuple[int, ...]:
    return tuple(dtype.shape)
