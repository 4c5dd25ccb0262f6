"""How an exposure of a grism was taken: what stands in which wheel."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from skymere.errors import FormatError
from skymere.instruments import is_dispersed
from skymere.io._open import open_fits

__all__ = ["GrismSetup", "read_grism_setup"]


@dataclass(frozen=True, kw_only=True)
class GrismSetup:
    """The wheels of an exposure of a grism.

    Parameters
    ----------
    instrument : str
        As in the header.
    grism : str
        The dispersing element, upper case, as G141, GR150C or GRISMR.
    blocking : str
        The filter before the grism of a JWST exposure, upper case; empty for HST.
    module : str
        Module of NIRCam; empty elsewhere.
    chip : int
        Chip of the detector.
    fwcpos : float, optional
        Position of the filter wheel of NIRISS [deg].
    """

    instrument: str
    grism: str
    blocking: str = ""
    module: str = ""
    chip: int = 1
    fwcpos: float | None = None


def read_grism_setup(path: str | Path, *, chip: int | None = None) -> GrismSetup:
    """Return how an exposure of a grism was taken.

    Parameters
    ----------
    path : path-like
        The file.
    chip : int, optional
        Which chip, where the file holds several.

    Raises
    ------
    NotFoundError, StorageError
        When there is no such file, or it may not be read.
    FormatError
        When its headers name no grism.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        primary = hdus[0].header
        second: fits.Header = hdus[1].header if len(hdus) > 1 else primary

        def text(key: str) -> str:
            return str(primary.get(key, second.get(key, ""))).strip().upper()

        elements = {key: text(key) for key in ("FILTER", "PUPIL", "FILTER1", "FILTER2")}
        wheel: Any = primary.get("FWCPOS", second.get("FWCPOS"))
        instrument, module, number = text("INSTRUME"), text("MODULE"), second.get("CCDCHIP", 1)
    grisms = [name for name in elements.values() if is_dispersed(name)]
    if not grisms:
        msg = f"{path}: { ({k: v for k, v in elements.items() if v}) } name no grism"
        raise FormatError(msg)
    others = [elements[key] for key in ("FILTER", "PUPIL") if elements[key] and not is_dispersed(elements[key])]
    return GrismSetup(
        instrument=instrument,
        grism=grisms[0],
        blocking=others[0] if others else "",
        module=module,
        chip=int(number) if chip is None else chip,
        fwcpos=float(wheel) if isinstance(wheel, int | float) else None,
    )
