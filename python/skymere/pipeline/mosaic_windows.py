"""A mosaic of the lake, drizzled and looked at window by window, so that memory holds no plane of it."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import (
    Exposure,
    Mosaic,
    NoiseCovariance,
    ScratchPlane,
    ScratchPlanes,
    StoredMosaic,
    Window,
    windows_of,
)
from skymere.instruments import SATURATED_BITS
from skymere.lake import OpenArray, Run, n_levels, pyramid
from skymere.mosaic import MosaicQuality, QualitySums, Reasons, RejectionMap
from skymere.pipeline.plan import MosaicPlan
from skymere.pipeline.products import MOSAIC_DQ
from skymere.pipeline.task import as_params
from skymere.resample import ExposureReader, NoiseClasses, NoiseKernels, WindowedDrizzle, measure_noise
from skymere.resample.noise_kernels import PHASE_RATIO
from skymere.wcs import Grid

__all__ = ["WrittenMosaic", "write_mosaic"]


@dataclass(frozen=True, kw_only=True)
class WrittenMosaic:
    """What was written of a band.

    Parameters
    ----------
    about : dict
        What is known of the mosaic beside its pixels: parameters of `StoredMosaic`.
    n_covered : int
        Pixels to which something contributed; when there is none, nothing was written.
    largest_weight : float
        The largest weight of a pixel.
    quality : MosaicQuality or None
        What its weight is like.
    """

    about: dict[str, Any]
    n_covered: int
    largest_weight: float = 0.0
    quality: MosaicQuality | None = None


def write_mosaic(
    run: Run, exposures: ExposureReader, grid: Grid, *, band: str, plan: MosaicPlan, ignore: tuple[str, ...]
) -> WrittenMosaic:
    """Drizzle the exposures of a band, and write the mosaic with its noise and its levels.

    Parameters
    ----------
    run : Run
        A run of the product ``mosaic``.
    exposures : ExposureReader
        With their sky and flags.
    grid : Grid
        Pixels of the mosaic.
    band : str
        Name of the band.
    plan : MosaicPlan
        Parameters.
    ignore : tuple of str
        Names of DQ bits that count as good.

    Raises
    ------
    InvalidInputError
        When exposures do not combine.

    Notes
    -----
    Windows are `skymere.datamodels.WINDOW_PIX`; numbers that are sums over all pixels are summed in their order. An
    exposure is read once whole, some rows of it for each window that it touches, and once or twice whole for the noise.
    """
    with ScratchPlanes() as scratch:
        return _Writer(run, exposures, grid, band, plan, ignore, scratch).write()


class _Writer:
    """One band on its way into a run."""

    def __init__(
        self,
        run: Run,
        exposures: ExposureReader,
        grid: Grid,
        band: str,
        plan: MosaicPlan,
        ignore: tuple[str, ...],
        scratch: ScratchPlanes,
    ) -> None:
        self._run, self._grid, self._band, self._plan, self._ignore = run, grid, band, plan, ignore
        self._scratch = scratch
        self._drizzle = WindowedDrizzle(exposures, grid, params=plan.drizzle, ignore=ignore)
        self._sums = QualitySums(grid.shape, params=plan.quality)
        self._reasons = Reasons(ignore)
        self._knows_saturation = False
        self._largest = 0.0
        self._planes: dict[str, OpenArray] = {}
        self._levels: list[ScratchPlane] = []
        self._covered: list[Window] = []

    def write(self) -> WrittenMosaic:
        for exposure in self._drizzle.look():
            self._look(exposure)
        blank = [window for window in windows_of(self._grid.shape) if not self._write_window(window)]
        about = self._drizzle.about()
        if not self._sums.n_covered:
            return WrittenMosaic(about=about, n_covered=0)
        for window in blank:
            self._write_blank(window)
        self._write_levels()
        weight = self._planes["wht"]
        quality = self._sums.finish(lambda: (weight[window.slices] for window in self._covered), self._reasons)
        self._run.annotate(self._band, {"wcs": self._grid.cards(), "quality": quality.as_json()})
        self._write_noise(StoredMosaic(**{**about, **self._stored()}))
        return WrittenMosaic(about=about, n_covered=self._sums.n_covered, largest_weight=self._largest, quality=quality)

    def _look(self, exposure: Exposure) -> None:
        self._reasons.add(exposure)
        self._knows_saturation |= any(name in SATURATED_BITS for name in exposure.dq_bits)

    def _write_window(self, window: Window) -> bool:
        """Write a window of all planes; returns whether anything covers it, and writes nothing when not."""
        wide = window.widened(QualitySums.margin_pix, self._grid.shape)
        rejection = RejectionMap(self._grid, params=self._plan.drizzle, ignore=self._ignore, window=wide, core=window)
        mosaic = self._drizzle.window(wide, on_part=rejection.add_rows)
        self._sums.add(mosaic, rejection, window)
        core = window.within(wide)
        if not mosaic.covered[core].any():
            return False
        self._open(mosaic)
        self._covered.append(window)
        for name, plane in (("sci", mosaic.data), ("wht", mosaic.weight), ("var", mosaic.variance)):
            self._planes[name][window.slices] = plane[core]
        for k, plane in enumerate(mosaic.context):
            self._planes["ctx"][(k, *window.slices)] = plane[core]
        saturated = rejection.saturated()
        if saturated is not None:
            self._planes["dq"][window.slices] = saturated[core].astype(np.uint32) * np.uint32(MOSAIC_DQ["saturated"])
        self._largest = max(self._largest, float(mosaic.weight[core].max()))
        self._put_levels(window, pyramid(mosaic.data[core], mosaic.weight[core], levels=len(self._levels)))
        return True

    def _open(self, mosaic: Mosaic) -> None:
        if self._planes:
            return
        shape, unit = self._grid.shape, mosaic.unit
        units = {"sci": unit, "wht": "s" if mosaic.weight_kind == "exposure_time" else "", "var": f"({unit})2"}
        for name, its in units.items():
            self._planes[name] = self._run.open(f"{self._band}/{name}", shape, unit=its)
        self._planes["ctx"] = self._run.open(f"{self._band}/ctx", (len(mosaic.context), *shape))
        if self._knows_saturation:
            self._run.annotate(self._band, {"dq_bits": dict(MOSAIC_DQ)})
            self._planes["dq"] = self._run.open(f"{self._band}/dq", shape)
        for i in range(1, n_levels(shape) + 1):
            ny, nx = (-(-n // 2**i) for n in shape)
            self._levels.append(self._scratch.plane(f"level{i}", (ny, nx), np.float32))

    def _write_blank(self, window: Window) -> None:
        """Write a window that nothing covers; what is not written has the fill value of the schema, NaN."""
        if not np.isnan(self._plan.drizzle.fillval):
            for name in ("sci", "var"):
                self._planes[name][window.slices] = np.full(window.shape, self._plan.drizzle.fillval, np.float32)
        nothing = np.full(window.shape, np.nan, np.float32)
        halved = [tuple(-(-n // 2**i) for n in window.shape) for i in self._steps]
        self._put_levels(window, [nothing[:ny, :nx] for ny, nx in halved])

    @property
    def _steps(self) -> range:
        return range(1, len(self._levels) + 1)

    def _put_levels(self, window: Window, levels: list[NDArray[np.float32]]) -> None:
        for i, plane, level in zip(self._steps, self._levels, levels, strict=True):
            (y, x), (ny, nx) = (n >> i for n in window.origin), level.shape
            plane[y : y + ny, x : x + nx] = level

    def _write_levels(self) -> None:
        for i, plane in zip(self._steps, self._levels, strict=True):
            level = self._run.open(f"{self._band}/level{i}", plane.shape, unit=self._planes_unit)
            for window in windows_of((plane.shape[0], plane.shape[1])):
                level[window.slices] = plane[window.slices]

    @property
    def _planes_unit(self) -> str:
        return str(self._drizzle.about()["unit"])

    def _stored(self) -> dict[str, OpenArray]:
        names = {"data": "sci", "weight": "wht", "variance": "var", "context": "ctx"}
        return {name: self._planes[path] for name, path in names.items()}

    def _write_noise(self, mosaic: StoredMosaic) -> None:
        params, drizzle, ratios = self._plan.noise, self._plan.drizzle, self._drizzle.reach.ratios
        classes = NoiseClasses(
            mosaic.weight, drizzle=drizzle, ratio=ratios[0], params=params, concentration=self._concentration(ratios)
        )
        class_map = self._run.open(f"{self._band}/noise_class", mosaic.shape)
        for window in self._covered:
            class_map[window.slices] = classes.window(window)
        kernels = NoiseKernels(
            mosaic.weight, mosaic.variance, class_map, classes.names, drizzle=drizzle, ratio=ratios[0], params=params
        )
        for given in self._drizzle.inputs():
            kernels.add(given)
        nowhere = np.zeros((1, 1), np.uint8)
        noise = NoiseCovariance(
            kernels=kernels.finish(), class_map=nowhere, classes=classes.names, params={"noise": asdict(params)}
        )
        if params.measure:
            noise = measure_noise(replace(mosaic, noise_class=class_map), noise, params=params)
        about = {"classes": list(noise.classes), "params": as_params(noise.params)}
        self._run.write(f"{self._band}/noise_kernel", noise.kernels, attributes=about)
        if noise.measured is not None:
            self._run.write(f"{self._band}/noise_measured", noise.measured)

    def _concentration(self, ratios: list[float]) -> ScratchPlane | None:
        """Return the concentration of the drops, where output pixels are about as large as those of the detector."""
        if any(ratio < PHASE_RATIO for ratio in ratios):
            return None
        plane = self._scratch.plane("concentration", self._grid.shape, np.float32)
        for window in self._covered:
            plane[window.slices] = self._drizzle.concentration(window)
        return plane
