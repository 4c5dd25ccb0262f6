"""photometry: fluxes of all sources of a tile in other bands, with the shapes of its profiles."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skymere.errors import InvalidInputError, SkymereError
from skymere.io import file_digest
from skymere.lake import Lake, Run
from skymere.photometry import ForcedPhotometry, NoiseParams, PhotometryParams, forced_photometry
from skymere.pipeline.band_images import BandImage, has_scaled_errors, image_to_measure
from skymere.pipeline.band_input import band_input, external_images
from skymere.pipeline.fluxes import BandFluxes, band_fluxes, failed_band, models_for, write_fluxes
from skymere.pipeline.plan import Plan
from skymere.pipeline.products import load_segmentation
from skymere.pipeline.searched import searched_on_grid
from skymere.pipeline.task import Stage, Task, as_params
from skymere.segmentation import MeasureImage, labels_on_grid

__all__ = ["STAGE"]


def tasks(plan: Plan, lake: Lake) -> list[Task]:
    """Return one task for each tile with profiles; none when the plan names no band.

    Raises
    ------
    InvalidInputError
        When bands are named, but no profiles are fitted.
    """
    images = plan.band_images()
    if not images:
        return []
    if not plan.profiles.band:
        msg = "photometry: needs models, but profiles.band names no band whose sources are fitted"
        raise InvalidInputError(msg)
    digests = [
        {"uri": Path(file).name, "sha256": file_digest(Path(file))}
        for one in images
        for file in one.files().values()
        if Path(file).is_file()
    ]
    digests += [{"uri": path.name, "sha256": file_digest(path)} for path in plan.external_models().values()]
    return [_task(plan, lake, tile, images, digests) for tile in sorted(lake.live_runs("profile"))]


def _task(plan: Plan, lake: Lake, tile: str, images: Sequence[BandImage], digests: list[dict[str, str]]) -> Task:
    neighbours = _neighbours(lake, tile)
    drawn = lake.live_runs("region")
    own = ("psf", "segmentation") if any(not one.image for one in images) else ("segmentation",)
    return Task(
        tile=tile,
        inputs=[
            *(lake.reference(product, tile) for product in own),
            *(lake.reference("mosaic", name) for name in (tile, *neighbours)),
            *(lake.reference("profile", name) for name in (tile, *neighbours)),
            *({"uri": f"region/{name}", "run": drawn[name]} for name in (tile, *neighbours) if name in drawn),
            *digests,
        ],
        params={
            "images": [as_params(_named(one)) for one in images],
            "margin_arcsec": plan.photometry.margin_arcsec,
            "external": {str(source_id): path.name for source_id, path in plan.external_models().items()},
        },
        work=partial(_work, plan, lake, tile, images),
    )


def _neighbours(lake: Lake, tile: str) -> list[str]:
    """Return the tiles beside a tile that have models."""
    return sorted(set(lake.tiles.neighbours(tile)) & set(lake.live_runs("profile")))


def _named(image: BandImage) -> dict[str, Any]:
    """Return the parameters of an image; its files by name alone, since the same ones elsewhere are the same work."""
    params: dict[str, Any] = as_params(image)
    return params | {name: Path(file).name for name, file in image.files().items()}


def _work(plan: Plan, lake: Lake, tile: str, images: Sequence[BandImage], run: Run) -> None:
    bands = []
    for image in images:
        try:
            bands.append(_measured(plan, lake, tile, image))
        except SkymereError as error:
            run.warn(f"{image.band}: {error}")
            models = models_for(lake, lake.tiles[tile].grid, plan.profiles.band)
            bands.append(failed_band(models, band=image.band, tile=tile, why=str(error)))
    write_fluxes(run, bands)


def _measured(plan: Plan, lake: Lake, tile: str, image: BandImage) -> BandFluxes:
    """Measure a band.

    Raises
    ------
    SkymereError
        When it cannot be measured at all.
    """
    mosaic, psf, regions = band_input(plan, lake, tile, image)
    if not np.isfinite(mosaic.zero_point_ab):
        msg = f"band {image.band!r} has no zero point, which the lake's uJy need; give zero_point_ab"
        raise InvalidInputError(msg)
    models = models_for(lake, mosaic.grid, plan.profiles.band)
    modelled = labels_on_grid(load_segmentation(lake, tile), mosaic.grid) > 0
    searched = None
    if not image.has_unsearched_pixels:
        searched = searched_on_grid(lake, (tile, *_neighbours(lake, tile)), mosaic.grid)
    measured, params = image_to_measure(mosaic, image, regions, modelled=modelled, searched=searched)
    external = external_images(plan, models["source_id"].to_list())
    fit = partial(forced_photometry, models=models, psf=psf, psf_has_pixel=image.psf_has_pixel, external=external)
    if has_scaled_errors(mosaic, image):
        measured = _with_noise_of_residual(measured, fit, params)
    found = fit(measured, params=params)
    return band_fluxes(
        found,
        models,
        band=image.band,
        tile=tile,
        grid=mosaic.grid,
        image_unit=mosaic.unit,
        zero_point_ab=mosaic.zero_point_ab,
    )


def _with_noise_of_residual(
    measured: MeasureImage, fit: Callable[..., ForcedPhotometry], params: PhotometryParams
) -> MeasureImage:
    """Return a band whose errors are the scatter of what a first fit leaves.

    Where sources are broad and many there is no sky between them, and their wings pass for noise.
    """
    # Sources that were shifted against their models would leave dipoles.
    quick = replace(params, noise=NoiseParams(), has_shape_errors=False)
    residual = fit(measured, params=quick).residual
    error = np.asarray(measured.error, np.float32)
    used = np.isfinite(error) & np.isfinite(residual) & ~np.asarray(measured.mask)
    ratio = residual[used].astype(np.float64) / error[used]
    factor = 1.4826 * float(np.median(np.abs(ratio - np.median(ratio))))
    return replace(measured, error=error * np.float32(factor)) if factor > 0 else measured


STAGE = Stage(
    name="photometry",
    reads=("mosaic", "psf", "segmentation", "profile", "region"),
    writes=("flux",),
    tasks=tasks,
)
