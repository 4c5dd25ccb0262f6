"""Sets of templates from files, and those of grizli 1.14.3 number by number."""

import json

import numpy as np
import pytest
from scipy.special import ndtr

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import add_pack, find_pack
from skymere.spectra import (
    COMPLEXES,
    DEFAULT_LINES,
    LINES,
    LineComplex,
    LineList,
    RedshiftParams,
    TemplateSet,
    fit_lines,
    fit_redshift,
)

# grizli.utils.load_templates(fwhm=1200, fsps_templates=...): points, sum of fluxes, sum of wavelengths [Angstrom] and
# trapezoidal integral of each continuum.
GRIZLI_CONTINUA = {
    "fsps/fsps_QSF_12_v3_nolines_001.dat": (5994, 1.730711593, 1.094192948e10, 4.160374014),
    "fsps/fsps_QSF_12_v3_nolines_002.dat": (5994, 1.131840328, 1.094192948e10, 2.703636533),
    "fsps/fsps_QSF_12_v3_nolines_012.dat": (5994, 0.230238206, 1.094192948e10, 17.61327381),
    "eazy_intermediate.dat": (1900, 1150.148029, 34069087.39, 10388.20064),
    "cvd12_t11_solar_Chabrier.dat": (2189, 861.0017135, 19363223.89, 12485.75211),
    "post_starburst.dat": (468, 230.2547711, 12447721.95, 9065.258554),
    "erb2010_continuum.dat": (1221, 5084.800531, 30490505.0, 53464.13319),
    "stars/M6.5.txt": (6651, 213.8687711, 152594968.1, 876.8632602),
    "stars/T7.5.txt": (336, 0.0201538387, 5541184.82, 1.416942608),
}
# Edges [Angstrom] and the integral of its complexes between them.
GRIZLI_COMPLEXES = {
    "Ha+NII+SII+SIII+He+PaB": (
        [6000, 6500, 6550, 6570, 6590, 6700, 6720, 6800, 9000, 9200, 9600, 12700, 13000],
        *[
            [1.38959e-07, 0.0724045, 0.359792, 0.234779, 0.0457004, 0.0361416, 0.0741112, 1.27114e-07, 0.0283767],
            [0.0692388, 0.0227021, 0.0567537],
        ],
    ),
    "OIII+Hb+Hg+Hd": (
        [4000, 4200, 4400, 4800, 4900, 4950, 4965, 5000, 5010, 5100],
        [0.0295211, 0.0533429, 0.0, 0.11398, 0.0191955, 0.102982, 0.135288, 0.212207, 0.214211],
        [],
    ),
    "OII+Ne": (
        [3300, 3400, 3500, 3720, 3728, 3740, 3800, 3900, 4000],
        [0.0, 0.0, 0.0501699, 0.269865, 0.466924, 0.0463742, 0.166666, 2.04173e-07],
        [],
    ),
    "Gal-UV-lines": (
        [1000, 1240, 1300, 1530, 1600, 1650, 1800, 1907, 2000, 2790, 2800, 2900],
        [0.582119, 0.0185673, 0.0572082, 0.0858123, 0.051472, 0.0331961, 0.04782, 0.0665965, 0.00522605],
        [0.0392786, 0.0127036],
    ),
}


@pytest.fixture
def templates(shared_data):
    folder = shared_data / "spectra" / "grizli" / "templates"
    if not folder.is_dir():
        pytest.skip(f"templates are not in {folder}")
    return folder


@pytest.fixture
def small(tmp_path):
    """A set that needs no data."""
    folder = tmp_path / "templates"
    (folder / "fsps").mkdir(parents=True)
    wave = np.linspace(500.0, 40000.0, 400)
    for i in range(1, 13):
        flux = (wave / 5000.0) ** (-2.5 + 0.25 * i)
        np.savetxt(folder / "fsps" / f"fsps_QSF_12_v3_nolines_{i:03d}.dat", np.c_[wave, flux])
    return folder


def test_continua_are_those_of_grizli(templates):
    found = {}
    for options in ({}, {"fsps": False}, {"stars": True}):
        made = TemplateSet.load(templates, **options)
        found |= {one.name: one for one in made.continua}
        assert made.is_stellar == ("stars" in options)
        assert len(made.continua) == {"fsps": 4, "stars": 8}.get(next(iter(options), ""), 12)
    for name, (n, fluxes, waves, integral) in GRIZLI_CONTINUA.items():
        wave, flux = found[name].wave * 1e4, found[name].flux
        assert wave.size == n
        assert flux.sum() == pytest.approx(fluxes, rel=1e-9)
        assert wave.sum() == pytest.approx(waves, rel=1e-9)
        assert np.trapezoid(flux, wave) == pytest.approx(integral, rel=1e-9)


def test_complexes_are_those_of_grizli_where_they_are_exact(templates):
    made = {line.name: line for line in TemplateSet.load(templates).lines}
    assert list(made) == list(GRIZLI_COMPLEXES)
    for name, (edges, *parts) in GRIZLI_COMPLEXES.items():
        line = made[name]
        rest = np.array(line.wave) * 1e4
        assert line.velocity_sigma == pytest.approx(1200 / np.sqrt(8 * np.log(2)))
        # grizli divides by 2.35 for 2.3548.
        sigma = rest * 1200 / 2.35 / 299792.458
        below = ndtr((np.array(edges)[:, None] - rest) / sigma) @ np.array(line.parts)
        # Its lines are straight pieces a tenth of a sigma (1 Angstrom) long, in which edges of these bins lie.
        np.testing.assert_allclose(np.diff(below), np.concatenate(parts), atol=2.5e-4)
        assert sum(line.parts) == pytest.approx(1.0, rel=1e-12)


def test_single_lines_are_grizlis_and_the_package_has_them_itself(templates):
    listed = LineList.read(templates.parent / "lines.json")
    own = LineList.own()
    made = TemplateSet.load(templates, line_complexes=False)
    assert [line.name for line in made.lines] == list(listed.default) == list(DEFAULT_LINES)
    assert own.complexes == listed.complexes
    for name in (*own.default, *own.complexes):
        np.testing.assert_allclose(own.lines[name].wave, listed.lines[name].wave, rtol=1e-12)
        np.testing.assert_allclose(own.lines[name].parts, listed.lines[name].parts, rtol=1e-5)
    assert len(listed.lines) == 123
    assert listed.lines["SII-4075"].wave == pytest.approx((0.406975,))


def test_one_flux_of_a_complex_finds_the_redshift_and_single_lines_the_fluxes(small):
    """T0 and T1: ratios that are not those of the complexes."""
    t0, t1 = TemplateSet.load(small), TemplateSet.load(small, line_complexes=False)
    assert t0.names[-4:] == tuple(COMPLEXES)
    assert t1.names[12:] == DEFAULT_LINES
    z = 1.2
    wave = np.linspace(0.9, 1.7, 801)
    edges = np.r_[wave - 0.0005, wave[-1] + 0.0005]
    power = np.full(wave.size, 300.0)
    fluxes = {"OIII": 30.0, "Hb": 20.0, "Ha": 25.0, "SII": 6.0, "Hg": 3.0}
    truth = 2.0 * (wave / 1.3) ** -2.5
    for name, strength in fluxes.items():
        line = LINES[name]
        for rest, part in zip(line.wave, line.parts, strict=True):
            at = rest * (1 + z)
            sigma = at * np.hypot(1200 / 299792.458, 1 / 300.0) / np.sqrt(8 * np.log(2))
            truth = truth + strength * part * np.diff(ndtr((edges - at) / sigma)) / np.diff(edges)
    unit = 1e-18 * wave**2 / 2.99792458e14 / 1e-29
    err = np.full(wave.size, 1.0) * unit
    given = (wave, truth * unit, err, power)
    params = RedshiftParams(scale_disp=1.0, sys_err=0.0, non_negative="all")
    fit = fit_redshift(given, templates=t0, z_range=(1.0, 1.5), params=params)
    assert fit.z == pytest.approx(z, abs=5e-4)
    # A folder means the same sets.
    again = fit_redshift(given, templates=small, z_range=(1.15, 1.25), params=params)
    assert again.z == pytest.approx(fit.z, abs=1e-5)
    table = {
        row["line"]: row for row in fit_lines(given, z=z, templates=small, params=params).lines.iter_rows(named=True)
    }
    for name, strength in fluxes.items():
        assert table[name]["flux"] == pytest.approx(1e-18 * strength, rel=1e-3, abs=0)
    assert table["OIII"]["members"] == pytest.approx([0.500824, 0.4960295])
    assert table["OIII"]["shares"] == pytest.approx([2.98 / 3.98, 1 / 3.98])
    assert table["OIII"]["blend"] == []
    # 20 Angstrom are less than 1500 km/s at 6565.
    chosen = TemplateSet.load(small, lines=["Ha", "NII", "Hb"])
    blend = fit_lines(given, z=z, templates=chosen, params=params).lines
    assert dict(zip(blend["line"], blend["blend"].to_list(), strict=True)) == {"Hb": [], "Ha": ["NII"], "NII": ["Ha"]}


def test_stars_are_fitted_at_redshift_0_and_one_continuum_with_its_own_factor(small):
    (small / "stars").mkdir()
    wave = np.linspace(3000.0, 30000.0, 300)
    for i, kind in enumerate(("M6.5", "M8.0", "L1.0", "L3.5", "L6.0", "T2.0", "T6.0", "T7.5")):
        np.savetxt(small / "stars" / f"{kind}.txt", np.c_[wave, 4.0 + np.sin(wave / (900.0 + 150 * i))])
    stars = TemplateSet.load(small, stars=True)
    assert stars.is_stellar
    assert not stars.lines
    seen = np.linspace(1.0, 2.0, 400)
    edges = np.r_[seen - 0.5 / 399, seen[-1] + 0.5 / 399]
    fine = np.interp(
        np.linspace(edges[0], edges[-1], 40001) * 1e4, stars.continua[2].wave * 1e4, stars.continua[2].flux
    )
    flux = fine[:-1].reshape(400, -1).mean(axis=1)
    unit = 1e-18 * seen**2 / 2.99792458e14 / 1e-29
    given = (seen, 7.0 * flux * unit, 0.01 * unit, np.full(400, 1e5))
    fit = fit_redshift(given, templates=stars, params=RedshiftParams(sys_err=0.0, non_negative="all", vel_width=1.0))
    assert fit.z == 0.0
    best = fit.coefficients.row(2, named=True)
    # Tables are scaled to a largest value of 1 first.
    assert best["template"] == "stars/L1.0.txt"
    assert best["coefficient"] == pytest.approx(7.0 * stars.continua[2].flux.max(), rel=1e-3)
    alone = TemplateSet.load(small, continua=["stars/L1.0.txt"], lines=["Ha"])
    one = fit_lines(given, z=0.0, templates=alone, params=RedshiftParams(sys_err=0.0, vel_width=1.0))
    assert one.coefficients["coefficient"][0] == pytest.approx(7.0 * stars.continua[2].flux.max(), rel=1e-4)


def test_a_pack_does_as_well_as_a_folder(small, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    lines = {
        "lines": {"X": {"wave": [5000.0], "ratio": [2.0]}, "X+Y": {"wave": [5000.0, 6000.0], "ratio": [1.0, 3.0]}},
        "default_line_list": ["X"],
        "complexes": ["X+Y"],
    }
    (small / "lines.json").write_text(json.dumps(lines))
    add_pack(small, name="templates", version="1")
    made = TemplateSet.load(find_pack("templates"), fwhm_km_s=500.0)
    assert [line.name for line in made.lines] == ["X+Y"]
    assert made.lines[0].fwhm_km_s == 500.0
    np.testing.assert_array_equal(made.continua[3].flux, TemplateSet.load(small).continua[3].flux)
    assert "templates-1" in made.source


def test_lines_and_continua_may_be_chosen(small):
    made = TemplateSet.load(small, lines=["Ha", "OII"], continua=["fsps/fsps_QSF_12_v3_nolines_004.dat"])
    assert made.names == ("fsps/fsps_QSF_12_v3_nolines_004.dat", "Ha", "OII")
    (small / "short.dat").write_text("1 2\n1 3\n")
    (small / "one.dat").write_text("1\n2\n")
    (small / "text.dat").write_text("wave flux\n")
    (small.parent / "wrong.json").write_text('{"lines": {"X": {"wave": [1]}}}')
    for error, words, call in (
        (InvalidInputError, r"lines: \['Hx'\] are not known", lambda: TemplateSet.load(small, lines=["Hx"])),
        (InvalidInputError, "lines: 'Ha' is not allowed", lambda: TemplateSet.load(small, lines="Ha")),
        (InvalidInputError, "lines: .* with stars", lambda: TemplateSet.load(small, lines=["Ha"], stars=True)),
        (InvalidInputError, "continua: 'a' is not allowed", lambda: TemplateSet.load(small, continua="a")),
        (InvalidInputError, "fwhm_km_s: -1", lambda: TemplateSet.load(small, fwhm_km_s=-1.0)),
        (InvalidInputError, "at least one template", lambda: TemplateSet(continua=())),
        (NotFoundError, "no such folder", lambda: TemplateSet.load(small / "none")),
        (NotFoundError, "M6.5.txt: no such file", lambda: TemplateSet.load(small, stars=True)),
        (FormatError, "short.dat: wave", lambda: TemplateSet.load(small, continua=["short.dat"])),
        (FormatError, "one.dat: 1 column", lambda: TemplateSet.load(small, continua=["one.dat"])),
        (FormatError, "text.dat: not a table", lambda: TemplateSet.load(small, continua=["text.dat"])),
        (FormatError, "wrong.json: not a list of lines", lambda: LineList.read(small.parent / "wrong.json")),
        (NotFoundError, "none.json: no such file", lambda: LineList.read(small / "none.json")),
    ):
        with pytest.raises(error, match=words):
            call()


def test_lines_may_be_lorentzians(small):
    made = TemplateSet.load(small, lorentz=True, fwhm_km_s=800.0)
    assert {line.profile for line in made.lines} == {"lorentzian"}
    assert {line.profile for line in TemplateSet.load(small).lines} == {"gaussian"}
    assert "Lorentzian" in made.source
    wave = np.linspace(0.9, 1.7, 201)
    given = (wave, np.ones(wave.size), np.ones(wave.size), np.full(wave.size, 300.0))
    with pytest.raises(InvalidInputError, match="profile 'lorentzian' of"):
        fit_redshift(given, templates=made, z_range=(1.0, 1.5))
    with pytest.raises(InvalidInputError, match="profile: 'voigt' of Ha"):
        LineComplex(name="Ha", wave=(0.6565,), profile="voigt")


def test_the_template_of_alf_joins_the_set_and_says_where_it_was_looked_for(small):
    with pytest.raises(NotFoundError, match=r"alf: alf_SSP.dat is missing, it was looked for in .*templates"):
        TemplateSet.load(small, alf=True)
    wave = np.linspace(900.0, 30000.0, 300)
    np.savetxt(small / "alf_SSP.dat", np.c_[wave, wave**-1.5])
    made = TemplateSet.load(small, alf=True)
    assert made.continua[-1].name == "alf_SSP.dat"
    assert len(made.continua) == 13
    np.testing.assert_allclose(made.continua[-1].flux, wave**-1.5)
    for words in ({"stars": True}, {"continua": ["fsps/fsps_QSF_12_v3_nolines_001.dat"]}):
        with pytest.raises(InvalidInputError, match="alf: True is not allowed"):
            TemplateSet.load(small, alf=True, **words)
