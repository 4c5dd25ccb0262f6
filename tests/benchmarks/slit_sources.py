"""Sources behind a slit for the benchmark of many: three nods each, simulated where they are worked on."""

import numpy as np

from skymere.datamodels import SlitExposure, SlitGeometry, Slitlet, SlitPlace, SlitSource, SlitTables
from skymere.instruments import JWST
from skymere.slit import GaussianProfile
from skymere.testing import SlitSceneParams, simulate_slitlets

PARAMS = SlitSceneParams()
PIXEL_ARCSEC = 0.1
WORDS = {
    "tables": SlitTables(pack="simulated-1", digest="0" * 64),
    "lookup_prf": GaussianProfile(wave=PARAMS.wavelengths, fwhm_pix=PARAMS.psf_fwhm),
    "drizzle_kws": {"wave_grid": np.linspace(*PARAMS.wavelengths, PARAMS.shape[1])},
    "sky_file": None,
    "fix_prism_norm": False,
    "with_extra_dq": False,
    "trace_from_yoffset": True,
    "trace_with_ypos": False,
}


def simulate(seed: int) -> list[Slitlet]:
    """Return the exposures of a source with a flat spectrum of 1 uJy and two lines."""
    scene = simulate_slitlets(seed=seed, line_centres=(2.0, 3.4), line_fluxes=(20.0, 40.0), params=PARAMS)
    slitlets = []
    for k, nod in enumerate(PARAMS.nods):
        outside = ~scene.valid[k]
        slit_y, wavelength = scene.shutter_y[k].copy(), scene.wavelength[k].copy()
        slit_y[outside] = wavelength[outside] = np.nan
        geometry = SlitGeometry(
            wavelength=wavelength,
            slit_y=slit_y,
            wavelength_slope=np.full(PARAMS.shape[1], 0.1),
            pixel_scale_arcsec=PIXEL_ARCSEC,
            shutter_scale=0.2,
        )
        exposure = SlitExposure(
            exposure_id=f"e{k}",
            instrument="NIRSPEC",
            detector="NRS1",
            grating="PRISM",
            filter="CLEAR",
            exposure_type="NRS_MSASPEC",
            exptime=1000.0,
            position_number=k + 1,
            y_offset=nod * PIXEL_ARCSEC,
        )
        slitlets.append(
            Slitlet(
                sci=np.where(outside, np.nan, scene.sci[k]).astype(np.float32),
                var_rnoise=scene.var_rnoise[k].astype(np.float32),
                var_poisson=scene.var_poisson[k].astype(np.float32),
                dq=np.zeros(PARAMS.shape, np.uint32),
                dq_bits=JWST,
                wavelength=wavelength.astype(np.float32),
                geometry=geometry,
                bar=scene.bar[k].astype(np.float32),
                source=SlitSource(source_id=seed, name=f"1_{seed}", ra=150.0, dec=2.0, x_position=0.0, y_position=0.0),
                place=SlitPlace(
                    slit_name="1", slitlet_id=1, quadrant=2, column=100, row=50, shutter_state="111", x0=0, y0=0
                ),
                exposure=exposure,
                # So that 1 MJy / sr is 1 uJy.
                pixel_area_sr=1e-12,
                path=f"e{k}.fits",
            )
        )
    return slitlets
