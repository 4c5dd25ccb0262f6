"""Simulated exposures of a slit in the form in which files are read, with the reference tables that belong to them."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_lsq_spline

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
from skymere.errors import InvalidInputError
from skymere.instruments import JWST, PIXEL_SCALE_ARCSEC
from skymere.testing.slitlets import SlitScene, SlitSceneParams

__all__ = ["scene_slitlets", "scene_tables"]

_SHUTTER_SCALE = 0.2  # of a shutter in a pixel
_AREA_SR = 1e-12  # 1 MJy / sr is 1 uJy
_MARGIN = 0.4  # shutters beyond the open ones in which wavelengths are known: the padding of the border stays outside
# Where the tables of one, two and three shutters end, as in the instrument's.
_LIMITS = {1: (-0.55, 0.55), 2: (-0.6, 1.6), 3: (-1.6, 1.6)}
_DETECTOR = "NRS1"
_ROWS_OF_DETECTOR = 2048


def scene_slitlets(
    scene: SlitScene,
    *,
    params: SlitSceneParams,
    grating: str = "PRISM",
    filter_name: str = "CLEAR",
    variances: Literal["data", "model"] = "data",
    shutter_offset: float = 0.0,
    source: SlitSource | None = None,
    number: int = 1,
    exposure: str = "jw00001001001_03101",
    exptime: float = 1000.0,
) -> list[Slitlet]:
    """Return the exposures of a scene as slitlets, for `SlitGroup`.

    Parameters
    ----------
    scene : SlitScene
        What `simulate_slitlets` made.
    params : SlitSceneParams
        Its parameters.
    grating, filter_name : str
        What the header says.
    variances : str
        ``data``: the variance of photons follows the noisy data, as pipelines have it; ``model``: it is the truth.
    shutter_offset : float [pix]
        What is to be added to the coordinate of the files to have that of the shutters.
    source : SlitSource, optional
        What the files say of the source; ``1_1`` when not given.
    number : int
        Number of the slitlet in the mask; it also says where it is on the detector.
    exposure : str
        Begin of the names of exposures, as the pipeline has them: ``00001_nrs1`` and so on follow.
    exptime : float [s]
        Of each.

    Returns
    -------
    list of Slitlet
        Data and variances are float32, the shadow of the bars is corrected, pixels of 0.1 arcsec and 1e-12 sr, so that
        1 MJy / sr is 1 uJy.

    Raises
    ------
    InvalidInputError
        When the parameters are of another scene, or ``variances`` is another word.

    Examples
    --------
    >>> from skymere.slit import SlitGroup
    >>> from skymere.testing import SlitSceneParams, scene_slitlets, scene_tables, simulate_slitlets
    >>> params = SlitSceneParams()
    >>> slitlets = scene_slitlets(simulate_slitlets(seed=1, params=params), params=params)
    >>> SlitGroup(slitlets, "made", tables=scene_tables(params), sky_file=None).N
    3
    """
    if scene.sci.shape != (len(params.nods), *params.shape):
        msg = f"params: nods {params.nods} of shape {params.shape} are not allowed, the scene has {scene.sci.shape}"
        raise InvalidInputError(msg)
    if variances not in ("data", "model"):
        msg = f"variances: {variances!r} is not allowed, it must be 'data' or 'model'"
        raise InvalidInputError(msg)
    photons = scene.var_poisson
    if variances == "data":
        photons = params.photon_noise * np.maximum(scene.sci, 0.0) / scene.bar
    source = source or SlitSource(source_id=1, name="1_1", ra=150.0, dec=2.0, x_position=0.0, y_position=0.0)
    ny, nx = params.shape
    out = []
    for k, nod in enumerate(params.nods):
        seen = scene.valid[k]

        def inside(values: NDArray[np.float64], seen: NDArray[np.bool_] = seen) -> NDArray[np.float64]:
            return np.where(seen, values, np.nan)

        is_known = np.abs(scene.shutter_y[k]) < params.n_shutters / 2 + _MARGIN
        name = f"{exposure}_{k + 1:05d}_{_DETECTOR.lower()}"
        wavelength = inside(scene.wavelength[k], is_known)
        one = Slitlet(
            sci=inside(scene.sci[k]).astype(np.float32),
            var_rnoise=inside(scene.var_rnoise[k]).astype(np.float32),
            var_poisson=inside(photons[k]).astype(np.float32),
            dq=np.zeros(params.shape, np.uint32),
            dq_bits=JWST,
            wavelength=wavelength.astype(np.float32),
            geometry=SlitGeometry(
                wavelength=wavelength,
                # The frame of the slit is that of the shutter with the source, so it follows the nods.
                slit_y=inside((scene.yslit[k] - shutter_offset) * _SHUTTER_SCALE, is_known),
                wavelength_slope=np.full(nx, float(scene.dwave_dx.mean())),
                pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
                shutter_scale=_SHUTTER_SCALE,
            ),
            bar=scene.bar[k].astype(np.float32),
            source=source,
            place=SlitPlace(
                slit_name=str(number),
                slitlet_id=number,
                quadrant=1,
                column=100,
                row=50,
                shutter_state="1" * (params.n_shutters // 2) + "x" + "1" * ((params.n_shutters - 1) // 2),
                x0=300,
                y0=(10 + number * (ny + 3)) % (_ROWS_OF_DETECTOR - ny),
            ),
            exposure=SlitExposure(
                exposure_id=name,
                program=exposure[2:7],
                visit=exposure[2:13],
                instrument="NIRSPEC",
                detector=_DETECTOR,
                grating=grating,
                filter=filter_name,
                exposure_type="NRS_MSASPEC",
                exptime=exptime,
                position_number=k + 1,
                n_positions=len(params.nods),
                y_offset=nod * PIXEL_SCALE_ARCSEC,
            ),
            pixel_area_sr=_AREA_SR,
            path=f"{name}_phot.{number}.{source.name}.fits",
        )
        out.append(one)
    return out


def scene_tables(params: SlitSceneParams) -> SlitTables:
    """Return reference tables with the shadow of the bars of a scene, no other bad pixels, and the response 1.

    Parameters
    ----------
    params : SlitSceneParams
        Parameters of the scene.
    """
    bars, wave_bars = {}, {}
    for n, limits in _LIMITS.items():
        places = np.linspace(*limits, 4000)
        inner = np.linspace(*limits, 60 * n)
        knots = np.concatenate([[limits[0]] * 3, inner, [limits[1]] * 3])
        throughput = 1 - params.bar_depth * np.abs(np.sin(np.pi * places)) ** 8
        coefficients = make_lsq_spline(places, throughput, knots, 3).c
        bars[n] = BarShadowTable(limits=limits, coefficients=coefficients)
        wave_bars[n] = BarShadowTable(
            limits=limits, coefficients=np.repeat(coefficients[:, None], 2, axis=1), wavelengths=np.array([0.5, 6.0])
        )
    return SlitTables(
        bars=bars,
        wave_bars=wave_bars,
        normalization=NormalizationTable(
            coefficients=np.tile([1.0, 0.0, 0.0], (8, 4, 1)), wavelengths=np.linspace(0.1, 9.0, 50)
        ),
        bad_pixels={
            _DETECTOR: BadPixelTable(index=np.empty(0, np.int64), value=np.empty(0, np.uint32), shape=(2048, 2048))
        },
        pack="made-1",
        digest="0" * 64,
    )
