"""Whole exposures of a grism with what contaminates them: direct image and labels on their pixels, and a model."""

import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._params import build_params
from skymere.align import TangentPlane
from skymere.datamodels import Exposure, GrismConfig, Mosaic, SegmentationMap, SourceCatalog
from skymere.errors import FormatError, InvalidInputError, NoOverlapError, NotFoundError, StorageError
from skymere.grism.contamination import contamination_model
from skymere.grism.frames_geometry import FrameGeometry, wcs_from_partner
from skymere.grism.frames_params import FrameParams
from skymere.grism.params import ContaminationParams
from skymere.grism.reading import find_config
from skymere.grism.sky import fit_grism_sky
from skymere.instruments import (
    config_names,
    direct_filters,
    find_filter,
    flam_of_zero_point,
    frame_turn,
    is_dispersed,
)
from skymere.io import GrismSetup, read_exposure, read_grism_setup
from skymere.wcs import pixels_to_sky

__all__ = ["GrismFrame", "direct_partner", "make_frame", "make_frames", "read_frame", "write_frame"]

_PLANES = ("sci", "err", "dq", "direct", "segmentation", "model")
_MASKED = np.uint32(1)
_ALIASES = ("id", "label", "number", "NUMBER", "source_id")
_MAX_TURN_DEG = 0.2
# Places along each side of an exposure at which mosaics are looked up, and what is most of them.
_NET, _MOST = 17, 0.5

Spectrum = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismFrame:
    """An exposure of a grism, turned so that wavelengths rise with x and padded, and what is known of its sources.

    Parameters
    ----------
    name : str
        The exposure.
    setup : GrismSetup
        Its wheels.
    config : GrismConfig
        The grism.
    sci, err : ndarray, float32, shape (ny, nx) [e/s]
        The exposure without sky, and 1 sigma; 0 in the pad.
    dq : ndarray, uint32, shape (ny, nx)
        Not 0 where a pixel is bad.
    direct : ndarray, float32, shape (ny, nx) [e/s]
        The direct image on these pixels.
    segmentation : ndarray, int32, shape (ny, nx)
        Labels on these pixels.
    model : ndarray, float32, shape (ny, nx) [e/s]
        All orders of all sources.
    catalog : DataFrame
        ``id, ra, dec, mag`` and the place of every source: ``x, y`` without pad, and derivatives ``cd1_1`` to
        ``cd2_2`` [deg / pix].
    spectra : mapping of int to (ndarray, ndarray)
        Wavelengths [um] and flux densities [erg/s/cm2/A] of the sources that have one; others are flat.
    pad : tuple of int
        Rows and columns of the pad.
    photflam : float [erg/s/cm2/A per e/s]
        Of the direct image.
    photplam : float [um]
        Its pivot wavelength.
    direct_name, direct_filter, direct_kind : str
        What the direct image is; ``exposure`` or ``mosaic``.
    exptime : float [s]
        Of the exposure.
    params : FrameParams
        What it was made with.
    facts : mapping
        The sky, the partner, and whatever was found on the way.
    """

    name: str
    setup: GrismSetup
    config: GrismConfig
    sci: NDArray[np.float32]
    err: NDArray[np.float32]
    dq: NDArray[np.uint32]
    direct: NDArray[np.float32]
    segmentation: NDArray[np.int32]
    model: NDArray[np.float32]
    catalog: pl.DataFrame
    pad: tuple[int, int]
    photflam: float
    photplam: float
    direct_name: str
    direct_filter: str
    direct_kind: str
    exptime: float
    params: FrameParams
    spectra: Mapping[int, Spectrum] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def contamination(self) -> ContaminationParams:
        """How the model of these pixels is drawn."""
        return replace(self.params.contamination, is_padded=True, fwcpos=self.setup.fwcpos)

    @cached_property
    def places(self) -> Mapping[int, Mapping[str, Any]]:
        """The row of every source by id."""
        return {int(row["id"]): row for row in self.catalog.iter_rows(named=True)}

    def drawn(self, ids: Sequence[int] | None = None, spectra: Mapping[int, Spectrum] | None = None) -> Any:
        """Return the light of sources on the pixels of the frame.

        Parameters
        ----------
        ids : sequence of int, optional
            The sources; all when not given.
        spectra : mapping of int to (ndarray, ndarray), optional
            Instead of those of the frame.

        Returns
        -------
        ndarray, float32, shape (ny, nx) [e/s]
            All orders of them.
        """
        some = self.catalog if ids is None else self.catalog.filter(pl.col("id").is_in(list(ids)))
        return contamination_model(
            self.direct,
            self.segmentation,
            some,
            self.config,
            photflam=self.photflam,
            pad=self.pad,
            spectra=self.spectra if spectra is None else spectra,
            params=self.contamination,
        )

    def with_spectra(self, spectra: Mapping[int, Spectrum]) -> "GrismFrame":
        """Return the frame with other spectra of its sources and the model that they make.

        Parameters
        ----------
        spectra : mapping of int to (ndarray, ndarray)
            Wavelengths [um] and flux densities [erg/s/cm2/A] by id; sources without one are flat.
        """
        made = replace(self, spectra=dict(spectra))
        return replace(made, model=made.drawn())

    @property
    def core(self) -> tuple[slice, slice]:
        """Rows and columns of the detector in the frame."""
        ny, nx = self.sci.shape
        return slice(self.pad[0], ny - self.pad[0]), slice(self.pad[1], nx - self.pad[1])


def direct_partner(
    exposure: Exposure, candidates: Iterable[Exposure], setup: GrismSetup, *, max_arcsec: float = 3.0
) -> Exposure | None:
    """Return the direct exposure that goes with an exposure of a grism.

    Parameters
    ----------
    exposure : Exposure
        Of the grism.
    candidates : iterable of Exposure
        Direct exposures, of which the best one so far is kept.
    setup : GrismSetup
        The wheels of the exposure of the grism.
    max_arcsec : float, optional
        Their middles must not be farther apart [arcsec].

    Returns
    -------
    Exposure or None
        Of the same detector and orientation, in the best filter that there is, and the nearest of those; None when
        there is none.
    """
    rank = {band: k for k, band in enumerate(direct_filters(setup.grism, setup.blocking))}
    ny, nx = exposure.shape
    points = np.array([(nx - 1) / 2, (nx - 1) / 2]), np.array([(ny - 1) / 2, (ny - 1) / 2 + 10.0])
    here = pixels_to_sky(exposure.wcs, *points)
    plane = TangentPlane(ra=float(here[0][0]), dec=float(here[1][0]))
    mine = plane.of_sky(*here)
    best: tuple[tuple[int, float], Exposure] | None = None
    for one in candidates:
        if is_dispersed(one.band) or one.shape != exposure.shape:
            continue
        if (one.instrument, one.detector) != (exposure.instrument, exposure.detector):
            continue
        theirs = plane.of_sky(*pixels_to_sky(one.wcs, *points))
        distance = float(np.hypot(*(theirs[0] - mine[0])))
        steps = np.array([theirs[1] - theirs[0], mine[1] - mine[0]])
        angles = np.rad2deg(np.arctan2(steps[:, 0], steps[:, 1]))
        turn = abs((angles[0] - angles[1] + 180) % 360 - 180)
        if not (np.isfinite(distance) and distance <= max_arcsec and turn < _MAX_TURN_DEG):
            continue
        score = rank.get(one.band, len(rank)), distance
        if best is None or score < best[0]:
            best = score, one
    return None if best is None else best[1]


def make_frame(
    exposure: Exposure,
    catalogue: pl.DataFrame | SourceCatalog,
    segmentation: SegmentationMap | Sequence[SegmentationMap],
    direct: Mosaic | Exposure,
    *,
    config: GrismConfig,
    setup: GrismSetup,
    masters: Sequence[ArrayLike] = (),
    wcs: Any = None,
    around: Mosaic | Sequence[Mosaic] = (),
    params: FrameParams | None = None,
) -> GrismFrame:
    """Return an exposure of a grism without its sky, with a flat model of all sources.

    Parameters
    ----------
    exposure : Exposure
        Of the grism.
    catalogue : DataFrame or SourceCatalog
        ``id`` (or ``label``), ``ra`` and ``dec`` [deg], and perhaps ``mag`` (AB), on which orders depend.
    segmentation : SegmentationMap or sequence of SegmentationMap
        Labels with their grid; of several, such as those of tiles, the first that has a label at a place counts there.
    direct : Mosaic or Exposure
        The direct image.
    config : GrismConfig
        The grism.
    setup : GrismSetup
        The wheels.
    masters : sequence of array_like, float32, shape of the exposure, optional
        Images of the sky; see `fit_grism_sky`.
    wcs : astropy.wcs.WCS or APE-14 object, optional
        Coordinates instead of those of the exposure; see `wcs_from_partner`.
    around : Mosaic or sequence of Mosaic, optional
        What is seen where the direct image ends or is bad, the first that has data there; its flux is brought to that
        of the direct image.
    params : FrameParams, optional
        Pad, sky and operator.

    Raises
    ------
    InvalidInputError
        When a column is missing, or the flux of the direct image is not known.
    NoOverlapError
        When no source of the segmentation falls on the frame.
    NoDataError
        When no pixel is left for the sky.

    Notes
    -----
    Labels are those at the middle of every pixel. Mosaics are per pixel of their own, with the nominal pixel of the
    exposure: ``(native scale / scale)^2`` is multiplied.
    """
    params = FrameParams() if params is None else params
    quarters = frame_turn(setup.instrument, setup.grism, module=setup.module)
    geometry = FrameGeometry(
        wcs=exposure.wcs if wcs is None else wcs, shape=exposure.shape, quarters=quarters, pad=params.pad
    )
    labels = geometry.labels(segmentation)
    table = _catalog(catalogue, geometry, labels)
    if table.is_empty():
        msg = f"exposure {exposure.exposure_id}: no source of the segmentation and the catalogue falls on it"
        raise NoOverlapError(msg)
    photflam, photplam = _photometry(direct)
    image = geometry.blotted(direct, scale_arcsec=exposure.native_scale_arcsec)
    others = [around] if isinstance(around, Mosaic) else list(around)
    covered = geometry.covered(direct) if others else np.zeros((), bool)
    if others and isinstance(direct, Exposure):
        image = np.where(covered, image, np.float32(0))
    for one in others:
        factor = np.float32(_photometry(one)[0] / photflam)
        light = factor * geometry.blotted(one, scale_arcsec=exposure.native_scale_arcsec)
        there = geometry.covered(one) & ~covered
        # At the rim of the last mosaic nothing is better than what is interpolated with zeros.
        image = np.where(there | (~covered & (image == 0)), light, image)
        covered |= there
    bad = exposure.mask()
    zero = np.float32(0)
    frame = GrismFrame(
        name=exposure.exposure_id,
        setup=setup,
        config=config,
        sci=geometry.turned(np.where(bad, zero, exposure.data - np.float32(exposure.sky))),
        err=geometry.turned(np.where(bad, zero, exposure.error)),
        dq=geometry.turned(np.where(bad, np.maximum(exposure.dq, _MASKED), np.uint32(0))),
        direct=image,
        segmentation=labels,
        model=np.zeros(geometry.padded_shape, np.float32),
        catalog=table,
        pad=params.pad,
        photflam=photflam,
        photplam=photplam,
        direct_name=direct.exposure_id if isinstance(direct, Exposure) else f"mosaic_{direct.band}",
        direct_filter=direct.band,
        direct_kind="exposure" if isinstance(direct, Exposure) else "mosaic",
        exptime=exposure.exptime,
        params=params,
        facts={"path": exposure.path, "detector": exposure.detector},
    )
    frame = replace(frame, model=frame.drawn())
    return _without_sky(frame, geometry, masters) if params.sky.is_on else frame


def _without_sky(frame: GrismFrame, geometry: FrameGeometry, masters: Sequence[ArrayLike]) -> GrismFrame:
    """Return a frame whose sky is subtracted; columns are those of the detector, before the turn."""
    back = -geometry.quarters
    core = frame.core
    planes = {name: np.rot90(getattr(frame, name)[core], back) for name in ("sci", "err", "dq", "model")}
    sky = fit_grism_sky(
        planes["sci"],
        error=planes["err"],
        mask=planes["dq"] != 0,
        sources=planes["model"],
        masters=masters,
        params=frame.params.sky,
    )
    clean = np.where(planes["dq"] != 0, np.float32(0), planes["sci"] - sky.background)
    facts = {
        "sky_level": sky.level,
        "sky_err": sky.level_err,
        "sky_scatter": sky.scatter,
        "sky_coefficients": sky.coefficients.tolist(),
        "sky_kind": "masters" if len(masters) else "smooth",
    }
    return replace(frame, sci=geometry.turned(clean), facts={**frame.facts, **facts})


def _catalog(
    catalogue: pl.DataFrame | SourceCatalog, geometry: FrameGeometry, labels: NDArray[np.int32]
) -> pl.DataFrame:
    """Return the sources whose labels are on a frame, with their places."""
    table = catalogue.table if isinstance(catalogue, SourceCatalog) else catalogue
    name = next((one for one in _ALIASES if one in table.columns), None)
    for wanted in ("ra", "dec"):
        if name is None or wanted not in table.columns:
            missing = "id" if name is None else wanted
            msg = f"catalogue: column {missing!r} is missing, it has {table.columns}"
            raise InvalidInputError(msg)
    assert name is not None
    mag = pl.col("mag") if "mag" in table.columns else pl.lit(0.0)
    there: NDArray[np.int32] = np.unique(labels)
    kept = table.select(pl.col(name).cast(pl.Int64).alias("id"), "ra", "dec", mag.cast(pl.Float64).alias("mag"))
    kept = kept.filter(pl.col("id").is_in(there[there > 0].tolist()))
    if kept.is_empty():
        return kept
    return kept.hstack(geometry.places(kept["ra"].to_numpy(), kept["dec"].to_numpy()))


def _photometry(direct: Mosaic | Exposure) -> tuple[float, float]:
    """Return flux of one unit [erg/s/cm2/A] and pivot wavelength [um] of a direct image."""
    where = direct.exposure_id if isinstance(direct, Exposure) else f"mosaic of {direct.band}"
    camera = direct.instrument if isinstance(direct, Exposure) else ""
    pivot = direct.photplam if isinstance(direct, Exposure) else float("nan")
    known = None
    if not (np.isfinite(pivot) and np.isfinite(direct.zero_point_ab)):
        known = find_filter(direct.band, camera=camera, where=where)
        pivot = pivot if np.isfinite(pivot) else known.photplam
    if np.isfinite(direct.zero_point_ab):
        return flam_of_zero_point(direct.zero_point_ab, pivot), pivot * 1e-4
    if known is None or not np.isfinite(known.photflam):
        msg = f"{where}: the flux of one e/s through {direct.band} is not known"
        raise InvalidInputError(msg)
    return known.photflam, pivot * 1e-4


Configs = str | Path | GrismConfig | Mapping[str, GrismConfig]


def _config_of(configs: Configs, setup: GrismSetup, direct_filter: str) -> GrismConfig:
    """Return the configuration of an exposure, from a folder, or by the name of the grism."""
    if isinstance(configs, GrismConfig):
        return configs
    if isinstance(configs, Mapping):
        for name in (f"{setup.grism}.{setup.blocking}", setup.grism, setup.grism.lower()):
            if name in configs:
                return configs[name]
        msg = f"configs: none of {setup.grism}, there are {sorted(configs)}"
        raise NotFoundError(msg)
    blocking = setup.blocking or direct_filter.upper()
    names = config_names(setup.instrument, setup.grism, blocking, module=setup.module or "A", chip=setup.chip)
    return find_config(configs, names)


def make_frames(
    exposures: Sequence[Exposure | str | Path],
    catalogue: pl.DataFrame | SourceCatalog,
    segmentation: SegmentationMap | Sequence[SegmentationMap],
    direct: Mosaic | Exposure | Sequence[Mosaic | Exposure],
    *,
    configs: Configs,
    masters: Mapping[str, Sequence[ArrayLike]] | None = None,
    nominal: Mapping[str, Any] | None = None,
    params: FrameParams | None = None,
) -> Iterator[GrismFrame]:
    """Yield exposures of grisms as frames, one after the other.

    Parameters
    ----------
    exposures : sequence of Exposure or path-like
        Of the grisms.
    catalogue : DataFrame or SourceCatalog
        As `make_frame` takes it.
    segmentation : SegmentationMap or sequence of SegmentationMap
        As `make_frame` takes it.
    direct : Mosaic, Exposure or a sequence of them
        Direct images: the partner of each exposure is used where there is one, and around it or instead of it the
        mosaics in the best filter of those that are there.
    configs : path-like, GrismConfig or mapping of str to GrismConfig
        A folder or a file, one configuration, or those of grisms.
    masters : mapping of str to sequence of array_like, optional
        Images of the sky by name of the grism, lower case.
    nominal : mapping of str to WCS, optional
        Coordinates of direct exposures before they were aligned, by exposure; see `wcs_from_partner`.
    params : FrameParams, optional
        Pad, sky and operator.

    Raises
    ------
    NotFoundError
        When an exposure, a configuration or a sensitivity is missing; the message says which and where it was looked
        for.
    NoOverlapError
        When an exposure has no source, or there is neither a partner nor a mosaic for it.
    InvalidInputError, FormatError, NoDataError
        As `make_frame`.
    """
    params = FrameParams() if params is None else params
    given = [direct] if isinstance(direct, Mosaic | Exposure) else list(direct)
    for one in exposures:
        exposure = one if isinstance(one, Exposure) else read_exposure(one)
        # Chips of one file end their detector's name.
        chip = int(exposure.detector[-1]) if exposure.group else None
        setup = read_grism_setup(exposure.path, chip=chip) if exposure.path else _setup_of(exposure)
        candidates = [image for image in given if isinstance(image, Exposure)]
        partner = direct_partner(exposure, candidates, setup, max_arcsec=params.max_partner_arcsec)
        wcs = None
        if partner is not None and params.use_partner_wcs:
            wcs = wcs_from_partner(exposure, partner, nominal=(nominal or {}).get(partner.exposure_id))
        mosaics = _best_mosaics(given, setup, exposure)
        if partner is None and not mosaics:
            msg = f"exposure {exposure.exposure_id}: no direct exposure looks there, and there is no mosaic of it"
            raise NoOverlapError(msg)
        image, around = (mosaics[0], mosaics[1:]) if partner is None else (partner, mosaics)
        config = _config_of(configs, setup, image.band)
        frame = make_frame(
            exposure,
            catalogue,
            segmentation,
            image,
            config=config,
            setup=setup,
            masters=(masters or {}).get(setup.grism.lower(), ()),
            wcs=wcs,
            around=around,
            params=params,
        )
        found = "" if partner is None else partner.exposure_id
        yield replace(frame, facts={**frame.facts, "partner": found, "has_partner_wcs": wcs is not None})


def _setup_of(exposure: Exposure) -> GrismSetup:
    """Return the wheels of an exposure that was made in memory."""
    if not is_dispersed(exposure.band):
        msg = f"exposure {exposure.exposure_id}: {exposure.band} is no grism, and it has no file that names one"
        raise InvalidInputError(msg)
    return GrismSetup(instrument=exposure.instrument, grism=exposure.band.upper())


def _best_mosaics(given: Sequence[Mosaic | Exposure], setup: GrismSetup, exposure: Exposure) -> list[Mosaic]:
    """Return the mosaics in the best filter of those on most of an exposure, else of those on some of it.

    The mosaics of a filter, such as those of tiles, are on the part that they are on together; the one on the largest
    part is the first.
    """
    rank = {band: k for k, band in enumerate(direct_filters(setup.grism, setup.blocking))}
    ny, nx = exposure.shape
    y, x = (p.ravel() for p in np.meshgrid(np.linspace(0, ny - 1, _NET), np.linspace(0, nx - 1, _NET)))
    sky = pixels_to_sky(exposure.wcs, x, y)
    bands: dict[str, list[tuple[float, int, Mosaic, NDArray[np.bool_]]]] = {}
    for one in given:
        if isinstance(one, Mosaic) and (there := _is_on(one, *sky)).any():
            of_band = bands.setdefault(one.band.lower(), [])
            of_band.append((-float(there.mean()), len(of_band), one, there))
    found: list[tuple[bool, int, float, int, list[Mosaic]]] = []
    for band, parts in bands.items():
        part = float(np.logical_or.reduce([there for *_, there in parts]).mean())
        best = [one for _, _, one, _ in sorted(parts, key=lambda entry: entry[:2])]
        found.append((part < _MOST, rank.get(band, len(rank)), -part, len(found), best))
    return min(found)[-1] if found else []


def _is_on(mosaic: Mosaic, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return at which of some places a mosaic has data."""
    x, y = (np.round(np.nan_to_num(p, nan=-9.0)).astype(np.int64) for p in mosaic.grid.pixels(ra, dec))
    ny, nx = mosaic.shape
    inside = (x >= 0) & (y >= 0) & (x < nx) & (y < ny)
    inside[inside] = mosaic.weight[y[inside], x[inside]] > 0
    return inside


def write_frame(frame: GrismFrame, folder: str | Path) -> Path:
    """Write a frame to a folder of its own, from which it is read without filling the memory.

    The folder appears whole or not at all.

    Parameters
    ----------
    frame : GrismFrame
        The frame.
    folder : path-like
        Where the folder ``<name>.frame`` is made, or replaced.

    Returns
    -------
    Path
        The folder of the frame.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    place = Path(folder) / f"{frame.name}.frame"
    facts = {
        "setup": {f.name: getattr(frame.setup, f.name) for f in fields(frame.setup)},
        "config": frame.config.path,
        "facts": dict(frame.facts),
        "params": asdict(frame.params),
        "pad": list(frame.pad),
        **{
            name: getattr(frame, name)
            for name in (
                "name", "photflam", "photplam", "direct_name", "direct_filter", "direct_kind", "exptime",
            )
        },
    }  # fmt: skip
    spectra = {
        f"{kind}{one}": part for one, pair in frame.spectra.items() for kind, part in zip("wf", pair, strict=True)
    }
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{frame.name}.", dir=place.parent) as staging:
            new = Path(staging) / "new"
            new.mkdir()
            for name in _PLANES:
                np.save(new / f"{name}.npy", getattr(frame, name))
            np.savez(new / "spectra.npz", allow_pickle=False, **spectra)
            frame.catalog.write_parquet(new / "catalog.parquet")
            (new / "frame.json").write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")
            if place.exists():
                # A folder cannot replace one that is not empty.
                place.replace(Path(staging) / "old")
            new.replace(place)
    except OSError as error:
        msg = f"{place}: cannot be written: {error.strerror or error}"
        raise StorageError(msg) from error
    return place


def read_frame(place: str | Path, *, config: GrismConfig | None = None) -> GrismFrame:
    """Read a frame of `write_frame`; its planes stay in their files until they are looked at.

    Parameters
    ----------
    place : path-like
        The folder of the frame.
    config : GrismConfig, optional
        The grism; that which was used then when not given.

    Returns
    -------
    GrismFrame
        With the parameters that it was made with: light is taken out of its model by the operator that put it in.

    Raises
    ------
    NotFoundError
        When there is no such folder, or its configuration has gone.
    FormatError
        When something of it is missing or damaged.
    """
    place = Path(place)
    if not (place / "frame.json").is_file():
        msg = f"{place}: no frame of a grism is there"
        raise NotFoundError(msg)
    try:
        facts = json.loads((place / "frame.json").read_text(encoding="utf-8"))
        path, setup, pad = facts.pop("config"), GrismSetup(**facts.pop("setup")), tuple(facts.pop("pad"))
        params = build_params(FrameParams, facts.pop("params"), where="params.")
        planes: dict[str, Any] = {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in _PLANES}
        with (place / "spectra.npz").open("rb") as file, np.load(file) as stored:
            ids = [int(name[1:]) for name in stored.files if name.startswith("w")]
            spectra = {one: (stored[f"w{one}"], stored[f"f{one}"]) for one in ids}
        catalog = pl.read_parquet(place / "catalog.parquet")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        msg = f"{place}: not a whole frame: {type(error).__name__}: {error}"
        raise FormatError(msg) from error
    return GrismFrame(
        **planes,
        setup=setup,
        config=find_config(path, (Path(path).name,)) if config is None else config,
        catalog=catalog,
        spectra=spectra,
        pad=pad,
        params=params,
        **facts,
    )
