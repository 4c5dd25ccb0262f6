"""PSFs of exposures by a short text, as the command line and plans name them."""

from dataclasses import replace
from pathlib import Path

from skymere.errors import InvalidInputError
from skymere.mosaic.exposure_list import ExposureList
from skymere.psf import GaussianPsf, MoffatPsf, PsfSource, build_psf, read_psf, read_psf_grid, recentred

__all__ = ["named_psf", "named_psf_file"]

_ALLOWED = "stars, gaussian:FWHM, moffat:FWHM:BETA, grid:FILE or image:FILE"


def named_psf(
    text: str, band: str, *, exposures: ExposureList | None = None, folder: Path | None = None, where: str = "psf"
) -> PsfSource:
    """Return the PSF of the exposures of a band.

    Parameters
    ----------
    text : str
        ``stars`` of the exposures, ``gaussian:FWHM``, ``moffat:FWHM:BETA`` [arcsec], ``grid:FILE`` (STDPSF) or
        ``image:FILE``; ``{band}`` in it stands for the filter.
    band : str
        Filter, lower case.
    exposures : ExposureList, optional
        What ``stars`` are found in.
    folder : Path, optional
        Where relative files begin; the working folder when not given.
    where : str, optional
        Name of the text in errors.

    Returns
    -------
    Psf, PsfGrid, GaussianPsf or MoffatPsf
        Those of files moved so that their centroid is where a source is said to be.

    Raises
    ------
    InvalidInputError
        When the text is not one of these, or stars are to be found in no exposures.
    NotFoundError, StorageError, FormatError
        When a file is missing, or is no PSF.
    NoDataError
        When there are too few stars.
    """
    kind, _, rest = text.partition(":")
    if kind == "stars" and not rest:
        if exposures is None:
            msg = f"{where}: 'stars' is not allowed here, no exposures are given to find them in"
            raise InvalidInputError(msg)
        usable = (exposures.table["band"] == band) & (exposures.table["status"] == "ok")
        return build_psf(exposures[i] for i in usable.arg_true().to_list())[0]
    # Positions of catalogues are centroids, and libraries have theirs up to a tenth of a pixel beside the middle.
    path = named_psf_file(text, band, folder=folder)
    if path is not None and kind == "grid":
        grid = read_psf_grid(path, band)
        return replace(grid, psfs=tuple(recentred(one) for one in grid.psfs))
    if path is not None:
        return recentred(read_psf(path))
    numbers = rest.split(":")
    try:
        if kind == "gaussian" and len(numbers) == 1:
            return GaussianPsf(fwhm_arcsec=float(numbers[0]))
        if kind == "moffat" and len(numbers) == 2:
            return MoffatPsf(fwhm_arcsec=float(numbers[0]), beta=float(numbers[1]))
    except ValueError as error:
        msg = f"{where}: {text!r} is not allowed: {error}"
        raise InvalidInputError(msg) from error
    msg = f"{where}: {text!r} is not allowed, it must be {_ALLOWED}"
    raise InvalidInputError(msg)


def named_psf_file(text: str, band: str, *, folder: Path | None = None) -> Path | None:
    """Return the file that a text names for a band; None when it names none.

    Parameters
    ----------
    text, band, folder
        As in `named_psf`.
    """
    kind, _, rest = text.partition(":")
    return (folder or Path()) / rest.replace("{band}", band) if kind in ("grid", "image") and rest else None
