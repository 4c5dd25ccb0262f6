"""From mosaics larger than memory to segments, block by block."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.background import BackgroundParams, BlockBackground, estimate_background_blocks
from skymere.datamodels import Mosaic, SegmentationMap, SourceCatalog, StoredMosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.mosaic.detection_image import (
    DetectionImage,
    covered_pixels,
    enough_exposures,
    plane_of,
    stack_of,
    without_pixels,
)
from skymere.mosaic.find_sources import (
    FindParams,
    as_plane,
    check_flux_band,
    check_mosaics,
    flux_unit_of,
    fluxes_in,
    masks_of,
    searched_as,
    with_noise,
)
from skymere.resample.ranks import median_of_parts
from skymere.segmentation import (
    BlockSegmentation,
    MeasureImage,
    MeasureParams,
    StoredLabels,
    detect_blocks,
    measure_blocks,
    significance_blocks,
)
from skymere.segmentation.significance_blocks import BlockSignificance, coverage_blocks
from skymere.segmentation.sky_noise import SkyScatter, measure_sky_scatter
from skymere.segmentation.windows import partition
from skymere.wcs import Grid

__all__ = ["FoundBlocks", "StoredBand", "find_sources_blocks", "stored_band"]

ReadMask = Callable[[slice, slice], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredBand:
    """A mosaic that is read window by window, and its background.

    Parameters
    ----------
    mosaic : StoredMosaic
        The band.
    background : BlockBackground
        Its sky.
    k : float
        The variance of the background in a pixel is k / weight.
    """

    mosaic: StoredMosaic
    background: BlockBackground
    k: float

    def window(self, rows: slice, columns: slice) -> Mosaic:
        """Return a window of the mosaic without its background; NaN where nothing covers."""
        mosaic = self.mosaic.window(rows, columns)
        data = mosaic.data - self.background.level(rows, columns)
        return replace(mosaic, data=np.where(covered_pixels(mosaic), data, np.float32(np.nan)))


def stored_band(
    mosaic: StoredMosaic, *, side: int = 4096, params: BackgroundParams, hidden: ReadMask | None = None
) -> StoredBand | None:
    """Return a band with its background: `subtract_background`, block by block.

    Parameters
    ----------
    mosaic : StoredMosaic
        The band.
    side : int, optional
        Side of the blocks [pix].
    params : BackgroundParams
        Mesh.
    hidden : callable, optional
        ``hidden(rows, columns)`` are the pixels of a window that the mesh does not see.

    Returns
    -------
    StoredBand or None
        None when nothing covers it, or so much is hidden that no cell of the mesh has enough pixels.
    """

    def read(rows: slice, columns: slice) -> dict[str, NDArray[Any]]:
        window = mosaic.window(rows, columns)
        mask = ~covered_pixels(window)
        return {"data": window.data, "mask": mask if hidden is None else mask | hidden(rows, columns)}

    try:
        background = estimate_background_blocks(read, mosaic.shape, side=side, params=params)
    except NoDataError:
        return None

    def scaled(rows: slice, columns: slice) -> NDArray[np.float32]:
        window = mosaic.window(rows, columns)
        covered = covered_pixels(window)
        return background.rms(rows, columns)[covered] * np.sqrt(window.weight[covered])

    windows = partition(mosaic.shape, side)
    middle, _ = median_of_parts(lambda: (scaled(slice(*rows), slice(*columns)) for rows, columns in windows))
    return StoredBand(mosaic=mosaic, background=background, k=float(middle) ** 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundBlocks:
    """What `find_sources_blocks` found; its images are made window by window.

    Parameters
    ----------
    segmentation : BlockSegmentation
        The segments.
    grid : Grid
        Their pixels.
    excluded : mapping of str to str
        Bands that were left out, and why.
    coverage : mapping of str to float
        Fraction of the pixels of any band that each band has.
    noise_correlation : float
        Noise of the filtered image over that of independent pixels; the largest of the bands.
    threshold : float
        What was asked of a pixel of `snr`, filtered.
    source : object
        The bands and their backgrounds.
    together : BlockSignificance or None
        What was searched, unless it is the stack.
    side : int
        Side of the blocks [pix].
    """

    segmentation: BlockSegmentation
    grid: Grid
    excluded: Mapping[str, str]
    coverage: Mapping[str, float]
    noise_correlation: float
    threshold: float
    source: "_Source" = field(repr=False)
    together: BlockSignificance | None = field(default=None, repr=False)
    side: int = 4096

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that were searched."""
        return tuple(self.source.bands)

    def planes(self, rows: slice, columns: slice) -> dict[str, MeasureImage]:
        """Return a window of the bands without their background, with the error of the sky."""
        return self.source.planes(rows, columns)

    def _any_plane(self) -> MeasureImage:
        return self.source.plane(self.bands[0], slice(0, 1), slice(0, 1))

    @property
    def flux_unit(self) -> str:
        """Unit of the fluxes; empty where no zero point is known."""
        return flux_unit_of(self._any_plane())

    def stack(self, rows: slice, columns: slice) -> DetectionImage:
        """Return a window of the inverse-variance stack of the bands."""
        return stack_of(self.source.planes(rows, columns))

    def snr(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return a window of what was searched; see `FoundSources`."""
        if self.together is not None:
            return self.together.data(rows, columns)
        stack = self.stack(rows, columns)
        return stack.data / stack.error

    @cached_property
    def sky(self) -> Mapping[str, SkyScatter]:
        """The noise of the sky of each band that has no noise covariance."""

        def scatter(band: str) -> SkyScatter:
            def read(rows: slice, columns: slice) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
                plane = self.source.plane(band, rows, columns)
                sky = self.segmentation.labels(rows, columns) == 0
                return np.asarray(plane.data, np.float32), sky, np.square(np.asarray(plane.error, np.float32))

            return measure_sky_scatter(read, self.grid.shape, side=self.side)

        return {band: scatter(band) for band in self.bands if not self.source.knows_noise(band)}

    def images(self, rows: slice, columns: slice) -> dict[str, MeasureImage | Mosaic]:
        """Return a window of the bands to be measured, with their noise; see `FoundSources.images`."""
        return self._images(self.source.planes(rows, columns), rows, columns)

    def _images(
        self, planes: Mapping[str, MeasureImage], rows: slice, columns: slice
    ) -> dict[str, MeasureImage | Mosaic]:
        images: dict[str, MeasureImage | Mosaic] = dict(self.source.mosaics(planes, rows, columns))
        for band in planes.keys() - images.keys():
            plane = planes[band]
            data, error = np.asarray(plane.data, np.float32), np.asarray(plane.error, np.float32)
            sky = self.sky[band]
            images[band] = with_noise(plane, sky.variance(data, np.square(error)), sky)
        return {band: images[band] for band in planes}

    def measure(
        self, *, segmentation: BlockSegmentation | StoredLabels | None = None, params: MeasureParams | None = None
    ) -> SourceCatalog:
        """Return the table of the sources in all bands, with positions and shapes of the stack.

        Parameters
        ----------
        segmentation : BlockSegmentation or StoredLabels, optional
            Other segments, such as those that people edited.
        params : MeasureParams, optional
            As in `skymere.segmentation.measure`.
        """
        zero_point = self._any_plane().zero_point_ab

        def read(rows: slice, columns: slice) -> dict[str, Any]:
            planes = self.source.planes(rows, columns)
            stack = stack_of(planes)
            detection = MeasureImage(data=stack.data, error=stack.error, zero_point_ab=zero_point)
            return {"images": self._images(planes, rows, columns), "detection": detection}

        return measure_blocks(segmentation or self.segmentation, read, blocks=self.side, params=params)

    def flux_table(self, segmentation: BlockSegmentation | SegmentationMap, band: str = "") -> pl.DataFrame:
        """Return the areas and fluxes of segments in one band; see `FoundSources.flux_table`."""
        name = band or self.bands[-1]

        def read(rows: slice, columns: slice) -> dict[str, Any]:
            planes = {name: self.source.plane(name, rows, columns)}
            return {"images": self._images(planes, rows, columns), "detection": name}

        return fluxes_in(measure_blocks(segmentation, read, blocks=self.side).table, name)


def find_sources_blocks(
    mosaics: Sequence[Mosaic | StoredMosaic],
    *,
    side: int = 4096,
    params: FindParams | None = None,
    mask: NDArray[np.bool_] | Mapping[str, NDArray[np.bool_]] | None = None,
    negative: bool = False,
) -> FoundBlocks:
    """Find the sources of mosaics on one grid that are read block by block.

    Parameters
    ----------
    mosaics : sequence of Mosaic or StoredMosaic
        Bands of different names.
    side : int, optional
        Side of the blocks [pix].
    params : FindParams, optional
        As in `find_sources`; not the method ``peaks``.
    mask : ndarray, bool, shape (ny, nx), or mapping of str to such arrays, optional
        As in `find_sources`.
    negative : bool, optional
        As in `find_sources`.

    Returns
    -------
    FoundBlocks
        Labels, images and thresholds are those of `find_sources`, bit by bit, for any side of the blocks.

    Raises
    ------
    InvalidInputError
        As `find_sources`, and for the method ``peaks``, whose segments grow by the order of all peaks of the image.
    NoDataError
        When no band can be used.

    Notes
    -----
    Every band is read some ten times: for the mesh, for medians (each in two passes, see `median_of_parts`), for the
    coverage, and for the detection. Memory holds a block of every band, what `detect_blocks` keeps, and the masks.
    """
    params = params or FindParams()
    if params.method == "peaks":
        msg = "method: 'peaks' is not allowed block by block, its segments grow by the order of all peaks of the image"
        raise InvalidInputError(msg)
    stored = [StoredMosaic.of(mosaic) for mosaic in mosaics]
    names = check_mosaics(stored)
    grid = stored[0].grid
    bad = masks_of(mask, names)
    stored = [without_pixels(m, bad.get(m.band)) for m in stored]
    all_bands = {m.band: stored_band(m, side=side, params=params.background) for m in stored}
    source = _Source(bands=all_bands, params=params, negative=negative)
    reasons = {band: "no pixel is covered" for band, found in all_bands.items() if found is None}
    try:
        usable = coverage_blocks(source.every, grid.shape, side=side, params=params.significance())
    except NoDataError as error:
        msg = f"mosaics: none of the bands {names} can be used: {reasons or error}"
        raise NoDataError(msg) from None
    source = replace(source, bands={band: all_bands[band] for band in usable.bands})
    check_flux_band(params.flux_band, usable.bands)
    sources, together = params.sources, None
    if params.image == "stack":

        def read(rows: slice, columns: slice) -> dict[str, NDArray[Any]]:
            stack = stack_of(source.planes(rows, columns))
            return {"data": stack.data, "error": stack.error, "mask": ~np.isfinite(stack.data)}

        found = detect_blocks(read, grid.shape, blocks=side, grid=grid, params=sources)
        correlation = float(found.params["noise_correlation"])
    else:
        combined = replace(params.significance(), kernel=sources.kernel)
        together = significance_blocks(source.every, grid.shape, side=side, params=combined, usable=usable)

        def read_snr(rows: slice, columns: slice) -> dict[str, Any]:
            snr = together.data(rows, columns)
            return {"data": snr, "error": 1.0, "mask": ~np.isfinite(snr)}

        found = detect_blocks(read_snr, grid.shape, blocks=side, grid=grid, params=searched_as(params))
        correlation = max(together.noise.values())
    return FoundBlocks(
        segmentation=found,
        grid=grid,
        excluded=MappingProxyType(dict(usable.excluded) | reasons),
        coverage=MappingProxyType(dict(usable.coverage)),
        noise_correlation=correlation,
        threshold=sources.threshold,
        source=source,
        together=together,
        side=side,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Source:
    """The bands without their background, window by window."""

    bands: Mapping[str, StoredBand | None]
    params: FindParams
    negative: bool

    def plane(self, band: str, rows: slice, columns: slice) -> MeasureImage:
        found = self.bands[band]
        assert found is not None
        window = found.window(rows, columns)
        enough = enough_exposures(found.mosaic, self.params.min_exposures, rows, columns)
        return plane_of(window, window.data, found.k, enough, negative=self.negative)

    def knows_noise(self, band: str) -> bool:
        """Whether the mosaic has its noise covariance."""
        found = self.bands[band]
        return found is not None and found.mosaic.noise is not None

    def mosaics(self, planes: Mapping[str, MeasureImage], rows: slice, columns: slice) -> dict[str, Mosaic]:
        """Return those of the planes that know their noise covariance; see `FoundSources.mosaics`."""
        return {
            band: as_plane(found.mosaic.window(rows, columns), plane)
            for band, plane in planes.items()
            if (found := self.bands[band]) is not None and found.mosaic.noise is not None
        }

    def planes(self, rows: slice, columns: slice) -> dict[str, MeasureImage]:
        return {band: self.plane(band, rows, columns) for band in self.bands}

    def every(self, rows: slice, columns: slice) -> Mapping[str, MeasureImage | Mosaic | None]:
        """Return the bands, each made when it is asked for; None for those that nothing covers."""
        return _Planes(self, rows, columns)


@dataclass(frozen=True)
class _Planes(Mapping[str, MeasureImage | Mosaic | None]):
    """A window of the bands, each of which is read when it is asked for."""

    source: _Source
    rows: slice
    columns: slice

    def __getitem__(self, band: str) -> MeasureImage | None:
        if self.source.bands[band] is None:
            return None
        return self.source.plane(band, self.rows, self.columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self.source.bands)

    def __len__(self) -> int:
        return len(self.source.bands)
