"""Parameters of the corrections of slit spectra."""

from dataclasses import dataclass, field
from typing import Literal

from skymere.errors import InvalidInputError
from skymere.slit.bad_pixels import BadPixelParams
from skymere.slit.hot_pixels import HotPixelParams

__all__ = ["PrepareParams"]


@dataclass(frozen=True, kw_only=True)
class PrepareParams:
    """Parameters of `prepare_slitlets`.

    Parameters
    ----------
    frame : str
        The exposure whose shutters, scales and trace all others follow: ``reference`` is that with the dither nearest
        to the median, so that the order of files does not matter; ``first`` the first by name, as msaexp has it; or
        the name of an exposure.
    undo_barshadow : {0, 1, 2}
        0 leaves the pipeline's bar shadow, 1 leaves it to the user of the arrays to multiply by ``bar``, 2 replaces it.
    bar_corr_mode : {"wave", "flat"}
        Bar shadow with wavelength or without.
    num_shutters : int
        Open shutters: -1 as the file says, 0 as many as there are nods.
    bar_threshold : float or None
        See `bar_shutter_offset`; 0.8 is msaexp.
    min_bar : float or None
        Pixels with less light are left out.
    undo_pathloss : {0, 1, 2}
        0 leaves the pipeline's path loss, 1 takes it back, 2 then corrects for a point source.
    every_kind_is_point : bool
        See `path_loss_factor`.
    fix_prism_norm : bool
        Prism: bring every slit to the mean response.
    extended_threshold : float or None
        Extended calibration, see `extended_calibration`; None for none. It is applied to data whose flats ask for it.
    with_sflat_correction : bool
        Prism: flat field of the shutters, for the same data.
    with_extra_dq : bool
        Use the table of further bad pixels, and leave out the edge of the detector.
    bad_pixels : BadPixelParams
        What counts as bad; ``is_prism`` follows the grating.
    hot_pixels : HotPixelParams or None
        Look for hot pixels.
    bad_shutter_names : tuple of int or None
        Shutters to leave out; None finds those that are stuck (prism).
    stuck_threshold : float
        See `find_stuck_shutters`.
    trace_with_xpos, trace_with_ypos : bool
        Shift wavelengths by the source's place across the slit; move the trace by that along the slit.
    trace_from_yoffset : bool
        Traces follow the dithers of the headers; otherwise each file's own.
    with_fs_offset : bool
        Fixed slits: the trace of each file moved by its dither from the median, and by one pixel, as pipelines before
        1.15 need it.
    shutter_offset : float
        Offset of the shutter coordinate [pix].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    frame: str = "reference"
    undo_barshadow: Literal[0, 1, 2] = 2
    bar_corr_mode: Literal["wave", "flat"] = "wave"
    num_shutters: int = -1
    bar_threshold: float | None = None
    min_bar: float | None = 0.4
    undo_pathloss: Literal[0, 1, 2] = 1
    every_kind_is_point: bool = False
    fix_prism_norm: bool = True
    extended_threshold: float | None = 0.01
    with_sflat_correction: bool = True
    with_extra_dq: bool = True
    bad_pixels: BadPixelParams = field(default_factory=BadPixelParams)
    hot_pixels: HotPixelParams | None = field(default_factory=HotPixelParams)
    bad_shutter_names: tuple[int, ...] | None = None
    stuck_threshold: float = 0.3
    trace_with_xpos: bool = False
    trace_with_ypos: bool = False
    trace_from_yoffset: bool = True
    with_fs_offset: bool = False
    shutter_offset: float = 0.0

    def __post_init__(self) -> None:
        for name in ("undo_barshadow", "undo_pathloss"):
            if getattr(self, name) not in (0, 1, 2):
                msg = f"{name}: {getattr(self, name)!r} is not allowed, it must be 0, 1 or 2"
                raise InvalidInputError(msg)
        if self.bar_corr_mode not in ("wave", "flat"):
            msg = f"bar_corr_mode: {self.bar_corr_mode!r} is not allowed, it must be 'wave' or 'flat'"
            raise InvalidInputError(msg)
        if self.min_bar is not None and not 0 <= self.min_bar < 1:
            msg = f"min_bar: {self.min_bar} is not allowed, it must be in [0, 1)"
            raise InvalidInputError(msg)
