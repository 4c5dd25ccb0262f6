"""The arrays of a group of exposures, with the names that msaexp's users know, and what follows from them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import Slitlet
from skymere.errors import InvalidInputError, SkymereError
from skymere.io import Pack, find_pack
from skymere.slit.arrays import SlitArrays
from skymere.slit.flags import SLIT_FLAG_BITS
from skymere.slit.frames import SlitFrames
from skymere.slit.geometry import relative_nod_offsets, shutter_coordinate, trace_distance
from skymere.slit.group_params import SlitGroupParams
from skymere.slit.metadata import applied_table, slit_metadata
from skymere.slit.nods import NodParams
from skymere.slit.sky_noise import SkyNoise

__all__ = ["META_COMMENTS", "PositionGroups", "SlitGroupState"]

_Array = NDArray[np.float64]

META_COMMENTS = {
    "diffs": "Calculated with exposure differences",
    "grating_diffs": "Diffs forced for grating",
    "trace_with_xpos": "Trace includes x offset in shutter",
    "trace_with_ypos": "Trace includes y offset in shutter",
    "trace_from_yoffset": "Trace derived from yoffsets",
    "shutter_offset": "Global offset to fixed shutter coordinate",
    "stuck_threshold": "Stuck shutter threshold",
    "bad_shutter_names": "Shutters that were left out",
    "dilate_failed_open": "Dilate failed open mask",
    "num_shutters": "Number of shutters used for bar shadow model",
    "undo_barshadow": "Bar shadow update behavior",
    "min_bar": "Minimum allowed bar value",
    "bar_corr_mode": "Bar shadow correction type",
    "fix_prism_norm": "Apply prism scale correction",
    "wrapped_barshadow": "Bar shadow was wrapped for central shutter",
    "own_barshadow": "Internal bar shadow correction applied",
    "nod_offset": "Nod offset size, pixels",
    "undo_pathloss": "Remove pipeline pathloss correction",
    "reference_exposure": "Reference exposure argument",
    "pad_border": "Border padding",
    "position_key": "Method for determining offset groups",
    "has_sky_arrays": "Sky arrays specified",
    "weight_type": "Weighting scheme for 2D combination",
    "sky_file": "Filename of a global sky background table",
    "global_sky_df": "Degrees of freedom of fit with global sky",
    "with_fs_offset": "Extra fixed slit offset",
    "with_sflat_correction": "Field-dependent s-flat correction",
    "with_extra_dq": "Extra DQ pixel mask",
    "slit_pixel_scale": "Pixel scale along the slitlet, arcsec",
    "slit_shutter_scale": "Scale of shutter coordinates per pixel",
}


@dataclass(frozen=True, kw_only=True)
class PositionGroups:
    """The nod positions of a group, each with its exposures; ``groups[value]`` is a mask of exposures.

    Parameters
    ----------
    keys : tuple
        The position of every exposure.
    """

    keys: tuple[Any, ...]

    @property
    def values(self) -> list[Any]:
        """Positions, each once, in rising order."""
        return sorted(set(self.keys))

    @property
    def counts(self) -> list[int]:
        """Number of exposures at each."""
        return [self.keys.count(value) for value in self.values]

    @property
    def indices(self) -> NDArray[np.int64]:
        """Which of ``values`` each exposure is at, int64, shape (n,)."""
        values = self.values
        return np.array([values.index(key) for key in self.keys], dtype=np.int64)

    @property
    def N(self) -> int:  # noqa: N802  (msaexp's name)
        """Number of positions."""
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getitem__(self, value: Any) -> NDArray[np.bool_]:
        """Return which exposures are at a position, bool, shape (n,)."""
        if value not in self.keys:
            msg = f"exp: {value!r} is not allowed, it must be one of {self.values}"
            raise InvalidInputError(msg)
        return np.array([key == value for key in self.keys])

    def number(self, value: Any) -> int:
        """Return the number by which `SlitFrames` knows a position: its value, or its rank from 1 if that is a text."""
        self[value]
        return value if isinstance(value, int) else self.values.index(value) + 1


class SlitGroupState:
    """Arrays of a group of exposures, shape (n, ny * nx) each, and what follows from them.

    A stage changes them at its end or not at all; ``flags`` says why a pixel is not used.
    """

    name: str
    slits: list[Slitlet]
    files: list[str]
    shapes: list[tuple[int, int]]
    info: pl.DataFrame
    meta: dict[str, Any]
    failed_stages: dict[str, str]
    meta_comment = META_COMMENTS
    params: SlitGroupParams
    arrays: SlitArrays
    sh: tuple[int, int]
    sci: NDArray[np.float32]
    var_rnoise: NDArray[np.float32]
    var_poisson: NDArray[np.float32]
    var_sky: _Array
    dq: NDArray[np.uint32]
    flags: NDArray[np.uint32]
    mask: NDArray[np.bool_]
    bkg_mask: NDArray[np.bool_]
    wave: _Array
    dwave_dx: _Array
    xslit: _Array
    ypix: _Array
    yslit: _Array
    yslit_orig: _Array
    yshutter: _Array
    slit_frame_y: _Array
    bar: _Array
    orig_bar: NDArray[np.float32]
    phot_corr: NDArray[np.float32]
    pathloss_corr: NDArray[np.float32]
    normalization: _Array
    xtr: _Array
    ytr: _Array
    wtr: _Array
    base_coeffs: _Array
    trace_coeffs: _Array
    sky_arrays: tuple[_Array, _Array] | None
    sky_data: dict[str, Any] | None
    figures: dict[str, Any]
    _pack: Pack | None

    @property
    def pack(self) -> Pack:
        """Reference files."""
        if self._pack is None:
            self._pack = find_pack("nirspec")
        return self._pack

    def _take_arrays(self, arrays: SlitArrays) -> None:
        """Make the flat arrays out of corrected ones; nothing is shared with these."""
        n = len(self.slits)
        self.arrays = arrays
        self.sh = arrays.slit_y.shape[0], arrays.slit_y.shape[1]

        def flat(values: NDArray[Any]) -> NDArray[Any]:
            return np.broadcast_to(values, arrays.sci.shape).reshape(n, -1).copy()

        for name in ("sci", "var_rnoise", "var_poisson", "dq", "flags", "mask", "bkg_mask", "dwave_dx", "bar"):
            setattr(self, name, flat(getattr(arrays, name)))
        for name in ("orig_bar", "phot_corr", "pathloss_corr", "normalization", "xslit", "ypix", "yslit"):
            setattr(self, name, flat(getattr(arrays, name)))
        self.wave, self.slit_frame_y = flat(arrays.wavelength), flat(arrays.slit_y)
        self.yslit_orig = self.yslit.copy()
        self.var_sky = np.zeros(self.sci.shape)
        self.xtr, self.ytr, self.wtr = arrays.xtr.copy(), arrays.ytr.copy(), arrays.wtr.copy()
        self.base_coeffs = arrays.base_coeffs.copy()
        self.trace_coeffs = np.zeros_like(self.base_coeffs)
        self.update_trace_from_coeffs()

    @property
    def N(self) -> int:  # noqa: N802  (msaexp's name)
        """Number of exposures."""
        return len(self.slits)

    @property
    def IS_FIXED_SLIT(self) -> bool:  # noqa: N802  (msaexp's name)
        """A slit without shutters."""
        return self.slits[0].is_fixed_slit

    @property
    def is_background(self) -> bool:
        """All exposures hold sky alone."""
        return all(one.is_background for one in self.slits)

    @property
    def grating(self) -> str:
        """Grating, as in the header."""
        return self.slits[0].exposure.grating

    @property
    def filter(self) -> str:
        """Filter, as in the header."""
        return self.slits[0].exposure.filter

    @property
    def exptime(self) -> _Array:
        """Exposure times, float64, shape (n,) [s]."""
        return np.array([one.exposure.exptime for one in self.slits])

    @property
    def slit_pixel_scale(self) -> float:
        """Size of a pixel along the slit [arcsec]."""
        return self.arrays.pixel_scale_arcsec

    @property
    def slit_shutter_scale(self) -> float:
        """Coordinate along the slit in a pixel [shutter / pix]."""
        return self.arrays.shutter_scale

    @property
    def relative_nod_offset(self) -> _Array:
        """Constant terms of the traces less their median, float64, shape (n,) [pix]."""
        return relative_nod_offsets(self.base_coeffs)

    @property
    def fixed_yshutter(self) -> _Array:
        """Place in shutters, NaN where not valid, float64, shape (n, ny * nx)."""
        offset = float(self.meta["shutter_offset"])
        places = shutter_coordinate(self.slit_frame_y, shutter_scale=self.slit_shutter_scale, offset=offset)
        return np.where(self.mask, places, np.nan)

    @property
    def source_ypixel_position(self) -> float:
        """How far the planned place of the source is from the middle of its shutter [pix]."""
        return float(self.slit_metadata()["source_ypixel_position"][0])

    @property
    def unp(self) -> PositionGroups:
        """The nod positions."""
        return PositionGroups(keys=tuple(self.info[self.meta["position_key"]].to_list()))

    @property
    def calc_reference_exposure(self) -> Any:
        """Position of the exposure nearest to the median; of the first of fewer than three; or that which was named."""
        asked = self.meta["reference_exposure"]
        if asked != "auto":
            return asked
        nearest = 0 if self.N < 3 else int(np.argmin(np.abs(self.relative_nod_offset)))
        return self.unp.keys[nearest]

    @property
    def var_total(self) -> _Array:
        """Variance of ``sci``, that of the sky's model included, float64, shape (n, ny * nx) [uJy2]."""
        # The sum of the two that files give stays in their precision.
        return np.asarray((self.var_rnoise + self.var_poisson) + self.var_sky, np.float64)

    @property
    def var(self) -> _Array:
        """The same as ``var_total``."""
        return self.var_total

    @property
    def sky_background(self) -> _Array:
        """The sky that is subtracted, float64, shape (n, ny * nx) [uJy].

        That of ``sky_data`` when it is in use, else ``sky_arrays`` at the wavelengths (NaN beyond them), else 0.
        """
        if self.sky_data is not None:
            return self.sky_data["sky2d"] if self.sky_data["use"] else np.zeros_like(self.wave)
        if self.sky_arrays is None:
            return np.zeros_like(self.wave)
        wave, flux = self.sky_arrays
        return np.interp(self.wave.ravel(), wave, flux, left=np.nan, right=np.nan).reshape(self.wave.shape)

    @property
    def data(self) -> _Array:
        """``sci`` less the sky, times ``bar`` while the shadow is taken out; NaN where not valid [uJy]."""
        clean = self.sci - self.sky_background
        if self.meta["undo_barshadow"]:
            clean = clean * self.bar
        return np.where(self.mask, clean, np.nan)

    @property
    def applied(self) -> pl.DataFrame:
        """What was done to each exposure, a row of typed columns."""
        return applied_table(self.arrays.applied)

    def slit_metadata(self) -> pl.DataFrame:
        """Return geometry, shutter, source, instrument, exposure, pointing and dither, a row for each exposure."""
        return slit_metadata(self.slits, self.arrays)

    def update_trace_from_coeffs(self) -> None:
        """Recompute ``yslit`` and ``yshutter``, distances from the traces and from that of the first exposure."""
        rows = self.ypix[0].reshape(self.sh)
        self.yslit = np.stack(
            [
                trace_distance(rows, x, base, trace).ravel()
                for x, base, trace in zip(self.xtr, self.base_coeffs, self.trace_coeffs, strict=True)
            ]
        )
        first = trace_distance(rows, self.xtr[0], self.base_coeffs[0]).ravel()
        self.yshutter = np.repeat(first[None], self.N, axis=0)

    def _variance_factor(self) -> _Array | float:
        """Return the factor of variances that belongs to that of ``data``."""
        return self.bar**2 if self.meta["undo_barshadow"] and self.params.bar_variance else 1.0

    def sky_noise(self) -> SkyNoise | None:
        """Return the errors of the sky that is subtracted, in units of ``data``; None when it has none."""
        if self.sky_data is None or not self.sky_data["use"] or not self.var_sky.any():
            return None
        noise: SkyNoise | None = self.sky_data["result"].noise
        if noise is None:
            return None
        noise = noise.flat(self.N)
        return noise.scaled(self.bar) if self.meta["undo_barshadow"] else noise

    def frames(self) -> SlitFrames:
        """Return the exposures as the functions of this package take them."""
        unp = self.unp
        shape = (self.N, *self.sh)
        factor = self._variance_factor()
        return SlitFrames(
            data=self.data.reshape(shape),
            variance=(self.var_total * factor).reshape(shape),
            read_variance=np.asarray(self.var_rnoise * factor, np.float64).reshape(shape),
            mask=~self.mask.reshape(shape),
            counted_mask=~self.bkg_mask.reshape(shape),
            position=np.array([unp.number(key) for key in unp.keys], dtype=np.int64),
            wavelength=self.wave.reshape(shape),
            base_coeffs=self.base_coeffs,
            trace_coeffs=self.trace_coeffs,
            sky=self.sky_background.reshape(shape),
        )

    def nods(self) -> NodParams:
        """Return how nods are subtracted."""
        return replace(self.params.nods, subtract=bool(self.meta["diffs"]))

    def flag_pixels(self, reason: str, bad: NDArray[np.bool_]) -> int:
        """Leave pixels out for a reason; returns how many were valid before.

        Parameters
        ----------
        reason : str
            One of `SLIT_FLAG_BITS`.
        bad : ndarray, bool, shape (n, ny * nx) or (ny * nx,)
            True = leave out.

        Raises
        ------
        InvalidInputError
            When the reason is not known.
        """
        if reason not in SLIT_FLAG_BITS:
            msg = f"reason: {reason!r} is not allowed, it must be one of {', '.join(SLIT_FLAG_BITS)}"
            raise InvalidInputError(msg)
        is_bad = np.broadcast_to(bad, self.mask.shape)
        n = int((self.mask & is_bad).sum())
        self.flags[is_bad] |= np.uint32(SLIT_FLAG_BITS[reason])
        self.mask &= ~is_bad
        return n

    def _stage(self, name: str, work: Callable[[], object]) -> None:
        """Do a stage; when it fails the status says so, and the group is as it was before."""
        try:
            work()
        except (SkymereError, np.linalg.LinAlgError) as error:
            self.failed_stages[name] = f"{type(error).__name__}: {error}"
            self.meta["status"][name] = f"{type(error).__name__}: {self._told(error)}"
        else:
            self.meta["status"].setdefault(name, "ok")

    def _told(self, error: Exception) -> str:
        """Return a message without the folder of the pack: a product is the same wherever its files were."""
        if self._pack is None:
            return str(error)
        return str(error).replace(f" in {self._pack.folder}", "").replace(f"{self._pack.folder}/", "")
