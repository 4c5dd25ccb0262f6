"""Why a pixel of a slit spectrum is not used: bits beside those of the instrument, which stay as they were read."""

from collections.abc import Mapping
from types import MappingProxyType

from skymere.outliers import SLIT_OUTLIER_BITS

__all__ = ["SLIT_FLAG_BITS"]

SLIT_FLAG_BITS: Mapping[str, int] = MappingProxyType(
    {
        name: 1 << bit
        for bit, name in enumerate(
            (
                "no_data",  # exactly 0 or not a number, or without calibration
                "dq",  # a bad bit of the instrument
                "extra_dq",  # in the table of further bad pixels, or beyond the edge of the detector
                "failed_open",  # beside a pixel of a shutter that is stuck open
                "hot_pixel",
                "too_bright",
                "too_negative",
                "noisy",
                "border",  # near the end of the slit
                "bar",  # in the shadow of a bar
                "stuck_shutter",
                "normalization",  # where the correction of the response is unknown
                "multiple",  # bad in most other exposures
                "excluded",  # in rows that the user leaves out
            )
        )
    }
    | dict(SLIT_OUTLIER_BITS)
    | {"sky_outlier": 1 << 28}  # far from the model of the sky, where only sky is
)
