"""What grizli calls the columns of a redshift fit."""

from collections.abc import Mapping

__all__ = ["EXPOSURE_COLUMNS", "REDSHIFT_COLUMNS"]

# By the names of the table redshift.
REDSHIFT_COLUMNS: Mapping[str, str] = {
    **{name: name for name in ("z02", "z16", "z50", "z84", "z97", "z_map", "z_risk", "min_risk", "log_risk", "dof")},
    **{name: name for name in ("chinu", "bic_poly", "bic_diff", "d4000", "dn4000")},
    **{f"beam_{name}": f"beam_{name}" for name in ("z02", "z16", "z50", "z84", "z97", "z_map", "z_risk")},
    "chi2": "chimin",
    "chi2_poly": "chi2poly",
    "chi2_spline": "chi2spl",
    "bic_template": "bic_temp",
    "bic_spline": "bic_spl",
    "d4000_err": "d4000_e",
    "dn4000_err": "dn4000_e",
}
# Begins of the columns of a grism.
EXPOSURE_COLUMNS: Mapping[str, str] = {"exptime_": "t_", "n_exposures_": "n_", "n_pa_": "p_"}
