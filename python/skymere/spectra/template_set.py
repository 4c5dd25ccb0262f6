"""Sets of templates from files: continua of galaxies or stars, and lines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.io import Pack, read_numbers
from skymere.spectra.line_list import COMPLEXES, DEFAULT_LINES, LINES
from skymere.spectra.templates import LineComplex, Profile, TabulatedTemplate, Template

__all__ = ["LineList", "TemplateSet"]

_FSPS = tuple(f"fsps/fsps_QSF_12_v3_nolines_{i:03d}.dat" for i in range(1, 13))
_OLDER = ("eazy_intermediate.dat", "cvd12_t11_solar_Chabrier.dat", "post_starburst.dat", "erb2010_continuum.dat")
_ALF = "alf_SSP.dat"
_STARS = tuple(f"stars/{kind}.txt" for kind in ("M6.5", "M8.0", "L1.0", "L3.5", "L6.0", "T2.0", "T6.0", "T7.5"))


@dataclass(frozen=True, kw_only=True)
class LineList:
    """Lines by name, and which of them are used.

    Parameters
    ----------
    lines : mapping of str to LineComplex
        All lines and complexes.
    default : tuple of str
        Lines that each get a flux of their own.
    complexes : tuple of str
        Groups of lines with fixed ratios for a search of redshifts.
    source : str
        Where they are from.

    Raises
    ------
    InvalidInputError
        When ``default`` or ``complexes`` name a line that is not there.
    """

    lines: Mapping[str, LineComplex]
    default: tuple[str, ...]
    complexes: tuple[str, ...]
    source: str = "skymere"

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", MappingProxyType(dict(self.lines)))
        for what in ("default", "complexes"):
            self.choose(getattr(self, what), what)

    @classmethod
    def own(cls) -> "LineList":
        """Return the list of this package."""
        return cls(lines={**LINES, **COMPLEXES}, default=DEFAULT_LINES, complexes=tuple(COMPLEXES))

    @classmethod
    def read(cls, path: str | Path) -> "LineList":
        """Read a list of lines.

        Parameters
        ----------
        path : path-like
            A JSON file as grizli's list: ``lines``, by name ``wave`` [vacuum Angstrom] and ``ratio``;
            ``default_line_list`` and ``complexes``, names. Of lines with more wavelengths than ratios those with a
            ratio count, as in grizli.

        Raises
        ------
        NotFoundError, StorageError
            When it cannot be read.
        FormatError
            When it holds something else.
        """
        path = Path(path)
        if not path.is_file():
            msg = f"{path}: no such file"
            raise NotFoundError(msg)
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            lines = {}
            for name, one in tree["lines"].items():
                n = min(len(one["wave"]), len(one["ratio"]))
                wave, ratio = (tuple(float(v) for v in one[key][:n]) for key in ("wave", "ratio"))
                # A line without flux is none.
                kept = [(1e-4 * w, r) for w, r in zip(wave, ratio, strict=True) if r > 0]
                lines[name] = LineComplex(name=name, wave=tuple(w for w, _ in kept), ratio=tuple(r for _, r in kept))
            return cls(
                lines=lines,
                default=tuple(tree["default_line_list"]),
                complexes=tuple(tree["complexes"]),
                source=str(path),
            )
        except OSError as error:
            msg = f"{path}: cannot be read: {error.strerror or error}"
            raise StorageError(msg) from error
        except (ValueError, KeyError, TypeError, AttributeError, InvalidInputError) as error:
            msg = f"{path}: not a list of lines ({type(error).__name__}: {error})"
            raise FormatError(msg) from error

    def choose(self, names: Sequence[str], what: str = "lines") -> tuple[LineComplex, ...]:
        """Return lines by their names.

        Parameters
        ----------
        names : sequence of str
            The names.
        what : str, optional
            How a message calls them.

        Raises
        ------
        InvalidInputError
            When one is not there, or ``names`` is a text.
        """
        if isinstance(names, str):
            msg = f"{what}: {names!r} is not allowed, it must be a list of names"
            raise InvalidInputError(msg)
        if unknown := [name for name in names if name not in self.lines]:
            msg = f"{what}: {unknown} are not known, they must be of {', '.join(self.lines)}"
            raise InvalidInputError(msg)
        return tuple(self.lines[name] for name in names)


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateSet:
    """Continua and lines that are fitted together.

    Parameters
    ----------
    continua : tuple of TabulatedTemplate
        Spectra at rest.
    lines : tuple of LineComplex
        Lines, each with its width.
    is_stellar : bool
        Stars: their redshift is 0.
    source : str
        What they are from, as text of a fit's settings.

    Raises
    ------
    InvalidInputError
        When it is empty.
    """

    continua: tuple[TabulatedTemplate, ...]
    lines: tuple[LineComplex, ...] = ()
    is_stellar: bool = False
    source: str = "given"

    def __post_init__(self) -> None:
        if not self.templates:
            msg = "continua, lines: empty lists are not allowed, at least one template is needed"
            raise InvalidInputError(msg)

    @property
    def templates(self) -> tuple[Template, ...]:
        """All, continua first."""
        return (*self.continua, *self.lines)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return (*(one.name for one in self.continua), *(one.name for one in self.lines))

    @classmethod
    def load(
        cls,
        path: str | Path | Pack,
        *,
        fwhm_km_s: float = 1200.0,
        line_complexes: bool = True,
        stars: bool = False,
        lines: Sequence[str] | LineList | None = None,
        continua: Sequence[str] | None = None,
        fsps: bool = True,
        lorentz: bool = False,
        alf: bool = False,
    ) -> "TemplateSet":
        """Read a set of templates.

        Parameters
        ----------
        path : path-like or Pack
            Folder of the files, as ``templates`` of grizli, or a reference pack that has them. Columns of a file are
            the wavelength at rest [vacuum Angstrom] and f_lambda.
        fwhm_km_s : float, optional
            Width of lines in velocity, full width at half maximum [km/s].
        line_complexes : bool, optional
            True: groups of lines with fixed ratios, for a search of redshifts (grizli's T0); False: each line by
            itself, for fluxes (T1).
        stars : bool, optional
            M, L and T dwarfs without lines.
        lines : sequence of str or LineList, optional
            Lines instead of those, by name; or a list whose default lines and complexes are taken. ``../lines.json``
            beside the folder, or ``lines.json`` of the pack, says what lines there are, or else this package.
        continua : sequence of str, optional
            Files instead of the set, in ``path``.
        fsps : bool, optional
            The twelve spectra of stellar populations; False: four older ones.
        lorentz : bool, optional
            Lines are Lorentzians of that width, and not Gaussians.
        alf : bool, optional
            An old metal-rich population of the code alf (``alf_SSP.dat``), beside the set.

        Raises
        ------
        NotFoundError
            When a file is missing; the message says which.
        StorageError, FormatError
            When a file cannot be read, or holds something else.
        InvalidInputError
            When a line is not known, stars are to have lines, or ``continua`` leave no place for ``alf``.

        Examples
        --------
        >>> t0 = TemplateSet.load("templates")  # doctest: +SKIP
        >>> t1 = TemplateSet.load("templates", line_complexes=False)  # doctest: +SKIP
        """
        place = path if isinstance(path, Pack) else Path(path)
        if isinstance(place, Path) and not place.is_dir():
            msg = f"path: {str(path)!r}: no such folder"
            raise NotFoundError(msg)
        if stars and lines is not None:
            msg = f"lines: {lines!r} are not allowed with stars"
            raise InvalidInputError(msg)
        if isinstance(continua, str):
            msg = f"continua: {continua!r} is not allowed, it must be a list of files"
            raise InvalidInputError(msg)
        if alf and (stars or continua is not None):
            msg = f"alf: True is not allowed with {'stars' if stars else 'continua'}; {_ALF} may be named in continua"
            raise InvalidInputError(msg)
        files = (_STARS if stars else _FSPS if fsps else _OLDER) if continua is None else tuple(continua)
        if alf:
            _check_alf(place)
            files = (*files, _ALF)
        source = place.label if isinstance(place, Pack) else str(place)
        chosen: tuple[LineComplex, ...] = ()
        if not stars:
            listed = lines if isinstance(lines, LineList) else _line_list(place)
            if lines is None or isinstance(lines, LineList):
                names: Sequence[str] = listed.complexes if line_complexes else listed.default
            else:
                names = lines
            profile: Profile = "lorentzian" if lorentz else "gaussian"
            chosen = tuple(replace(line, fwhm_km_s=fwhm_km_s, profile=profile) for line in listed.choose(names))
            source += f", lines of {listed.source}, {fwhm_km_s:g} km/s{', Lorentzian' if lorentz else ''}"
        return cls(
            continua=tuple(_read_continuum(place, file) for file in files),
            lines=chosen,
            is_stellar=stars,
            source=source,
        )


def _check_alf(place: Path | Pack) -> None:
    names = [PurePosixPath(file).name for file in place.files] if isinstance(place, Pack) else []
    if _ALF not in names and not (isinstance(place, Path) and (place / _ALF).is_file()):
        where = f"the pack {place.label} in {place.folder}" if isinstance(place, Pack) else str(place)
        msg = f"alf: {_ALF} is missing, it was looked for in {where}; grizli has it in data/templates"
        raise NotFoundError(msg)


def _line_list(place: Path | Pack) -> LineList:
    if isinstance(place, Pack):
        has = any(PurePosixPath(file).name == "lines.json" for file in place.files)
        return LineList.read(place.path("lines.json")) if has else LineList.own()
    file = place.resolve().parent / "lines.json"
    return LineList.read(file) if file.is_file() else LineList.own()


def _read_continuum(place: Path | Pack, file: str) -> TabulatedTemplate:
    path = place.path(PurePosixPath(file).name) if isinstance(place, Pack) else place / file
    table = read_numbers(path)
    if table.shape[1] < 2:
        msg = f"{path}: {table.shape[1]} column is not allowed, it must be wavelength and flux"
        raise FormatError(msg)
    try:
        return TabulatedTemplate(name=file, wave=1e-4 * table[:, 0], flux=table[:, 1])
    except InvalidInputError as error:
        msg = f"{path}: {error}"
        raise FormatError(msg) from error
