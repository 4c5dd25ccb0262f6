"""What is fuzzed: for each kind of file a reader, and small files to begin with."""

import gzip
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from skymere.datamodels import Beam
from skymere.io import read_beam_file, read_exposures, read_mosaic, read_msa_metafile, read_table, write_beam_file
from skymere.pipeline import read_plan
from skymere.regions import read_regions
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Parameters
    ----------
    name : str
        Of the file that the reader is given.
    read : callable
        The reader; it gets the path.
    seeds : callable
        Makes the first files, as bytes, in the folder that it is given.
    is_fits : bool
        Whether cards and blocks are changed, not only bytes.
    """

    name: str
    read: Callable[[Path], Any]
    seeds: Callable[[Path], list[bytes]]
    is_fits: bool = True


_PLANS = (
    b'[survey]\nexposures = ["a_flt.fits"]\nlake = "lake"\n\n[tile]\nkind = "healpix"\nscale_arcsec = 0.08\n',
    b"""[survey]
exposures = []
[outliers]
ignore_dq = ["hot"]
cosmic_rays = false
[mosaic.drizzle]
kernel = "square"
pixfrac = 0.8
[psf]
source = "moffat"
fwhm_arcsec = 0.14
[profiles]
band = "f160w"
[photometry]
bands = ["f105w"]
[[photometry.images]]
band = "irac1"
image = "irac1.fits"
psf = "psf.fits"
photometry.shift.method = "joint"
[slits]
files = ["slits"]
group.min_bar = 0.5
[contam]
files = ["grism/*_flt.fits"]
conf = "CONF"
[redshifts.grism]
templates = "templates/"
z_range = [0.5, 2.5]
[maps]
size = 4.0
[release]
name = "DR1"
""",
)
_REGIONS = (
    b'# Region file format: DS9\nglobal color=green\nfk5\ncircle(150.1,2.2,1.5")\nellipse(10:00:24.0,+02:12:00,2",1",30)\n',
    b"image\npolygon(1,2,30,4,30,40,1,40) # text={a star} tag={bad}\nbox(10,10,5,7,45)\n-circle(12,12,3)\n",
    b"icrs;annulus(150.1d,2.2d,1',2') # color=red\nphysical\npoint(3,4) # point=x\nline(1,2,3,4)\n",
)


def _exposures(folder: Path) -> list[bytes]:
    camera = CameraParams(shape=(12, 14), n_bad_pixels=3, n_dead_pixels=1, n_cosmic_rays=1)
    pointing = Pointing(name="sim00000q", band="f125w", ra=10.0, dec=-5.0, pa_deg=20.0)
    scene = draw_scene(10.0, -5.0, params=SceneParams(n_galaxies=1, n_stars=1, radius_arcsec=1.0))
    path = folder / "sim00000q_f125w_flt.fits"
    write_exposure(render_exposure(scene, pointing, params=camera), pointing, path, params=camera)
    with fits.open(path) as hdus:
        plain = [
            fits.ImageHDU(hdu.data, header=fits.Header(card for card in hdu.header.cards if card.keyword[0] != "Z"))
            for hdu in hdus[1:4]
        ]
        for image, hdu in zip(plain, hdus[1:4], strict=True):
            image.name = hdu.name
        return [path.read_bytes(), _bytes_of([fits.PrimaryHDU(header=hdus[0].header), *plain])]


def _mosaics(folder: Path) -> list[bytes]:
    del folder
    cards = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CRPIX1": 5.0,
        "CRPIX2": 5.0,
        "CD1_1": -2e-5,
        "CD2_2": 2e-5,
        "BUNIT": "ELECTRONS/S",
        "PHOTFLAM": 1.9e-20,
        "PHOTPLAM": 15369.0,
        "EXPTIME": 100.0,
        "FILTER": "F160W",
    }
    pixels = np.arange(90, dtype=np.float32).reshape(9, 10)
    hdus = [fits.PrimaryHDU(header=fits.Header(cards)), fits.ImageHDU(pixels, fits.Header(cards), name="SCI")]
    hdus += [fits.ImageHDU(pixels, name="WHT"), fits.ImageHDU(pixels.astype(np.int32), name="CTX")]
    return [_bytes_of(hdus), _bytes_of([fits.PrimaryHDU(pixels, fits.Header(cards))])]


def _tables(folder: Path) -> list[bytes]:
    del folder
    columns = [
        fits.Column("id", "J", array=np.arange(3)),
        fits.Column("RA", "D", unit="deg", array=np.linspace(150, 151, 3)),
        fits.Column("name", "5A", array=["a", "bb", "ccc"]),
        fits.Column("flux", "4E", unit="uJy", array=np.ones((3, 4))),
        fits.Column("ok", "L", array=[True, False, True]),
        fits.Column("n", "I", null=-1, bzero=32768, array=np.array([1, 2, 3], np.uint16)),
        fits.Column("some", "PJ()", array=np.array([[1], [1, 2], [3, 4, 5]], dtype=object)),
    ]
    binary = fits.BinTableHDU.from_columns(columns, name="CAT")
    text = fits.TableHDU.from_columns([fits.Column("id", "I5", array=[1, 2]), fits.Column("x", "F8.3", array=[1.5, 2])])
    return [_bytes_of([fits.PrimaryHDU(), binary]), _bytes_of([fits.PrimaryHDU(), text])]


def _metafiles(folder: Path) -> list[bytes]:
    del folder
    return [gzip.decompress((DATA / "jw09999001001_01_msa.fits.gz").read_bytes())]


def _beams(folder: Path) -> list[bytes]:
    side, columns = 6, 11
    rng = np.random.default_rng(1)
    direct = rng.random((side, side)).astype(np.float32)
    pixels = rng.random((side, columns)).astype(np.float32)
    cards = "EXPTIME =                100.0\nINSTRUME= 'WFC3    '\nFILTER  = 'G141    '\n"
    beam = Beam(
        source_id=7,
        order="A",
        direct=direct,
        segmentation=np.full((side, side), 7, np.int32),
        sci=pixels,
        err=np.ones_like(pixels),
        dq=np.zeros((side, columns), np.uint32),
        contam=np.zeros_like(pixels),
        origin=(10, 20),
        grism_origin=(10, 40),
        pad=(0, 0),
        center_offset=(0.0, 0.0),
        x_shift=0.0,
        y_shift=0.0,
        fwcpos=None,
        mw_ebv=0.0,
        instrument="WFC3",
        grism="G141",
        pupil="",
        module="",
        direct_filter="F140W",
        chip=1,
        parent="a_flt.fits",
        direct_parent="b_flt.fits",
        exptime=100.0,
        config_name="G141.F140W.conf",
        trace=np.stack([np.linspace(1.1, 1.7, columns), np.full(columns, 3.0), np.ones(columns)], axis=1),
        model=None,
        direct_planes={},
        headers={"primary": "", "beam": "", "direct": "", "grism": cards},
    )
    path = folder / "a_00007.beams.fits"
    write_beam_file(path, [beam, beam])
    return [path.read_bytes()]


def _bytes_of(hdus: list[Any]) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(out)
    return out.getvalue()


TARGETS = {
    "plan": Target("plan.toml", read_plan, lambda _: list(_PLANS), is_fits=False),
    "regions": Target("a.reg", read_regions, lambda _: list(_REGIONS), is_fits=False),
    "exposure": Target("sim00000q_flt.fits", read_exposures, _exposures),
    "mosaic": Target("a_drz.fits", read_mosaic, _mosaics),
    "table": Target("a.fits", read_table, _tables),
    "metafile": Target("jw09999001001_01_msa.fits", read_msa_metafile, _metafiles),
    "beams": Target("a_00007.beams.fits", read_beam_file, _beams),
}
