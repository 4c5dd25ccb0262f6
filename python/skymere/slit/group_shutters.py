"""Shutters, bar shadows and responses of a group, where they are changed after it was read."""

from dataclasses import replace

import numpy as np

from skymere.datamodels import SlitTables
from skymere.errors import InvalidInputError, NotFoundError
from skymere.io import read_slit_tables
from skymere.slit.arrays import AppliedCorrections, SlitArrays
from skymere.slit.cutouts import common_cutout
from skymere.slit.group_state import SlitGroupState
from skymere.slit.normalization import slit_normalization
from skymere.slit.params import PrepareParams
from skymere.slit.preparation import prepare_slitlets
from skymere.slit.stuck_shutters import find_stuck_shutters, shutter_mask

__all__ = ["SlitGroupShutters"]


class SlitGroupShutters(SlitGroupState):
    """What can be done again to a group after it was read: stuck shutters, the shadow of the bars, the response."""

    tables: SlitTables
    prepare: PrepareParams
    _tables_are_given: bool

    def calculate_slices(self) -> list[tuple[slice, slice]]:
        """Return the part of each cutout that all have in common."""
        starts = [(one.place.y0, one.place.x0) for one in self.slits]
        return common_cutout(starts, [one.shape for one in self.slits])

    def apply_bad_shutter_mask(self) -> None:
        """Leave out the shutters of ``meta["bad_shutter_names"]``, up to 0.6 of a shutter from their centres."""
        names = tuple(self.meta["bad_shutter_names"])
        if names and not self.IS_FIXED_SLIT:
            is_bad = shutter_mask(self.fixed_yshutter, names)
            self.flag_pixels("stuck_shutter", is_bad)
            self.sci[is_bad] = np.nan

    def mask_stuck_closed_shutters(self, stuck_threshold: float = 0.3, min_bar: float = 0.7) -> None:
        """Find shutters without light and leave them out (prism).

        Parameters
        ----------
        stuck_threshold : float
            A shutter with less than this part of the best one's signal over noise is stuck.
        min_bar : float
            Only pixels with more light than this count.

        Raises
        ------
        InvalidInputError
            When the threshold is not positive.
        """
        names: tuple[int, ...] = ()
        if self.grating.upper() == "PRISM" and not self.IS_FIXED_SLIT:
            found = find_stuck_shutters(
                self.sci,
                np.asarray(self.var_total, self.sci.dtype),
                self.bar,
                self.fixed_yshutter,
                self.mask,
                threshold=stuck_threshold,
                min_bar=min_bar,
            )
            names = found.stuck
        self.meta["bad_shutter_names"] = list(names)
        self.apply_bad_shutter_mask()

    def apply_normalization_correction(self) -> None:
        """Bring a slit of the prism to the mean response of all, unless that was done.

        Raises
        ------
        NotFoundError
            When the tables lack the response.
        """
        place = self.slits[self.arrays.frame].place
        is_done = all(one.normalization for one in self.arrays.applied)
        if is_done or self.grating.upper() != "PRISM" or place.quadrant not in (1, 2, 3, 4):
            return
        table = self.tables.normalization
        if table is None:
            msg = "tables: no normalization of the prism, apply_normalization_correction needs it"
            raise NotFoundError(msg)
        factor = slit_normalization(
            self.wave,
            quadrant=place.quadrant,
            column=place.column,
            row=place.row,
            coefficients=table.coefficients,
            wavelengths=table.wavelengths,
        )
        self._scale(factor)
        self.normalization = factor
        applied = tuple(replace(one, normalization=True) for one in self.arrays.applied)
        self.arrays = replace(self.arrays, applied=applied)
        self.flag_pixels("normalization", self.mask & ~np.isfinite(factor))

    def apply_spline_bar_correction(self) -> None:
        """Replace the shadow of the bars by that of the tables for ``meta["shutter_offset"]``.

        Raises
        ------
        InvalidInputError
            For a slit without shutters.
        NotFoundError
            When the tables lack a shadow.
        """
        if self.IS_FIXED_SLIT:
            msg = f"group {self.name}: a fixed slit has no bars"
            raise InvalidInputError(msg)
        made = self._with_shadow_of_tables()
        bar = made.bar.reshape(self.bar.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._scale(self.bar / bar)
            self.bar = bar
            self.flag_pixels("bar", self.mask & ~np.isfinite(self.sci))
            if self.meta["min_bar"] is not None:
                self.flag_pixels("bar", self.mask & ~(bar > self.meta["min_bar"]))
        self.arrays = replace(self.arrays, applied=made.applied, shutter_y=made.shutter_y)
        self._take_shadow(made.applied[made.frame])

    def _take_shadow(self, done: AppliedCorrections) -> None:
        """Say in ``meta`` that the shadow of the bars is that of the tables."""
        self.meta |= {"num_shutters": done.n_shutters, "undo_barshadow": 0, "barshadow_dy": done.bar_offset}
        self.meta |= {"own_barshadow": True, "wrapped_barshadow": done.is_wrapped}

    def _with_shadow_of_tables(self) -> SlitArrays:
        """Return the exposures with the shadow of the tables for ``meta["shutter_offset"]``."""
        if not (self.tables.bars or self._tables_are_given):
            exposure = self.slits[0].exposure
            more = read_slit_tables(
                self.pack,
                grating=exposure.grating,
                filter_name=exposure.filter,
                detector=exposure.detector,
                parts=("bars",),
            )
            self.tables = replace(self.tables, bars=more.bars, wave_bars=more.wave_bars)
        asked = replace(self.prepare, undo_barshadow=2, shutter_offset=float(self.meta["shutter_offset"]))
        return prepare_slitlets(self.slits, tables=self.tables, params=asked)

    def _scale(self, factor: np.ndarray) -> None:
        """Multiply the data, and the variances by the square; arrays keep their dtype."""
        self.sci = np.asarray(self.sci * factor, self.sci.dtype)
        self.var_rnoise = np.asarray(self.var_rnoise * factor**2, self.var_rnoise.dtype)
        self.var_poisson = np.asarray(self.var_poisson * factor**2, self.var_poisson.dtype)
