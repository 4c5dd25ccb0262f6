"""Slitlets with known numbers: a uniform sky behind three shutters, a source on top, bars with a known shadow."""

import numpy as np
from scipy.interpolate import BSpline

from skymere.datamodels import (
    BadPixelTable,
    BarShadowTable,
    NormalizationTable,
    SlitExposure,
    SlitGeometry,
    Slitlet,
    SlitPlace,
    SlitSource,
    SlitTables,
)
from skymere.instruments import JWST

SHAPE = (25, 60)
PIXEL_ARCSEC = 0.1
SHUTTER_SCALE = 1 / 5.0  # a shutter in five pixels
AREA_SR = 1e-12  # so that 1 MJy / sr is 1 uJy
READ, PHOTON = 0.04, 0.05
# Where the tables of one, two and three shutters end, as the real ones.
LIMITS = {1: (-0.55, 0.55), 2: (-0.6, 1.6), 3: (-1.6, 1.6)}


def spline(places, coefficients, limits):
    """Evaluate a clamped cubic B-spline with scipy."""
    inner = np.linspace(*limits, len(coefficients) - 2)
    knots = np.r_[[limits[0]] * 3, inner, [limits[1]] * 3]
    return BSpline(knots, coefficients, 3, extrapolate=False)(places)


def bar_table(n_shutters=3, *, waves=None):
    """Return a table whose throughput falls to about 0.2 at the edges of shutters."""
    limits = LIMITS[n_shutters]
    places = np.linspace(*limits, 20 * n_shutters + 1)
    shape = 1 - 0.8 * np.abs(np.sin(np.pi * places)) ** 8
    if waves is None:
        return BarShadowTable(limits=limits, coefficients=shape)
    tilt = 1 + 0.02 * (np.asarray(waves) - np.mean(waves))
    return BarShadowTable(limits=limits, coefficients=shape[:, None] * tilt, wavelengths=waves)


def tables(*, detector="NRS1", bad=()):
    """Return reference tables: shadows of all numbers of shutters, a response of 1.25, and some bad pixels."""
    return SlitTables(
        bars={n: bar_table(n) for n in (1, 2, 3)},
        wave_bars={n: bar_table(n, waves=[0.5, 2.0, 6.0]) for n in (1, 2, 3)},
        normalization=NormalizationTable(
            coefficients=np.tile([0.8, 0.0, 0.0], (8, 4, 1)), wavelengths=np.linspace(0.1, 9.0, 50)
        ),
        bad_pixels={
            detector: BadPixelTable(
                index=np.array([y * 2048 + x for y, x in bad], np.int64),
                value=np.full(len(bad), 2, np.uint32),
                shape=(2048, 2048),
            )
        },
        pack="made-1",
        digest="0" * 64,
    )


def geometry(shape=SHAPE, *, ends=(-2.1, 2.1)):
    """Return coordinates with wavelength linear in x, NaN beyond the ends of the slit."""
    rows, columns = np.indices(shape, dtype=float)
    slit_y = (rows - 12.0) * SHUTTER_SCALE
    wavelength = 1.0 + 0.05 * columns
    outside = (slit_y < ends[0]) | (slit_y > ends[1])
    slit_y[outside] = np.nan
    wavelength[outside] = np.nan
    return SlitGeometry(
        wavelength=wavelength,
        slit_y=slit_y,
        wavelength_slope=np.full(shape[1], 0.1),
        pixel_scale_arcsec=PIXEL_ARCSEC,
        shutter_scale=SHUTTER_SCALE,
    )


def slitlet(k=0, *, y_offset=0.0, sky=2.0, seed=0, ends=(-2.1, 2.1), **changes):
    """Return one exposure of a uniform sky with noise."""
    random = np.random.default_rng([seed, k])
    where = geometry(ends=ends)
    sci = sky + random.normal(0, np.hypot(np.sqrt(READ), np.sqrt(PHOTON)), SHAPE)
    sci[~np.isfinite(where.wavelength)] = np.nan
    values = {
        "sci": sci.astype(np.float32),
        "var_rnoise": np.full(SHAPE, READ, np.float32),
        "var_poisson": np.full(SHAPE, PHOTON, np.float32),
        "dq": np.zeros(SHAPE, np.uint32),
        "dq_bits": JWST,
        "wavelength": where.wavelength.astype(np.float32),
        "geometry": where,
        "bar": np.ones(SHAPE, np.float32),
        "source": SlitSource(source_id=7, name="9_7", ra=150.0, dec=2.0, x_position=0.2, y_position=0.1),
        "place": SlitPlace(
            slit_name="7", slitlet_id=7, quadrant=2, column=100, row=50, shutter_state="1x1", x0=300, y0=700
        ),
        "exposure": SlitExposure(
            exposure_id=f"e{k}",
            instrument="NIRSPEC",
            detector="NRS1",
            grating="PRISM",
            filter="CLEAR",
            exposure_type="NRS_MSASPEC",
            exptime=100.0,
            position_number=k + 1,
            y_offset=y_offset,
        ),
        "pixel_area_sr": AREA_SR,
        "path": f"e{k}.fits",
    }
    return Slitlet(**(values | changes))
