"""Pictures out of a lake: what is on them, and what is said when there is nothing."""

import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.viewer import (
    COLOURS,
    draw_alignment,
    draw_beams,
    draw_mosaic,
    draw_redshift,
    draw_sed,
    draw_slit,
    draw_source,
    draw_weights,
)
from skymere.viewer.beams import beam_pictures
from skymere.viewer.palette import SIGNED, SPECTRUM, WEIGHT
from skymere.viewer.panels import label_picture
from skymere.viewer.redshifts import lines_panel, pdf_curves, template_of
from skymere.viewer.report_html import png_bytes
from skymere.viewer.sed import sed_points
from skymere.viewer.source_rows import SourceRows
from skymere.viewer.stamps import source_stamps

NOWHERE = 123


def words_of(figure):
    """All texts of a figure."""
    from matplotlib.text import Text

    return " ".join(one.get_text() for one in figure.findobj(Text))


def test_a_page_of_a_source_has_all_that_the_lake_has_of_it(lake, small):
    first = small.ids(lake)[0]
    figure = draw_source(lake, first)
    told = words_of(figure)
    wanted = (
        "f125w",
        "f140w",
        "wide1",
        "segments",
        "image - models",
        "grism z = 1.0800",
        "sersic",
        "map of Ha",
        "forced",
    )
    for word in (str(first), *wanted, "left by the model", "prism behind slits", "not in the lake"):
        assert word in told, word
    picture = imread(io.BytesIO(png_bytes(figure)))
    assert picture.shape[1] == 1200
    assert picture[..., :3].std() > 0.1


def test_a_source_with_little_has_a_shorter_page(lake, small):
    ids = small.ids(lake)
    heights = [draw_source(lake, one).get_size_inches()[1] for one in (ids[0], ids[3])]
    assert heights[1] < heights[0] - 3
    assert draw_source(lake, ids[3], bands=["f140w"], size_pix=32).get_size_inches()[1] < heights[1]


def test_models_of_a_stamp_are_those_of_its_own_pixels(lake, small):
    source_id = small.ids(lake)[4]
    rows = SourceRows(lake, [source_id])
    row = rows.of("source", source_id).row(0, named=True)
    by_band = {one.band: one for one in source_stamps(rows, source_id)}
    assert list(by_band) == ["f125w", "f140w", "wide1"]
    for band in ("f125w", "f140w"):
        one = by_band[band]
        both = np.isfinite(one.sci) & np.isfinite(one.residual)
        assert both.sum() > 1000
        # Stamps are rounded to a sixteenth of the noise, models and residuals are not.
        np.testing.assert_allclose((one.model + one.residual)[both], one.sci[both], atol=0.002)
        middle = one.model[one.labels == row["label"]]
        np.testing.assert_allclose(middle, 0.9, atol=0.002)
    coarse = by_band["wide1"]
    assert coarse.sci is None
    assert coarse.residual.shape[0] >= 16
    assert coarse.scale_arcsec == pytest.approx(0.5)


def test_stamps_at_the_border_of_a_mosaic_are_blank_beyond_it(lake, small):
    source_id = small.ids(lake)[0]
    rows = SourceRows(lake, [source_id])
    one = source_stamps(rows, source_id, bands=["f140w"])[0]
    assert one.residual.shape == one.sci.shape
    assert np.isnan(one.residual).any()
    assert (np.isnan(one.residual) == np.isnan(one.sci)).all()


def test_fluxes_below_two_sigma_and_bands_without_a_wavelength_are_told_apart(lake, small):
    source_id = small.ids(lake)[0]
    points = sed_points(SourceRows(lake, [source_id]), source_id)
    known = dict(points.filter(pl.col("kind") == "forced").select("band", "wavelength").iter_rows())
    assert known["f125w"] == pytest.approx(1.2486, abs=1e-4)
    assert known["wide1"] is None
    given = sed_points(SourceRows(lake, [source_id]), source_id, {"wide1": 3.6})
    assert given.filter(pl.col("band") == "wide1")["wavelength"].to_list() == [3.6]
    assert "wavelength\nnot known" in words_of(draw_sed(lake, source_id))
    assert "not known" not in words_of(draw_sed(lake, source_id, wavelengths={"wide1": 3.6}))
    limits = [one for axes in draw_sed(lake, source_id).axes for one in axes.containers if one.has_yerr]
    assert any(one.lines[1] and one.lines[1][0].get_marker() != "_" for one in limits)
    with pytest.raises(InvalidInputError, match="wavelengths"):
        draw_sed(lake, source_id, wavelengths={"wide1": -1.0})


def test_beams_are_drawn_with_what_they_were_cut_with_where_no_fit_can_be_done_again(lake, small):
    source_id = small.ids(lake)[0]
    pictures = beam_pictures(SourceRows(lake, [source_id]), source_id)
    assert [one.name for one in pictures] == ["grism0  g141 A", "grism1  g141 A"]
    left = pictures[0].sci - pictures[0].contam - pictures[0].model
    assert abs(float(np.mean(left))) < 0.1
    told = words_of(draw_beams(lake, source_id, most=1))
    assert "1 of 2 beams" in told
    assert "light of others" in told
    with pytest.raises(InvalidInputError, match="most: 0"):
        draw_beams(lake, source_id, most=0)


def test_pixels_of_a_beam_without_data_are_blank_in_what_was_seen_and_what_is_left(lake, small, monkeypatch):
    source_id = small.ids(lake)[0]
    (first, _) = beam_pictures(SourceRows(lake, [source_id]), source_id)
    err = first.err.copy()
    err[:, :5] = 0.0
    monkeypatch.setattr("skymere.viewer.beams.beam_pictures", lambda *_, **__: [replace(first, err=err)])
    axes = draw_beams(lake, source_id).axes
    blank = [np.ma.getmaskarray(one.collections[0].get_array()) for one in axes[1:]]
    for panel, mask in zip(("light", "others", "model", "left"), blank, strict=True):
        assert mask[:, :5].all() == (panel in ("light", "left")), panel
        assert not mask[:, 5:].any()


def test_no_flux_of_a_line_is_outside_its_panel():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    flux = [6.0e-17, 1.0e-18, -9.0e-17]
    lines = pl.DataFrame({"line": ["PaD", "SIII", "Hb"], "flux": flux, "flux_err": [2e-17] * 3, "snr": [2.9, 0.1, -4]})
    lines_panel(axes, lines)
    low, high = axes.get_xlim()
    assert low < min(flux) / 1e-17
    assert high > max(flux) / 1e-17


def test_a_redshift_has_its_curve_its_model_and_its_lines_or_its_reason(lake, small):
    first, second = small.ids(lake)[:2]
    rows = SourceRows(lake, [first])
    z, pdf = pdf_curves(rows, first)["grism"]
    assert z[pdf.argmax()] == pytest.approx(1.08, abs=0.02)
    wave, model = template_of(rows, first, "grism")
    assert wave[model.argmax()] == pytest.approx(1.3, abs=0.02)
    told = words_of(draw_redshift(lake, first))
    for word in ("z = 1.0800", "Ha 12.0", "OIII 1.0", "g141"):
        assert word in told
    rejected = words_of(draw_redshift(lake, second))
    assert "rejected" in rejected
    assert "no p(z)" in rejected
    with pytest.raises(NoDataError, match="no redshift of slit"):
        draw_redshift(lake, first, method="slit")
    with pytest.raises(InvalidInputError, match="grism, slit"):
        draw_redshift(lake, first, method="eye")


def test_mosaics_are_shown_at_the_resolution_of_the_screen(lake):
    whole, small_one = draw_mosaic(lake, "east"), draw_mosaic(lake, "east", screen_pix=64)
    assert "segments outlined" in words_of(whole)
    assert "2 x 2 pixels in one" in words_of(small_one)
    shapes = [figure.axes[0].images[0].get_array().shape for figure in (whole, small_one)]
    assert shapes == [(96, 128, 3), (48, 64, 3)]
    # The axes are in pixels of the mosaic, however many of them are in one of the picture.
    for figure in (whole, small_one):
        assert figure.axes[0].get_xlim() == (-0.5, 127.5)
        assert figure.axes[0].get_ylim() == (-0.5, 95.5)
    # Outlines are orange, in the middle of what is grey.
    picture = whole.axes[0].images[0].get_array()
    assert (np.abs(picture - (0xE6 / 255, 0x9F / 255, 0.0)).max(axis=-1) < 0.01).any()
    plain = draw_mosaic(lake, "east", has_outlines=False, bands=["f140w"]).axes[0].images[0].get_array()
    assert (plain[..., 0] == plain[..., 2]).all()
    weights = draw_weights(lake, "east", bands=["f125w"], screen_pix=64)
    assert weights.axes[0].images[0].get_array().shape == (48, 64)


def test_alignments_show_every_exposure_and_what_failed(lake):
    figure = draw_alignment(lake)
    told = words_of(figure)
    assert "4 exposures, 1 not aligned, median residual 4.0 mas" in told
    assert "exp9" in told
    assert "1 exposures, 0 not aligned" in words_of(draw_alignment(lake, ["exp1"]))


@pytest.mark.parametrize(
    ("draw", "error", "word"),
    [
        (lambda lake, _: draw_source(lake, NOWHERE), NotFoundError, "123 is in none of the tables"),
        (lambda lake, _: draw_sed(lake, NOWHERE), NotFoundError, "123"),
        (lambda lake, ids: draw_beams(lake, ids[3]), NotFoundError, "has no beam"),
        (lambda lake, ids: draw_redshift(lake, ids[3]), NoDataError, "has no redshift"),
        (lambda lake, ids: draw_slit(lake, ids[1]), NotFoundError, r"prism \(rejected"),
        (lambda lake, ids: draw_slit(lake, ids[3]), NotFoundError, "it has none"),
        (lambda lake, ids: draw_source(lake, ids[3], bands=["f999w"]), NotFoundError, "f999w, cutouts are in f125w"),
        (lambda lake, ids: draw_source(lake, ids[3], size_pix=-1), InvalidInputError, "size_pix"),
        (lambda lake, _: draw_mosaic(lake), InvalidInputError, "tile: is missing"),
        (lambda lake, _: draw_mosaic(lake, "north"), NotFoundError, "'north' has no mosaic"),
        (lambda lake, _: draw_mosaic(lake, "east", bands=["f999w"]), NotFoundError, "f999w"),
        (lambda lake, _: draw_mosaic(lake, "east", scale=0.0), InvalidInputError, "scale"),
        (lambda lake, _: draw_weights(lake, "east", screen_pix=0), InvalidInputError, "screen_pix"),
        (lambda lake, _: draw_alignment(lake, ["exp77"]), NotFoundError, "exp77"),
        (lambda lake, _: SourceRows(lake, []), InvalidInputError, "an empty list"),
        (lambda lake, _: SourceRows(lake, [1.5]), InvalidInputError, "whole numbers"),
    ],
)
def test_what_is_not_there_is_named(lake, small, draw, error, word):
    with pytest.raises(error, match=word):
        draw(lake, small.ids(lake))


def test_products_that_were_never_made_are_named(bare):
    for draw in (draw_mosaic, draw_weights, draw_alignment):
        with pytest.raises(NoDataError, match=r"no mosaic was published|the stage align was not run"):
            draw(bare)
    with pytest.raises(NotFoundError, match="is in none of the tables"):
        draw_source(bare, 1)


def lightness(colours):
    """CIE L* of colours, and of what people without red or green cones see of them (Vienot et al. 1999)."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    matrices = (
        np.eye(3),
        np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
        np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
    )
    seen = [np.clip(linear @ matrix.T, 0.0, 1.0) for matrix in matrices]
    y = [one @ (0.2126, 0.7152, 0.0722) for one in seen]
    return seen, [116.0 * np.cbrt(np.maximum(one, 0.008856)) - 16.0 for one in y]


def test_colours_are_told_apart_without_red_or_green_cones():
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    seen, bright = lightness(np.array([to_rgb(one) for one in COLOURS]))
    for linear, light in zip(seen, bright, strict=True):
        chroma = np.stack([light / 100.0, linear[:, 0] ** (1 / 3) - linear[:, 2] ** (1 / 3)], axis=1)
        apart = np.linalg.norm(chroma[:, None] - chroma[None], axis=-1) + 9.0 * np.eye(len(COLOURS))
        assert apart.min() > 0.08
    for name in (WEIGHT, SPECTRUM):
        _, bright = lightness(colormaps[name](np.linspace(0, 1, 64))[:, :3])
        for light in bright:
            assert (np.diff(light) > -0.3).all()
    # Both ends of the map of residuals are dark and its middle is white, for all.
    _, bright = lightness(colormaps[SIGNED]([0.0, 0.5, 1.0])[:, :3])
    for light in bright:
        assert light[1] > 90
        assert max(light[0], light[2]) < 50
    labels = np.array([[0, 1, 2]])
    assert (label_picture(labels, 2)[0, 2] == np.float32([0xE6 / 255, 0x9F / 255, 0.0])).all()
    assert (label_picture(labels, 2)[0, 0] == 0).all()
