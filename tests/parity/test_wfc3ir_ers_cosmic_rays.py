"""Cosmic rays of the ten semi-real WFC3/IR exposures against their truth and AstroDrizzle's masks.

Pixels count that have DQ = 0 and lie inside the footprints of at least two exposures. ``pytest -s`` prints the curves.
"""

import warnings
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from skymere.datamodels import FLAG_BITS, Exposure
from skymere.io import read_exposure
from skymere.mosaic import FlagParams, flag_exposures
from skymere.outliers import CosmicRayParams

BOX = np.ones((3, 3), bool)
STEPS = (0.9, 1.0, 1.1, 1.15, 1.25, 1.36)


@dataclass
class Scene:
    """The exposures of a band with what is known about them, all keyed by position."""

    exposures: list[Exposure]
    blotted: list[NDArray[np.float32]]
    true: list[NDArray[np.bool_]]
    reference: list[NDArray[np.bool_]]
    use: list[NDArray[np.bool_]]
    n_covered: list[NDArray[np.int64]]
    near_other: list[NDArray[np.bool_]]


def project(exposure: Exposure, other: Exposure, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Positions of pixels of ``exposure`` in ``other``, with astropy."""
    sky = exposure.wcs.all_pix2world(x, y, 0)
    px, py = other.wcs.all_world2pix(*sky, 0, tolerance=1e-3, maxiter=50, quiet=True)
    return np.asarray(px), np.asarray(py)


def load(folder: Path, band: str) -> Scene:
    paths = sorted((folder / "semireal").glob(f"*_{band}_flt.fits"))
    exposures = [read_exposure(path) for path in paths]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(folder / "reference" / "astrodrizzle_crmasks.fits") as hdus:
            masks = {hdu.name.lower(): hdu.data > 0 for hdu in hdus if hdu.data is not None}
        true, blotted = [], []
        for path, exposure in zip(paths, exposures, strict=True):
            with fits.open(path) as hdus:
                true.append(hdus["CRTRUE"].data > 0)
                x0, y0 = (int(-hdus["SCI"].header.get(f"LTV{i}", 0)) for i in (1, 2))
            ny, nx = exposure.shape
            with fits.open(next(folder.glob(f"{path.name.split('_')[0]}_{band}_*.fits"))) as hdus:
                blotted.append(hdus["BLT"].data[y0 : y0 + ny, x0 : x0 + nx])
    scene = Scene(exposures, blotted, true, [masks[p.name.split("_")[0]] for p in paths], [], [], [])
    for i, exposure in enumerate(exposures):
        yy, xx = np.indices(exposure.shape, dtype=float)
        n, near = np.ones(exposure.shape, np.int64), np.zeros(exposure.shape, bool)
        for j, other in enumerate(exposures):
            if j == i:
                continue
            x, y = project(exposure, other, xx.ravel(), yy.ravel())
            ny, nx = other.shape
            n += ((x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)).reshape(n.shape)
            hit_y, hit_x = np.nonzero(true[j])
            x, y = (np.rint(v).astype(int) for v in project(other, exposure, hit_x, hit_y))
            inside = (x >= 0) & (y >= 0) & (x < near.shape[1]) & (y < near.shape[0])
            near[y[inside], x[inside]] = True
        scene.n_covered.append(n)
        scene.near_other.append(binary_dilation(near, BOX))
        scene.use.append((exposure.dq == 0) & (n >= 2))
    return scene


@dataclass
class Score:
    completeness: float
    false_per_exposure: float
    clean: float
    source_false: float
    by_snr: dict[str, tuple[int, float]]


def score(scene: Scene, masks: list[NDArray[np.bool_]]) -> Score:
    hit, false, clean, source, snrs = [], 0, [], [], []
    for k, (exposure, mask) in enumerate(zip(scene.exposures, masks, strict=True)):
        use, true, blt = scene.use[k], scene.true[k], scene.blotted[k]
        excess = exposure.data - blt
        snr = (excess - np.median(excess[use & ~true])) / exposure.error
        hit.append(mask[use & true])
        snrs.append(snr[use & true])
        false += int((use & ~true & mask).sum())
        clean.append(mask[use & true & (snr >= 5) & (scene.n_covered[k] >= 3) & ~scene.near_other[k]])
        is_bright = blt - np.median(blt[exposure.dq == 0]) > 10 * exposure.error
        source.append(mask[use & is_bright & ~scene.near_other[k] & ~binary_dilation(true, BOX)])
    hits, snr_all = np.concatenate(hit), np.concatenate(snrs)
    edges = (-np.inf, 3.0, 5.0, 10.0, 30.0, np.inf)
    bins = {f"{a:g}-{b:g}": (snr_all >= a) & (snr_all < b) for a, b in pairwise(edges)}
    return Score(
        completeness=float(hits.mean()),
        false_per_exposure=false / len(masks),
        clean=float(np.concatenate(clean).mean()),
        source_false=float(np.concatenate(source).mean()),
        by_snr={name: (int(b.sum()), float(hits[b].mean())) for name, b in bins.items() if b.any()},
    )


def scaled(params: CosmicRayParams, step: float) -> CosmicRayParams:
    """The same scheme with other thresholds in its last comparison."""
    last = params.second or params
    moved = replace(last, snr=(last.snr[0] * step, last.snr[1] * step))
    return replace(params, second=moved) if params.second else moved


ASTRODRIZZLE = CosmicRayParams(core_scale=0.0, second=None)


@pytest.mark.parametrize(
    ("band", "params", "wanted", "clean", "source"),
    [
        ("f140w", ASTRODRIZZLE, 0.92, 0.997, 0.002),
        ("f125w", replace(ASTRODRIZZLE, combine="median"), 0.70, 0.985, 0.002),
        ("f140w", CosmicRayParams(), 0.925, 0.999, 0.002),
        ("f125w", CosmicRayParams(), 0.795, 0.995, 0.002),
    ],
    ids=["f140w AstroDrizzle", "f125w AstroDrizzle", "f140w default", "f125w default"],
)
def test_cosmic_rays_are_found_as_often_as_astrodrizzle_finds_them(
    shared_data: Path, band: str, params: CosmicRayParams, wanted: float, clean: float, source: float
) -> None:
    scene = load(shared_data / "imaging" / "wfc3ir_ers", band)
    theirs = score(scene, scene.reference)
    curve = []
    for step in STEPS:
        flagged = flag_exposures(scene.exposures, params=FlagParams(cosmic_rays=scaled(params, step)))
        masks = [e.flags & FLAG_BITS["cosmic_ray"] > 0 for e in flagged if e.flags is not None]
        curve.append(score(scene, masks))
    x = np.log([s.false_per_exposure for s in curve])[::-1]
    at = np.log(theirs.false_per_exposure)
    assert x[0] < at < x[-1], "the curve does not reach AstroDrizzle's number of false pixels"
    found, found_clean, found_source = (
        float(np.interp(at, x, [getattr(s, name) for s in curve][::-1]))
        for name in ("completeness", "clean", "source_false")
    )
    print(
        f"\n{band} {params.combine}, {'two passes' if params.second else 'one pass'}: AstroDrizzle "
        f"{theirs.completeness:.4f} at {theirs.false_per_exposure:.1f} false per exposure"
    )
    for step, s in zip(STEPS, curve, strict=True):
        print(f"  x{step:.2f}: completeness {s.completeness:.4f}, false {s.false_per_exposure:.1f}, clean {s.clean:.4f}, "
              f"source pixels rejected {s.source_false:.1e}")  # fmt: skip
    print(f"  at their number of false pixels: {found:.4f}, clean {found_clean:.4f}, source {found_source:.1e}")
    print("  completeness by S/N:", {k: f"{c:.3f} of {n}" for k, (n, c) in curve[2].by_snr.items()})
    assert found >= wanted
    assert found_clean >= clean
    assert found_source <= source
