"""Fake sources through detection, profiles and forced fluxes of a copy of a tile."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.lake import Lake
from skymere.pipeline.attempts import run_task
from skymere.pipeline.band_images import BandImage, read_band_image, regions_beside
from skymere.pipeline.injection.fakes import Copy
from skymere.pipeline.injection.light import FakeLight, add_light, fake_light, poisson_factor
from skymere.pipeline.injection.matching import match_fakes
from skymere.pipeline.injection.params import InjectParams
from skymere.pipeline.injection.scratch import copy_lake, publish_mosaics
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_mosaics, load_psf, load_segmentation
from skymere.pipeline.stages import detect, measure, photometry, profiles
from skymere.pipeline.task import Stage
from skymere.segmentation import MeasureImage, aperture_flux

__all__ = ["ImagingWork", "inject_copy", "reference_band", "spurious_of_tile"]

_STAGES: dict[str, tuple[Stage, ...]] = {
    "detect": (detect.STAGE, measure.STAGE),
    "profiles": (detect.STAGE, measure.STAGE, profiles.STAGE),
    "photometry": (detect.STAGE, measure.STAGE, profiles.STAGE, photometry.STAGE),
}


# The ellipse of a source on the pixels of the tile.
_KRON = ("x", "y", "a", "b", "theta")


@dataclass(frozen=True, kw_only=True)
class ImagingWork:
    """What a process needs to put fake sources through the stages of a tile.

    Parameters
    ----------
    plan : Plan
        Parameters of the stages.
    lake : Path
        The lake.
    params : InjectParams
        What is injected.
    folder : Path
        Where copies are made, each removed when it is done.
    """

    plan: Plan
    lake: Path
    params: InjectParams
    folder: Path


def reference_band(plan: Plan, params: InjectParams, bands: list[str]) -> str:
    """Return the band of the magnitudes.

    Raises
    ------
    InvalidInputError
        When the lake has no mosaic of it.
    """
    band = params.band or plan.profiles.band or bands[-1]
    if band not in bands:
        msg = f"band: {band!r} has no mosaic in the lake, it must be one of {bands}"
        raise InvalidInputError(msg)
    return band


def inject_copy(work: ImagingWork, copy: Copy) -> pl.DataFrame:
    """Return what the stages make of the fake sources of a copy of a tile: one row for each.

    Parameters
    ----------
    work : ImagingWork
        Lake and parameters.
    copy : Copy
        Tile, number, and sources.

    Raises
    ------
    SkymereError
        When a stage cannot go on.
    """
    tile, number, fakes = copy
    lake = Lake.open(work.lake)
    work.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=work.folder, prefix=f"{tile}-{number}-") as name:
        folder = Path(name)
        scratch = copy_lake(lake, folder / "lake")
        added = _add(work, lake, scratch, tile, fakes)
        plan = _plan_of_copy(work.plan, folder)
        if work.params.through == "photometry":
            plan = _with_images(plan, work.plan, folder, fakes, _known_shifts(lake, tile))
        _run_stages(plan, scratch, tile, _STAGES[work.params.through])
        return _measured(work, lake, scratch, tile, fakes, added)


def _add(work: ImagingWork, lake: Lake, scratch: Lake, tile: str, fakes: pl.DataFrame) -> dict[str, FakeLight]:
    """Put fake sources into the mosaics of a tile; returns their light by band, on the pixels of the tile."""
    added: dict[str, FakeLight] = {}
    mosaics = {mosaic.band: mosaic for mosaic in load_mosaics(lake, tile)}
    run = f"inject/{work.params.seed}/{tile}"

    def change(band: str, planes: dict[str, NDArray[Any]]) -> None:
        mosaic = mosaics[band]
        psf, _ = load_psf(lake, tile, band)
        fluxes = fakes[f"true_flux_{band}"].to_numpy() / _microjansky(mosaic)
        light = added[band] = fake_light(fakes, mosaic.grid, psf, fluxes=fluxes)
        factor = poisson_factor(planes["sci"], planes["var"], planes["wht"])
        numbers = fakes["object"].to_numpy()
        add_light(planes, light, factor=factor, noise=mosaic.noise, run=run, numbers=numbers, band=band)

    about = {"seed": work.params.seed, "objects": fakes["object"].to_list()}
    publish_mosaics(lake, scratch, tile, change, params=about)
    return added


def _microjansky(mosaic: Mosaic) -> float:
    if not np.isfinite(mosaic.zero_point_ab):
        msg = f"band {mosaic.band!r} has no zero point, which magnitudes of fake sources need"
        raise InvalidInputError(msg)
    return mosaic.microjansky_per_unit


def _plan_of_copy(plan: Plan, folder: Path) -> Plan:
    """Return a plan whose lake and pictures are in a folder; files that it reads stay where they are."""
    return replace(
        plan,
        survey=replace(plan.survey, lake=str(folder / "lake"), pictures=str(folder / "pictures")),
        detect=replace(plan.detect, write_fits=False),
        profiles=replace(plan.profiles, write_fits=False),
    )


def _known_shifts(lake: Lake, tile: str) -> dict[str, tuple[float, float]]:
    """Return by how much the sources of a tile are moved in each image, to the east and to the north [arcsec]."""
    rows = lake.table("flux").filter(pl.col("tile") == tile, pl.col("status") == "ok")
    found = rows.group_by("band").agg(pl.col("shift_east").median(), pl.col("shift_north").median()).collect()
    return {band: (east or 0.0, north or 0.0) for band, east, north in found.iter_rows()}


def _with_images(
    plan: Plan, original: Plan, folder: Path, fakes: pl.DataFrame, shifts: dict[str, tuple[float, float]]
) -> Plan:
    """Return a plan whose images of bands have the fake sources, too."""
    images = [
        _image_with(one, folder, fakes, shifts.get(one.band, one.photometry.shift.shift_arcsec)) if one.image else one
        for one in original.band_images()
    ]
    return replace(plan, photometry=replace(plan.photometry, bands=(), images=tuple(images), table=""))


def _image_with(image: BandImage, folder: Path, fakes: pl.DataFrame, shift: tuple[float, float]) -> BandImage:
    """Return an image of a band with the fake sources, moved as the true ones; what lies beside it goes with it."""
    mosaic, psf, _ = read_band_image(image, {})
    fluxes = fakes[f"true_flux_{image.band}"].to_numpy() / _microjansky(replace(mosaic, band=image.band))
    east, north = shift
    moved = fakes.with_columns(
        pl.col("ra") + east / 3600.0 / pl.col("dec").radians().cos(), pl.col("dec") + north / 3600.0
    )
    light = fake_light(moved, mosaic.grid, psf, fluxes=fluxes, psf_has_pixel=image.psf_has_pixel)
    whole = np.zeros(mosaic.shape)
    for i, stamp in enumerate(light.stamps):
        if stamp.size:
            whole[light.window(i)] += stamp
    new = folder / image.band / Path(image.image).name
    new.parent.mkdir(parents=True)
    shutil.copyfile(image.image, new)
    for files in regions_beside(image).values():
        for file in files:
            shutil.copyfile(file, new.parent / file.name)
    with fits.open(new, mode="update") as hdus:
        index = _image_hdu(hdus, mosaic.shape)
        hdus[index].data = (np.asarray(hdus[index].data, np.float64) + whole).astype(np.float32)
    return replace(image, image=str(new))


def _image_hdu(hdus: Any, shape: tuple[int, int]) -> int:
    for name in ("SCI", None):
        for i, hdu in enumerate(hdus):
            if hdu.shape == tuple(shape) and (name is None or hdu.name == name):
                return i
    msg = f"no extension has an image of shape {shape}"
    raise NoDataError(msg)


def _run_stages(plan: Plan, scratch: Lake, tile: str, stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        if stage.tasks is None:
            continue
        for task in stage.tasks(plan, scratch):
            if task.tile == tile:
                run_task(stage, task, scratch)


def _measured(
    work: ImagingWork, lake: Lake, scratch: Lake, tile: str, fakes: pl.DataFrame, added: dict[str, FakeLight]
) -> pl.DataFrame:
    """Return one row for each fake source: truth, what was measured, and what became of it."""
    sources = scratch.table("source").filter(pl.col("tile") == tile).sort("source_id").collect()
    known = lake.table("source").filter(pl.col("tile") == tile).collect()
    column, row = (np.rint(fakes[name].to_numpy()).astype(int) for name in ("x", "y"))
    label = load_segmentation(scratch, tile).labels[row, column]
    matched = match_fakes(fakes, known, sources, label=label, radius_arcsec=work.params.match_arcsec)
    before = _label_before(lake, tile, row, column)
    table = fakes.rename({"ra": "true_ra", "dec": "true_dec"}).with_columns(
        *_aperture_truth(work.plan, fakes, added),
        matched["status"],
        matched["row"],
        pl.Series("is_on_source", before > 0),
    )
    kept = ["source_id", "label", "ra", "ra_err", "dec", "dec_err", "r_half", "kron_radius", "area", "flags"]
    kept += [name for name in sources.columns if name.startswith("flux_")]
    known_rows = sources.select(*kept, *(pl.col(name).alias(f"kron_{name}") for name in _KRON))
    known_rows = known_rows.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    table = table.join(known_rows, on="row", how="left", maintain_order="left").drop("row")
    table = table.with_columns(
        *_kron_truth(table, fakes, added),
        ((pl.col("ra") - pl.col("true_ra")) * pl.col("true_dec").radians().cos() * 3600.0).alias("offset_ra"),
        ((pl.col("dec") - pl.col("true_dec")) * 3600.0).alias("offset_dec"),
    )
    if work.params.through != "detect":
        table = table.join(_profiles(scratch, tile), on="source_id", how="left", maintain_order="left")
        turn = pl.col("profile_pa") - pl.col("true_pa")
        table = table.with_columns(profile_pa=pl.col("true_pa") + (turn + 90.0) % 180.0 - 90.0)
    if work.params.through == "photometry":
        for band, rows in _forced(scratch, tile).items():
            table = table.join(rows, on="source_id", how="left", maintain_order="left", suffix=f"_{band}")
    return table


def _label_before(lake: Lake, tile: str, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int32]:
    if tile not in lake.live_runs("segmentation"):
        return np.zeros(len(row), np.int32)
    return load_segmentation(lake, tile).labels[row, column]


def _aperture_truth(plan: Plan, fakes: pl.DataFrame, added: dict[str, FakeLight]) -> list[pl.Series]:
    """Return the light of each fake source in the apertures of the plan, around its true place [uJy]."""
    found = []
    for band, light in added.items():
        for k, diameter in enumerate(plan.measure.aperture_diameters_pix, start=1):
            flux = np.full(fakes.height, np.nan)
            for i, stamp in enumerate(light.stamps):
                if stamp.size:
                    y0, x0 = light.corners[i]
                    image = MeasureImage(data=stamp.astype(np.float32), error=1.0)
                    x, y = light.x[i] - x0, light.y[i] - y0
                    flux[i] = aperture_flux(image, x, y, a=diameter / 2).flux[0]
            microjansky = fakes[f"true_flux_{band}"].to_numpy() / light.fluxes
            found.append(pl.Series(f"true_flux_aper{k}_{band}", flux * microjansky))
    return found


def _kron_truth(table: pl.DataFrame, fakes: pl.DataFrame, added: dict[str, FakeLight]) -> list[pl.Series]:
    """Return the light of each fake source in the aperture that its Kron flux was measured in [uJy]."""
    ellipses = table.select(*(f"kron_{name}" for name in _KRON), "kron_radius").cast(pl.Float64).to_numpy()
    found = []
    for band, light in added.items():
        flux = np.full(table.height, np.nan)
        for i, (stamp, (x, y, a, b, theta, radius)) in enumerate(zip(light.stamps, ellipses, strict=True)):
            if stamp.size and np.isfinite(ellipses[i]).all():
                y0, x0 = light.corners[i]
                # An aperture may reach beyond the stamp, where there is no light.
                border = int(np.ceil(radius * a)) + 2
                image = MeasureImage(data=np.pad(stamp, border).astype(np.float32), error=1.0)
                at = {"a": radius * a, "b": radius * b, "theta": theta, "neighbours": "keep"}
                flux[i] = aperture_flux(image, x - x0 + border, y - y0 + border, **at).flux[0]
        microjansky = fakes[f"true_flux_{band}"].to_numpy() / light.fluxes
        found.append(pl.Series(f"true_flux_auto_inside_{band}", flux * microjansky).fill_nan(None))
    return found


def _profiles(scratch: Lake, tile: str) -> pl.DataFrame:
    best = scratch.table("profile").filter(pl.col("tile") == tile, pl.col("is_best"))
    names = ("flux", "flux_err", "r_eff", "r_eff_err", "sersic_index", "sersic_index_err", "pa_err", "kind", "flags")
    return best.select(
        "source_id",
        pl.col("status").alias("profile_status"),
        *(pl.col(name).alias(f"profile_{name}") for name in names),
        (1.0 - pl.col("ellipticity")).alias("profile_axis_ratio"),
        pl.col("ellipticity_err").alias("profile_axis_ratio_err"),
        pl.col("pa_sky").alias("profile_pa"),
        pl.col("is_converged").alias("profile_is_converged"),
        pl.col("bounds_hit").alias("profile_bounds_hit"),
    ).collect()


def _forced(scratch: Lake, tile: str) -> dict[str, pl.DataFrame]:
    rows = scratch.table("flux").filter(pl.col("tile") == tile).collect()
    found = {}
    for (band,), group in rows.group_by("band"):
        found[str(band)] = group.select(
            "source_id",
            pl.col("status").alias(f"forced_status_{band}"),
            pl.col("flux").alias(f"forced_flux_{band}"),
            pl.col("flux_err").alias(f"forced_flux_err_{band}"),
            pl.col("err_formal").alias(f"forced_err_formal_{band}"),
            pl.col("err_shape").alias(f"forced_err_shape_{band}"),
        )
    return dict(sorted(found.items()))


def spurious_of_tile(work: ImagingWork, tile: str) -> pl.DataFrame:
    """Return the sources that detection and measurement find in the negative of a tile.

    Returns
    -------
    polars.DataFrame
        ``tile, ra, dec`` and ``flux_auto_{band}`` [uJy] with errors; the noise of a mosaic has no sign, so that as many
        of the sources of the tile are noise.
    """
    lake = Lake.open(work.lake)
    work.folder.mkdir(parents=True, exist_ok=True)

    def change(_: str, planes: dict[str, NDArray[Any]]) -> None:
        planes["sci"] *= -1

    with TemporaryDirectory(dir=work.folder, prefix=f"{tile}-negative-") as name:
        folder = Path(name)
        scratch = copy_lake(lake, folder / "lake")
        publish_mosaics(lake, scratch, tile, change, params={"is_negative": True})
        _run_stages(_plan_of_copy(work.plan, folder), scratch, tile, _STAGES["detect"])
        rows = scratch.table("source").filter(pl.col("tile") == tile).collect()
        return rows.select("tile", "ra", "dec", pl.col("^flux_auto_.*$"))
