"""Every correction of the exposures of a slit, in its order, on their common cutout."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Slitlet, SlitTables
from skymere.errors import InvalidInputError, NotFoundError
from skymere.slit.arrays import AppliedCorrections, SlitArrays
from skymere.slit.bad_pixels import extra_bad_pixels, find_bad_pixels
from skymere.slit.bar_shadow import bar_shutter_offset, bar_table_number, bar_throughput
from skymere.slit.cutouts import check_group, common_cutout
from skymere.slit.flags import SLIT_FLAG_BITS
from skymere.slit.geometry import (
    dispersion,
    fit_traces,
    shift_wavelength,
    shifted_traces,
    shutter_coordinate,
    slit_trace,
    trace_distance,
)
from skymere.slit.hot_pixels import find_hot_pixels
from skymere.slit.normalization import extended_calibration, shutter_flat, slit_normalization
from skymere.slit.params import PrepareParams
from skymere.slit.path_loss import flux_factor, path_loss_factor
from skymere.slit.stuck_shutters import StuckShutters, find_stuck_shutters, shutter_mask

__all__ = ["prepare_slitlets", "reference_index"]

_PRISM = "PRISM"


def reference_index(slitlets: Sequence[Slitlet], frame: str = "reference") -> int:
    """Return which exposure is the frame of the others.

    Parameters
    ----------
    slitlets : sequence of Slitlet
        The exposures.
    frame : str, optional
        See `PrepareParams`.

    Raises
    ------
    InvalidInputError
        When no exposure has that name.
    """
    names = [one.exposure.exposure_id for one in slitlets]
    by_name = sorted(range(len(names)), key=names.__getitem__)
    if frame == "first":
        return by_name[0]
    if frame == "reference":
        offsets = np.array([one.exposure.y_offset for one in slitlets])
        distance = np.round(np.abs(offsets - np.median(offsets)), 6)
        return min(by_name, key=distance.__getitem__)
    if frame not in names:
        msg = f"frame: {frame!r} is not allowed, it must be 'reference', 'first' or one of {sorted(names)}"
        raise InvalidInputError(msg)
    return names.index(frame)


def prepare_slitlets(
    slitlets: Sequence[Slitlet], *, tables: SlitTables, params: PrepareParams | None = None
) -> SlitArrays:
    """Correct the exposures of a slit and put them on their common cutout.

    Parameters
    ----------
    slitlets : sequence of Slitlet
        Exposures of one slit; their order is that of the result and changes no number.
    tables : SlitTables
        Reference tables.
    params : PrepareParams, optional
        What to do.

    Returns
    -------
    SlitArrays
        Without a valid pixel the arrays are there, everything is flagged, and the status says so.

    Raises
    ------
    InvalidInputError
        When the slitlets are not of one source, grating and detector.
    NoOverlapError
        When they have no pixel in common.
    NotFoundError
        When a table that a correction needs is not there.

    Notes
    -----
    In this order: flat field of the shutters, bad pixels, extended calibration, path loss and pixel area, trace, bar
    shadow, dark pixels, stuck shutters, mean response.
    """
    params = params or PrepareParams()
    check_group(slitlets)
    work = _Work(slitlets, tables, params)
    work.calibrate()
    work.flag_bad_pixels()
    work.to_flux()
    work.trace()
    if work.is_valid.any():
        work.replace_bar_shadow()
        work.flag_shutters()
    work.normalize()
    return work.result()


class _Work:
    """The arrays while they are corrected."""

    def __init__(self, slitlets: Sequence[Slitlet], tables: SlitTables, params: PrepareParams) -> None:
        self.slitlets, self.tables, self.params = slitlets, tables, params
        self.frame = reference_index(slitlets, params.frame)
        self.cuts = common_cutout([(s.place.y0, s.place.x0) for s in slitlets], [s.shape for s in slitlets])
        head = slitlets[self.frame]
        self.is_prism = head.exposure.grating.upper() == _PRISM
        self.sci, self.var_rnoise, self.var_poisson = (
            np.stack([getattr(s, name)[cut] for s, cut in zip(slitlets, self.cuts, strict=True)])
            for name in ("sci", "var_rnoise", "var_poisson")
        )
        self.dq = np.stack([s.dq[cut] for s, cut in zip(slitlets, self.cuts, strict=True)])
        ones = np.ones_like(self.sci)
        self.orig_bar = np.stack(
            [
                np.ones(self.sci.shape[1:], np.float32) if s.bar is None else s.bar[cut]
                for s, cut in zip(slitlets, self.cuts, strict=True)
            ]
        )
        self.bar = self.orig_bar.astype(np.float64)
        self.phot_corr, self.pathloss_corr = ones.copy(), ones.copy()
        self.normalization = np.ones(self.sci.shape)
        self.flags = np.zeros(self.sci.shape, np.uint32)
        self.shutters: StuckShutters | None = None
        self.applied = [
            AppliedCorrections(
                exposure_id=s.exposure.exposure_id,
                frame=head.exposure.exposure_id,
                bar_shadow="none" if s.bar is None else "pipeline",
                pack=tables.pack,
                pack_digest=tables.digest,
            )
            for s in slitlets
        ]
        self._read_geometry(head)

    def _read_geometry(self, head: Slitlet) -> None:
        waves, steps, traces = [], [], []
        for k, (one, cut) in enumerate(zip(self.slitlets, self.cuts, strict=True)):
            geometry = one.geometry
            center = one.source.y_position if self.params.trace_with_ypos else 0.0
            trace = slit_trace(geometry.slit_y, one.wavelength, center=center if np.isfinite(center) else 0.0)
            wavelength, wtr = geometry.wavelength, trace.wavelength
            if self.params.trace_with_xpos and np.isfinite(one.source.x_position):
                place, slope, step = one.source.x_position, geometry.wavelength_slope, np.gradient(wtr)
                wavelength, pixels = shift_wavelength(wavelength, slope, step, x_position=place)
                wtr, _ = shift_wavelength(wtr, slope, step, x_position=place)
                self._record(k, wavelength_shift=pixels)
            waves.append(wavelength[cut])
            steps.append(dispersion(wavelength)[cut])
            columns = cut[1]
            traces.append((trace.x[columns] - columns.start, trace.y[columns] - cut[0].start, wtr[columns]))
        self.wavelength, self.dwave_dx = np.stack(waves), np.stack(steps)
        self.xtr, self.ytr, self.wtr = (np.stack(rows) for rows in zip(*traces, strict=True))
        self.slit_y = head.geometry.slit_y[self.cuts[self.frame]]
        self.pixel_scale = head.geometry.pixel_scale_arcsec
        self.shutter_scale = head.geometry.shutter_scale
        self.shutter_y = shutter_coordinate(
            self.slit_y, shutter_scale=self.shutter_scale, offset=self.params.shutter_offset
        )

    def _record(self, k: int, **values: object) -> None:
        self.applied[k] = replace(self.applied[k], **values)  # type: ignore[arg-type]

    @property
    def is_valid(self) -> NDArray[np.bool_]:
        return np.asarray(self.flags == 0)

    def _flag(self, reason: str, bad: NDArray[np.bool_]) -> None:
        self.flags[bad] |= np.uint32(SLIT_FLAG_BITS[reason])

    def _scale(self, k: int, factor: NDArray[np.floating]) -> None:
        """Multiply an exposure and its variances; the arrays keep their dtype."""
        self.sci[k] = self.sci[k] * factor
        self.var_rnoise[k] = self.var_rnoise[k] * factor**2
        self.var_poisson[k] = self.var_poisson[k] * factor**2

    def calibrate(self) -> None:
        """Divide by the flat field of the shutters, and find the sensitivity, where the pipeline left them out."""
        for k, one in enumerate(self.slitlets):
            if not one.has_extended_calibration:
                continue
            head = self.slitlets[self.frame]
            if self.params.with_sflat_correction and self.is_prism and not one.is_fixed_slit:
                flat = self.tables.flats.get(head.place.quadrant)
                if flat is None:
                    msg = f"tables: no flat field of quadrant {head.place.quadrant}, with_sflat_correction needs it"
                    raise NotFoundError(msg)
                flat_field = shutter_flat(
                    self.wavelength[k],
                    column=head.place.column,
                    row=head.place.row,
                    table_wavelength=flat.wavelength,
                    **{name: getattr(flat, name) for name in _FLAT_NAMES},
                )
                self._scale(k, 1.0 / flat_field)
                self._record(k, slit_flat=True)
            if self.params.extended_threshold is not None:
                self._calibrate_extended(k, one)

    def _calibrate_extended(self, k: int, one: Slitlet) -> None:
        table = self.tables.sensitivity
        if table is None:
            msg = f"tables: no sensitivity of {one.exposure.grating} {one.exposure.filter}, extended_threshold needs it"
            raise NotFoundError(msg)
        found = extended_calibration(
            one.geometry.wavelength,
            table_wavelength=table.wavelength,
            sensitivity=table.sensitivity,
            nrs1_nrs2=table.nrs1_nrs2 if one.exposure.detector.upper() == "NRS2" else None,
            nrs1_s200a1=table.nrs1_s200a1 if "_SLIT" in one.exposure.aperture.upper() else None,
            quadrants=table.quadrants,
            quadrant=one.place.quadrant,
            threshold=self.params.extended_threshold or 0.0,
        )
        self.phot_corr[k] = found.factor[self.cuts[k]]
        self._record(
            k,
            extended_calibration=True,
            detector_correction=found.detector_correction,
            fixed_slit_correction=found.fixed_slit_correction,
            quadrant_correction=found.quadrant_correction,
        )

    def flag_bad_pixels(self) -> None:
        """Flag what is bad of itself, and make it NaN."""
        known = {"no_data": ~np.isfinite(self.phot_corr)}
        if self.params.hot_pixels is not None:
            known["hot_pixel"] = np.stack([self._hot_pixels(k) for k in range(len(self.slitlets))])
        if self.params.with_extra_dq:
            known["extra_dq"] = np.stack([self._extra(k) for k in range(len(self.slitlets))])
        found = find_bad_pixels(
            self.sci,
            self.var_rnoise,
            self.var_poisson,
            self.dq,
            self.wavelength,
            dq_bits=self.slitlets[0].dq_bits,
            known=known,
            params=replace(self.params.bad_pixels, is_prism=self.is_prism),
        )
        self.flags |= found.flags
        self._drop()
        self.bkg_mask = self.is_valid

    def _drop(self) -> None:
        for plane in (self.sci, self.var_rnoise, self.var_poisson):
            plane[~self.is_valid] = np.nan

    def _hot_pixels(self, k: int) -> NDArray[np.bool_]:
        one = self.slitlets[k]
        found = find_hot_pixels(
            one.sci, one.error, one.var_rnoise, one.dq, dq_bits=one.dq_bits, params=self.params.hot_pixels
        )
        self._record(k, n_hot=found.n_found, hot_is_refused=found.is_refused)
        return found.hot[self.cuts[k]]

    def _extra(self, k: int) -> NDArray[np.bool_]:
        one = self.slitlets[k]
        name = one.exposure.detector.upper()
        if name not in self.tables.bad_pixels:
            msg = (
                f"tables: no bad pixels of {name}, with_extra_dq needs them; there are {sorted(self.tables.bad_pixels)}"
            )
            raise NotFoundError(msg)
        frame = self.tables.bad_pixels[name].frame()
        return extra_bad_pixels(frame, x0=one.place.x0, y0=one.place.y0, shape=one.shape)[self.cuts[k]]

    def to_flux(self) -> None:
        """Apply calibration, path loss and pixel area: surface brightness becomes uJy."""
        for k, (one, cut) in enumerate(zip(self.slitlets, self.cuts, strict=True)):
            self._scale(k, self.phot_corr[k])
            area: NDArray[np.float32] = np.full(self.sci.shape[1:], flux_factor(one.pixel_area_sr), np.float32)
            if self.params.undo_pathloss:
                loss = path_loss_factor(
                    one.shape,
                    point=one.pathloss_ps,
                    uniform=one.pathloss_un,
                    kind=one.source.kind,
                    then_point=self.params.undo_pathloss == 2,
                    every_kind_is_point=self.params.every_kind_is_point,
                )
                self.pathloss_corr[k] = loss.factor[cut]
                area = loss.factor[cut] * flux_factor(one.pixel_area_sr)
                self._record(k, pathloss_removed=loss.removed, pathloss_applied=loss.applied)
            self._scale(k, area)
            self.phot_corr[k] = self.phot_corr[k] * area
        self._flag("no_data", self.is_valid & ~np.isfinite(self.sci))
        self.bkg_mask = self.is_valid

    def trace(self) -> None:
        """Put the traces where the dithers say, and measure the distance from them."""
        offsets = [one.exposure.y_offset for one in self.slitlets]
        is_background = all(one.is_background for one in self.slitlets)
        if self.params.with_fs_offset and self.slitlets[self.frame].is_fixed_slit and not is_background:
            moves = (np.asarray(offsets) - np.median(offsets)) / self.pixel_scale
            self.ytr = self.ytr + 1.0 + moves[:, None]
        elif is_background or self.params.trace_from_yoffset:
            self.ytr = shifted_traces(
                self.ytr,
                offsets,
                pixel_scale_arcsec=self.pixel_scale,
                reference=self.frame,
                has_source=not is_background,
            )
        self.base_coeffs = fit_traces(self.xtr, self.ytr)
        rows = np.indices(self.slit_y.shape, dtype=np.float64)[0]
        self.yslit = np.stack([trace_distance(rows, x, c) for x, c in zip(self.xtr, self.base_coeffs, strict=True)])

    def replace_bar_shadow(self) -> None:
        """Multiply by the pipeline's bar shadow and divide by that of the tables; leave dark pixels out."""
        head = self.slitlets[self.frame]
        if head.is_fixed_slit:
            return
        if self.params.undo_barshadow == 2:
            n_open = self.params.num_shutters
            if n_open < 0:
                n_open = len(head.place.shutter_state)
            elif n_open == 0:
                n_open = len({one.exposure.position_number for one in self.slitlets})
            self._replace_bar_shadow(n_open, wrap_is_allowed=self.params.num_shutters != 0)
        if self.params.min_bar is not None:
            with np.errstate(invalid="ignore"):
                self._flag("bar", self.is_valid & ~(self.bar > self.params.min_bar))

    def _replace_bar_shadow(self, n_open: int, *, wrap_is_allowed: bool) -> None:
        number, wrap = bar_table_number(n_open)
        mode = self.params.bar_corr_mode
        tables = self.tables.wave_bars if mode == "wave" else self.tables.bars
        if number not in tables:
            msg = f"tables: no bar shadow of {number} shutters and mode {mode!r}, undo_barshadow = 2 needs it"
            raise NotFoundError(msg)
        table = tables[number]
        lit = self.is_valid[self.frame] if self.is_valid[self.frame].any() else self.is_valid.any(axis=0)
        offset = bar_shutter_offset(self.slit_y[lit], n_shutters=number, threshold=self.params.bar_threshold)
        places = np.where(self.is_valid, self.shutter_y + offset, np.nan)
        shadow = bar_throughput(
            places,
            self.wavelength,
            coefficients=table.coefficients,
            limits=table.limits,
            wavelengths=table.wavelengths,
            wrap=wrap if wrap_is_allowed else "no",
        )
        self.bar = shadow.bar
        for k in range(len(self.slitlets)):
            with np.errstate(divide="ignore", invalid="ignore"):
                self._scale(k, self.orig_bar[k] / shadow.bar[k])
            self._record(
                k,
                bar_shadow="replaced",
                bar_mode=mode,
                n_shutters=n_open,
                bar_offset=offset,
                is_wrapped=shadow.is_wrapped,
            )
        self._flag("bar", self.is_valid & ~np.isfinite(self.sci))

    def flag_shutters(self) -> None:
        """Leave out shutters that are stuck, or those that were named."""
        if self.slitlets[self.frame].is_fixed_slit:
            return
        places = np.where(self.is_valid, self.shutter_y, np.nan)
        names = self.params.bad_shutter_names
        if names is None:
            if not self.is_prism:
                return
            self.shutters = find_stuck_shutters(
                self.sci,
                self.var_rnoise + self.var_poisson,
                self.bar,
                places,
                self.is_valid,
                threshold=self.params.stuck_threshold,
            )
            names = self.shutters.stuck
        if names:
            is_stuck = shutter_mask(places, names)
            self._flag("stuck_shutter", is_stuck)
            self.sci[is_stuck] = np.nan
            for k in range(len(self.slitlets)):
                self._record(k, stuck_shutters=tuple(names))

    def normalize(self) -> None:
        """Bring a slit of the prism to the mean response of all."""
        place = self.slitlets[self.frame].place
        if not (self.params.fix_prism_norm and self.is_prism and place.quadrant in (1, 2, 3, 4)):
            return
        table = self.tables.normalization
        if table is None:
            msg = "tables: no normalization of the prism, fix_prism_norm needs it"
            raise NotFoundError(msg)
        self.normalization = slit_normalization(
            self.wavelength,
            quadrant=place.quadrant,
            column=place.column,
            row=place.row,
            coefficients=table.coefficients,
            wavelengths=table.wavelengths,
        )
        for k in range(len(self.slitlets)):
            self._scale(k, self.normalization[k])
            self._record(k, normalization=True)
        self._flag("normalization", self.is_valid & ~np.isfinite(self.normalization))

    def result(self) -> SlitArrays:
        for k, flags in enumerate(self.flags):
            counts = {name: int(((flags & np.uint32(bit)) != 0).sum()) for name, bit in SLIT_FLAG_BITS.items()}
            self._record(
                k,
                status="ok" if (flags == 0).any() else "no_data",
                n_flagged={name: n for name, n in counts.items() if n},
            )
        return SlitArrays(
            sci=self.sci,
            var_rnoise=self.var_rnoise,
            var_poisson=self.var_poisson,
            dq=self.dq,
            flags=self.flags,
            bkg_mask=self.bkg_mask,
            wavelength=self.wavelength,
            dwave_dx=self.dwave_dx,
            slit_y=self.slit_y,
            shutter_y=self.shutter_y,
            yslit=self.yslit,
            bar=self.bar,
            orig_bar=self.orig_bar,
            phot_corr=self.phot_corr,
            pathloss_corr=self.pathloss_corr,
            normalization=self.normalization,
            xtr=self.xtr,
            ytr=self.ytr,
            wtr=self.wtr,
            base_coeffs=self.base_coeffs,
            pixel_scale_arcsec=self.pixel_scale,
            shutter_scale=self.shutter_scale,
            frame=self.frame,
            shutters=self.shutters,
            applied=tuple(self.applied),
        )


_FLAT_NAMES = (
    "coefficients",
    "n_x",
    "n_y",
    "x_limits",
    "y_limits",
    "smooth_wavelength",
    "smooth_width",
    "smooth_scale",
)
