"""Small configurations in the forms of ACS, NIRISS and NIRCam, of which no real file is at hand.

Numbers are of the size that real files have. `make_grism_traces.py` evaluates them with grizli.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits

_FIELD = "{0} 1.3e-4 -2.1e-4 3.1e-8 -4.0e-8 2.2e-8"


def _aces() -> str:
    return f"""INSTRUMENT ACS
CAMERA WFC
BEAMA -12 160
MMAG_EXTRACT_A 24
DYDX_ORDER_A 1
DYDX_A_0 {_FIELD.format(-1.9)}
DYDX_A_1 -4.1e-2 1.1e-6 3.0e-7
XOFF_A {_FIELD.format(110.3)}
YOFF_A 0.0
DISP_ORDER_A 2
DLDP_A_0 {_FIELD.format(4780.1)}
DLDP_A_1 38.6 6.1e-5 -4.2e-4
DLDP_A_2 0.0119 1e-8 2e-8
SENSITIVITY_A sens.fits
BEAMB -130 -90  ; zeroth order
MMAG_EXTRACT_B 22
DYDX_ORDER_B 0
DYDX_B_0 -2.6 1e-4 -2e-4
XOFF_B 0.0
YOFF_B 0.2
DISP_ORDER_B 1
DLDP_B_0 61000.0
DLDP_B_1 500.0
SENSITIVITY_B sens.fits # repeated names are allowed
"""


def _niriss() -> str:
    return f"""FWCPOS_REF 1.0
BEAMA 40 160
XOFF_A 0.4
YOFF_A 0
MMAG_EXTRACT_A 100
DYDX_ORDER_A 2
DYDX_A_0 {_FIELD.format(2.1)}
DYDX_A_1 -5.4e-3 3.2e-6 -3.1e-6 0 3.0e-9 8.5e-11
DYDX_A_2 1.6e-6 -4.8e-11 1.8e-9 0 3.0e-15 -1.8e-13
DISP_ORDER_A 1
DLDP_A_0 17400.0
DLDP_A_1 46.7
SENSITIVITY_A sens.fits
"""


def _nircam(sign: int, axis: int) -> str:
    """Dispersion along x (axis 0) or y (1), forward or back; the second order is bent in t for the trace only."""
    along, across = ("DISPX", "DISPY") if axis == 0 else ("DISPY", "DISPX")
    return f"""NAXIS 2048 2048
BEAM_+1
{along}_+1_0 {_FIELD.format(sign * -905.0)}
{along}_+1_1 {_FIELD.format(sign * 1010.0)}
{across}_+1_0 {_FIELD.format(0.7)}
{across}_+1_1 {_FIELD.format(-1.2)}
{across}_+1_2 {_FIELD.format(0.4)}
DISPL_+1_0 3.05
DISPL_+1_1 1.0
SENSITIVITY_+1 sens_um.fits
XRANGE_+1 -100 100
YRANGE_+1 -100 100
BEAM_+2
{along}_+2_0 {sign * 900.0}
{along}_+2_1 {sign * 1900.0}
{across}_+2_0 1.5
{across}_+2_1 -3.0
DISPL_+2_0 3.05
DISPL_+2_1 1.0
SENSITIVITY_+2 sens_um.fits
XRANGE_+2 -100 100
YRANGE_+2 -100 100
"""


#: Text of each configuration by its path.
CONFIGS = {
    "ACS.WFC.CHIP1.Cycle13.5.conf": _aces(),
    "GR150R.F200W.conf": _niriss(),
    "GR150R.F115W.221215.conf": _niriss(),
    "GRISM_NIRCAM/V1/NIRCAM_F444W_modA_C.conf": _aces(),
    "GRISM_NIRCAM/V2/NIRCAM_F444W_modA_R.conf": _nircam(1, 0),
    "GRISM_NIRCAM/V3/NIRCAM_F444W_modA_C.conf": _nircam(1, 1),
    "GRISM_NIRCAM/V4/NIRCAM_F444W_modA_R.conf": _nircam(1, 0),
    "GRISM_NIRCAM/V4/NIRCAM_F444W_modB_R.conf": _nircam(-1, 0),
    "GRISM_NIRCAM/V8/NIRCAM_F356W_modB_C.conf": _nircam(1, 1),
    "GRISM_NIRCAM/V8.5/NIRCAM_F444W_modA_R.conf": _nircam(1, 0),
    "GRISM_NIRCAM/V9/NIRCAM_F444W_modB_R.conf": _nircam(-1, 0),
}

#: Places and offsets at which traces are compared.
PLACES = ((300.25, 410.5), (1500.0, 1720.75))
N_OFFSETS = 5
#: Position of the filter wheel beside that of the file [deg].
WHEEL = 1.6


def write_configs(folder: Path) -> dict[str, Path]:
    """Write all configurations with their sensitivities, and return where each is."""
    wave = np.linspace(3000.0, 25000.0, 60)
    bump = 1e15 * np.exp(-0.5 * ((wave - 9000.0) / 3000.0) ** 2)
    wave_um = np.linspace(2.9, 4.2, 60)
    bump_um = 1e17 * np.exp(-0.5 * ((wave_um - 3.6) / 0.3) ** 2)
    paths = {}
    for name, text in CONFIGS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        paths[name] = path
        for file, columns in (("sens.fits", (wave, bump)), ("sens_um.fits", (wave_um, bump_um))):
            table = [
                fits.Column(name=n, format="D", array=v)
                for n, v in zip(("WAVELENGTH", "SENSITIVITY"), columns, strict=True)
            ]
            fits.BinTableHDU.from_columns(table).writeto(path.parent / file, overwrite=True)
    return paths
