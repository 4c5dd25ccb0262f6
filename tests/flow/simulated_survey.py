"""Surveys with everything in them: bands, one of low resolution, slits and a grism, on HEALPix tiles."""

from dataclasses import dataclass
from pathlib import Path

from skymere.pipeline.demo_grism import GRISM_PLAN, simulate_demo_grism
from skymere.pipeline.demo_slits import SLIT_PLAN, simulate_demo_slits
from skymere.testing import (
    CameraParams,
    LowResolutionParams,
    SceneParams,
    dithers,
    draw_scene,
    render_exposure,
    simulate_low_resolution,
)
from skymere.testing.exposures import write_exposure

PLAN = """\
[survey]
exposures = ["exposures/*_flt.fits"]

[tile]
kind = "healpix"
scale_arcsec = 0.12
width_pix = {width_pix}

[psf]
source = "moffat"
fwhm_arcsec = 0.17
size_pix = 41

[profiles]
band = "f160w"

[photometry]
bands = {bands}

[[photometry.images]]
band = "irac1"
image = "images/irac1.fits"
psf = "images/irac1_psf.fits"
photometry.shift.method = "joint"
photometry.noise.n_positions = 6
photometry.has_shape_errors = true

{slits}
{grism}
[release]
name = "DR1"
"""
# What a survey has rows of, when nobody edits it and coordinates are those of the headers.
PRODUCTS = frozenset(
    {
        *("exposure", "sky", "mask", "mosaic", "psf", "segmentation", "source", "profile", "model", "flux", "cutout"),
        *("slitlet", "pixel_table", "slit_spectrum", "grism_frame", "beam", "redshift", "pz", "line", "line_map"),
        *("spectrum", "stack", "run"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a survey is: its centre [deg], pixels on a side of an exposure, dithers, and what is in it."""

    ra: float
    dec: float
    bands: tuple[str, ...]
    side: int
    step_arcsec: float
    width_pix: int
    n_galaxies: int
    n_stars: int
    radius_arcsec: float
    n_slits: int
    grism_shape: tuple[int, int]
    grism_angles_deg: tuple[float, ...]


# Across the middle of the border of two cells of order 13.
SMALL = Size(
    ra=53.16559,
    dec=-27.7765,
    bands=("f125w", "f160w"),
    side=90,
    step_arcsec=1.0,
    width_pix=600,
    n_galaxies=9,
    n_stars=3,
    radius_arcsec=6.0,
    n_slits=1,
    grism_shape=(100, 320),
    grism_angles_deg=(0.0,),
)
WHOLE = Size(
    ra=53.16,
    dec=-27.78,
    bands=("f105w", "f125w", "f160w"),
    side=180,
    step_arcsec=6.0,
    width_pix=400,
    n_galaxies=60,
    n_stars=12,
    radius_arcsec=18.0,
    n_slits=3,
    grism_shape=(240, 400),
    grism_angles_deg=(90.0, 0.0),
)


def simulate(folder: Path, size: Size) -> Path:
    """Write the files of a survey and its plan; returns the plan."""
    scene = SceneParams(
        n_galaxies=size.n_galaxies, n_stars=size.n_stars, radius_arcsec=size.radius_arcsec, faint_mag=25.5
    )
    camera = CameraParams(shape=(size.side, size.side), n_cosmic_rays=size.side // 10, n_bad_pixels=size.side // 2)
    at = {"ra": size.ra, "dec": size.dec}
    truth = draw_scene(**at, params=scene, seed=1)
    for name in ("truth", "exposures"):
        (folder / name).mkdir(parents=True)
    truth.write_parquet(folder / "truth" / "sources.parquet")
    for where in dithers(**at, bands=size.bands, n_dithers=3, step_arcsec=size.step_arcsec):
        exposure = render_exposure(truth, where, params=camera, seed=1)
        write_exposure(exposure, where, folder / "exposures" / f"{where.name}_{where.band}_flt.fits", params=camera)
    low = LowResolutionParams(size_pix=int(size.side * 0.128 / 0.6) + 60)
    simulate_low_resolution(truth, folder / "images", **at, params=low)
    simulate_demo_slits(folder, truth, **at, seed=1, n_sources=size.n_slits)
    simulate_demo_grism(folder, truth, **at, seed=1, shape=size.grism_shape, angles_deg=size.grism_angles_deg)
    plan = folder / "plan.toml"
    bands = [band for band in size.bands if band != "f160w"]
    plan.write_text(PLAN.format(width_pix=size.width_pix, bands=bands, slits=SLIT_PLAN, grism=GRISM_PLAN))
    return plan
