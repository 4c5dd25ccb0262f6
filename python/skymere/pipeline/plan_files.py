"""Files and packs that a plan names and that are not there."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from skymere.errors import NotFoundError, SkymereError
from skymere.mosaic import named_psf_file
from skymere.pipeline.grism_plan import place_or_pack
from skymere.pipeline.plan import Plan
from skymere.pipeline.slit_plan import plan_pack
from skymere.pipeline.slit_units import slit_files

__all__ = ["Fault", "missing_files"]

#: Key, value, and what is wrong and allowed.
Fault = tuple[str, Any, str]


def missing_files(plan: Plan) -> Iterator[Fault]:
    """Yield key, value and message of every file, pack and pattern of a plan without anything there.

    Parameters
    ----------
    plan : Plan
        The plan.

    Notes
    -----
    A file of an exposure that is named without wildcards need not be there: that it is not is the status of its row.
    """
    yield from _patterns(plan)
    for key, text in _named(plan):
        if text and not plan.path(text).exists():
            yield key, text, f"{key}: {text!r} is not there, it must be a file or folder; looked for {plan.path(text)}"
    yield from _packs(plan)


def _patterns(plan: Plan) -> Iterator[Fault]:
    survey, folder = plan.survey, plan.folder
    for pattern in survey.exposures:
        yield from _refused("survey.exposures", pattern, partial(plan.matching, pattern))
    lists = (
        ("slits.files", plan.slits.files),
        ("contam.files", plan.contam.files),
        ("contam.direct", plan.contam.direct),
        ("beams.files", plan.beams.files),
    )
    for key, patterns in lists:
        for pattern in patterns:
            yield from _refused(key, pattern, partial(slit_files, [pattern], folder, key=key))


def _named(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the files and folders that keys name."""
    yield "tile.reference_image", plan.tile.reference_image
    yield "ingest.detectors", plan.ingest.detectors
    yield "ingest.reference_files", plan.ingest.reference_files
    if plan.psf.source in {"grid", "image"}:
        bands = _bands_behind_psf(plan) if "{band}" in plan.psf.path else [""]
        yield from (("psf.path", plan.psf.path.replace("{band}", band)) for band in bands)
    yield "photometry.table", plan.photometry.table
    for number, image in enumerate(plan.photometry.images):
        for name, file in image.files().items():
            yield f"photometry.images[{number}].{name}", file
    for number, one in enumerate(plan.photometry.external):
        yield f"photometry.external[{number}].path", one.path
    contam, beams = plan.contam, plan.beams
    if contam.files:
        yield "contam.catalogue", contam.catalogue
        yield "contam.segmentation", contam.segmentation
        yield from (("contam.masters", one.partition("=")[2]) for one in contam.masters)
    if contam.files or beams.files:
        yield "contam.conf", contam.conf
        yield "beams.conf", beams.conf
    yield "beams.actions", beams.actions
    if plan.maps.is_on and "{band}" not in plan.maps.psf:
        yield "maps.psf", str(named_psf_file(plan.maps.psf, "") or "")


def _bands_behind_psf(plan: Plan) -> list[str]:
    """Return the bands that something needs the PSF of; other bands without a file are rows that say so."""
    lake_images = [one.band for one in plan.photometry.images if not one.psf]
    return list(dict.fromkeys(band for band in (plan.profiles.band, *plan.photometry.bands, *lake_images) if band))


def _packs(plan: Plan) -> Iterator[Fault]:
    if plan.slits.files:
        yield from _refused("slits.pack", plan.slits.pack, partial(plan_pack, plan.slits, plan.folder))
        if plan.redshifts.is_on:
            yield from _refused("redshifts.pack", plan.redshifts.pack, partial(plan_pack, plan.redshifts, plan.folder))
    templates = plan.redshifts.grism.templates
    if plan.redshifts.is_on and templates:
        yield from _refused("redshifts.grism.templates", templates, partial(_place, templates, plan.folder))


def _place(text: str, folder: Path) -> None:
    place = place_or_pack(text, folder)
    if isinstance(place, Path) and not place.is_dir():
        msg = f"{text!r} is not there, it must be a folder (with a slash) or the name of a pack; looked for {place}"
        raise NotFoundError(msg)


def _refused(key: str, value: Any, look: Callable[[], object]) -> Iterator[Fault]:
    try:
        look()
    except SkymereError as error:
        text = str(error)
        yield key, value, text if text.startswith(key) else f"{key}: {value!r} is not allowed: {text}"
