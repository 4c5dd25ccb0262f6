"""The stages, one verb per file, in the order in which they run."""

from skymere.pipeline.stages import (
    align,
    background,
    beams,
    contam,
    cutouts,
    detect,
    ingest,
    maps,
    measure,
    models,
    mosaic,
    outliers,
    photometry,
    profiles,
    psf,
    redshifts,
    release,
    slits,
)
from skymere.pipeline.task import Stage

__all__ = ["STAGES"]

STAGES: tuple[Stage, ...] = (
    ingest.STAGE,
    align.STAGE,
    background.STAGE,
    outliers.STAGE,
    mosaic.STAGE,
    psf.STAGE,
    detect.STAGE,
    measure.STAGE,
    profiles.STAGE,
    models.STAGE,
    photometry.STAGE,
    cutouts.STAGE,
    slits.STAGE,
    contam.STAGE,
    beams.STAGE,
    redshifts.STAGE,
    maps.STAGE,
    release.STAGE,
)
