"""Beams from files, with the configurations that they need."""

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from skymere.datamodels import ANGSTROM, Beam, GrismConfig, GrismOrder
from skymere.errors import InvalidInputError, NotFoundError
from skymere.grism.beam import BeamModel
from skymere.grism.multibeam import MultiBeam
from skymere.grism.params import BeamParams
from skymere.instruments import config_names
from skymere.io import read_beam_file, read_config

__all__ = ["find_config", "read_beams"]

# What names of configurations tell of the grism; those of NIRCam tell nothing.
_GRISMS = ("G102", "G141", "G800L", "GR150C", "GR150R")
_TRACE_DEGREE = 3


def read_beams(
    path: str | Path | Sequence[str | Path], *, conf_path: str | Path | None = None, params: BeamParams | None = None
) -> MultiBeam:
    """Read the beams of a source.

    Parameters
    ----------
    path : path-like or sequence of path-like
        ``beams.fits`` of grizli, or several of one source.
    conf_path : path-like, optional
        A configuration by one of its names, or a folder of them; else they are looked for under the name that the file
        gives, and in the reference packs (``SKYMERE_PACKS``).
    params : BeamParams, optional
        Masks, weights and the operator.

    Returns
    -------
    MultiBeam
        The beams. Where a configuration or its order is missing and the file has a table TRACE, that stands in, with a
        warning and an entry of ``records``.

    Raises
    ------
    NotFoundError
        When a file is missing, or a configuration, order or sensitivity is and there is no TRACE; the message says
        which, and where it was looked for.
    InvalidInputError
        When the beams are of several sources, or the configuration is that of another grism.
    FormatError, StorageError
        When a file cannot be read.

    Examples
    --------
    >>> from skymere.grism import read_beams
    >>> mb = read_beams("j033216m2743_00152.beams.fits", conf_path="CONF")  # doctest: +SKIP
    >>> mb.N, mb.Ngrism  # doctest: +SKIP
    (2, {'G102': 1, 'G141': 1})
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    records: list[str] = []
    configs = cache(find_config)
    models = []
    for beam in (beam for one in paths for beam in read_beam_file(one)):
        folder = "" if conf_path is None else str(conf_path)
        names: tuple[str, ...] = (beam.config_name,) if beam.config_name else ()
        grism, blocking = _elements(beam)
        names += config_names(beam.instrument, grism, blocking, module=beam.module or "A", chip=beam.chip)
        try:
            order, from_trace = _order(configs(folder, names), beam.order), False
        except NotFoundError as error:
            if beam.trace is None:
                msg = f"{beam.label}: {error}; the file has no TRACE either"
                raise NotFoundError(msg) from None
            order, from_trace = _order_of_trace(beam), True
            record = f"{beam.label}: TRACE of the file stands in: {error}"
            records.append(record)
            warnings.warn(record, stacklevel=2)
        models.append(BeamModel(_moved(beam) if from_trace else beam, order, params=params, from_trace=from_trace))
    return MultiBeam(models, records=records)


def _order(config: GrismConfig, name: str) -> GrismOrder:
    if name not in config.orders:
        msg = f"{config.name} has the orders {', '.join(config.orders)}, not {name}"
        raise NotFoundError(msg)
    return config.orders[name]


def _elements(beam: Beam) -> tuple[str, str]:
    """Return the grism and the filter: JWST has one in each wheel."""
    if beam.instrument == "NIRCAM":
        return beam.pupil, beam.grism
    if beam.instrument == "NIRISS":
        return beam.grism, beam.pupil
    return beam.grism, beam.direct_filter


def find_config(folder: str | Path, names: tuple[str, ...]) -> GrismConfig:
    """Return the first configuration of these names that there is.

    Parameters
    ----------
    folder : path-like
        Where it is looked for before the reference packs; a file of such a name is read itself.
    names : tuple of str
        Its possible names, the best first.

    Raises
    ------
    NotFoundError
        When there is none, or it lacks a sensitivity; the message says where they were looked for.
    InvalidInputError
        When the name of a file is that of another grism.
    FormatError
        When a file is not what it should be.
    """
    if folder and Path(folder).is_file():
        named = {word for word in _GRISMS if word in Path(folder).name.upper()}
        wanted = [Path(name).name for name in names]
        if named and not any(word in name.upper() for word in named for name in wanted):
            msg = f"conf_path: {folder} is of {', '.join(sorted(named))} and not allowed here, such as {wanted[0]} is"
            raise InvalidInputError(msg)
        return read_config(folder)
    missing = []
    for name in names:
        places = [Path(folder) / name, Path(folder) / Path(name).name] if folder else [Path(name)]
        found = next((place for place in places if place.is_file()), None)
        try:
            return read_config(name if found is None else found)
        except NotFoundError as error:
            # A configuration that is there and lacks a sensitivity is not replaced by another.
            if found is not None:
                raise
            missing.append(f"{error} (nor in {folder})" if folder else str(error))
    raise NotFoundError("; ".join(missing[:1]) or "no name of a configuration is known for this instrument")


def _moved(beam: Beam) -> Beam:
    """Return a beam whose TRACE has all shifts in it."""
    from dataclasses import replace

    return replace(beam, x_shift=0.0, y_shift=0.0, fwcpos=None)


def _order_of_trace(beam: Beam) -> GrismOrder:
    """Return an order with the trace, wavelengths and sensitivity of a table, straight or bent a little."""
    if beam.trace is None:
        msg = f"{beam.label}: no TRACE"
        raise NotFoundError(msg)
    wave, rows, sensitivity = beam.trace.T
    first = beam.first_offset
    # The table holds offsets from the source, which is not in the middle of a pixel.
    dx = np.arange(wave.size) + first - (beam.direct.shape[1] // 2 - 1) + beam.center_offset[0]
    scale = float(np.abs(dx).max())
    fit = [np.polynomial.polynomial.polyfit(dx / scale, values, _TRACE_DEGREE) for values in (rows, wave / ANGSTROM)]
    rising = np.argsort(wave)
    step = np.abs(np.gradient(wave / ANGSTROM))
    return GrismOrder(
        name=beam.order,
        form="parametric",
        terms={
            "terms": [[[0.0], [scale]], [[c] for c in fit[0]], [[c] for c in fit[1]]],
            "quarters": 0,
            "centre": [0.0, 0.0],
            "offset": None,
            "wheel": None,
            "to_angstrom": 1.0,
        },
        first=first,
        end=first + beam.n_columns,
        wavelength=np.ascontiguousarray(wave[rising] / ANGSTROM),
        sensitivity=np.ascontiguousarray((sensitivity / step)[rising]),
        file=f"TRACE of {beam.label}",
    )
