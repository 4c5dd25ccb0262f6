"""Absorption by neutral hydrogen between a source and us."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_floats
from skymere._rust import spectra as _rust
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import file_digest, find_reference, read_numbers

__all__ = ["IgmTransmission"]

_Array = NDArray[np.float64]
_FOREST, _DAMPED = "LAFcoeff.txt", "DLAcoeff.txt"


@dataclass(frozen=True, kw_only=True, eq=False)
class IgmTransmission:
    """Mean transmission of the matter between galaxies, as a function of wavelength and redshift.

    Parameters
    ----------
    wave : ndarray, float64, shape (n,) [um]
        Vacuum wavelengths at rest of the Lyman series.
    forest : ndarray, float64, shape (n, 3)
        Coefficients of the forest below ``1 + z`` of 2.2, up to 5.7, and above.
    damped : ndarray, float64, shape (n, 2)
        Coefficients of damped systems below ``1 + z`` of 3, and above.
    source : str
        What they are from, as text of a fit's settings.

    Raises
    ------
    InvalidInputError
        When shapes differ, or a value is not positive.

    Notes
    -----
    With ``x = w / w_j``, each line of the series with ``x < 1 + z`` adds ``A_j x^p`` to the optical depth, with p 1.2,
    3.7 and 5.5 of the forest and 2 and 3 of damped systems; below 911.8 Angstrom the Lyman continuum adds eqs.
    25 to 29. The transmission is ``exp(-depth)``.

    References
    ----------
    Inoue et al. 2014, MNRAS 442, 1805, eqs. 15, 20 to 22, 25 to 29 and table 2.
    """

    wave: _Array
    forest: _Array
    damped: _Array
    source: str = "given"

    def __post_init__(self) -> None:
        wave = as_array(self.wave, "wave", np.float64, shape=(None,))
        object.__setattr__(self, "wave", wave)
        for name, n in (("forest", 3), ("damped", 2)):
            object.__setattr__(self, name, as_array(getattr(self, name), name, np.float64, shape=(wave.size, n)))
        for name in ("wave", "forest", "damped"):
            values = getattr(self, name)
            if not (np.all(np.isfinite(values)) and np.all(values > 0)):
                msg = f"{name}: {values.min() if values.size else 'nothing'} is not allowed, all must be positive"
                raise InvalidInputError(msg)
        if not wave.size:
            msg = "wave: an empty list is not allowed, at least one line is needed"
            raise InvalidInputError(msg)

    @classmethod
    def load(cls, path: str | Path | None = None) -> "IgmTransmission":
        """Return the transmission of two files of coefficients.

        Parameters
        ----------
        path : path-like, optional
            Folder of ``LAFcoeff.txt`` (number, wavelength [Angstrom], three coefficients) and ``DLAcoeff.txt`` (two);
            the first reference pack that has them when not given.

        Raises
        ------
        NotFoundError
            When there are no such files; the message says where they were looked for.
        FormatError
            When a file holds something else, or is not the one that its pack means.
        StorageError
            When a file cannot be read.
        """
        if path is None:
            (forest_file, pack), (damped_file, _) = find_reference(_FOREST), find_reference(_DAMPED)
            source = f"pack {pack.label} (sha256 {pack.digest[:12]})"
        else:
            forest_file, damped_file = Path(path) / _FOREST, Path(path) / _DAMPED
            for file in (forest_file, damped_file):
                if not file.is_file():
                    msg = f"{file}: no such file"
                    raise NotFoundError(msg)
            digests = " ".join(file_digest(file)[:12] for file in (forest_file, damped_file))
            source = f"{path} (sha256 {digests})"
        forest, damped = _read(forest_file, 5), _read(damped_file, 4)
        if forest.shape[0] != damped.shape[0] or np.any(forest[:, 1] != damped[:, 1]):
            msg = f"{damped_file}: its lines are not those of {forest_file}"
            raise FormatError(msg)
        try:
            return cls(wave=forest[:, 1] * 1e-4, forest=forest[:, 2:], damped=damped[:, 2:], source=source)
        except InvalidInputError as error:
            msg = f"{forest_file}, {damped_file}: {error}"
            raise FormatError(msg) from error

    def transmission(self, wave: ArrayLike, z: float) -> _Array:
        """Return the part of the light of a source that arrives.

        Parameters
        ----------
        wave : array_like, float64, shape (n,) [um]
            Observed wavelengths.
        z : float
            Redshift of the source.

        Raises
        ------
        InvalidInputError
            When the redshift is not 0 or more, or wavelengths are not positive.
        """
        places = as_floats(wave, "wave", shape=(None,))
        if not 0 <= z < np.inf:
            msg = f"z: {z} is not allowed, it must be 0 or more"
            raise InvalidInputError(msg)
        if not np.all(places > 0):
            msg = f"wave: {places.min()} is not allowed, wavelengths must be positive"
            raise InvalidInputError(msg)
        return self.kernel.transmission(np.ascontiguousarray(places), z)

    def nodes(self, low: float, high: float) -> _Array:
        """Return where the transmission is to be known so that it is straight in between.

        Parameters
        ----------
        low, high : float [um]
            Limits at rest.

        Returns
        -------
        ndarray, float64, shape (n,) [um]
            Wavelengths at rest, both sides of each edge among them; none above the longest that is absorbed.

        Raises
        ------
        InvalidInputError
            When the limits are not positive.
        """
        if not (0 < low < np.inf and 0 < high < np.inf):
            msg = f"low, high: {low}, {high} are not allowed, they must be positive"
            raise InvalidInputError(msg)
        return np.array(self.kernel.nodes(low, min(high, float(self.wave.max()))), np.float64)

    @cached_property
    def kernel(self) -> _rust.Igm:
        """What the fits use."""
        return _rust.Igm(
            [
                (float(w), tuple(map(float, f)), tuple(map(float, d)))  # type: ignore[misc]
                for w, f, d in zip(self.wave, self.forest, self.damped, strict=True)
            ]
        )


def _read(path: Path, n_columns: int) -> _Array:
    table = read_numbers(path)
    if table.ndim != 2 or table.shape[1] != n_columns or not table.size:
        msg = f"{path}: shape {table.shape} is not allowed, it must have rows of {n_columns} numbers"
        raise FormatError(msg)
    return table
