"""Beams cut from whole frames of grisms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from numpy.typing import NDArray

from skymere.datamodels import Beam, Exposure, Mosaic, SegmentationMap, SourceCatalog
from skymere.errors import InvalidInputError, NoOverlapError
from skymere.grism.beam import BeamModel
from skymere.grism.frames import Configs, GrismFrame, make_frames
from skymere.grism.frames_params import FrameParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.params import BeamParams
from skymere.io import beam_wcs
from skymere.resample import blot
from skymere.wcs import Grid, sample_pixel_map

__all__ = [
    "GRIZLI_EXTRACT",
    "BeamCutParams",
    "cut_beam",
    "cut_beams",
    "cut_sources",
    "extract_beams",
    "replace_direct_cutouts",
    "replace_segmentation_cutouts",
]


@dataclass(frozen=True, kw_only=True)
class BeamCutParams:
    """How beams are cut.

    Parameters
    ----------
    size : int
        Half width of the direct cutout of a source [pix]; that of its segment and ``margin`` where that is more.
    max_size : int
        Largest half width [pix]; light of a segment beyond it stays in ``contam``.
    margin : int
        Pixels around the segment.
    orders : tuple of str
        Orders that become beams.
    min_overlap : float
        Least part of the pixels of the source's rows and of the columns with sensitivity that have data.
    mag_limits : tuple of float, optional
        Brightest and faintest AB magnitude of sources that are cut, where none are named; all when not given.
    frame : FrameParams
        How exposures become frames.
    beam : BeamParams
        Masks, weights and the operator of the beams.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    size: int = 16
    max_size: int = 64
    margin: int = 4
    orders: tuple[str, ...] = ("A",)
    min_overlap: float = 0.1
    mag_limits: tuple[float, float] | None = None
    frame: FrameParams = field(default_factory=FrameParams)
    beam: BeamParams = field(default_factory=BeamParams)

    def __post_init__(self) -> None:
        if not 4 <= self.size <= self.max_size:
            msg = f"size: {self.size} is not allowed, it must be from 4 to max_size = {self.max_size}"
            raise InvalidInputError(msg)
        if not 0 <= self.min_overlap <= 1:
            msg = f"min_overlap: {self.min_overlap} is not allowed, it must be from 0 to 1"
            raise InvalidInputError(msg)
        if self.mag_limits is not None and not self.mag_limits[0] < self.mag_limits[1]:
            msg = f"mag_limits: {self.mag_limits} is not allowed, the first must be the brighter one"
            raise InvalidInputError(msg)


#: As grizli's extraction: magnitudes of 17 to 26, cutouts of 32 pixels to either side. Its ``poly_order`` and
#: ``oned_R`` are of figures that it draws meanwhile, ``skip_complete`` is of files (`skymere grism extract`).
GRIZLI_EXTRACT = BeamCutParams(size=32, mag_limits=(17.0, 26.0))


def extract_beams(
    exposures: Sequence[Exposure | str | Path],
    catalogue: pl.DataFrame | SourceCatalog,
    segmentation: SegmentationMap,
    direct: Mosaic | Exposure | Sequence[Mosaic | Exposure],
    *,
    configs: Configs,
    ids: Sequence[int] | None = None,
    params: BeamCutParams | None = None,
) -> Iterator[tuple[int, MultiBeam]]:
    """Yield the beams of every source of a set of exposures of grisms.

    Parameters
    ----------
    exposures : sequence of Exposure or path-like
        Of the grisms.
    catalogue : DataFrame or SourceCatalog
        ``id`` (or ``label``), ``ra``, ``dec`` [deg] and perhaps ``mag``.
    segmentation : SegmentationMap
        Labels with their grid.
    direct : Mosaic, Exposure or a sequence of them
        Direct images; see `make_frames`.
    configs : path-like, GrismConfig or mapping of str to GrismConfig
        Where configurations are.
    ids : sequence of int, optional
        The sources; all of the catalogue when not given.
    params : BeamCutParams, optional
        Frames, sizes and orders.

    Yields
    ------
    int
        The source.
    MultiBeam
        Its beams, with the flat model of all other sources as contamination; `refine_contamination` makes a better one.

    Raises
    ------
    NotFoundError, NoOverlapError, InvalidInputError, FormatError, NoDataError
        As `make_frames`.

    Notes
    -----
    All frames are held; `write_frame` and `read_frame` keep them in files, for `cut_beams`.
    """
    params = BeamCutParams() if params is None else params
    frames = list(make_frames(exposures, catalogue, segmentation, direct, configs=configs, params=params.frame))
    yield from cut_beams(frames, ids=ids, params=params)


def cut_beams(
    frames: Sequence[GrismFrame], *, ids: Sequence[int] | None = None, params: BeamCutParams | None = None
) -> Iterator[tuple[int, MultiBeam]]:
    """Yield the beams of sources of frames, one source after the other; those without a beam or a place are left out.

    Parameters
    ----------
    frames : sequence of GrismFrame
        The frames; a source's pixels alone are read from those of `read_frame`.
    ids : sequence of int, optional
        The sources; all within ``mag_limits`` when not given, in rising order.
    params : BeamCutParams, optional
        Sizes, orders and magnitudes.

    Yields
    ------
    int
        The source.
    MultiBeam
        Its beams.
    """
    params = BeamCutParams() if params is None else params
    wanted = cut_sources(frames, params.mag_limits) if ids is None else list(ids)
    for one in wanted:
        size = source_size(frames, one, params)
        beams = [
            found
            for frame in frames
            for order in params.orders
            if (found := cut_beam(frame, one, order=order, size=size, params=params)) is not None
        ]
        if beams:
            yield one, MultiBeam(beams)


def cut_sources(frames: Sequence[GrismFrame], mag_limits: tuple[float, float] | None = None) -> list[int]:
    """Return the sources that are on frames, in rising order.

    Parameters
    ----------
    frames : sequence of GrismFrame
        The frames.
    mag_limits : tuple of float, optional
        Brightest and faintest AB magnitude; both are within. Sources without one are left out.

    Raises
    ------
    InvalidInputError
        When there are limits and no source has a magnitude.
    """
    found = {one: place["mag"] for frame in frames for one, place in frame.places.items()}
    if mag_limits is None or not found:
        return sorted(found)
    # Frames of catalogues without magnitudes have 0 for all.
    known = {one: mag for one, mag in found.items() if mag is not None and np.isfinite(mag) and mag != 0}
    if not known:
        msg = f"mag_limits: {mag_limits} are not allowed, the catalogue has no magnitudes"
        raise InvalidInputError(msg)
    return sorted(one for one, mag in known.items() if mag_limits[0] <= mag <= mag_limits[1])


def source_size(frames: Sequence[GrismFrame], source_id: int, params: BeamCutParams) -> int:
    """Return the half width that the segment of a source needs in all frames [pix]."""
    size = params.size
    for frame in frames:
        place = frame.places.get(source_id)
        if place is None or not _is_placed(place):
            continue
        x, y = _frame_place(frame, place)
        most = params.max_size
        y0, x0 = max(round(y) - most, 0), max(round(x) - most, 0)
        mine = frame.segmentation[y0 : max(round(y) + most, 0), x0 : max(round(x) + most, 0)] == source_id
        rows, columns = np.nonzero(mine)
        if rows.size:
            reach = max(np.abs(rows + y0 - y).max(), np.abs(columns + x0 - x).max())
            size = max(size, int(np.ceil(reach)) + params.margin)
    return min(size, params.max_size)


def _is_placed(place: Any) -> bool:
    return bool(np.isfinite(np.array([place["x"], place["y"]], np.float64)).all())


def _frame_place(frame: GrismFrame, place: Any) -> tuple[float, float]:
    return place["x"] + frame.pad[1], place["y"] + frame.pad[0]


def cut_beam(
    frame: GrismFrame,
    source_id: int,
    *,
    order: str = "A",
    size: int = 16,
    params: BeamCutParams | None = None,
    has_headers: bool = True,
) -> BeamModel | None:
    """Return the beam of a source in a frame.

    Parameters
    ----------
    frame : GrismFrame
        The frame.
    source_id : int
        The source.
    order : str, optional
        Its order.
    size : int, optional
        Half width of the direct cutout [pix].
    params : BeamCutParams, optional
        Least overlap, masks and weights.
    has_headers : bool, optional
        Whether the beam has headers, which its coordinates on the sky and its file need.

    Returns
    -------
    BeamModel or None
        None where the source, or too much of its spectrum, is not on the frame.

    Raises
    ------
    InvalidInputError
        When there is no such order.

    Notes
    -----
    ``contam`` is the model of the frame minus this order of this source, drawn by the same operator with the same
    spectrum; what the segment has beyond the cutout stays in it.
    """
    params = BeamCutParams() if params is None else params
    place = frame.places.get(source_id)
    if place is None or not _is_placed(place):
        return None
    one = frame.config.order(order)
    x, y = _frame_place(frame, place)
    column, line = round(x) + 1, round(y) + 1
    rows, columns = slice(line - size, line + size), slice(column - size, column + size)
    spectrum = slice(columns.start + one.first, columns.stop + one.end)
    labels = _cut(frame.segmentation, rows, columns)
    mine = labels == source_id
    err = _cut(frame.err, rows, spectrum)
    if not mine.any() or not err.any():
        return None
    direct = _cut(frame.direct, rows, columns)
    if not direct[mine].sum() > 0:
        return None
    setup = frame.setup
    beam = Beam(
        source_id=source_id,
        order=order,
        direct=direct * np.float32(frame.photflam),
        segmentation=labels,
        sci=_cut(frame.sci, rows, spectrum),
        err=err,
        dq=_cut(frame.dq, rows, spectrum),
        contam=np.zeros(err.shape, np.float32),
        origin=(rows.start, columns.start),
        grism_origin=(rows.start, spectrum.start),
        pad=frame.pad,
        center_offset=(x - (column - 1), y - (line - 1)),
        fwcpos=setup.fwcpos,
        mw_ebv=frame.params.mw_ebv,
        instrument=setup.instrument,
        # As headers of JWST have it: one wheel names the grism, the other the filter.
        grism=setup.blocking if setup.instrument == "NIRCAM" else setup.grism,
        pupil=setup.grism if setup.instrument == "NIRCAM" else setup.blocking,
        module=setup.module,
        direct_filter=frame.direct_filter.upper(),
        chip=setup.chip,
        parent=frame.name,
        direct_parent=frame.direct_name,
        exptime=frame.exptime,
        config_name=frame.config.name,
        headers=_headers(frame, place, rows, columns, spectrum) if has_headers else {},
    )
    model = BeamModel(beam, one, params=replace(params.beam, operator=frame.contamination.operator))
    good = (beam.err > 0) & (beam.dq == 0)
    inside = (model.sensitivity > params.beam.min_sens * model.sensitivity.max()) & (model.sensitivity > 0)
    used = mine.any(axis=1)
    if not inside.any() or good[np.ix_(used, inside)].mean() <= params.min_overlap:
        return None
    total = _cut(frame.model, rows, spectrum)
    contam = total - own_model(frame, model).astype(np.float32)
    return BeamModel(replace(beam, contam=np.where(err > 0, contam, np.float32(0))), one, params=params.beam)


def own_model(frame: GrismFrame, model: BeamModel) -> NDArray[np.float64]:
    """Return what the model of a frame has of the order and source of a beam, float64, shape (ny, nx) [e/s]."""
    known = frame.spectra.get(model.beam.source_id)
    return model.compute_model(*known) if known is not None else model.total_flux * model.flat


def _cut(plane: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    """Return a window of a plane, 0 where it is outside."""
    ny, nx = plane.shape
    y0, y1 = (min(max(p, 0), ny) for p in (rows.start, rows.stop))
    x0, x1 = (min(max(p, 0), nx) for p in (columns.start, columns.stop))
    out = np.zeros((rows.stop - rows.start, columns.stop - columns.start), plane.dtype)
    out[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = plane[y0:y1, x0:x1]
    return out


def _headers(frame: GrismFrame, place: Any, rows: slice, columns: slice, spectrum: slice) -> dict[str, str]:
    """Return headers with the coordinates around a source, straight to first order, as text."""
    x, y = _frame_place(frame, place)
    common = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "RADESYS": "ICRS",
        "CRVAL1": place["ra"],
        "CRVAL2": place["dec"],
        "CRPIX2": y - rows.start + 1,
        **{f"CD{i}_{j}": place[f"cd{i}_{j}"] for i in (1, 2) for j in (1, 2)},
    }
    setup = frame.setup
    is_nircam = setup.instrument == "NIRCAM"
    parts = {
        "primary": {"RA": place["ra"], "DEC": place["dec"]},
        "beam": {},
        "direct": common
        | {
            "CRPIX1": x - columns.start + 1,
            "PHOTFLAM": 1.0,
            "PHOTPLAM": frame.photplam * 1e4,
            "FILTER": frame.direct_filter.upper(),
            "REF_FILE": frame.direct_name,
            "REFKIND": frame.direct_kind,
            "REFFLAM": frame.photflam,
        },
        "grism": common
        | {
            "CRPIX1": x - spectrum.start + 1,
            "INSTRUME": setup.instrument,
            "FILTER": setup.blocking if is_nircam else setup.grism,
            "PUPIL": setup.grism if is_nircam else setup.blocking,
            "MODULE": setup.module,
            "CCDCHIP": setup.chip,
            "DFILTER": frame.direct_filter.upper(),
            "EXPTIME": frame.exptime,
            "PARENT": frame.name,
            "CONFFILE": frame.config.name,
            "DETECTOR": str(frame.facts.get("detector", "")),
        },
    }
    return {
        name: fits.Header([(key, value) for key, value in words.items()]).tostring(
            sep="\n", padding=False, endcard=False
        )
        for name, words in parts.items()
    }


def _cutout_pixmap(model: BeamModel, wcs: Any) -> NDArray[np.float64]:
    """Return the places in another image of the pixels of the direct cutout of a beam."""
    own = beam_wcs(model.beam)
    if own is None:
        msg = f"multibeam: {model.beam.label} has no coordinates of its direct cutout"
        raise InvalidInputError(msg)
    here, there = Grid(wcs=own, shape=model.beam.direct.shape), Grid(wcs=wcs, shape=(1, 1))
    shape = model.beam.direct.shape[0], model.beam.direct.shape[1]
    return sample_pixel_map(lambda x, y: there.pixels(*here.sky(x, y)), shape).pixmap


def replace_direct_cutouts(multibeam: MultiBeam, direct: Mosaic) -> MultiBeam:
    """Return beams whose sources look as in another image; contamination and data stay.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    direct : Mosaic
        The image; of any unit, as the sum over the source is divided out.

    Raises
    ------
    InvalidInputError
        When a beam has no coordinates.
    NoOverlapError
        When the image has no light in the segment of a beam.
    """
    models = []
    for one in multibeam.beams:
        image = blot(np.nan_to_num(direct.data), _cutout_pixmap(one, direct.grid.wcs))
        mine = one.beam.segmentation == one.beam.source_id
        total = float(image[mine].sum())
        if not total > 0:
            msg = f"direct: a sum of {total} in the segment of {one.beam.label} is not allowed, it must be positive"
            raise NoOverlapError(msg)
        # Flat spectra keep their meaning: the sum over the source is that of before.
        image *= np.float32(one.total_flux / total)
        beam = replace(one.beam, direct=image, direct_planes={}, model=None, direct_parent=f"mosaic_{direct.band}")
        models.append(one.with_beam(beam))
    return MultiBeam(models, records=[*multibeam.records, f"direct cutouts of {direct.band}"])


def replace_segmentation_cutouts(multibeam: MultiBeam, segmentation: SegmentationMap) -> MultiBeam:
    """Return beams with another segmentation; contamination and data stay.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    segmentation : SegmentationMap
        Labels with their grid; the source keeps its label.

    Raises
    ------
    InvalidInputError
        When it has no grid, a beam has no coordinates, or the source is not in it.
    """
    if segmentation.grid is None:
        msg = "segmentation: it has no grid, so its pixels cannot be found in a beam"
        raise InvalidInputError(msg)
    models = []
    for one in multibeam.beams:
        pixmap = _cutout_pixmap(one, segmentation.grid.wcs)
        ix, iy = (np.floor(np.round(pixmap[..., axis], 6) + 0.5).astype(np.int64) for axis in (0, 1))
        ny, nx = segmentation.shape
        inside = (ix >= 0) & (iy >= 0) & (ix < nx) & (iy < ny)
        labels: NDArray[np.int32] = np.zeros(pixmap.shape[:2], np.int32)
        labels[inside] = segmentation.labels[iy[inside], ix[inside]]
        beam = replace(one.beam, segmentation=labels, model=None)
        models.append(one.with_beam(beam))
    return MultiBeam(models, records=[*multibeam.records, "segmentation cutouts replaced"])
