"""Tables of a group: what its files say, and what was done to each exposure."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import polars as pl

from skymere.datamodels import Slitlet
from skymere.slit.arrays import AppliedCorrections, SlitArrays
from skymere.slit.geometry import nod_index, slit_trace

__all__ = ["applied_table", "slit_info", "slit_metadata"]

_INFO_SCHEMA = {
    "filename": pl.String,
    "visit": pl.String,
    "xstart": pl.Int64,
    "ystart": pl.Int64,
    "ny": pl.Int64,
    "nx": pl.Int64,
    "nod_type": pl.String,
    "primary_type": pl.String,
    "position_number": pl.Int64,
    "total_points": pl.Int64,
    "x_offset": pl.Float64,
    "y_offset": pl.Float64,
    "detector": pl.String,
    "filter": pl.String,
    "grating": pl.String,
    "lamp_mode": pl.String,
    "msa_metadata_file": pl.String,
    "msa_metadata_id": pl.Int64,
    "msa_configuration_id": pl.Int64,
    "source_ra": pl.Float64,
    "source_dec": pl.Float64,
    "source_xpos": pl.Float64,
    "source_ypos": pl.Float64,
    "shutter_state": pl.String,
    "slitlet_id": pl.Int64,
    "x_position": pl.Float64,
    "y_position": pl.Float64,
    "y_index": pl.Int64,
}


def slit_info(slitlets: Sequence[Slitlet]) -> pl.DataFrame:
    """Return what the files of a group say, a row for each exposure, with the names of msaexp's ``info``.

    Parameters
    ----------
    slitlets : sequence of Slitlet
        The exposures.

    Returns
    -------
    polars.DataFrame
        Names of files, corners (1-based, as the header has them) and shapes of the cutouts, dither, instrument, source
        and shutters; ``x_position`` and ``y_position`` are the dithers rounded to 0.1 arcsec, ``y_index`` the rank of
        the latter, from 1.
    """
    index = nod_index([one.exposure.y_offset for one in slitlets])
    rows = []
    for one, rank in zip(slitlets, index, strict=True):
        exposure, place, source = one.exposure, one.place, one.source
        name = one.path.rpartition("/")[2]
        rows.append(
            {
                "filename": name,
                "visit": name.partition("_")[0],
                "xstart": place.x0 + 1,
                "ystart": place.y0 + 1,
                "ny": one.shape[0],
                "nx": one.shape[1],
                "nod_type": exposure.nod_type,
                "primary_type": exposure.pattern_type,
                "position_number": exposure.position_number,
                "total_points": exposure.n_positions,
                "x_offset": exposure.x_offset,
                "y_offset": exposure.y_offset,
                "detector": exposure.detector,
                "filter": exposure.filter,
                "grating": exposure.grating,
                "lamp_mode": exposure.lamp_mode,
                "msa_metadata_file": exposure.msa_file,
                "msa_metadata_id": exposure.msa_metadata_id,
                "msa_configuration_id": exposure.msa_configuration_id,
                "source_ra": source.ra,
                "source_dec": source.dec,
                "source_xpos": source.x_position,
                "source_ypos": source.y_position,
                "shutter_state": place.shutter_state,
                "slitlet_id": place.slitlet_id,
                "x_position": round(exposure.x_offset * 10) / 10,
                "y_position": round(exposure.y_offset * 10) / 10,
                "y_index": int(rank),
            }
        )
    return pl.DataFrame(rows, schema=_INFO_SCHEMA)


def slit_metadata(slitlets: Sequence[Slitlet], arrays: SlitArrays) -> pl.DataFrame:
    """Return geometry, shutter, source, instrument, exposure, pointing and dither, a row for each exposure.

    Parameters
    ----------
    slitlets : sequence of Slitlet
        The exposures.
    arrays : SlitArrays
        Their corrected arrays.

    Returns
    -------
    polars.DataFrame
        The names of msaexp's table ``SLITS``; numbers that a file lacks are null.
    """
    head = slitlets[arrays.frame]
    rows_of_trace = [slit_trace(head.geometry.slit_y, head.wavelength, center=0.0).y]
    if np.isfinite(head.source.y_position):
        rows_of_trace.append(slit_trace(head.geometry.slit_y, head.wavelength, center=head.source.y_position).y)
    ypixel = float(np.nanmedian(rows_of_trace[-1] - rows_of_trace[0]))
    info = slit_info(slitlets).drop("visit", "x_position", "y_position", "y_index", "lamp_mode", "ny", "nx")
    ny, nx = arrays.slit_y.shape
    rows = [
        {
            "nx": nx,
            "ny": ny,
            **{f"trace_c{j}": float(c) for j, c in enumerate(arrays.base_coeffs[k])},
            "slit_pixel_scale": arrays.pixel_scale_arcsec,
            "source_ypixel_position": ypixel,
            "source_id": one.source.source_id,
            "source_name": one.source.name,
            "source_type": one.source.kind,
            "shutter_id": one.place.shutter_id,
            "slit_ymin": one.place.y_min,
            "slit_ymax": one.place.y_max,
            "quadrant": one.place.quadrant,
            "xcen": one.place.column,
            "ycen": one.place.row,
            "xsize": one.shape[1],
            "ysize": one.shape[0],
            "exposure_time": one.exposure.exptime,
            "nframes": one.exposure.n_frames,
            "ngroups": one.exposure.n_groups,
            "nints": one.exposure.n_integrations,
            "readpatt": one.exposure.read_pattern,
            "start_time": one.exposure.start_mjd,
            "ra_v1": one.exposure.ra_v1,
            "dec_v1": one.exposure.dec_v1,
            "pa_v3": one.exposure.pa_v3,
        }
        for k, one in enumerate(slitlets)
    ]
    return pl.concat([info, pl.DataFrame(rows)], how="horizontal").with_columns(pl.col(pl.Float64).fill_nan(None))


def applied_table(applied: Sequence[AppliedCorrections]) -> pl.DataFrame:
    """Return what was done to each exposure as a table of typed columns.

    Parameters
    ----------
    applied : sequence of AppliedCorrections
        Of each exposure, `SlitArrays.applied`.

    Returns
    -------
    polars.DataFrame
        The fields of `AppliedCorrections`; ``n_flagged`` is a column ``n_REASON`` for each reason that occurs.
    """
    kinds = {"str": pl.String, "int": pl.Int64, "bool": pl.Boolean, "float": pl.Float64}
    types = {f.name: str(getattr(f.type, "__name__", f.type)) for f in fields(AppliedCorrections)}
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        name: kinds.get(kind, pl.List(pl.Int64)) for name, kind in types.items() if name != "n_flagged"
    }
    reasons = sorted({reason for one in applied for reason in one.n_flagged})
    rows = [
        {name: list(value) if isinstance(value := getattr(one, name), tuple) else value for name in schema}
        | {f"n_{reason}": one.n_flagged.get(reason, 0) for reason in reasons}
        for one in applied
    ]
    return pl.DataFrame(rows, schema=schema | {f"n_{reason}": pl.Int64 for reason in reasons})
