"""A whole simulated survey on disk: exposures, and the truth beside them."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from skymere._workers import n_cores, worker_pool
from skymere.errors import StorageError
from skymere.testing.exposures import CameraParams, Pointing, dithers, render_exposure, write_exposure
from skymere.testing.scene import BANDS, SceneParams, draw_scene

__all__ = ["SurveyParams", "simulate_survey"]


@dataclass(frozen=True, kw_only=True)
class SurveyParams:
    """A simulated survey.

    Parameters
    ----------
    ra, dec : float
        Centre of the field [deg].
    bands : tuple of str
        Filters, of `skymere.testing.BANDS`.
    n_dithers : int
        Exposures in each band.
    scene : SceneParams
        What the field holds.
    camera : CameraParams
        The camera.
    seed : int
        Seed of all random numbers.
    """

    ra: float = 53.16
    dec: float = -27.78
    bands: tuple[str, ...] = tuple(BANDS)
    n_dithers: int = 6
    scene: SceneParams = field(default_factory=SceneParams)
    camera: CameraParams = field(default_factory=CameraParams)
    seed: int = 1


def simulate_survey(
    folder: str | Path, *, params: SurveyParams | None = None, n_workers: int | None = None
) -> list[Path]:
    """Simulate a survey into ``folder/exposures`` and ``folder/truth``; exposures that exist already are kept.

    Parameters
    ----------
    folder : path-like
        Where to write.
    params : SurveyParams, optional
        The survey.
    n_workers : int, optional
        Number of processes; one per core when None.

    Returns
    -------
    list of Path
        The exposures, in the order of their names.

    Raises
    ------
    StorageError
        When the folder cannot be written.
    """
    params = params or SurveyParams()
    folder = Path(folder)
    try:
        (folder / "exposures").mkdir(parents=True, exist_ok=True)
        (folder / "truth").mkdir(exist_ok=True)
    except OSError as error:
        msg = f"{folder}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    scene = draw_scene(params.ra, params.dec, params=params.scene, seed=params.seed)
    scene.write_parquet(folder / "truth" / "sources.parquet")
    pointings = dithers(params.ra, params.dec, bands=params.bands, n_dithers=params.n_dithers, seed=params.seed)
    paths = [folder / "exposures" / f"{p.name}_{p.band}_flt.fits" for p in pointings]
    missing = [(p, path) for p, path in zip(pointings, paths, strict=True) if not path.exists()]
    n_workers = n_workers or n_cores()
    if n_workers == 1 or len(missing) < 2:
        for pointing, path in missing:
            _simulate_one(scene, pointing, path, params)
    else:
        with worker_pool(min(n_workers, len(missing))) as pool:
            jobs = [pool.submit(_simulate_one, scene, pointing, path, params) for pointing, path in missing]
            for job in jobs:
                job.result()
    return sorted(paths)


def _simulate_one(scene: pl.DataFrame, pointing: Pointing, path: Path, params: SurveyParams) -> None:
    rendered = render_exposure(scene, pointing, params=params.camera, seed=params.seed)
    staged = path.with_name(f".{path.name}.part")
    write_exposure(rendered, pointing, staged, params=params.camera)
    staged.replace(path)
