"""The sources of a frame, made ready once, so that some of them are drawn again and again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere._rust import grism as _grism
from skymere.datamodels import ANGSTROM
from skymere.grism.contamination import frame_sources
from skymere.grism.frames import GrismFrame, Spectrum

__all__ = ["FrameScene"]


class FrameScene:
    """The sources of a frame as the kernel takes them.

    Parameters
    ----------
    frame : GrismFrame
        The frame.
    """

    def __init__(self, frame: GrismFrame) -> None:
        params = frame.contamination
        self.image = np.ascontiguousarray(frame.direct * np.float32(frame.photflam))
        self.labels = np.ascontiguousarray(frame.segmentation)
        config = frame.config
        names = [name for name in config.orders if not params.orders or name in params.orders]
        found = frame_sources(
            self.image, self.labels, frame.catalog, config, names, pad=frame.pad, spectra={}, params=params
        )
        # A spectrum is that of the whole source: the image is divided by its sum.
        labels, index = np.unique(self.labels, return_inverse=True)
        sums = np.bincount(index.ravel(), self.image.ravel(), minlength=labels.size)
        self.totals = dict(zip(labels.tolist(), sums.tolist(), strict=True))
        self.sources: dict[int, dict[str, Any]] = {one["label"]: one for one in found}
        self.operator = params.operator
        self.orders = [config.orders[name].compiled for name in names]
        spans = [config.orders[name] for name in names]
        self._columns = min(one.first for one in spans), max(one.end for one in spans)

    def reach(self, source_id: int, margin: int) -> tuple[int, int, int, int] | None:
        """Return the first and last row and column that light of a source may reach; None when it is not drawn."""
        one = self.sources.get(source_id)
        if one is None:
            return None
        y, x, size = one["window"]
        first, end = self._columns
        return y - margin, y + size + margin, x + first, x + size + end

    def drawn(self, ids: Sequence[int], spectra: Mapping[int, Spectrum]) -> NDArray[np.float64]:
        """Return all orders of some sources, float64, shape of the frame [e/s].

        Parameters
        ----------
        ids : sequence of int
            The sources; those that are not on the frame are left out.
        spectra : mapping of int to (ndarray, ndarray)
            Wavelengths [um] and flux densities [erg/s/cm2/A]; others are flat.
        """
        chosen = []
        for one in ids:
            if one not in self.sources:
                continue
            known = spectra.get(one)
            spectrum = None if known is None else ((known[0] / ANGSTROM, known[1]), 1.0 / self.totals[one])
            chosen.append({**self.sources[one], "spectrum": spectrum})
        if not chosen:
            return np.zeros(self.image.shape)
        return _grism.render_frame(self.image, self.labels, self.orders, chosen, self.operator)
