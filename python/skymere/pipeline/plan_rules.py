"""Keys of a plan that contradict each other, or what the exposures and the lake are."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import polars as pl

from skymere.errors import InvalidInputError, SkymereError
from skymere.io import read_heads
from skymere.lake import Lake
from skymere.pipeline.band_images import BandImage
from skymere.pipeline.grism_plan import GrismFitPlan, MapsPlan
from skymere.pipeline.plan import Plan, PsfPlan
from skymere.pipeline.plan_files import Fault

__all__ = ["contradictions", "unknown_bands"]


def contradictions(plan: Plan) -> Iterator[Fault]:
    """Yield what does not fit together: keys with keys of other sections, or with the lake that is there.

    Parameters
    ----------
    plan : Plan
        The plan.
    """
    there = _Lake(plan)
    for rule in (_lake_rules, _sky_rules, _kernel_rules, _tile_rules, _psf_rules, _flux_rules, _grism_rules):
        yield from rule(plan, there)


def unknown_bands(plan: Plan) -> Iterator[Fault]:
    """Yield the bands that a plan names and that neither an exposure nor a mosaic of the lake has.

    Parameters
    ----------
    plan : Plan
        The plan; headers of files that the lake does not know yet are read until all bands are found.
    """
    named = list(_named_bands(plan))
    missing = {band for _, band in named}
    if not missing:
        return
    there = _Lake(plan)
    have = set(there.bands)
    for path in plan.exposure_files():
        if missing <= have:
            return
        if str(path) not in there.paths:
            have |= _bands_in(plan, path)
    for key, band in named:
        if band not in have:
            yield key, band, f"{key}: {band!r} is in no exposure, it must be one of {sorted(have)}"


class _Lake:
    """What the lake of a plan holds already; nothing when there is none."""

    def __init__(self, plan: Plan) -> None:
        self.path = plan.path(plan.survey.lake)
        self.fault = ""

    @cached_property
    def lake(self) -> Lake | None:
        if not (self.path / "lake.json").exists():
            if self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir())):
                self.fault = f"{self.path} holds something else than a lake, it must be a lake, empty or not there"
            return None
        try:
            return Lake.open(self.path)
        except SkymereError as error:
            self.fault = str(error)
            return None

    def has(self, product: str) -> bool:
        return self.lake is not None and bool(self.lake.live_runs(product))

    @cached_property
    def bands(self) -> list[str]:
        if self.lake is None:
            return []
        tables = (self.lake.table(name).filter(pl.col("status") == "ok") for name in ("exposure", "mosaic"))
        return sorted({band for table in tables for band in table.select("band").unique().collect()["band"]})

    @cached_property
    def paths(self) -> set[str]:
        """Files of exposures that were read."""
        if self.lake is None:
            return set()
        return set(self.lake.table("exposure").filter(pl.col("status") == "ok").select("path").collect()["path"])


def _lake_rules(plan: Plan, there: _Lake) -> Iterator[Fault]:
    lake, key = there.lake, "survey.lake"
    if there.fault:
        yield key, plan.survey.lake, f"{key}: {plan.survey.lake!r} is not allowed: {there.fault}"
    kind = lake.tiles.to_json()["tiles"] if lake is not None else plan.tile.kind
    if kind != plan.tile.kind:
        yield (
            "tile.kind",
            plan.tile.kind,
            f"tile.kind: {plan.tile.kind!r} is not what the lake has, it must be {kind!r}",
        )


def _sky_rules(plan: Plan, _: _Lake) -> Iterator[Fault]:
    try:
        plan.flag_params()
    except InvalidInputError as error:
        yield "background.method", plan.background.method, str(error)


def _kernel_rules(plan: Plan, _: _Lake) -> Iterator[Fault]:
    for where, kernel, pixfrac in (
        ("mosaic.drizzle", plan.mosaic.drizzle.kernel, plan.mosaic.drizzle.pixfrac),
        ("maps", plan.maps.kernel, plan.maps.pixfrac),
    ):
        if kernel.startswith("lanczos") and pixfrac != 1.0:
            key = f"{where}.pixfrac"
            yield key, pixfrac, f"{key}: {pixfrac} is not allowed with {where}.kernel {kernel!r}, it must be 1.0"


def _tile_rules(plan: Plan, there: _Lake) -> Iterator[Fault]:
    has_grid = there.lake is not None or plan.tile.reference_image or plan.tile.kind == "healpix"
    if not plan.survey.exposures and not has_grid:
        key = "survey.exposures"
        yield (
            key,
            [],
            f"{key}: [] is not allowed with tile.kind 'named': name files, a tile.reference_image, or 'healpix'",
        )
    reference = plan.tile.reference_image
    if reference and plan.tile.rotation_deg:
        key = "tile.rotation_deg"
        yield key, plan.tile.rotation_deg, f"{key}: {plan.tile.rotation_deg} is not allowed with tile.reference_image"


def _psf_rules(plan: Plan, there: _Lake) -> Iterator[Fault]:
    psf, plain = plan.psf, PsfPlan()
    if psf.source not in {"grid", "image"} and psf.path:
        message = f"psf.path: {psf.path!r} is not allowed with psf.source {psf.source!r}, it must be 'grid' or 'image'"
        yield "psf.path", psf.path, message
    if psf.source != "image" and psf.extension != plain.extension:
        message = f"psf.extension: {psf.extension!r} is not allowed with psf.source {psf.source!r}, it must be 'image'"
        yield "psf.extension", psf.extension, message
    if psf.source == "none" and not there.has("psf"):
        for key, band in _behind_psf(plan):
            message = f"{key}: {band!r} needs a PSF, but psf.source is 'none'; it must be 'stars', 'grid', 'gaussian', "
            yield key, band, f"{message}'moffat' or 'image'"


def _behind_psf(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the keys of bands whose mosaics need a PSF."""
    if plan.profiles.band:
        yield "profiles.band", plan.profiles.band
    yield from (("photometry.bands", band) for band in plan.photometry.bands)
    for number, image in enumerate(plan.photometry.images):
        if not image.image and not image.psf:
            yield f"photometry.images[{number}].band", image.band


def _flux_rules(plan: Plan, _: _Lake) -> Iterator[Fault]:
    section = plan.photometry
    if not plan.profiles.band and (section.bands or section.images or section.table):
        said = "bands" if section.bands else "images" if section.images else "table"
        value = list(section.bands) or [one.band for one in section.images] or section.table
        message = f"{value!r} needs models, but profiles.band is ''; it must be the band whose sources are fitted"
        yield f"photometry.{said}", value, f"photometry.{said}: {message}"
    for number, image in enumerate(section.images):
        if image.image and not image.psf:
            key = f"photometry.images[{number}].psf"
            yield key, "", f"{key}: is missing, the image of band {image.band!r} must have one"
    images = (*(BandImage(band=band) for band in section.bands), *section.images)
    bands = [one.band for one in images]
    for band in sorted({band for band in bands if bands.count(band) > 1}):
        yield "photometry.bands", band, f"photometry.bands: {band!r} is named twice in [photometry], it must be once"


def _grism_rules(plan: Plan, there: _Lake) -> Iterator[Fault]:
    fits, maps = plan.redshifts.grism, plan.maps
    has_beams = bool(plan.contam.files or plan.beams.files) or there.has("beam")
    nothing = "but neither contam.files nor beams.files names a file"
    if not fits.templates and fits != GrismFitPlan():
        key = "redshifts.grism.templates"
        yield key, "", f"{key}: is missing, fits to beams need a folder of templates (with a slash) or a pack"
    if fits.templates and plan.redshifts.is_on and not has_beams:
        key = "redshifts.grism.templates"
        yield key, fits.templates, f"{key}: {fits.templates!r} is to be fitted to beams, {nothing}; one of them must"
    if maps != MapsPlan() and maps.is_on:
        if not has_beams:
            yield "maps", None, f"maps: line maps are made of beams, {nothing}; one of them must, or maps.is_on = false"
        if not fits.templates or (not plan.redshifts.is_on and not there.has("redshift")):
            message = (
                "maps: line maps need redshifts of beams; redshifts.is_on and redshifts.grism.templates must be given"
            )
            yield "maps", None, message


def _named_bands(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the keys of bands that mosaics must have."""
    yield from (("detect.bands", band) for band in plan.detect.bands)
    if plan.profiles.band:
        yield "profiles.band", plan.profiles.band
    yield from (("photometry.bands", band) for band in plan.photometry.bands)
    for number, image in enumerate(plan.photometry.images):
        if not image.image:
            yield f"photometry.images[{number}].band", image.band
    if plan.contam.files and plan.contam.mag_band and not plan.contam.catalogue:
        yield "contam.mag_band", plan.contam.mag_band


def _bands_in(plan: Plan, path: Any) -> set[str]:
    try:
        return {head.band for head in read_heads(path, params=plan.read_params())}
    except SkymereError:
        # A file that cannot be read is the status of its row.
        return set()
