"""PSFs from FITS images: sum, centroid and coverage are checked before they are used."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import FormatError, InvalidInputError, NoDataError, NotFoundError
from skymere.psf import Psf, PsfLimits, check_psf, read_psf, recentred, require_psf


def moffat(shape: tuple[int, int], x: float, y: float, *, fwhm: float = 4.0, beta: float = 2.5) -> np.ndarray:
    """A Moffat profile of flux 1 on an infinite image."""
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    rows, columns = np.indices(shape)
    r2 = ((columns - x) ** 2 + (rows - y) ** 2) / alpha**2
    return (beta - 1) / (np.pi * alpha**2) * (1 + r2) ** -beta


def written(path: Path, data: np.ndarray, **keywords: object) -> Path:
    header = fits.Header()
    header.update(keywords)
    fits.PrimaryHDU(data.astype(np.float32), header).writeto(path, overwrite=True)
    return path


def test_sum_centroid_width_and_coverage_are_measured() -> None:
    data = 700.0 * moffat((61, 71), 35.3, 29.8)
    found = check_psf(Psf(data=data, oversampling=2.0))
    assert found.sum == pytest.approx(data.sum(), rel=1e-5)
    assert (found.x, found.y) == pytest.approx((35.3, 29.8), abs=0.01)
    assert found.offset_pix == pytest.approx(np.hypot(0.3, 0.2) / 2, abs=0.01)
    assert found.fwhm_pix == pytest.approx(2.0, rel=0.02)
    assert found.problems == ()


@pytest.mark.parametrize(("side", "within"), [(15, 0.04), (25, 0.01), (41, 0.003), (101, 0.001)])
@pytest.mark.parametrize("beta", [1.5, 2.5, 4.0])
def test_coverage_is_the_light_inside_over_all_light(side: int, within: float, beta: float) -> None:
    """Images 4 to 25 FWHM wide; wings of r^-3, r^-5 and r^-8, which at the border are not yet as steep."""
    middle = (side - 1) / 2
    data = moffat((side, side), middle, middle, beta=beta)
    found = check_psf(Psf(data=data), limits=PsfLimits(min_coverage=0.0)).coverage
    assert found == pytest.approx(data.sum(), abs=within)


@pytest.mark.parametrize("oversampling", [1, 3, 5])
def test_any_sum_and_oversampling_becomes_a_psf_of_the_light_that_it_holds(tmp_path: Path, oversampling: int) -> None:
    side = 40 * oversampling + 1
    data = 123.0 * moffat((side, side), (side - 1) / 2, (side - 1) / 2, fwhm=3.0 * oversampling)
    psf = read_psf(written(tmp_path / "psf.fits", data, OVERSAMP=oversampling))
    assert psf.oversampling == oversampling
    assert psf.data.sum(dtype=float) == pytest.approx(psf.enclosed, rel=1e-5)
    assert 0.97 < psf.enclosed < 1.0
    # The middle pixel of a source of flux 1, whatever the oversampling.
    assert psf.density(0.0, 0.0) == pytest.approx(moffat((1, 1), 0, 0, fwhm=3.0)[0, 0] * psf.enclosed, rel=0.03)
    told = read_psf(tmp_path / "psf.fits", oversampling=2.0, enclosed=0.5, has_pixel=False)
    assert (told.oversampling, told.enclosed, told.has_pixel) == (2.0, 0.5, False)
    assert told.data.sum(dtype=float) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize(("place", "expected"), [(19.5, 19.5), (20.0, 20.0), (20.06, 20.0)])
def test_the_middle_of_an_even_side_is_where_the_light_is(tmp_path: Path, place: float, expected: float) -> None:
    psf = read_psf(written(tmp_path / "even.fits", moffat((40, 41), 20.0, place)))
    assert (psf.x, psf.y) == (20.0, expected)
    assert psf.measure().y == pytest.approx(place, abs=0.01)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (moffat((41, 41), 20.6, 20.0), InvalidInputError, r"centroid x, y = 20\.60, 20\.00 is 0\.60 pixels"),
        (moffat((41, 41), 5.0, 33.0), InvalidInputError, "from the middle 20, 20, at most 0.25"),
        (moffat((9, 9), 4.0, 4.0), InvalidInputError, r"9 x 9 pixels hold about 0\.\d+ of the light"),
        (moffat((41, 41), 20.0, 20.0) + 2e-4, InvalidInputError, "of the light, at least 0.9"),
        (
            np.where(moffat((41, 41), 20, 20) > 0.03, np.nan, 0.1),
            InvalidInputError,
            r"\d+ of 1681 pixels are not finite",
        ),
        (-moffat((41, 41), 20.0, 20.0), NoDataError, "must be positive"),
        (np.zeros((41, 41)), NoDataError, "sum of 0.0"),
    ],
)
def test_what_is_off_centre_cut_off_or_no_psf_is_refused_with_file_and_number(tmp_path, data, error, message) -> None:
    path = written(tmp_path / "bad.fits", data)
    with pytest.raises(error, match=message) as caught:
        read_psf(path)
    assert "bad.fits" in str(caught.value)


def test_limits_decide_and_must_make_sense(tmp_path: Path) -> None:
    path = written(tmp_path / "wide.fits", moffat((9, 9), 4.4, 4.0))
    psf = read_psf(path, limits=PsfLimits(max_offset_pix=0.5, min_coverage=0.5))
    assert (psf.x, psf.y) == (4.0, 4.0)
    for wrong in ({"max_offset_pix": 0.0}, {"min_coverage": 1.5}):
        with pytest.raises(InvalidInputError, match="not allowed"):
            PsfLimits(**wrong)
    with pytest.raises(InvalidInputError, match="enclosed: 2"):
        read_psf(path, enclosed=2.0)
    with pytest.raises(NotFoundError):
        read_psf(tmp_path / "gone.fits")
    several = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(moffat((41, 41), 20, 20), name=n) for n in ("A", "B"))])
    several.writeto(tmp_path / "several.fits")
    assert read_psf(tmp_path / "several.fits", extension="b").shape == (41, 41)
    for name in ("", "c"):
        with pytest.raises(InvalidInputError, match=r"must be one of \['A', 'B'\]"):
            read_psf(tmp_path / "several.fits", extension=name)
    with pytest.raises(FormatError, match="two-dimensional"):
        read_psf(written(tmp_path / "cube.fits", np.ones((2, 9, 9))))


def test_images_without_a_name_of_their_own_are_not_chosen_among(tmp_path: Path) -> None:
    path = tmp_path / "several.fits"
    hdus = [fits.ImageHDU(moffat((41, 41), 20, 20), name=name) for name in ("", "", "A", "B", "B")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    assert read_psf(path, extension="a").shape == (41, 41)
    for extension in ("", "b"):
        with pytest.raises(InvalidInputError, match=r"one of \['A'\], the other images of \['', '', 'A', 'B', 'B'\]"):
            read_psf(path, extension=extension)
    fits.HDUList([fits.PrimaryHDU(), *hdus[:2]]).writeto(path, overwrite=True)
    with pytest.raises(InvalidInputError, match=r"extension: '' is not allowed for .*several\.fits"):
        read_psf(path)
    fits.HDUList([fits.PrimaryHDU(), hdus[0]]).writeto(path, overwrite=True)
    assert read_psf(path).shape == (41, 41)


def test_an_oversampling_of_zero_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "psf.fits", moffat((41, 41), 20, 20), OVERSAMP=2)
    for wrong in (0, 0.0, -1.0):
        with pytest.raises(InvalidInputError, match=f"oversampling: {wrong} is not allowed, it must be positive"):
            read_psf(path, oversampling=wrong)
    with pytest.raises(InvalidInputError, match=r"zero\.fits: oversampling: 0.0 is not allowed"):
        read_psf(written(tmp_path / "zero.fits", moffat((41, 41), 20, 20), OVERSAMP=0))


def test_psfs_of_a_real_survey_pass_and_hold_about_what_their_makers_say(shared_data) -> None:
    """FRACFULL is the light on these cutouts over that of PSFs of NIRCam that end, too: all light is a little more."""
    paths = sorted((shared_data / "imaging" / "sersic").glob("ceers_psf_pointing_*.fits"))
    if not paths:
        pytest.skip("no PSFs of CEERS")
    for path in paths:
        with fits.open(path) as hdus:
            said = {hdu.name: float(hdu.header["FRACFULL"]) for hdu in hdus[1:]}
        for name, fraction in said.items():
            assert fraction - 0.04 < read_psf(path, extension=name).enclosed < fraction


def even(shape: tuple[int, int], x: float, y: float) -> Psf:
    return Psf(data=moffat(shape, x, y) / moffat(shape, x, y).sum())


@pytest.mark.parametrize(
    ("psf", "limits", "error", "message"),
    [
        (
            Psf(data=3 * moffat((61, 61), 30, 30)),
            None,
            InvalidInputError,
            r"not normalised: its sum of 2\.9\d+ must be 1",
        ),
        (Psf(data=np.zeros((61, 61))), None, NoDataError, "kernel: data: a sum of 0.0"),
        (Psf(data=np.zeros((0, 61))), None, InvalidInputError, r"shape \(0, 61\) is empty"),
        (Psf(data=np.ones((2, 61))), None, InvalidInputError, r"shape \(2, 61\) is too small, .* 3 x 3"),
        (Psf(data=np.full((61, 61), np.inf)), None, InvalidInputError, "3721 of 3721 pixels are not finite"),
        (even((61, 61), 36.0, 30.0), None, InvalidInputError, r"centroid x, y = 36\.00, 30\.00 is 6\.00 pixels"),
        (even((60, 61), 30.0, 30.0), None, InvalidInputError, "other of its two middles, so say x=30, y=30"),
        (even((60, 60), 29.5, 29.5), PsfLimits(parity="odd"), InvalidInputError, "60 x 60 pixels have an even side"),
        (
            even((7, 7), 3, 3),
            PsfLimits(min_coverage=0.0),
            InvalidInputError,
            r"7 x 7 pixels are too few for its FWHM of \d\.\d\d pixels, a side needs at least 2 times that",
        ),
    ],
)
def test_what_fits_cannot_use_is_refused_with_the_reason(psf, limits, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        require_psf(psf, limits=limits, name="kernel")
    assert str(caught.value).startswith("kernel: ")


def test_what_fits_can_use_is_given_back_and_repairs_help() -> None:
    good = even((60, 60), 29.5, 29.5)
    assert require_psf(good) is good
    off = even((61, 61), 30.4, 30.0)
    with pytest.raises(InvalidInputError, match=r"is 0\.40 pixels"):
        require_psf(off)
    assert require_psf(recentred(off)).shape == (61, 61)
    loud = Psf(data=9 * good.data)
    assert require_psf(loud.normalised()).data.sum(dtype=float) == pytest.approx(1.0)
    assert require_psf(loud, limits=PsfLimits()) is loud
    for wrong in ({"max_sum_error": 0.0}, {"min_side_fwhm": -1.0}, {"parity": "even"}):
        with pytest.raises(InvalidInputError, match="not allowed"):
            PsfLimits(**wrong)
