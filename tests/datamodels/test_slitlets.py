"""Slitlets and their tables refuse what does not fit."""

import numpy as np
import pytest

from skymere.datamodels import (
    BadPixelTable,
    BarShadowTable,
    NormalizationTable,
    SensitivityTable,
    SlitExposure,
    SlitFlatTable,
    SlitGeometry,
    Slitlet,
    SlitPlace,
    SlitSource,
)
from skymere.errors import InvalidInputError

PLANE = np.ones((3, 4), np.float32)


def values(**changes):
    geometry = SlitGeometry(
        wavelength=PLANE, slit_y=PLANE, wavelength_slope=np.ones(4), pixel_scale_arcsec=0.1, shutter_scale=0.2
    )
    given = {
        "sci": PLANE,
        "var_rnoise": PLANE,
        "var_poisson": 3 * PLANE,
        "dq": np.zeros((3, 4), int),
        "wavelength": PLANE,
    }
    given |= {"geometry": geometry, "source": SlitSource(), "place": SlitPlace(), "pixel_area_sr": 1e-12}
    return given | {"exposure": SlitExposure(exposure_id="e", exptime=1.0)} | changes


def test_arrays_become_those_of_the_documented_dtype_and_nothing_can_be_assigned():
    one = Slitlet(**values(sci=np.ones((3, 4)), bar=np.ones((3, 4))))
    assert (one.sci.dtype, one.bar.dtype, one.dq.dtype) == (np.float32, np.float32, np.uint32)
    assert one.shape == (3, 4)
    np.testing.assert_allclose(one.error, 2.0)
    np.testing.assert_allclose(Slitlet(**values(var_flat=5 * PLANE)).error, 3.0)
    with pytest.raises(AttributeError):
        one.sci = PLANE


@pytest.mark.parametrize("name", ["var_rnoise", "dq", "wavelength", "bar", "pathloss_ps", "var_flat"])
def test_planes_of_another_shape_are_errors(name):
    with pytest.raises(InvalidInputError, match=name):
        Slitlet(**values(**{name: np.ones((3, 3), np.uint32 if name == "dq" else np.float32)}))


def test_geometry_of_another_shape_and_areas_and_times_that_are_not_positive_are_errors():
    with pytest.raises(InvalidInputError, match="geometry"):
        Slitlet(
            **values(
                **dict.fromkeys(("sci", "var_rnoise", "var_poisson", "wavelength"), PLANE[:2])
                | {"dq": np.zeros((2, 4), int)}
            )
        )
    with pytest.raises(InvalidInputError, match="pixel_area_sr"):
        Slitlet(**values(pixel_area_sr=np.nan))
    with pytest.raises(InvalidInputError, match="exptime"):
        SlitExposure(exposure_id="e", exptime=0.0)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: BarShadowTable(limits=(1, 1), coefficients=np.ones(4)), "limits"),
        (lambda: BarShadowTable(limits=(0, 1), coefficients=np.ones((4, 2))), "coefficients"),
        (lambda: BarShadowTable(limits=(0, 1), coefficients=np.ones((4, 2)), wavelengths=np.ones(3)), "coefficients"),
        (lambda: NormalizationTable(coefficients=np.ones((4, 3, 3)), wavelengths=np.ones(3)), "coefficients"),
        (lambda: SensitivityTable(wavelength=np.ones(3), sensitivity=np.ones(2)), "sensitivity"),
        (lambda: SensitivityTable(wavelength=np.ones(3), sensitivity=np.ones(3), quadrants={1: [1.0]}), "quadrants"),
        (
            lambda: SlitFlatTable(
                wavelength=np.ones(3), coefficients=np.ones((3, 5)), n_x=2, n_y=2, x_limits=(0, 9), y_limits=(0, 9)
            ),
            "coefficients",
        ),
        (lambda: BadPixelTable(index=np.array([-1]), value=np.array([1]), shape=(2, 2)), "index"),
    ],
)
def test_tables_whose_parts_do_not_fit_are_errors(make, word):
    with pytest.raises(InvalidInputError, match=word):
        make()
