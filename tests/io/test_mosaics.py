"""Mosaics as FITS files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere.datamodels import Mosaic, NoiseCovariance
from skymere.errors import FormatError, StorageError
from skymere.io import open_band, read_mosaic, write_mosaic
from skymere.wcs import Grid


def make(n_planes: int = 1) -> Mosaic:
    rng = np.random.default_rng(3)
    shape = (20, 30)
    return Mosaic(
        band="f160w",
        grid=Grid.tangent(150.0, 2.0, shape=shape, scale_arcsec=0.06),
        data=rng.normal(size=shape),
        weight=rng.uniform(0.0, 100.0, shape),
        variance=rng.uniform(1.0, 2.0, shape),
        context=rng.integers(0, 7, (n_planes, *shape)),
        exposure_ids=("a", "b", "c"),
        zero_point_ab=25.946,
        noise_correlation=1.7,
        params={"kernel": "square", "pixfrac": 0.8},
    )


@pytest.mark.parametrize("n_planes", [1, 2])
def test_a_mosaic_comes_back_as_it_was_written(tmp_path: Path, n_planes: int) -> None:
    mosaic = make(n_planes)
    write_mosaic(mosaic, tmp_path / "x_drz.fits")
    back = read_mosaic(tmp_path / "x_drz.fits")
    for name in ("data", "weight", "variance", "context"):
        np.testing.assert_array_equal(getattr(back, name), getattr(mosaic, name))
    for name in ("band", "unit", "zero_point_ab", "weight_kind", "noise_correlation", "exposure_ids", "params"):
        assert getattr(back, name) == getattr(mosaic, name)
    for key, value in mosaic.grid.cards().items():
        tolerance = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value  # a card holds 14 digits
        assert back.grid.cards()[key] == tolerance


@pytest.mark.parametrize(("n_planes", "named", "expected"), [
    (1, True, ("u.fits[sci,1]", "v.fits[sci,1]", "w.fits[sci,1]")),
    (1, False, ("D001", "D002", "D003")),
    (2, False, tuple(f"D{i:03d}" for i in range(1, 36))),
])  # fmt: skip
def test_inputs_of_mosaics_of_others_are_those_of_any_header_or_of_the_context(
    tmp_path: Path, n_planes: int, named: bool, expected: tuple[str, ...]
) -> None:
    path = tmp_path / "x_drz.fits"
    write_mosaic(make(n_planes), path)
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["D*NAME"], hdus[0].header["D*DATA"]
        if named:
            hdus["SCI"].header.update({f"D{i + 1:03d}DATA": f"{name}.fits[sci,1]" for i, name in enumerate("uvw")})
    assert read_mosaic(path).exposure_ids == expected
    assert open_band(path).exposure_ids == expected


@pytest.mark.parametrize("is_measured", [True, False])
def test_the_noise_covariance_comes_back(tmp_path: Path, is_measured: bool) -> None:
    rng = np.random.default_rng(4)
    kernels = rng.uniform(0.0, 1.0, (5, 7, 7))
    noise = NoiseCovariance(
        kernels=kernels,
        class_map=rng.choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), (20, 30)),
        measured=np.where(kernels > 0.5, kernels, np.nan) if is_measured else None,
        params={"noise": {"seed": 1}},
    )
    write_mosaic(replace(make(), noise=noise), tmp_path / "x_drz.fits")
    back = read_mosaic(tmp_path / "x_drz.fits").noise
    for name in ("kernels", "class_map", "measured"):
        np.testing.assert_array_equal(getattr(back, name), getattr(noise, name))
    assert (back.classes, back.params) == (noise.classes, noise.params)


def test_other_tools_find_sci_wht_and_ctx(tmp_path: Path) -> None:
    write_mosaic(make(), tmp_path / "x_drz.fits")
    with fits.open(tmp_path / "x_drz.fits") as hdus:
        assert [h.name for h in hdus] == ["PRIMARY", "SCI", "WHT", "CTX", "VAR"]
        assert hdus["SCI"].header["BUNIT"] == "ELECTRONS/S"
        assert hdus["CTX"].data.shape == (20, 30)
        assert hdus[0].header["D002DATA"] == "b"


def test_an_unwritable_place_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x_drz.fits"
    with pytest.raises(StorageError, match="cannot be written"):
        write_mosaic(make(), path)
    assert not list(tmp_path.iterdir())


def test_a_file_without_weight_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 3)), name="SCI")]).writeto(path)
    with pytest.raises(FormatError, match="no WHT extension"):
        read_mosaic(path)
