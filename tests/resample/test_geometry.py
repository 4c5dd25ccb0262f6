"""The geometry that all planes of an object share."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.resample import GEOMETRIES, DrizzleParams, Geometry
from skymere.wcs import Grid, fits_cards


@pytest.mark.parametrize(
    ("size", "pixscale", "n"), [(18.9, 0.1, 189), (8.0, 0.1, 80), (3.0, 0.06, 50), (10.0, 0.03, 333), (0.3, 0.1, 3)]
)
def test_the_number_of_pixels_is_the_nearest_one(size, pixscale, n):
    geometry = Geometry(size=size, pixscale=pixscale)
    assert geometry.shape == (n, n)
    assert geometry.grid(10.0, 2.0).shape == (n, n)


@pytest.mark.parametrize("n", [80, 81])
@pytest.mark.parametrize("rotation", [0.0, 33.0])
def test_the_position_is_the_middle_of_an_odd_grid_and_a_corner_in_an_even_one(n, rotation):
    grid = Geometry(size=n / 10, pixscale=0.1, rotation_deg=rotation).grid(150.3, -41.2)
    x, y = grid.pixels(np.array([150.3]), np.array([-41.2]))
    assert (x[0], y[0]) == pytest.approx(((n - 1) / 2, (n - 1) / 2), abs=1e-6)
    assert grid.scale_arcsec == pytest.approx(0.1, rel=1e-12)


def test_the_preset_is_what_every_entry_point_takes_that_is_told_nothing():
    import inspect

    from skymere.cli.grism_fit import fit, maps, plot
    from skymere.cli.thumbnails import read_geometry, thumbnails

    named = Geometry.preset("lines-1")
    assert Geometry() == Geometry.from_pline({}) == named
    for command in (thumbnails, fit, maps, plot):
        said_by_the_command = inspect.signature(command).parameters["geometry"].default
        assert read_geometry(said_by_the_command) == named
    assert (named.kernel, named.pixfrac, named.pixscale, named.size) == ("point", 0.2, 0.1, 8.0)
    # A preset never changes: this is its digest, and a change of meaning needs a new name.
    assert named.digest[:16] == "630923d94c034fad"
    assert list(GEOMETRIES) == ["lines-1"]


def test_the_digest_knows_every_field_and_is_the_same_in_every_process():
    base = Geometry()
    others = [
        dataclasses.replace(base, **change)
        for change in (
            {"kernel": "square"},
            {"pixfrac": 0.3},
            {"pixscale": 0.05},
            {"size": 8.1},
            {"rotation_deg": 1.0},
            {"wcs": base.grid(1.0, 2.0)},
        )
    ]
    assert len({base.digest, *(one.digest for one in others)}) == 7
    assert len({base, *others, Geometry()}) == 7
    script = "from skymere.resample import Geometry; print(Geometry(size=5).digest)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Geometry(size=5.0).digest
    with pytest.raises(dataclasses.FrozenInstanceError):
        base.size = 9.0


def test_an_explicit_wcs_wins_over_all_the_rest_bit_for_bit():
    header = fits.Header()
    cards = {"CRPIX1": 20.123456789012345, "CRPIX2": 31.1, "CRVAL1": 53.06575002554241, "CRVAL2": -27.720507755199364}
    cards |= {"CD1_1": -2.7777777777777e-05, "CD1_2": 1.1e-7, "CD2_1": 1.3e-7, "CD2_2": 2.77777777777777e-05}
    header.update({"NAXIS": 2, "NAXIS1": 44, "NAXIS2": 61, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", **cards})
    wcs = WCS(header)
    wcs.wcs.crpix, wcs.wcs.crval = [cards["CRPIX1"], cards["CRPIX2"]], [cards["CRVAL1"], cards["CRVAL2"]]
    wcs.array_shape = (61, 44)
    geometry = Geometry(wcs=wcs, size=3.0, pixscale=0.5, rotation_deg=12.0)
    grid = geometry.grid(0.0, 0.0)
    assert geometry.shape == grid.shape == (61, 44)
    assert geometry.pixscale == pytest.approx(0.1, rel=1e-3)
    found = fits_cards(grid.wcs)
    assert {key: found[key] for key in cards} == cards
    assert geometry == Geometry(wcs=grid)


def test_the_geometry_of_every_extension_of_a_real_full_file_is_that_of_its_header(shared_data):
    path = shared_data / "spectra" / "reference" / "grizli" / "ers_line_maps.fits.gz"
    with fits.open(path) as hdus:
        for extension in (None, "LINE", ("LINE", "Hb"), ("DSCI", "F140W"), 6):
            header = hdus[extension if isinstance(extension, tuple) else ("LINE", "OIII")].header
            geometry = Geometry.from_fits(path, extension=extension)
            assert (geometry.kernel, geometry.pixfrac) == (header["DRIZKRNL"].strip(), header["PIXFRAC"])
            # Size from the header: NAXIS1 x PIXASEC.
            assert geometry.size == pytest.approx(header["NAXIS1"] * header["PIXASEC"], rel=1e-12)
            cards = fits_cards(geometry.grid(0.0, 0.0).wcs)
            for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"):
                assert cards[key] == header[key]
        made = Geometry(kernel="point", pixfrac=0.2, size=8.0).grid(hdus[0].header["RA"], hdus[0].header["DEC"])
    x, y = np.meshgrid([0.0, 79.0], [0.0, 79.0])
    # The grid that we make at the same position is grizli's.
    np.testing.assert_allclose(made.pixels(*geometry.grid(0.0, 0.0).sky(x, y)), [x, y], atol=1e-6)


def test_files_without_a_geometry_say_so(shared_data, tmp_path):
    folder = shared_data / "spectra" / "reference" / "grizli"
    with pytest.raises(FormatError, match=r"no image \('LINE', 'Ha'\), it has .*extension LINE,OIII"):
        Geometry.from_fits(folder / "ers_line_maps.fits.gz", extension=("LINE", "Ha"))
    with pytest.raises(InvalidInputError, match="no image of the sky"):
        Geometry.from_fits(folder / "ers_stack_G102.fits.gz", extension="SCI")
    plain = fits.ImageHDU(np.zeros((4, 4), np.float32), name="SCI")
    plain.header.update(fits_cards(Grid.tangent(1.0, 2.0, shape=(4, 4), scale_arcsec=0.1).wcs))
    fits.HDUList([fits.PrimaryHDU(), plain]).writeto(tmp_path / "plain.fits")
    with pytest.raises(InvalidInputError, match="extension SCI,1 has no DRIZKRNL"):
        Geometry.from_fits(tmp_path / "plain.fits")
    with pytest.raises(NotFoundError, match="nowhere"):
        Geometry.from_fits(tmp_path / "nowhere.fits")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kernel": "box"}, "kernel: 'box'"),
        ({"pixfrac": -0.1}, "pixfrac: -0.1"),
        ({"pixscale": 0.0}, "pixscale: 0.0"),
        ({"size": np.inf}, "size: inf"),
        ({"size": 0.01}, "size, pixscale: 0.01 and 0.1"),
        ({"size": 1e9}, "size, pixscale"),
        ({"rotation_deg": np.nan}, "rotation_deg: nan"),
        ({"wcs": WCS(naxis=2)}, "wcs: WCS is not allowed"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(InvalidInputError, match=message):
        Geometry(**values)


def test_a_table_has_the_names_of_pline_and_no_others():
    table = {"kernel": "square", "pixfrac": 0.5, "pixscale": 0.06, "size": 6, "wcs": None}
    geometry = Geometry.from_pline(table)
    assert geometry == Geometry(kernel="square", pixfrac=0.5, pixscale=0.06, size=6.0)
    assert geometry.drizzle == DrizzleParams(kernel="square", pixfrac=0.5)
    assert geometry.with_kernel("turbo") == Geometry(kernel="turbo", pixfrac=0.5, pixscale=0.06, size=6.0)
    with pytest.raises(InvalidInputError, match="unknown key pixel_scale"):
        Geometry.from_pline({"pixel_scale": 0.1})
