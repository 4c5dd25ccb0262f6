"""Files of simulated slits and a pack of the reference files that they need; nothing of them is real."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits

from skymere.datamodels import SlitSource
from skymere.errors import InvalidInputError, StorageError
from skymere.instruments import NIRSPEC_GRIDS
from skymere.io import build_pack, write_slitlets
from skymere.spectra import LINES
from skymere.testing.slit_exposures import scene_slitlets, scene_tables
from skymere.testing.slitlets import SlitSceneParams, simulate_slitlets

__all__ = ["SlitFilesParams", "simulate_slit_files", "write_slit_pack"]

_FWHM_PIX = 2.2
# `RedshiftParams.scale_disp`, by which fits multiply tables of resolution.
_SCALE_DISP = 1.3
_ROWS_OF_DETECTOR = 2048
# Fluxes of lines relative to [OIII] 5007; those of the prism's templates, so that redshifts have no bias by blends.
_RATIOS = {"OII": 0.4, "Hb": 0.25, "OIII": 1 + 1 / 2.98, "Ha+NII": 1.0}
_COLUMNS = ("name", "ra", "dec", "redshift", "continuum", "line_flux")


@dataclass(frozen=True, kw_only=True)
class SlitFilesParams:
    """What `simulate_slit_files` makes.

    Parameters
    ----------
    exposure : str
        Begin of the names of exposures, as the pipeline has them.
    exptime : float
        Exposure time [s].
    scene : SlitSceneParams
        Slits, noise and bad pixels.

    Raises
    ------
    InvalidInputError
        When the exposure time is not positive, or the name has not two underscores.
    """

    exposure: str = "jw09998001001_03101"
    exptime: float = 1000.0
    scene: SlitSceneParams = field(default_factory=lambda: SlitSceneParams(n_hot=3, outlier_fraction=0.001))

    def __post_init__(self) -> None:
        if not self.exptime > 0 or self.exposure.count("_") != 1:
            msg = f"exposure, exptime: {self.exposure!r}, {self.exptime} are not allowed, "
            msg += "they must have one underscore and be positive"
            raise InvalidInputError(msg)


def simulate_slit_files(
    sources: pl.DataFrame, folder: str | Path, *, seed: int, params: SlitFilesParams | None = None
) -> list[Path]:
    """Write the exposures of a source in each slit of a mask, a file for each slit and exposure.

    Parameters
    ----------
    sources : polars.DataFrame
        ``name``, ``ra``, ``dec`` [deg], ``redshift``, ``continuum`` [uJy], ``line_flux`` (of [OIII] 5007, sum over its
        pixels [uJy]; [OII], Hb, [OIII] 4959, Ha and [NII] follow).
    folder : path-like
        Where to; files that are there are kept.
    seed : int
        Of the random numbers.
    params : SlitFilesParams, optional
        Everything else.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InvalidInputError
        When a column is missing.
    StorageError
        When the folder cannot be written.
    """
    p = params or SlitFilesParams()
    if missing := [name for name in _COLUMNS if name not in sources.columns]:
        msg = f"sources: columns {missing} are missing, it has {sources.columns}"
        raise InvalidInputError(msg)
    folder = Path(folder)
    _make_folder(folder)
    paths = []
    for number, row in enumerate(sources.iter_rows(named=True), 1):
        mine = [
            folder / f"{p.exposure}_{k + 1:05d}_nrs1_phot.{number}.{row['name']}.fits" for k in range(len(p.scene.nods))
        ]
        paths += mine
        if all(path.exists() for path in mine):
            continue
        centres = [
            (wave * (1 + row["redshift"]), part * ratio)
            for name, ratio in _RATIOS.items()
            for wave, part in zip(LINES[name].wave, LINES[name].parts, strict=True)
        ]
        seen = [(wave, ratio) for wave, ratio in centres if p.scene.wavelengths[0] < wave < p.scene.wavelengths[1]]
        scene = simulate_slitlets(
            seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
            continuum=row["continuum"],
            line_centres=tuple(wave for wave, _ in seen),
            line_fluxes=tuple(row["line_flux"] * ratio for _, ratio in seen),
            params=p.scene,
        )
        source = SlitSource(
            source_id=number, name=row["name"], ra=row["ra"], dec=row["dec"], x_position=0.0, y_position=0.0
        )
        made = scene_slitlets(
            scene, params=p.scene, source=source, number=number, exposure=p.exposure, exptime=p.exptime
        )
        for path, one in zip(mine, made, strict=True):
            write_slitlets(one, path)
    return paths


def write_slit_pack(folder: str | Path, *, name: str = "nirspec", params: SlitFilesParams | None = None) -> Path:
    """Write the reference files of the simulated prism as a pack; returns its folder.

    Parameters
    ----------
    folder : path-like
        A folder of packs, as ``SKYMERE_PACKS`` names them.
    name : str, optional
        Name of the pack.
    params : SlitFilesParams, optional
        That of the files.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    scene = (params or SlitFilesParams()).scene
    target = Path(folder) / f"{name}-simulated"
    _make_folder(target)
    first, last = scene.wavelengths
    nx = scene.shape[1]
    step = (last - first) / (nx - 1)
    low, high, _ = NIRSPEC_GRIDS["prism"]
    waves = np.linspace(low - 0.1, high + 0.1, 60)
    files: dict[str, str] = {}
    for n, bar in scene_tables(scene).bars.items():
        ends, shadow = bar.limits, bar.coefficients
        files[f"prism_{n}_bar_coeffs.yaml"] = json.dumps({"minmax": ends, "coeffs": shadow.tolist()})
        both = {"minmax": ends, "wavelengths": [low, high], "coeffs": np.repeat(shadow[:, None], 2, axis=1).tolist()}
        files[f"prism_{n}_bar_coeffs_wave.yaml"] = json.dumps(both)
    even = np.tile([1.0, 0.0, 0.0], (8, 4, 1)).tolist()
    files["prism_slit_renormalize.yaml"] = json.dumps(
        {"df": 8, "coeffs": even, "reference_wavelengths": waves.tolist()}
    )
    for detector in ("nrs1", "nrs2"):
        files[f"msaexp_badpix_{detector}.yaml"] = json.dumps(
            {"shape": [_ROWS_OF_DETECTOR] * 2, "pixel_index": [], "pixel_value": [], "flags": {}}
        )
    place = (waves - first) / (last - first)
    width = scene.psf_fwhm[0] + (scene.psf_fwhm[1] - scene.psf_fwhm[0]) * place
    rows = [f"{wave:.6f},{fwhm:.6f}" for wave, fwhm in zip(waves, width, strict=True)]
    files["nirspec_psf_fwhm.csv"] = "\n".join(["wave,fwhm_pix", *rows, ""])
    columns = {"WAVELENGTH": waves, "DLDS": np.full(waves.size, step), "R": waves / (_FWHM_PIX * step) / _SCALE_DISP}
    table = [fits.Column(name=key, format="D", array=values) for key, values in columns.items()]
    try:
        for file, text in files.items():
            (target / file).write_text(text, encoding="utf-8")
        hdu = fits.BinTableHDU.from_columns(table)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(target / "jwst_nirspec_prism_disp.fits", overwrite=True)
        (target / "manifest.json").unlink(missing_ok=True)
        pack = build_pack(target, name=name, version="simulated")
        (target / "manifest.json").write_text(pack.manifest, encoding="utf-8")
    except OSError as error:
        msg = f"{target}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    return target


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder}: cannot be written: {error.strerror}"
        raise StorageError(msg) from error
