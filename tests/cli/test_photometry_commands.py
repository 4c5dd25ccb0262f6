"""``skymere profiles`` and ``skymere photometry`` on files: what they write, and how they say no."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from scipy.ndimage import label

from skymere.io import write_image
from skymere.profiles import render_sersic
from skymere.wcs import Grid

GRID = Grid.tangent(150.0, 2.0, shape=(200, 220), scale_arcsec=0.06)
LOW = Grid.tangent(150.0, 2.0, shape=(48, 52), scale_arcsec=0.25, rotation_deg=30.0)
# x, y, flux, re, n, q, pa; the last two overlap.
SOURCES = np.array(
    [
        (60.2, 50.4, 300.0, 5.0, 1.0, 0.6, 30.0),
        (150.7, 60.1, 250.0, 4.0, 2.5, 0.8, -40.0),
        (70.5, 140.3, 400.0, 6.0, 1.5, 0.5, 80.0),
        (150.2, 140.6, 350.0, 5.0, 1.0, 0.7, 10.0),
        (168.9, 146.2, 200.0, 4.0, 1.0, 0.9, 60.0),
    ]
)
RMS, LOW_RMS = 0.05, 0.4


def gaussian(fwhm_pix: float, half: int) -> np.ndarray:
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    sigma2 = (fwhm_pix / 2.3548) ** 2
    return np.exp(-(x**2 + y**2) / (2 * sigma2)) / (2 * np.pi * sigma2)


def drawn(grid: Grid, rows: np.ndarray, psf: np.ndarray) -> np.ndarray:
    names = ("x", "y", "flux", "re", "n", "q", "pa")
    return render_sersic(grid.shape, **dict(zip(names, rows.T, strict=True)), psf=psf)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharp image with its segments, and a blurred one with other pixels."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(5)
    psf = gaussian(3.0, 15)
    image = drawn(GRID, SOURCES, psf)
    labels, n = label(image > 4 * RMS)
    # The overlapping pair is one component: the nearer centre has each of its pixels.
    pair = labels[141, 150]
    yy, xx = np.nonzero(labels == pair)
    near = np.hypot(xx - 168.9, yy - 146.2) < np.hypot(xx - 150.2, yy - 140.6)
    labels[yy[near], xx[near]] = n + 1
    data = (image + rng.normal(0, RMS, GRID.shape)).astype(np.float32)
    write_image(data, folder / "det_stack.fits", wcs=GRID.wcs, keywords={"ZPAB": 23.9, "BUNIT": "uJy"})
    write_image(labels.astype(np.int32), folder / "det_seg.fits", wcs=GRID.wcs)
    fits.PrimaryHDU(psf.astype(np.float32)).writeto(folder / "psf.fits")
    low_psf = gaussian(4.0, 12)
    ra, dec = GRID.sky(SOURCES[:, 0], SOURCES[:, 1])
    rows = SOURCES.copy()
    rows[:, 0], rows[:, 1] = LOW.pixels(ra, dec)
    rows[:, 2] *= 2.0
    rows[:, 3] *= 0.06 / 0.25
    # The y axis of the image points 30 degrees east of north.
    rows[:, 6] -= 30.0
    low = (drawn(LOW, rows, low_psf) + 1.0 + rng.normal(0, LOW_RMS, LOW.shape)).astype(np.float32)
    write_image(low, folder / "irac1.fits", wcs=LOW.wcs, keywords={"ZPAB": 23.9, "BUNIT": "uJy"})
    fits.PrimaryHDU(low_psf.astype(np.float32)).writeto(folder / "irac1_psf.fits")
    (folder / "bands.csv").write_text(
        "band,image,psf,photometry.noise.n_positions\nirac1,irac1.fits,irac1_psf.fits,5\n"
    )
    return folder


@pytest.fixture(scope="module")
def fitted(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``skymere profiles`` wrote."""
    from typer.testing import CliRunner

    from skymere.cli import app

    out = tmp_path_factory.mktemp("imfit")
    words = ["profiles", "det_stack.fits", "--seg", "det_seg.fits", "--psf", "psf.fits"]
    named = [str(files / word) if word.endswith(".fits") else word for word in words]
    done = CliRunner().invoke(app, [*named, "-o", str(out), "--models"])
    assert done.exit_code == 0, done.output
    return out


def test_profiles_writes_tables_residual_and_models(fitted: Path) -> None:
    names = {path.name for path in fitted.iterdir()}
    assert names == {
        "profiles.parquet",
        "profiles.fits",
        "det_stack-sub.fits",
        "det_stack-model.fits",
        "residual.png",
        "models",
        "models_conv",
    }
    table = pl.read_parquet(fitted / "profiles.parquet")
    assert table["status"].to_list() == ["ok"] * 5
    near = [int(np.argmin(np.hypot(SOURCES[:, 0] - x, SOURCES[:, 1] - y))) for x, y in table.select("x", "y").rows()]
    assert sorted(near) == list(range(5))
    true = SOURCES[near]
    pull = (table["flux"].to_numpy() - true[:, 2]) / table["flux_err"].to_numpy()
    assert np.abs(pull).max() < 4.5
    assert table["r_eff"].to_numpy() == pytest.approx(true[:, 3] * 0.06, rel=0.05)
    with fits.open(fitted / "profiles.fits") as hdus:
        assert hdus[1].columns["flux"].unit == "uJy"
        assert hdus[1].data["flux"] == pytest.approx(table["flux"].to_numpy())
    with fits.open(fitted / "det_stack-sub.fits") as sub, fits.open(fitted / "det_stack-model.fits") as model:
        assert 1.4826 * np.median(np.abs(sub[1].data)) == pytest.approx(RMS, rel=0.05)
        assert model[1].data.sum() == pytest.approx(SOURCES[:, 2].sum(), rel=0.02)
    for folder in ("models", "models_conv"):
        for number in table["label"]:
            with fits.open(fitted / folder / f"{number}.fits") as hdus:
                assert hdus[1].data.sum() == pytest.approx(1.0, abs=0.03)


def test_photometry_measures_every_source_of_every_band(call, files: Path, fitted: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(fitted / "profiles.parquet")
    first = int(table["label"][0])
    out = tmp_path / "fluxes"
    done = call(
        "photometry",
        files / "bands.csv",
        "--models",
        fitted / "profiles.parquet",
        "-o",
        out,
        "--residual-of",
        first,
    )
    assert done.exit_code == 0, done.output
    names = {path.name for path in out.iterdir()}
    assert names == {"fluxes.parquet", "fluxes.fits", "irac1-sub.fits", "irac1.png", f"{first}.png"}
    found = pl.read_parquet(out / "fluxes.parquet").join(
        table.select(pl.col("label").cast(pl.Int64).alias("source_id"), pl.col("flux").alias("sharp")), on="source_id"
    )
    assert found["status"].to_list() == ["ok"] * 5
    assert found["flux_unit"].unique().to_list() == ["uJy"]
    # Twice as bright there; both measurements have an error.
    error = np.hypot(found["flux_err"].to_numpy(), 0.02 * found["flux"].to_numpy())
    assert np.abs((found["flux"].to_numpy() - 2 * found["sharp"].to_numpy()) / error).max() < 4
    with fits.open(out / "irac1-sub.fits") as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["RES_ALL", f"RES_{first}"]
        assert 1.4826 * np.median(np.abs(hdus[1].data)) == pytest.approx(LOW_RMS, rel=0.1)
        flux = found.filter(pl.col("source_id") == first)["flux"][0]
        assert hdus[2].data.sum() == pytest.approx(flux, rel=0.1)


def test_the_same_models_may_come_as_fits_or_csv(call, files: Path, fitted: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(fitted / "profiles.parquet")
    names = ["label", "ra", "dec", "r_eff", "sersic_index", "ellipticity", "pa_sky"]
    table.select(names).write_csv(tmp_path / "models.csv")
    fluxes = []
    for i, models in enumerate((tmp_path / "models.csv", fitted / "profiles.fits")):
        done = call("photometry", files / "bands.csv", "--models", models, "-o", tmp_path / str(i), "--no-pictures")
        assert done.exit_code == 0, done.output
        fluxes.append(pl.read_parquet(tmp_path / str(i) / "fluxes.parquet").sort("source_id")["flux"].to_numpy())
    assert fluxes[0] == pytest.approx(fluxes[1], rel=1e-6)


def test_an_image_stands_for_the_model_of_a_source(call, files: Path, fitted: Path, tmp_path: Path) -> None:
    number = int(pl.read_parquet(fitted / "profiles.parquet")["label"][0])
    words = ["photometry", files / "bands.csv", "--models", fitted / "profiles.parquet", "--no-pictures"]
    plain, other = tmp_path / "plain", tmp_path / "other"
    assert call(*words, "-o", plain).exit_code == 0
    done = call(*words, "-o", other, "--external", f"{number}={fitted / 'models' / f'{number}.fits'}")
    assert done.exit_code == 0, done.output
    one, two = (
        pl.read_parquet(folder / "fluxes.parquet").sort("source_id")["flux"].to_numpy() for folder in (plain, other)
    )
    # A stamp of 98 % of the light is cut where the profile goes on.
    assert two == pytest.approx(one, rel=0.03)
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photometry", "none.csv", "--models", "profiles"], "none.csv: no such table of bands"),
        (["photometry", "bands.csv", "--models", "none.fits"], "none.fits: no such file"),
        (["photometry", "bands.csv", "--models", "profiles", "--band", "k"], "--band: 'k' is not in the table"),
        (["photometry", "bands.csv", "--models", "profiles", "--external", "x=1"], "it must be ID=FILE"),
        (["photometry", "bands.csv", "--models", "det_seg.fits"], "holds no table"),
        (["profiles", "det_stack.fits", "--seg", "irac1.fits", "--psf", "psf.fits"], "is no segmentation"),
        (["profiles", "det_stack.fits", "--seg", "none.fits", "--psf", "psf.fits"], "none.fits"),
        (
            ["profiles", "det_stack.fits", "--seg", "det_seg.fits", "--psf", "psf.fits", "--set", "n_passes=0"],
            "n_passes: 0 is not allowed",
        ),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    call, files: Path, fitted: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    out = tmp_path / "out"
    named = [
        fitted / "profiles.parquet" if word == "profiles" and i > 0 else files / word if "." in word else word
        for i, word in enumerate(words)
    ]
    done = call(*named, "-o", out)
    assert done.exit_code == 1
    assert message in " ".join(done.stderr.split())
    assert not out.exists() or not any(path.is_file() for path in out.rglob("*"))


def test_files_that_are_there_stay(call, files: Path, fitted: Path) -> None:
    words = ["profiles", files / "det_stack.fits", "--seg", files / "det_seg.fits", "--psf", files / "psf.fits"]
    done = call(*words, "-o", fitted)
    assert done.exit_code == 1
    assert "profiles.parquet: is there already; --overwrite replaces it" in done.stderr
