"""B-splines against scipy."""

import numpy as np
import pytest
from scipy.interpolate import splev

from skymere.errors import InvalidInputError
from skymere.slit import bspline_basis


@pytest.mark.parametrize(("n", "degree"), [(4, 3), (5, 3), (13, 3), (51, 3), (6, 1), (7, 2), (3, 0)])
def test_the_basis_is_that_of_scipy_and_sums_to_one(n, degree):
    x = np.concatenate([np.random.default_rng(1).uniform(-1.3, 2.4, 400), [-1.0, 2.0, 0.5]])
    basis = bspline_basis(x, n_functions=n, limits=(-1.0, 2.0), degree=degree)
    inside = (x >= -1) & (x <= 2)
    np.testing.assert_allclose(basis[inside].sum(axis=1), 1.0, atol=1e-13)
    assert not basis[~inside].any()
    knots = np.r_[[-1.0] * degree, np.linspace(-1, 2, n - degree + 1), [2.0] * degree]
    true = np.array(splev(x[inside], (knots, np.eye(n), degree))).T
    np.testing.assert_allclose(basis[inside], true, atol=1e-13)


def test_unknown_places_are_unknown_and_clipping_removes_the_tails():
    x = np.append(np.linspace(0, 1, 1001), np.nan)
    basis = bspline_basis(x, n_functions=12, limits=(0.0, 1.0))
    assert np.isnan(basis[-1]).all()
    clipped = bspline_basis(x[:-1], n_functions=12, limits=(0.0, 1.0), clip=1e-4)
    gone = (basis[:-1] > 0) & (clipped == 0)
    assert gone.any()
    assert basis[:-1][gone].max() < 1e-4 * basis[:-1].max()
    assert (clipped[~gone] == basis[:-1][~gone]).all()


@pytest.mark.parametrize("wrong", [{"n_functions": 3, "limits": (0.0, 1.0)}, {"n_functions": 9, "limits": (1.0, 1.0)}])
def test_too_few_functions_and_limits_that_do_not_rise_are_errors(wrong):
    with pytest.raises(InvalidInputError, match="not allowed"):
        bspline_basis([0.5], **wrong)
