"""What a file of another tool is, by what it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from astropy.io import fits

from skymere.errors import FormatError
from skymere.io import file_digest, open_fits

__all__ = ["ForeignFile", "Kind", "look_at"]


class Kind(StrEnum):
    """Products of other tools that a lake takes in."""

    mosaic = "mosaic"
    segmentation = "segmentation"
    beams = "beams"
    full = "full"
    spectra = "1D"
    stacks = "stack"
    slit_spectrum = "spec"


_KNOWN = (
    "mosaics of DrizzlePac (SCI and WHT; NAME_drz_sci.fits beside NAME_drz_wht.fits), segmentations (det_seg.fits), "
    "beams.fits, full.fits, stack.fits and 1D.fits of grizli, and spec.fits of msaexp; tables of sources go in with "
    "`skymere lake import`"
)


@dataclass(frozen=True, kw_only=True)
class ForeignFile:
    """A file, and what it holds.

    Parameters
    ----------
    path : Path
        The file.
    kind : Kind
        What it is.
    sha256 : str
        Its digest.
    weight : Path or None
        File of the weights of a mosaic whose image is alone.
    """

    path: Path
    kind: Kind
    sha256: str
    weight: Path | None = None

    def told(self, tile: str, status: str, message: str) -> dict[str, str]:
        """Return how it went for the file, as a row of what `import_files` answers."""
        return {"file": str(self.path), "product": self.kind.value, "tile": tile, "status": status, "message": message}


def look_at(paths: Sequence[Path]) -> list[ForeignFile]:
    """Return what files hold, in their order; headers are read alone. Weights beside images go with those.

    Parameters
    ----------
    paths : sequence of Path
        The files.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When one is missing or unreadable, or is none of the products that are known.
    """
    weights = {path: weight for path in paths if (weight := _weight_of(path)) is not None}
    wanted = [path for path in paths if path not in weights.values()]
    return [
        ForeignFile(path=path, kind=_kind(path, weights.get(path)), sha256=file_digest(path), weight=weights.get(path))
        for path in wanted
    ]


def _weight_of(path: Path) -> Path | None:
    """Return the file of weights that stands beside an image."""
    stem, found, rest = path.name.rpartition("_sci.fits")
    weight = path.with_name(f"{stem}_wht.fits{rest}")
    return weight if found and weight.is_file() else None


def _kind(path: Path, weight: Path | None) -> Kind:
    with open_fits(path) as hdus:
        names = {hdu.name for hdu in hdus}
        tests = {
            Kind.slit_spectrum: "SPEC1D" in names,
            Kind.full: bool(names & {"ZFIT_STACK", "DSCI", "LINE"}),
            Kind.stacks: {"SCI", "WHT", "KERNEL"} <= names,
            Kind.mosaic: {"SCI", "WHT"} <= names or weight is not None,
            Kind.beams: "COUNT" in hdus[0].header and {"SCI", "SEG", "DQ"} <= names,
            Kind.spectra: any({"wave", "flux", "flat"} <= _columns(hdu) for hdu in hdus),
            Kind.segmentation: _has_labels(hdus),
        }
    for kind, is_it in tests.items():
        if is_it:
            return kind
    msg = f"{path}: its extensions {sorted(names)} are those of no product that can be imported: {_KNOWN}"
    raise FormatError(msg)


def _columns(hdu: Any) -> set[str]:
    return {name.lower() for name in hdu.columns.names} if isinstance(hdu, fits.BinTableHDU) else set()


def _has_labels(hdus: fits.HDUList) -> bool:
    """Whether the one image of a file has whole numbers."""
    images = [hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 2]
    return len(images) == 1 and images[0].header["BITPIX"] > 0
