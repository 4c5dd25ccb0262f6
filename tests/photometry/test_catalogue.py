"""Wide catalogues, wavelengths of filters, files for FAST, and the check of zero points."""

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.integrate import quad

from skymere.errors import FormatError, InvalidInputError, NoDataError, NotFoundError, StorageError
from skymere.io import read_transmission
from skymere.photometry import (
    CalibrationFactor,
    FilterWavelengths,
    bands_of,
    calibration_factor,
    filter_table,
    filter_wavelengths,
    forced_photometry,
    wide_catalogue,
    write_catalogue,
    write_fast_catalogue,
)
from skymere.profiles import render_sersic
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

LONG = pl.DataFrame(
    {
        "source_id": [7, 7, 3, 3, 11, 20],
        "band": ["f160w", "ch1", "ch1", "f160w", "ch1", "f160w"],
        "method": ["model"] * 6,
        "status": ["ok", "ok", "ok", "ok", "failed", "ok"],
        "flux": [2.0, -50.0, 1.0, 100.0, 9.0, None],
        "flux_err": [0.3, 2.0, None, 1.0, 1.0, None],
        "err_formal": [0.1, 2.0, 0.4, 1.0, 1.0, 0.2],
        "err_sim": [0.2, 1.0, 0.5, float("nan"), 1.0, None],
        "zero_point_ab": [25.9, 23.9, 23.9, 25.9, 23.9, 25.9],
        "error_floor": [None] * 6,
        "calibration": [1.0, 1.0, 1.0, 1.02, None, 1.0],
    },
    schema_overrides={"error_floor": pl.Float64},
)
SOURCES = pl.DataFrame(
    {"source_id": [3, 7, 99, 11], "ra": [10.1, 10.2, 10.3, 10.4], "dec": [2.0] * 4, "z_spec": [1.5, None, 0.2, -1.0]}
)
FILTERS = {
    "ch1": FilterWavelengths(effective_um=3.56, low_um=3.2, high_um=3.9, pivot_um=3.55),
    "f160w": FilterWavelengths(effective_um=1.54, low_um=1.4, high_um=1.69),
}


def test_the_largest_error_counts_and_no_floor_is_added_unless_asked_for() -> None:
    wide = wide_catalogue(LONG)
    assert bands_of(wide) == ["f160w", "ch1"]
    assert wide["source_id"].to_list() == [3, 7, 11, 20]
    assert wide["flux_f160w"].to_list() == [100.0, 2.0, None, None]
    assert wide["flux_err_f160w"].to_list() == [1.0, 0.3, None, None]
    assert wide["flux_ch1"].to_list() == [1.0, -50.0, None, None]
    assert wide["flux_err_ch1"].to_list() == [0.5, 2.0, None, None]
    assert wide["error_floor_ch1"].to_list() == [0.0, 0.0, 0.0, None]
    # What was multiplied already is said.
    assert wide["calibration_f160w"].to_list() == [1.02, 1.0, None, 1.0]


def test_floors_and_factors_are_applied_on_request_and_recorded() -> None:
    factor = CalibrationFactor(factor=1.5, error=0.01, n_sources=30, scatter=0.0)
    wide = wide_catalogue(LONG, error_floor=0.1, calibration={"f160w": factor, "ch1": 0.5})
    assert wide["flux_f160w"].to_list()[:2] == [150.0, 3.0]
    assert wide["flux_err_f160w"].to_list()[:2] == pytest.approx([15.0, 0.45])
    assert wide["flux_err_ch1"].to_list()[:2] == pytest.approx([0.25, 2.5])
    assert wide["error_floor_f160w"].to_list()[:2] == [0.1, 0.1]
    assert wide["calibration_f160w"].to_list()[:2] == pytest.approx([1.53, 1.5])
    one = wide_catalogue(LONG, error_floor={"ch1": 0.1})
    assert one["flux_err_f160w"].to_list()[:2] == [1.0, 0.3]
    assert one["flux_err_ch1"].to_list()[:2] == [0.5, 5.0]
    floored = LONG.with_columns(error_floor=pl.lit(0.2))
    assert wide_catalogue(floored, error_floor=0.1)["error_floor_ch1"].to_list()[0] == 0.2


def test_all_sources_are_kept_in_their_order_with_their_columns() -> None:
    wide = wide_catalogue(LONG, sources=SOURCES)
    assert wide.columns[:4] == ["source_id", "ra", "dec", "z_spec"]
    assert wide["source_id"].to_list() == [3, 7, 99, 11, 20]
    assert wide["ra"].to_list() == [10.1, 10.2, 10.3, 10.4, None]
    assert wide["flux_ch1"].to_list() == [1.0, -50.0, None, None, None]
    # Ids of another integer type are the same ids.
    assert wide_catalogue(LONG, sources=SOURCES.cast({"source_id": pl.Int32})).equals(wide)


def test_the_tables_of_forced_photometry_become_a_catalogue() -> None:
    """Two bands of one source of 3 uJy and of 1.2 uJy, and one that a band does not cover."""
    grid = Grid.tangent(10.0, 2.0, shape=(41, 41), scale_arcsec=0.5)
    models = pl.DataFrame({"source_id": [7, 8], "ra": [10.0, 10.5], "dec": [2.0, 2.0]}).with_columns(
        r_eff=pl.lit(1.0), sersic_index=pl.lit(1.0), ellipticity=pl.lit(0.0), pa_sky=pl.lit(0.0)
    )
    y, x = np.mgrid[-12:13, -12:13]
    psf = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)
    tables = []
    for band, flux, zero_point in (("f160w", 3.0, 23.9), ("ch1", 1.2, 25.0)):
        scale = 10 ** (-0.4 * (zero_point - 23.9))
        data = render_sersic((41, 41), x=20.0, y=20.0, flux=flux / scale, re=2.0, n=1.0, q=1.0, psf=psf)
        image = MeasureImage(data=data, error=0.01, grid=grid, zero_point_ab=zero_point)
        found = forced_photometry(image, models=models, psf=psf)
        tables.append(found.table.with_columns(band=pl.lit(band), unit=pl.lit(found.unit)))
    wide = wide_catalogue(pl.concat(tables))
    assert wide["source_id"].to_list() == [7, 8]
    # Templates are good to 0.1 % of the peak.
    assert wide["flux_f160w"][0] == pytest.approx(3.0, rel=2e-3)
    assert wide["flux_ch1"][0] == pytest.approx(1.2, rel=2e-3)
    assert wide["flux_err_ch1"][0] == tables[1]["err_formal"][0]
    assert wide["flux_ch1"][1] is None
    assert tables[0]["status"].to_list() == ["ok", "rejected"]


def test_other_methods_are_left_out() -> None:
    both = pl.concat([LONG, LONG.with_columns(method=pl.lit("aperture"), flux=pl.col("flux") * 2)])
    assert wide_catalogue(both).equals(wide_catalogue(LONG))
    assert wide_catalogue(both, method="aperture")["flux_ch1"].to_list()[:2] == [2.0, -100.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wide_catalogue(LONG.drop("zero_point_ab")), "neither unit nor zero_point_ab"),
        (
            lambda: wide_catalogue(LONG.with_columns(zero_point_ab=pl.lit(None, pl.Float64))),
            "zero_point_ab None of band 'f160w' is not allowed, fluxes must be in uJy",
        ),
        (lambda: wide_catalogue(LONG.with_columns(zero_point_ab=pl.lit(float("nan")))), "zero_point_ab nan of band"),
        (lambda: wide_catalogue(LONG.with_columns(unit=pl.lit("image"))), "unit 'image' of band"),
        (lambda: wide_catalogue(LONG.drop("flux")), "columns flux are missing"),
        (lambda: wide_catalogue(LONG.drop("flux_err", "err_formal", "err_sim")), "flux_err or err_formal or err_sim"),
        (lambda: wide_catalogue(LONG, method="aperture"), r"none of its 6 rows .* it has \['model'\]"),
        (lambda: wide_catalogue(pl.concat([LONG, LONG])), "source 7 has more than one row of band 'f160w'"),
        (lambda: wide_catalogue(LONG, error_floor=-0.1), "error_floor: -0.1"),
        (lambda: wide_catalogue(LONG, error_floor={"f999": 0.1}), "error_floor: band 'f999' is not one of f160w, ch1"),
        (lambda: wide_catalogue(LONG, calibration={"ch1": 0.0}), "calibration: 0.0 of band 'ch1'"),
        (lambda: wide_catalogue(LONG, calibration={"ch1": float("nan")}), "calibration: nan"),
        (lambda: wide_catalogue(LONG, sources=SOURCES.drop("source_id")), "sources: it must have a source_id"),
        (lambda: wide_catalogue(LONG, sources=pl.concat([SOURCES, SOURCES])), "no two of them alike"),
        (lambda: wide_catalogue(LONG, sources=SOURCES.rename({"ra": "flux_ch1"})), "column 'flux_ch1'"),
        (lambda: write_catalogue(SOURCES, "x.fits"), "a flux_err_{band} are needed"),
        (lambda: write_catalogue(wide_catalogue(LONG), "x.fits", filters={"j": FILTERS["ch1"]}), "filters: band 'j'"),
        (lambda: write_fast_catalogue(wide_catalogue(LONG), "x.txt"), "ends with .cat"),
        (lambda: write_fast_catalogue(wide_catalogue(LONG), "x.cat", filter_ids={"ch1": 0}), "filter_ids: 0 of band"),
        (lambda: FilterWavelengths(effective_um=1.0, low_um=1.1, high_um=1.2), "1.1, 1.0, 1.2 are not allowed"),
        (lambda: filter_wavelengths([1.0, 1.0], [1.0, 1.0]), "wavelength_um: 2 values"),
        (lambda: filter_wavelengths([1.0, 2.0], [0.0, 0.0]), "transmission: its values"),
        (lambda: filter_wavelengths([1.0, 2.0], [0.0, 0.0, 1.0]), "transmission: shape"),
    ],
)
def test_wrong_arguments_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_fits_catalogues_have_units_and_the_wavelengths_of_their_bands(tmp_path) -> None:
    wide = wide_catalogue(LONG, sources=SOURCES)
    write_catalogue(wide, tmp_path / "catalogue.fits", filters=FILTERS)
    table = Table.read(tmp_path / "catalogue.fits", hdu="CATALOGUE")
    assert [str(table[name].unit) for name in ("ra", "flux_ch1", "flux_err_f160w")] == ["deg", "uJy", "uJy"]
    assert table["source_id"].tolist() == wide["source_id"].to_list()
    np.testing.assert_array_equal(np.ma.filled(table["flux_ch1"], np.nan), wide["flux_ch1"].to_numpy())
    filters = Table.read(tmp_path / "catalogue.fits", hdu="FILTERS")
    assert filters["band"].tolist() == ["f160w", "ch1"]
    assert filters["low_um"].tolist() == [1.4, 3.2]
    assert str(filters["effective_um"].unit) == "um"
    write_catalogue(wide, tmp_path / "alone.fits")
    with fits.open(tmp_path / "alone.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "CATALOGUE"]
    with pytest.raises(StorageError, match="cannot be written"):
        write_catalogue(wide, tmp_path / "no" / "folder.fits")


def as_fast_reads(path) -> tuple[list[str], list[dict[str, float]]]:
    """Columns are renamed by ``.translate``; F and E with a number are filters, -99 and negative errors are none."""
    lines = path.read_text().splitlines()
    header = lines[0].lstrip("#").split()
    renamed = dict(line.split() for line in path.with_suffix(".translate").read_text().splitlines())
    names = [renamed.get(name, name).upper() for name in header]
    rows = [dict(zip(names, map(float, line.split()), strict=True)) for line in lines[1:]]
    return names, rows


def test_fast_reads_its_catalogue_and_knows_the_filters(tmp_path) -> None:
    wide = wide_catalogue(LONG, sources=SOURCES)
    path = tmp_path / "field.cat"
    assert write_fast_catalogue(wide, path, filter_ids={"ch1": 18}) == tmp_path / "field.translate"
    names, rows = as_fast_reads(path)
    assert names == ["ID", "RA", "DEC", "Z_SPEC", "F_F160W", "E_F160W", "F18", "E18"]
    assert [row["ID"] for row in rows] == [3, 7, 99, 11, 20]
    assert [row["F18"] for row in rows] == [1.0, -50.0, -99, -99, -99]
    assert [row["E18"] for row in rows] == [0.5, 2.0, -99, -99, -99]
    assert [row["Z_SPEC"] for row in rows] == [1.5, -1, 0.2, -1, -1]
    assert rows[0]["RA"] == 10.1
    # FAST takes the only line of comments for the header.
    assert sum(line.startswith("#") for line in path.read_text().splitlines()) == 1
    write_fast_catalogue(wide.drop("ra", "dec", "z_spec").with_columns(flux_err_ch1=pl.lit(0.0)), path)
    names, rows = as_fast_reads(path)
    assert names == ["ID", "F_F160W", "E_F160W", "F_CH1", "E_CH1"]
    assert {row["F_CH1"] for row in rows} == {-99.0}
    with pytest.raises(StorageError, match="cannot be written"):
        write_fast_catalogue(wide, tmp_path / "no" / "field.cat")


def test_wavelengths_of_a_top_hat_and_of_a_gaussian_are_those_of_analysis() -> None:
    eps = 1e-9
    hat = filter_wavelengths([1.4 - eps, 1.4, 1.7, 1.7 + eps], [0.0, 0.6, 0.6, 0.0])
    assert hat.effective_um == pytest.approx(1.55, abs=1e-8)
    assert hat.pivot_um == pytest.approx(np.sqrt((1.7**2 - 1.4**2) / 2 / np.log(1.7 / 1.4)), abs=1e-8)
    assert (hat.low_um, hat.high_um) == pytest.approx((1.4, 1.7), abs=1e-8)
    # The curve may end where it is high.
    assert filter_wavelengths([1.4, 1.7], [0.6, 0.6]).high_um == 1.7

    def curve(x: float) -> float:
        return float(np.exp(-0.5 * ((x - 2.0) / 0.15) ** 2))

    x = np.linspace(1.0, 3.0, 4001)
    for is_photon, power in ((True, 0), (False, -1)):
        found = filter_wavelengths(x, [curve(v) for v in x], is_photon=is_photon)

        def moment(k: int, power: int = power) -> float:
            return quad(lambda u: curve(u) * u ** (k + power), 1.0, 3.0, points=[2.0])[0]

        assert found.effective_um == pytest.approx(moment(1) / moment(0), rel=1e-6)
        assert found.pivot_um == pytest.approx(np.sqrt(moment(1) / moment(-1)), rel=1e-6)
        width = 0.15 * np.sqrt(2 * np.log(2))
        assert (found.low_um, found.high_um) == pytest.approx((2 - width, 2 + width), abs=1e-5)
    # A dip within the filter is no edge.
    dipped = filter_wavelengths([1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [0.0, 1.0, 0.2, 0.2, 1.0, 0.0])
    assert (dipped.low_um, dipped.high_um) == pytest.approx((1.05, 1.45))
    table = filter_table(FILTERS)
    assert table.columns == ["band", "effective_um", "low_um", "high_um", "pivot_um"]
    assert table["pivot_um"].to_list() == [3.55, None]


def test_transmission_curves_are_read_in_any_unit_and_order(tmp_path) -> None:
    path = tmp_path / "f160w.dat"
    path.write_text("# wavelength transmission\n\n17000 0.0 1\n16000,0.5\n14000 0.1 # edge\n")
    wave, part = read_transmission(path)
    np.testing.assert_allclose(wave, [1.4, 1.6, 1.7])
    np.testing.assert_allclose(part, [0.1, 0.5, 0.0])
    np.testing.assert_allclose(read_transmission(path, unit="nm")[0], [14.0, 16.0, 17.0])
    with pytest.raises(InvalidInputError, match="unit: 'Hz'"):
        read_transmission(path, unit="Hz")
    with pytest.raises(NotFoundError, match="no such file"):
        read_transmission(tmp_path / "none.dat")
    for text in ("1 2\nthree 4\n", "1\n2\n", "1 2\n", "1 2\n3\n"):
        path.write_text(text)
        with pytest.raises(FormatError, match="column"):
            read_transmission(path)


def draw(rng: np.random.Generator, n: int, factor: float, *, scatter: float = 0.0, wild: float = 0.0):
    """Fluxes as steep as counts of galaxies, most of them near the limit of 10 sigma, and outliers on both sides."""
    truth = 16.0 * rng.pareto(1.5, n) + 4.0
    r, e = rng.uniform(0.3, 0.7, n), rng.uniform(0.8, 1.6, n)
    own, other = np.exp(rng.normal(0, scatter / np.sqrt(2), (2, n)))
    own *= np.where(rng.random(n) < wild, rng.choice([0.3, 3.0], n), 1.0)
    return factor * truth * own + rng.normal(0, r), r, truth * other + rng.normal(0, e), e


@pytest.mark.parametrize(
    ("n", "scatter", "wild"), [(400, 0.0, 0.0), (400, 0.08, 0.0), (60, 0.0, 0.0), (400, 0.05, 0.02)]
)
def test_an_error_of_3_percent_is_found_and_errors_pass_a_pull_test(n, scatter, wild) -> None:
    """600 pulls: their scatter is good to 3 %, their mean to 0.04 sigma. Outliers to one side move a median."""
    rng = np.random.default_rng(12)
    pulls, factors = [], []
    for _ in range(600):
        found = calibration_factor(*draw(rng, n, 1.03, scatter=scatter, wild=wild))
        pulls.append((found.factor - 1.03) / found.error)
        factors.append(found.factor)
    size = 1.4826 * np.median(np.abs(pulls))
    print(n, scatter, wild, "factor", np.mean(factors), found, "pull", np.mean(pulls), np.std(pulls), size)
    assert np.mean(factors) == pytest.approx(1.03, abs=0.003 if wild else 0.001)
    assert abs(np.mean(pulls)) < 0.15
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)


def test_blends_do_not_count_and_only_bright_sources_do() -> None:
    rng = np.random.default_rng(3)
    reference, r, flux, e = draw(rng, 500, 1.03)
    alone = rng.random(500) < 0.6
    flux[~alone] *= 1.5
    found = calibration_factor(reference, r, flux, e, is_isolated=alone)
    assert abs(found.factor - 1.03) < 3 * found.error
    spoilt = calibration_factor(reference, r, flux, e)
    assert abs(spoilt.factor - 1.03) > 5 * found.error
    assert found.n_sources < alone.sum()
    # Values that are not known do not count; one error may be given for all.
    reference[:50] = np.nan
    again = calibration_factor(reference, 0.5, flux, 1.2, is_isolated=alone, min_snr=20.0)
    assert again.n_sources < found.n_sources
    assert abs(again.factor - 1.03) < 4 * again.error


def test_what_a_factor_cannot_be_made_of_is_said() -> None:
    flux = np.full(10, 100.0)
    with pytest.raises(NoDataError, match="2 of 10 sources are isolated and brighter than 10 sigma"):
        calibration_factor(flux, 1.0, flux, 1.0, is_isolated=np.arange(10) < 2)
    with pytest.raises(InvalidInputError, match=r"flux_err: 0\.0"):
        calibration_factor(flux, 1.0, flux, 0.0)
    with pytest.raises(InvalidInputError, match="min_snr: 0"):
        calibration_factor(flux, 1.0, flux, 1.0, min_snr=0)
    with pytest.raises(InvalidInputError, match="reference_flux: shape"):
        calibration_factor(flux[:3], 1.0, flux, 1.0)
