"""Images of bands that are measured with the models of a sharper one: what a table of them says, and their pixels."""

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skymere._params import build_params
from skymere.background import BackgroundParams, RunningParams, estimate_background, large_scale_background
from skymere.datamodels import Mosaic
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import physical_cards, read_band
from skymere.photometry import PhotometryParams
from skymere.psf import Psf, read_psf
from skymere.regions import Circle, Region, mask_from_regions, read_regions, to_sky
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

__all__ = [
    "BandImage",
    "BandRegions",
    "has_scaled_errors",
    "image_to_measure",
    "read_band_image",
    "read_band_table",
    "regions_beside",
]


@dataclass(frozen=True, kw_only=True)
class BandImage:
    """An image of a band, and how it is measured: the arguments of `extract.sh` under names.

    Parameters
    ----------
    band : str
        Name of the band.
    image : str
        FITS image with a WCS of any pixel scale, rotation or flip; empty for the mosaic of the lake.
    weight, rms : str
        File of inverse variances up to a factor, or of errors; empty for none.
    zero_point_ab : float
        AB magnitude of one unit; what the header says when not given.
    psf : str
        FITS image of the PSF; empty for that of the lake.
    psf_extension : str
        Its extension, in a file of several.
    psf_oversampling : float
        Pixels of the PSF per pixel of the image; 0 = what its header says, else 1.
    psf_has_pixel : bool
        Whether the PSF holds the pixel's response.
    background : str
        Large-scale background that is subtracted before: ``none``, ``running_median`` (as the script `extract.sh`
        does) or ``boxcar_mean`` (as its description says).
    background_box_arcsec : float
        Side of its box [arcsec].
    has_more_border_masks : bool
        Whether the regions of `mask_border_more.reg` are masked, instead of those of `mask_border.reg`.
    has_unsearched_pixels : bool
        Whether pixels count where no source was looked for, as beyond the detection image. Sources there have no model,
        and their light lifts the sky that is fitted.
    photometry : PhotometryParams
        Shift, noise, its rms when it is given, polynomial sky, and so on.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    band: str
    image: str = ""
    weight: str = ""
    rms: str = ""
    zero_point_ab: float = float("nan")
    psf: str = ""
    psf_extension: str = ""
    psf_oversampling: float = 0.0
    psf_has_pixel: bool = True
    background: Literal["none", "running_median", "boxcar_mean"] = "none"
    background_box_arcsec: float = 30.0
    has_more_border_masks: bool = False
    has_unsearched_pixels: bool = False
    photometry: PhotometryParams = field(default_factory=PhotometryParams)

    def __post_init__(self) -> None:
        if not self.band:
            msg = "band: is empty, every image needs the name of its band"
            raise InvalidInputError(msg)
        if not 0 <= self.psf_oversampling < float("inf"):
            msg = f"psf_oversampling: {self.psf_oversampling} is not allowed, it must be positive, or 0"
            raise InvalidInputError(msg)
        if not 0 < self.background_box_arcsec < float("inf"):
            msg = f"background_box_arcsec: {self.background_box_arcsec} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.weight and self.rms:
            msg = f"weight, rms: {self.weight!r} and {self.rms!r} are not allowed together"
            raise InvalidInputError(msg)

    def below(self, folder: Path) -> "BandImage":
        """Return the same with files whose paths start at a folder."""
        placed: dict[str, Any] = {name: str(folder / file) for name, file in self.files().items()}
        return replace(self, **placed)

    def files(self) -> dict[str, str]:
        """Return the files that are named, by parameter."""
        return {name: file for name in ("image", "weight", "rms", "psf") if (file := getattr(self, name))}


@dataclass(frozen=True, kw_only=True)
class BandRegions:
    """Regions on the sky that people drew for a band, by what they are for.

    Parameters
    ----------
    bad : tuple of Region
        Pixels that are not used at all.
    border : tuple of Region
        Sources that the models do not know, such as those outside of the detection image; not used either.
    large_scale : tuple of Region
        Sources that the large-scale background must not see (`mask_all.reg`).
    blank : tuple of Region
        Circles on blank sky, whose noise is used (`{IMG}-sim.reg`).
    """

    bad: tuple[Region, ...] = ()
    border: tuple[Region, ...] = ()
    large_scale: tuple[Region, ...] = ()
    blank: tuple[Region, ...] = ()


def read_band_table(path: str | Path) -> tuple[BandImage, ...]:
    """Read a table of bands: a CSV with a line for each, or a TOML file with ``[[images]]``.

    Parameters
    ----------
    path : path-like
        The columns, or keys, are the parameters of `BandImage`; deeper ones have names such as
        ``photometry.shift.method``. An empty cell keeps the default. Files are relative to the folder of the table.

    Raises
    ------
    NotFoundError
        When there is no such file.
    FormatError
        When it is neither, or a line is longer than the first one.
    InvalidInputError
        When a key is unknown, a value is not allowed or a band appears twice.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such table of bands"
        raise NotFoundError(msg)
    try:
        text = path.read_text(encoding="utf-8")
        rows = tomllib.loads(text).get("images", []) if path.suffix == ".toml" else _csv_rows(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: neither CSV nor TOML: {error}"
        raise FormatError(msg) from error
    images: list[BandImage] = []
    for number, row in enumerate(rows, start=1):
        try:
            one: BandImage = build_params(BandImage, row)
        except InvalidInputError as error:
            msg = f"{path}: image {number}: {error}"
            raise InvalidInputError(msg) from None
        images.append(one.below(path.parent))
    check_bands(images, str(path))
    return tuple(images)


def check_bands(images: Sequence[BandImage], name: str) -> None:
    """Raise an error when there is no band, or one of them appears twice."""
    bands = [image.band for image in images]
    twice = sorted({band for band in bands if bands.count(band) > 1})
    if twice or not bands:
        msg = f"{name}: bands {bands} are not allowed, " + (f"{twice} appear twice" if twice else "there is none")
        raise InvalidInputError(msg)


def _csv_rows(text: str) -> list[dict[str, Any]]:
    """Return the lines of a CSV as nested tables."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = []
    for cells in csv.DictReader(lines, skipinitialspace=True, strict=True):
        row: dict[str, Any] = {}
        for key, cell in cells.items():
            if key is None:
                msg = f"more cells than columns: {cell}"
                raise csv.Error(msg)
            if cell is None or not cell.strip():
                continue
            *tables, last = key.strip().split(".")
            table = row
            for name in tables:
                table = table.setdefault(name, {})
            table[last] = _cell(cell.strip())
        rows.append(row)
    return rows


def _cell(text: str) -> Any:
    """Return a cell as TOML would read it; what it cannot read is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def regions_beside(image: BandImage) -> dict[str, list[Path]]:
    """Return the region files that lie beside an image, by the names that the deblending pipeline gives them.

    Parameters
    ----------
    image : BandImage
        ``NAME-bad.reg``, ``NAME-sim.reg`` and ``NAME-mask-border.reg`` are of ``NAME.fits`` alone, and the last one
        stands for ``mask_border.reg`` and ``mask_border_more.reg``; ``mask_all.reg`` is of all images of the folder.

    Returns
    -------
    dict of str to list of Path
        Files that are there, for the names of `BandRegions`.
    """
    path = Path(image.image)
    name = path.name.split(".fits")[0]
    common = "mask_border_more.reg" if image.has_more_border_masks else "mask_border.reg"
    wanted = {
        "bad": [f"{name}-bad.reg", f"{name}_bad.reg"],
        "border": [f"{name}-mask-border.reg", common],
        "large_scale": ["mask_all.reg"],
        "blank": [f"{name}-sim.reg"],
    }
    found = {
        key: [path.with_name(one) for one in names if path.with_name(one).is_file()] for key, names in wanted.items()
    }
    return found | {"border": found["border"][:1]}


def read_band_image(
    image: BandImage, regions: Mapping[str, Sequence[Path]] | None = None
) -> tuple[Mosaic, Psf, BandRegions]:
    """Read the files of a band image.

    Parameters
    ----------
    image : BandImage
        The files.
    regions : mapping of str to sequence of Path, optional
        Region files, for the names of `BandRegions`; those that `regions_beside` finds when not given.

    Raises
    ------
    SkymereError
        When a file is missing, unreadable or not what it should be.
    """
    known = image.zero_point_ab if np.isfinite(image.zero_point_ab) else None
    path = Path(image.image)
    mosaic = read_band(path, weight=image.weight or None, rms=image.rms or None, band=image.band, zero_point_ab=known)
    psf = read_psf(
        Path(image.psf),
        extension=image.psf_extension,
        oversampling=image.psf_oversampling or None,
        has_pixel=image.psf_has_pixel,
    )
    files = regions_beside(image) if regions is None else regions
    cards = physical_cards(path)
    drawn = {
        name: tuple(to_sky(one, mosaic.grid) for file in paths for one in read_regions(file, header=cards))
        for name, paths in files.items()
    }
    return mosaic, psf, BandRegions(**drawn)


def image_to_measure(
    mosaic: Mosaic,
    image: BandImage,
    regions: BandRegions,
    *,
    modelled: NDArray[np.bool_] | None = None,
    searched: NDArray[np.bool_] | None = None,
) -> tuple[MeasureImage, PhotometryParams]:
    """Return a band as `skymere.photometry.forced_photometry` takes it: masked, without a large-scale background.

    Parameters
    ----------
    mosaic : Mosaic
        Its pixels.
    image : BandImage
        Errors and background.
    regions : BandRegions
        What people drew.
    modelled : ndarray, bool, shape (ny, nx), optional
        Pixels of sources, which the large-scale background must not see either.
    searched : ndarray, bool, shape (ny, nx), optional
        Pixels on which sources were looked for; others are masked, unless the image says that they count. All when not
        given.

    Notes
    -----
    Errors are ``photometry.noise_rms``; else the variance of the mosaic; else those of the weights, scaled so that they
    are the scatter of the sky between sources, see `has_scaled_errors`.
    """
    grid = mosaic.grid
    mask = ~(mosaic.covered & np.isfinite(mosaic.data)) | _inside((*regions.bad, *regions.border), grid)
    hidden = mask | _inside(regions.large_scale, grid)
    if modelled is not None:
        hidden |= modelled
    data = mosaic.data
    if image.background != "none":
        box = max(1, round(image.background_box_arcsec / grid.scale_arcsec))
        params = RunningParams(method=image.background)
        level = large_scale_background(data, box_pix=box, mask=hidden, params=params)
        data = np.asarray(data - level, np.float32)
    error = _error(mosaic, image, data, mask, hidden)
    if searched is not None and not image.has_unsearched_pixels:
        mask = mask | ~searched
    circles = [one for one in regions.blank if isinstance(one, Circle)]
    noise = image.photometry.noise
    if circles and not noise.positions:
        radii = np.array([one.radius for one in circles])
        noise = replace(
            noise,
            positions=tuple(one.middle for one in circles),
            radius_arcsec=noise.radius_arcsec or float(np.median(radii)),
        )
    measured = MeasureImage(
        data=data,
        error=error,
        mask=mask,
        zero_point_ab=mosaic.zero_point_ab,
        noise_correlation=1.0 if image.photometry.noise_rms else mosaic.noise_correlation,
        grid=grid,
    )
    return measured, replace(image.photometry, noise=noise)


def _inside(regions: Sequence[Region], grid: Grid) -> NDArray[np.bool_]:
    return mask_from_regions(regions, grid).mask if regions else np.zeros(grid.shape, np.bool_)


def has_scaled_errors(mosaic: Mosaic, image: BandImage) -> bool:
    """Whether the errors of a band are known up to a factor, which the scatter of the sky has to tell."""
    if image.photometry.noise_rms or image.rms:
        return False
    return not np.isfinite(mosaic.variance[mosaic.covered & np.isfinite(mosaic.data)]).any()


def _error(
    mosaic: Mosaic,
    image: BandImage,
    data: NDArray[np.float32],
    mask: NDArray[np.bool_],
    hidden: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return the errors of an image, infinite where it is masked."""
    if image.photometry.noise_rms:
        return np.where(mask, np.float32(np.inf), np.float32(image.photometry.noise_rms))
    if np.isfinite(mosaic.variance[~mask]).any():
        error = np.sqrt(mosaic.variance)
    else:
        with np.errstate(divide="ignore"):
            error = np.float32(1) / np.sqrt(mosaic.weight)
        if not image.rms:
            sky = estimate_background(data, mask=hidden, params=BackgroundParams())
            error = error * np.float32(np.median((sky.rms / error)[~mask]))
    return np.where(mask | ~np.isfinite(error), np.float32(np.inf), error).astype(np.float32)
