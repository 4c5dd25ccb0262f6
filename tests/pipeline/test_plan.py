"""Plans: what they say, and how they say no."""

from pathlib import Path

import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.pipeline import read_plan


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text)
    return path


HEAD = '[survey]\nexposures = ["x_flt.fits"]\n'


def test_a_short_plan_has_the_defaults(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, HEAD))
    assert plan.mosaic.drizzle.pixfrac == 0.8
    assert plan.outliers.cosmic_rays is not None
    assert plan.outliers.cosmic_rays.combine == "minmed"
    assert plan.path(plan.survey.lake) == tmp_path.resolve() / "lake"


def test_values_of_every_kind_are_read(tmp_path: Path) -> None:
    text = HEAD + (
        '[outliers]\nignore_dq = ["warm"]\nstatic = false\n'
        "[outliers.cosmic_rays]\nsnr = [4, 3.5]\ngrow = 3\n"
        '[mosaic.drizzle]\nkernel = "point"\n[measure]\naperture_diameters_pix = [3, 7.5]\n'
    )
    plan = read_plan(write(tmp_path, text))
    assert plan.outliers.ignore_dq == ("warm",)
    assert plan.outliers.static is None
    assert plan.outliers.cosmic_rays is not None
    assert plan.outliers.cosmic_rays.snr == (4.0, 3.5)
    assert plan.mosaic.drizzle.kernel == "point"
    assert plan.measure.aperture_diameters_pix == (3.0, 7.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEAD + "[drizzle]\npixfrac = 1\n",
            r"plan\.toml: unknown key drizzle; allowed are survey, tile, ingest, align, background",
        ),
        (HEAD + "[mosaic.drizzle]\npixfrak = 1\n", r"unknown key mosaic\.drizzle\.pixfrak; allowed are .*pixfrac"),
        (
            HEAD + '[mosaic.drizzle]\npixfrac = "1"\n',
            r"mosaic\.drizzle\.pixfrac: '1' is not allowed, it must be a number",
        ),
        (
            HEAD + '[mosaic.drizzle]\nkernel = "cube"\n',
            r"mosaic\.drizzle\.kernel: 'cube' is not allowed, it must be 'square'",
        ),
        (HEAD + "[mosaic.drizzle]\npixfrac = -1\n", r"in \[mosaic\.drizzle\]: pixfrac: -1\.0 is not allowed"),
        (
            HEAD + "[outliers.cosmic_rays]\nsnr = [1]\n",
            r"outliers\.cosmic_rays\.snr: \[1\] is not allowed, it must be a list of 2",
        ),
        (HEAD + "[cutouts]\nsize_pix = 100\n", r"cutouts\.size_pix: 100 is not allowed, it must be 64 or 128"),
        (
            HEAD + "[detect.sources]\nmin_area = 5.5\n",
            r"detect\.sources\.min_area: 5\.5 is not allowed, it must be a whole number",
        ),
        (HEAD + "[mosaic]\nwrite_fits = 1\n", r"mosaic\.write_fits: 1 is not allowed, it must be true or false"),
        ('[survey]\nlake = "lake"\n', r"key survey\.exposures is missing"),
        ("", "key survey is missing"),
        ("[survey\n", "not TOML"),
    ],
)
def test_a_wrong_plan_names_file_key_value_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_plan(write(tmp_path, text))


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.toml: no such plan"):
        read_plan(tmp_path / "none.toml")


def test_a_pattern_without_files_is_an_error(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, '[survey]\nexposures = ["raw/*_flt.fits"]\n'))
    with pytest.raises(NotFoundError, match=r"'raw/\*_flt\.fits' matches no file"):
        plan.exposure_files()


def test_absolute_patterns_and_plain_names_are_found(tmp_path: Path) -> None:
    for name in ("a_flt.fits", "b_flt.fits"):
        (tmp_path / name).touch()
    plan = read_plan(write(tmp_path, f'[survey]\nexposures = ["{tmp_path}/*_flt.fits", "a_flt.fits", "none.fits"]\n'))
    assert [path.name for path in plan.exposure_files()] == ["a_flt.fits", "b_flt.fits", "none.fits"]
