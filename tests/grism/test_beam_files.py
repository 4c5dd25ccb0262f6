"""Files of beams: with and without TRACE, MODEL and CONFFILE."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.grism import GRIZLI_BEAMS, apply_trace_shift, read_beam_file, read_beams, write_beam_file

ARRAYS = ("direct", "segmentation", "sci", "err", "dq", "contam")
WORDS = (
    *("source_id", "order", "origin", "grism_origin", "pad", "center_offset", "x_shift", "y_shift", "fwcpos", "mw_ebv"),
    *("instrument", "grism", "pupil", "module", "direct_filter", "chip", "parent", "direct_parent", "exptime"),
)


@pytest.fixture
def with_trace(ers, tmp_path):
    """The real beams with the tables and models that later versions of grizli write."""
    beams = []
    for one in ers.beams:
        trace = np.stack([one.wave, one.trace, one.sensitivity], axis=1)
        model = (one.flat * one.total_flux).astype(np.float32)
        beams.append(replace(one.beam, trace=trace, model=model, config_name="gone.conf"))
    path = tmp_path / "with_trace_00152.beams.fits"
    write_beam_file(path, beams)
    return path


def test_beams_are_written_and_read_back_the_same(ers_path, conf, tmp_path):
    beams = read_beam_file(ers_path)
    path = tmp_path / "again_00152.beams.fits"
    write_beam_file(path, beams)
    again = read_beam_file(path)
    for one, other in zip(beams, again, strict=True):
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert [getattr(one, name) for name in WORDS] == [getattr(other, name) for name in WORDS]
    models = [read_beams(p, conf_path=conf) for p in (ers_path, path)]
    np.testing.assert_array_equal(models[0].flat_flam, models[1].flat_flam)
    np.testing.assert_array_equal(models[0].angles, models[1].angles)


def test_the_layout_is_that_of_grizli(with_trace):
    with fits.open(with_trace) as hdus:
        names = [(hdu.name, hdu.ver) for hdu in hdus[1:9]]
        counts = [hdus[0].header[f"NEXT{i:04d}"] for i in range(2)]
        assert hdus[0].header["COUNT"] == 2
        assert hdus[0].header.comments["COUNT"].split() == ["8", "8"]
        assert hdus["TRACE"].columns.names == ["wavelength", "trace", "sensitivity"]
    assert counts == [8, 8]
    assert names == [
        *(("REF", 1), ("SEG", 1), ("SCI", 2), ("ERR", 2), ("DQ", 2), ("CONTAM", 2), ("MODEL", 2), ("TRACE", 2)),
    ]


def test_trace_stands_in_where_the_configuration_is_missing(with_trace, ers, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    with pytest.warns(UserWarning, match="TRACE of the file stands in"):
        found = read_beams(with_trace, params=GRIZLI_BEAMS)
    assert len(found.records) == 2
    assert all("gone.conf" in record and "packs" in record for record in found.records)
    for one, real in zip(found.beams, ers.beams, strict=True):
        assert one.from_trace
        assert one.beam.model is not None
        np.testing.assert_allclose(one.trace, real.trace, atol=1e-5)
        np.testing.assert_allclose(one.wave, real.wave, rtol=1e-6)
        # Sensitivities of pixels are known, not those within: 0.5 % of the peak where they rise steeply.
        assert np.abs(one.flat - real.flat).max() < 0.01 * real.flat.max()
        assert one.flat.sum() == pytest.approx(real.flat.sum(), rel=1e-4)


def test_trace_stands_in_where_the_configuration_lacks_the_order(ers, conf, tmp_path):
    one = ers.beams[1]
    trace = np.stack([one.wave, one.trace, one.sensitivity], axis=1)
    path = tmp_path / "order_00152.beams.fits"
    write_beam_file(path, [replace(one.beam, order="Z", trace=trace)])
    with pytest.warns(UserWarning, match=r"TRACE of the file stands in: G141.* has the orders A, B.*, not Z"):
        found = read_beams(path, conf_path=conf, params=GRIZLI_BEAMS)
    assert found.beams[0].from_trace
    np.testing.assert_allclose(found.beams[0].wave, one.wave, rtol=1e-6)
    write_beam_file(path, [replace(one.beam, order="Z")])
    with pytest.raises(NotFoundError, match=r"not Z; the file has no TRACE"):
        read_beams(path, conf_path=conf)


def test_a_moved_trace_is_still_there_when_it_is_written_and_read(with_trace, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    path = tmp_path / "moved_00152.beams.fits"
    with pytest.warns(UserWarning, match="TRACE"):
        moved = apply_trace_shift(read_beams(with_trace, params=GRIZLI_BEAMS), [0.4, -0.7])
    write_beam_file(path, [one.beam for one in moved.beams])
    with pytest.warns(UserWarning, match="TRACE"):
        again = read_beams(path, params=GRIZLI_BEAMS)
    for one, other in zip(again.beams, moved.beams, strict=True):
        # Rows are written in single precision.
        np.testing.assert_allclose(one.trace, other.trace, rtol=0, atol=2e-5)


def test_the_configuration_of_another_grism_is_refused(ers_path, conf):
    with pytest.raises(InvalidInputError, match=r"conf_path: .*G141.* is of G141 .* such as G102\.F098M\.V4\.32\.conf"):
        read_beams(ers_path, conf_path=conf / "G141.F140W.V4.32.conf")


def test_without_trace_a_missing_configuration_is_an_error(ers_path, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    with pytest.raises(NotFoundError, match=r"G102\.F098M\.V4\.32\.conf.*packs.*no TRACE"):
        read_beams(ers_path)


def test_a_missing_sensitivity_is_named(ers_path, conf, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    name = "G102.F098M.V4.32.conf"
    (tmp_path / name).write_text((conf / name).read_text())
    with pytest.raises(NotFoundError, match=r"sensitivity WFC3\.IR\.G102\.1st\.sens\.2\.fits"):
        read_beams(ers_path, conf_path=tmp_path)


def test_several_files_of_a_source_are_read_together(ers_path, conf):
    both = read_beams([ers_path, ers_path], conf_path=conf)
    assert both.N == 4
    assert both.Ngrism == {"G102": 2, "G141": 2}


def test_damaged_files_are_refused(ers_path, tmp_path):
    with fits.open(ers_path, memmap=False) as hdus:
        for gone, what in ((3, "SCI"), (2, "SEG")):
            part = fits.HDUList([hdu for i, hdu in enumerate(hdus) if i != gone])
            part[0].header["NEXT0000"] = 5
            path = tmp_path / f"without_{what}.beams.fits"
            part.writeto(path)
            with pytest.raises(FormatError, match=what):
                read_beam_file(path)
        hdus[0].header["NEXT0000"] = 6
        short = fits.HDUList([*hdus[:8]])
        short.writeto(tmp_path / "short.beams.fits")
    with pytest.raises(FormatError, match="beam 1 needs"):
        read_beam_file(tmp_path / "short.beams.fits")


def test_beams_of_several_sources_are_not_written_together(ers, tmp_path):
    first, second = (one.beam for one in ers.beams)
    with pytest.raises(InvalidInputError, match="sources"):
        write_beam_file(tmp_path / "a.fits", [first, replace(second, source_id=7)])
