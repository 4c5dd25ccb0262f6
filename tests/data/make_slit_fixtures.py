"""Write the slit files that no real data are at hand for; run once, where jwst 1.16 is installed.

Multi-slit ``_cal`` files of an MSA exposure (a source, a background slitlet, a single shutter) and of fixed slits, and
an MSA metafile. All numbers are made: SCI is ``100 * slit + row + column / 1000``. ``python make_slit_fixtures.py``
"""

import gzip
import shutil
from pathlib import Path

import gwcs
import jwst.datamodels as dm
import numpy as np
from astropy import coordinates, units
from astropy.io import fits
from astropy.modeling import models
from gwcs import coordinate_frames as frames

HERE = Path(__file__).parent
SHAPE = (20, 48)
STEP_UM = 0.1
FIRST_UM = 0.7
SHUTTER_SCALE = 0.2
PIXEL_ARCSEC = 0.1
WIDTH_PIX = 2.0  # columns by which light moves when the source moves by one slit width


def slit_wcs(center_row: float) -> gwcs.WCS:
    """Return coordinates with wavelength linear in x and the slit along y, both ways."""
    to_slit = models.Mapping((0, 1, 0), n_inputs=2) | (
        (models.Scale(0.0) & models.Shift(-center_row) & models.Identity(1))
        | (
            models.Identity(1)
            & models.Scale(SHUTTER_SCALE)
            & models.Polynomial1D(1, c0=FIRST_UM * 1e-6, c1=STEP_UM * 1e-6)
        )
    )
    per_column = 1 / (STEP_UM * 1e-6)
    column = models.Mapping((0, 2), n_inputs=3) | models.Polynomial2D(
        1, c0_0=-FIRST_UM / STEP_UM, c1_0=-WIDTH_PIX, c0_1=per_column
    )
    row = models.Mapping((1,), n_inputs=3) | models.Scale(1 / SHUTTER_SCALE) | models.Shift(center_row)
    to_slit.inverse = models.Mapping((0, 1, 2, 0, 1, 2)) | column & row
    arcsec = PIXEL_ARCSEC / SHUTTER_SCALE
    to_v23 = models.Scale(0.2) & models.Scale(arcsec) & models.Scale(1e6)
    to_sky = (
        (models.Scale(1 / 3600) | models.Shift(150.0))
        & (models.Scale(1 / 3600) | models.Shift(2.0))
        & models.Identity(1)
    )
    detector = frames.Frame2D(name="detector", unit=(units.pix, units.pix))

    def three(name: str, unit: units.UnitBase) -> frames.CompositeFrame:
        plane = frames.Frame2D(name=f"{name}_spatial", axes_order=(0, 1), unit=(unit, unit))
        return frames.CompositeFrame(
            [plane, frames.SpectralFrame(name=f"{name}_spectral", axes_order=(2,), unit=(units.um,))], name=name
        )

    sky = frames.CelestialFrame(name="sky", axes_order=(0, 1), reference_frame=coordinates.ICRS())
    world = frames.CompositeFrame(
        [sky, frames.SpectralFrame(name="spectral", axes_order=(2,), unit=(units.um,))], name="world"
    )
    return gwcs.WCS(
        [
            (detector, to_slit),
            (three("slit_frame", units.dimensionless_unscaled), to_v23),
            (three("v2v3vacorr", units.arcsec), to_sky),
            (world, None),
        ]
    )


def slit_model(number: int, **attributes) -> dm.SlitModel:
    rows, columns = np.indices(SHAPE)
    slit = dm.SlitModel()
    slit.data = (100 * number + rows + columns / 1000).astype(np.float32)
    slit.dq = np.zeros(SHAPE, np.uint32)
    slit.dq[3, 5] = 1 << 29
    slit.err = np.full(SHAPE, 3.0, np.float32)
    slit.var_rnoise = np.full(SHAPE, 4.0, np.float32)
    slit.var_poisson = np.full(SHAPE, 4.0, np.float32)
    slit.var_flat = np.full(SHAPE, 1.0, np.float32)
    slit.wavelength = (FIRST_UM + STEP_UM * columns).astype(np.float32)
    slit.pathloss_uniform = np.full(SHAPE, 0.5, np.float32)
    slit.pathloss_point = np.full(SHAPE, 0.25, np.float32)
    slit.meta.wcs = slit_wcs(9.0 + number / 10)
    slit.meta.photometry.pixelarea_steradians = 5e-13
    slit.meta.photometry.pixelarea_arcsecsq = 0.0213
    for name, value in attributes.items():
        setattr(slit, name, value.copy() if isinstance(value, np.ndarray) else value)
    return slit


def exposure(kind: str, slits: list[dm.SlitModel], **instrument) -> dm.MultiSlitModel:
    model = dm.MultiSlitModel()
    model.meta.telescope = "JWST"
    model.meta.instrument.name = "NIRSPEC"
    model.meta.instrument.detector = "NRS1"
    for name, value in instrument.items():
        setattr(model.meta.instrument, name, value)
    model.meta.exposure.type = kind
    model.meta.exposure.exposure_time = 500.0
    model.meta.dither.y_offset = 0.5
    model.meta.dither.x_offset = 0.1
    model.meta.dither.position_number = 2
    for slit in slits:
        model.slits.append(slit)
    return model


def save(model: dm.MultiSlitModel, name: str) -> None:
    path = HERE / name
    model.save(str(path))
    with path.open("rb") as raw, gzip.GzipFile(path.with_name(f"{name}.gz"), "wb", mtime=0) as packed:
        shutil.copyfileobj(raw, packed)
    path.unlink()


def multi_slit() -> None:
    bars = np.broadcast_to(np.where(np.arange(SHAPE[0]) % 5 == 0, 0.5, 1.0)[:, None], SHAPE).astype(np.float32)
    common = {"xsize": SHAPE[1], "ysize": SHAPE[0], "xstart": 401, "barshadow": bars}
    save(
        exposure(
            "NRS_MSASPEC",
            [
                slit_model(1, name="11", slitlet_id=11, source_id=77, source_name="9999_77", source_ra=150.0, source_dec=2.0,
                           source_xpos=0.2, source_ypos=-0.1, source_type="POINT", shutter_state="1x1", quadrant=3,
                           xcen=365, ycen=40, shutter_id=365 + 39 * 365, slit_ymin=-2.2, slit_ymax=2.2, ystart=101, **common),
                slit_model(2, name="12", slitlet_id=12, source_id=12, source_name="9999_BKG12", source_ra=0.0,
                           source_dec=0.0, source_xpos=0.0, source_ypos=0.0, source_type="EXTENDED", shutter_state="1x1",
                           quadrant=1, xcen=5, ycen=60, shutter_id=5 + 59 * 365, ystart=301, **common),
                slit_model(3, name="13", slitlet_id=13, source_id=78, source_name="9999_78", source_ra=150.1, source_dec=2.1,
                           source_xpos=0.0, source_ypos=0.0, source_type="EXTENDED", shutter_state="x", quadrant=4,
                           xcen=100, ycen=2, shutter_id=100 + 365, ystart=1901, **common),
            ],
            grating="PRISM", filter="CLEAR", lamp_mode="MSASPEC", msa_metadata_file="jw09999001001_01_msa.fits",
            msa_metadata_id=1,
        ),
        "jw09999001001_02101_00002_nrs1_cal.fits",
    )  # fmt: skip


def fixed_slits() -> None:
    common = {"xsize": SHAPE[1], "ysize": SHAPE[0], "xstart": 1001, "source_ra": 150.0, "source_dec": 2.0}
    model = exposure(
        "NRS_FIXEDSLIT",
        [
            slit_model(1, name="S200A1", source_id=1, source_type="POINT", ystart=1061, **common),
            slit_model(2, name="S400A1", source_id=2, source_type="EXTENDED", ystart=1161, **common),
        ],
        grating="G395M", filter="F290LP", lamp_mode="FIXEDSLIT",
    )  # fmt: skip
    model.meta.aperture.name = "NRS_S200A1_SLIT"
    model.meta.ref_file.fflat.name = "jwst_nirspec_fflat_0001_ext.fits"
    save(model, "jw09999002001_02101_00001_nrs1_cal.fits")


def metafile() -> None:
    shutters = np.zeros((730, 342), np.int16)
    shutters[0, 0] = 1
    info = {
        "slitlet_id": ("I", [11, 11, 11, 12, 12, 12]),
        "msa_metadata_id": ("I", [1] * 6),
        "shutter_quadrant": ("I", [3, 3, 3, 1, 1, 1]),
        "shutter_row": ("I", [365, 365, 365, 5, 5, 5]),
        "shutter_column": ("I", [39, 40, 41, 59, 60, 61]),
        "source_id": ("J", [77, 77, 77, 0, 0, 0]),
        "background": ("A", ["Y", "N", "Y", "Y", "Y", "Y"]),
        "shutter_state": ("6A", ["OPEN"] * 6),
        "estimated_source_in_shutter_x": ("E", [np.nan, 0.7, np.nan, np.nan, np.nan, np.nan]),
        "estimated_source_in_shutter_y": ("E", [np.nan, 0.4, np.nan, np.nan, np.nan, np.nan]),
        "dither_point_index": ("I", [1] * 6),
        "primary_source": ("A", ["N", "Y", "N", "N", "N", "N"]),
    }
    sources = {
        "program": ("J", [9999, 9999]),
        "source_id": ("J", [77, 78]),
        "source_name": ("15A", ["9999_77", "9999_78"]),
        "alias": ("31A", ["77", "78"]),
        "ra": ("D", [150.0, 150.1]),
        "dec": ("D", [2.0, 2.1]),
        "preimage_id": ("30A", ["None", "None"]),
        "stellarity": ("E", [1.0, 0.0]),
    }

    def table(columns: dict, name: str) -> fits.BinTableHDU:
        made = [fits.Column(name=key, format=form, array=np.array(values)) for key, (form, values) in columns.items()]
        return fits.BinTableHDU.from_columns(made, name=name)

    hdus = [fits.PrimaryHDU(), fits.ImageHDU(shutters, name="SHUTTER_IMAGE")]
    hdus += [table(info, "SHUTTER_INFO"), table(sources, "SOURCE_INFO")]
    hdus[0].header.update({"TELESCOP": "JWST", "INSTRUME": "NIRSPEC", "PROGRAM": "09999"})
    path = HERE / "jw09999001001_01_msa.fits"
    fits.HDUList(hdus).writeto(path, overwrite=True)
    with path.open("rb") as raw, gzip.GzipFile(path.with_name(f"{path.name}.gz"), "wb", mtime=0) as packed:
        shutil.copyfileobj(raw, packed)
    path.unlink()


if __name__ == "__main__":
    multi_slit()
    fixed_slits()
    metafile()
