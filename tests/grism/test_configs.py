"""Configurations of every form; traces against grizli 1.14.3 (`tests/data/make_grism_traces.py`)."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.grism import read_config
from skymere.io import add_pack

DATA = Path(__file__).parents[1] / "data"
TRACES = json.loads((DATA / "grism_traces.json").read_text())
REAL = "GR150C.F150W.220725.conf"


def _module():
    spec = importlib.util.spec_from_file_location("grism_configs", DATA / "grism_configs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return _module().write_configs(tmp_path_factory.mktemp("CONF"))


def _compare(name, config):
    for row in TRACES[name]:
        order = config.orders[row["order"]]
        assert (order.first, order.end - 1) == (row["first"], row["last"])
        dy, wave = config.trace(row["x"], row["y"], row["dx"], row["order"], fwcpos=row["fwcpos"])
        # Turned traces are differences of large numbers in grizli: 1e-7 pixels, and as many of 2000 Angstrom.
        atol = 1e-11 if row["fwcpos"] is None else 1e-6
        np.testing.assert_allclose(dy, row["dy"], rtol=0, atol=atol)
        np.testing.assert_allclose(wave * 1e4, row["wavelength"], rtol=1e-13, atol=50 * atol)


@pytest.mark.parametrize("name", [name for name in TRACES if name != REAL])
def test_traces_of_every_form_are_those_of_grizli(paths, name):
    _compare(name, read_config(paths[name]))


def test_traces_of_the_real_file_of_niriss_are_those_of_grizli_also_turned(conf):
    config = read_config(conf / REAL)
    assert any(row["fwcpos"] is not None for row in TRACES[REAL])
    _compare(REAL, config)
    # A factor that grizli found on the sky.
    plain = read_config(conf / REAL, corrected=False)
    np.testing.assert_allclose(config.orders["B"].sensitivity, 1.5 * plain.orders["B"].sensitivity, rtol=1e-12)


def test_a_real_configuration_has_all_orders_with_their_sensitivities(g141):
    assert "".join(g141.orders) == "ABCDEFG"
    assert [g141.orders[name].faintest_mag for name in "ACE"] == [30.0, 20.9, 20.1]
    dy, wave = g141.trace(507, 507, [100.0])
    assert 1.3 < wave[0] < 1.5
    assert 0 < dy[0] < 6
    assert g141.sensitivity([0.5, 1.4]).tolist()[0] == 0
    assert g141.sensitivity(1.4).max() > 1e15
    with pytest.raises(InvalidInputError, match="order"):
        g141.trace(507, 507, [0.0], "Z")


def test_a_missing_configuration_or_sensitivity_is_named_with_where_it_was_looked_for(paths, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    with pytest.raises(NotFoundError, match=r"nowhere\.conf.*packs"):
        read_config("nowhere.conf")
    lonely = tmp_path / "lonely" / "ACS.WFC.CHIP1.Cycle13.5.conf"
    lonely.parent.mkdir()
    shutil.copy(paths[lonely.name], lonely)
    with pytest.raises(NotFoundError, match=r"sensitivity sens\.fits of order A.*lonely.*packs"):
        read_config(lonely)


def test_configurations_come_from_reference_packs(paths, tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    name = "ACS.WFC.CHIP1.Cycle13.5.conf"
    for file in (name, "sens.fits"):
        shutil.copy(paths[name].parent / file, source / file)
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    pack = add_pack(source, name="acs", version="1")
    config = read_config(name)
    assert sorted(config.orders) == ["A", "B"]
    assert config.sources[0] == f"acs-1 {pack.digest}"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("DYDX_A_0 -1.9", "DYDX_A_0 word"), "DYDX_A_0"),
        (("BEAMA -12 160", ""), "BEAMA"),
        (("BEAMA -12 160", "BEAMA 160 160"), "columns"),
        (("DYDX_A_1 -4.1e-2 1.1e-6 3.0e-7", "DYDX_A_1 -4.1e-2 1.1e-6"), "DYDX"),
        (("SENSITIVITY_A sens.fits", ""), "SENSITIVITY_A"),
    ],
)
def test_damaged_configurations_are_refused(paths, change, what):
    path = paths["ACS.WFC.CHIP1.Cycle13.5.conf"]
    damaged = path.with_name("damaged.conf")
    text = path.read_text()
    assert change[0] in text
    damaged.write_text(text.replace(*change))
    with pytest.raises(FormatError, match=what):
        read_config(damaged)


def test_files_that_are_no_configuration_are_refused(tmp_path):
    path = tmp_path / "some.conf"
    path.write_text("INSTRUMENT WFC3\n")
    with pytest.raises(FormatError, match="no order"):
        read_config(path)
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FormatError, match="no text"):
        read_config(path)
