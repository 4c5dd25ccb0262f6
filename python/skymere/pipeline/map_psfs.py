"""PSFs of the direct images of line maps."""

from collections.abc import Callable
from pathlib import Path

from skymere.errors import SkymereError
from skymere.grism import MultiBeam
from skymere.instruments import is_dispersed
from skymere.mosaic import ExposureList, named_psf
from skymere.pipeline.grism_plan import MapsPlan
from skymere.psf import PsfSource

__all__ = ["MapPsfs"]


class MapPsfs:
    """The PSFs that a plan names, each made when a source first has an image of its filter.

    Parameters
    ----------
    plan : MapsPlan
        Says what they are.
    exposures : ExposureList, optional
        From which direct images are drizzled, and in which stars are found.
    folder : Path, optional
        Where relative files begin; the working folder when not given.
    on_failure : callable, optional
        Called with a message for each filter that has no PSF; its images have none then.
    """

    def __init__(
        self,
        plan: MapsPlan,
        *,
        exposures: ExposureList | None = None,
        folder: Path | None = None,
        on_failure: Callable[[str], object] | None = None,
    ) -> None:
        self._plan, self._exposures, self._folder, self._on_failure = plan, exposures, folder, on_failure
        self._made: dict[str, PsfSource | None] = {}

    @property
    def of_exposures(self) -> dict[str, PsfSource | None] | None:
        """The PSF of each filter of the exposures; None when the plan asks for none."""
        if self._exposures is None or not self._plan.has_psf:
            return None
        return {band: None if is_dispersed(band) else self._one(band) for band in self._exposures.bands}

    def of_beams(self, multibeam: MultiBeam) -> dict[str, PsfSource]:
        """Return the PSF of each filter of the direct images of beams; none when the plan asks for none.

        Parameters
        ----------
        multibeam : MultiBeam
            The beams.
        """
        bands = {one.beam.direct_filter.lower() for one in multibeam.beams} if self._plan.has_psf else set()
        found = {band: self._one(band) for band in sorted(bands) if band and not is_dispersed(band)}
        return {band: psf for band, psf in found.items() if psf is not None}

    def _one(self, band: str) -> PsfSource | None:
        if band not in self._made:
            try:
                self._made[band] = named_psf(
                    self._plan.psf, band, exposures=self._exposures, folder=self._folder, where="psf"
                )
            except SkymereError as error:
                self._made[band] = None
                if self._on_failure is not None:
                    self._on_failure(f"{band}: no PSF: {error}")
        return self._made[band]
