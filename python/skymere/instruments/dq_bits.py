"""Names of data-quality bits, as the handbooks of the instruments have them."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["ACS", "JWST", "JWST_HARMLESS", "SATURATED_BITS", "WFC3_IR", "WFC3_UVIS"]

# WFC3 Data Handbook (version 5), table 3.3.
WFC3_IR: Mapping[str, int] = MappingProxyType(
    {
        "decoding_error": 1,
        "missing_data": 2,
        "dead": 4,
        "bad_zero_read": 8,
        "hot": 16,
        "unstable": 32,
        "warm": 64,
        "bad_reference_pixel": 128,
        "saturated": 256,
        "bad_in_flat": 512,
        "zero_read_signal": 2048,
        "cosmic_ray": 4096,
        "ramp_cosmic_ray": 8192,
        "crosstalk": 16384,
    }
)

# What the CCDs of HST have in common.
_HST_CCD: Mapping[str, int] = MappingProxyType(
    {
        "decoding_error": 1,
        "missing_data": 2,
        "dead": 4,
        "hot": 16,
        "unstable": 32,
        "warm": 64,
        "bad_bias": 128,
        "saturated": 256,
        "bad_in_flat": 512,
        "charge_trap": 1024,
        "a_to_d_saturated": 2048,
        "cosmic_ray": 4096,
        "split_cosmic_ray": 8192,
    }
)

# WFC3 Data Handbook (version 5), table 3.3.
WFC3_UVIS: Mapping[str, int] = MappingProxyType({**_HST_CCD, "outside_aperture": 8, "ghost": 16384})

# ACS Data Handbook (version 10), table 3.4; WFC and HRC.
ACS: Mapping[str, int] = MappingProxyType({**_HST_CCD, "masked_by_aperture": 8, "user_flag": 16384})

# JWST data model 1.x, "Data quality flags"; the names of the pipeline in lower case.
_JWST_NAMES = [
    *("do_not_use", "saturated", "jump_det", "dropout", "outlier", "persistence", "ad_floor", "charge_loss"),
    *("unreliable_error", "non_science", "dead", "hot", "warm", "low_qe", "rc", "telegraph"),
    *("nonlinear", "bad_ref_pixel", "no_flat_field", "no_gain_value", "no_lin_corr", "no_sat_check"),
    *("unreliable_bias", "unreliable_dark", "unreliable_slope", "unreliable_flat", "open", "adj_open"),
    *("flux_estimated", "msa_failed_open", "other_bad_pixel", "reference_pixel"),
]
JWST: Mapping[str, int] = MappingProxyType({name: 1 << i for i, name in enumerate(_JWST_NAMES)})
# The pipeline sets DO_NOT_USE wherever a pixel is bad; its other bits say what was found or repaired.
JWST_HARMLESS: tuple[str, ...] = tuple(sorted(set(JWST) - {"do_not_use", "non_science", "reference_pixel", "outlier"}))
# Full wells and full converters of all of them.
SATURATED_BITS: tuple[str, ...] = ("saturated", "a_to_d_saturated")
