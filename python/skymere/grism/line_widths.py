"""Widths of broad and narrow lines in velocity."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NoDataError
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.problem import BeamProblem, Scan
from skymere.grism.template_bank import TemplateBank, as_template_set
from skymere.spectra import IgmTransmission, TemplateSet

__all__ = ["PERMITTED_LINES", "LineWidths", "WidthParams", "fit_line_widths", "with_widths"]

_Array = NDArray[np.float64]

# fmt: off
#: Lines that gas near a black hole emits: of hydrogen and helium, and the resonance lines of the ultraviolet.
PERMITTED_LINES = (
    "Lya", "NV-1240", "CIV-1549", "HeII-1640", "CIII-1906", "CIII-1908", "MgII", "H12", "H11", "H10", "H9", "H8", "H7",
    "HeI-3889", "Hd", "Hg", "HeII-4687", "Hb", "HeI-5877", "Ha", "Ha+NII", "HeI-6680", "HeI-7065", "HeI-8446", "Pa10",
    "Pa9", "Pa8", "PaD", "HeI-1083", "PaG", "PaB", "PaA", "BrF", "BrE", "BrD", "BrG", "BrB", "BrA", "PfE", "PfD", "PfG",
    "PfB",
)
# fmt: on

# Rise of chi square at one sigma, and at the limit that 95 per cent of Gaussian errors are below.
_ONE_SIGMA, _LIMIT = 1.0, 2.706
# Finer grids around the best widths: how much finer, how often, and how far in steps.
_FINER, _N_FINER, _REACH = 3.0, 4, 2
# Steps of the other width [ln] and of crossings.
_STEP, _N_BISECT = 0.1, 12
_SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "group": pl.String,
    "status": pl.String,
    "lines": pl.List(pl.String),
    "snr": pl.Float64,
    "fwhm": pl.Float64,
    "fwhm_err": pl.Float64,
    "fwhm_low": pl.Float64,
    "fwhm_high": pl.Float64,
    "upper_limit": pl.Float64,
    "delta_chi2": pl.Float64,
}


@dataclass(frozen=True, kw_only=True)
class WidthParams:
    """How widths of lines are looked for.

    Parameters
    ----------
    broad : tuple of str
        Lines that share the width of the group ``broad``; all others share that of ``narrow``. Without names there is
        one width for all, of the group ``all``.
    fwhm_range : tuple of float [km/s]
        Least and largest full width at half maximum; a line of the least one must be narrower than a pixel.
    n_grid : int
        Widths of the first grid, even in the logarithm.
    z_half_width, dz : float
        Redshifts that are tried with every width, to either side of that given, and their step in ln(1 + z); 0 for a
        redshift that is known.
    min_snr : float
        A group whose brightest line is fainter has no width.
    min_significance : float
        A width is resolved when chi square of the least width is more than the square of this higher.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    broad: tuple[str, ...] = PERMITTED_LINES
    fwhm_range: tuple[float, float] = (100.0, 10000.0)
    n_grid: int = 13
    z_half_width: float = 0.003
    dz: float = 0.0003
    min_snr: float = 5.0
    min_significance: float = 3.0

    def __post_init__(self) -> None:
        low, high = self.fwhm_range
        if not 0 < low < high < math.inf:
            msg = f"fwhm_range: {self.fwhm_range} is not allowed, it must be two positive widths that rise"
            raise InvalidInputError(msg)
        if self.n_grid < 3:
            msg = f"n_grid: {self.n_grid} is not allowed, it must be 3 or more"
            raise InvalidInputError(msg)
        for name in ("min_snr", "min_significance", "dz"):
            if not 0 < getattr(self, name) < math.inf:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        if not 0 <= self.z_half_width < 1:
            msg = f"z_half_width: {self.z_half_width} is not allowed, it must be 0 or more and below 1"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class LineWidths:
    """Widths of lines.

    Parameters
    ----------
    status : str
        ``ok``; ``no_data`` when no pixel can be fitted, ``no_line`` when no line reaches the beams: then the table has
        no width.
    z : float
        Redshift of the best widths.
    chi2 : float
        Theirs.
    table : polars.DataFrame
        Each group: ``group``, ``status`` (``ok``; ``unresolved``: no broader than a line without width, as far as can
        be told; ``too_faint``; ``at_edge``: as broad as the largest width or more), ``lines`` that reach the beams,
        ``snr`` of the brightest, ``fwhm``, ``fwhm_err``, ``fwhm_low``, ``fwhm_high`` [km/s] (null unless ``ok``),
        ``upper_limit`` [km/s] (95 per cent, of ``unresolved``) and ``delta_chi2``, of no width over the best.
    templates : TemplateSet
        Lines with the widths that were found, for `skymere.grism.fit_lines`: those of groups that are not ``ok`` keep
        theirs.
    """

    status: str
    z: float
    chi2: float
    table: pl.DataFrame
    templates: TemplateSet


def fit_line_widths(
    multibeam: MultiBeam,
    z: float,
    *,
    templates: TemplateSet | str | Path,
    params: WidthParams | None = None,
    fit: FitParams | None = None,
    igm: IgmTransmission | None = None,
) -> LineWidths:
    """Fit the widths of broad and narrow lines in velocity.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    z : float
        The redshift.
    templates : TemplateSet or path-like
        What the source may be made of. A folder means `TemplateSet.load` of it with single lines.
    params : WidthParams, optional
        Groups, widths and limits.
    fit : FitParams, optional
        How to fit; ``bounded`` unless it says another fitter.
    igm : IgmTransmission, optional
        What absorbs continua blueward of 1216 (1 + z) Angstrom.

    Returns
    -------
    LineWidths
        With the status of each group.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.

    Notes
    -----
    For every pair of widths all factors, and the redshift, are fitted: ``chi2(v_b, v_n) = min_z chi2(v_b, v_n, z)``,
    on a grid and then on finer ones around its best pair. Errors are where ``min chi2`` over the other width is 1 above
    the least, limits where it is 2.71 above. They are right where weights are inverse variances: with ``fcontam`` and
    contamination they are too large.

    The light of a line has the image of the source in the direct filter: a line that comes from a larger region than
    the continuum looks broader than it is.

    References
    ----------
    Avni 1976, ApJ 210, 642 (errors of parameters of interest).

    Examples
    --------
    >>> from skymere.grism import fit_line_widths, read_beams
    >>> mb = read_beams("j033216m2743_00152.beams.fits", conf_path="CONF")  # doctest: +SKIP
    >>> fit_line_widths(mb, 1.743, templates="templates").table.select("group", "status")  # doctest: +SKIP
    """
    p, how = params or WidthParams(), fit or FitParams()
    if not -1 < z < np.inf:
        msg = f"z: {z} is not allowed, it must be above -1"
        raise InvalidInputError(msg)
    chosen = as_template_set(templates, line_complexes=False)
    try:
        search = _Search(BeamProblem(multibeam, errors=how.errors), chosen, float(z), p, how, igm)
    except NoDataError:
        return _nothing("no_data", z, chosen)
    if not search.groups:
        return _nothing("no_line", z, chosen)
    best = search.best()
    least, z_best = search.chi2_and_z(best)
    rows = [search.row(name, best) for name in search.groups]
    fwhm = {row["group"]: row["fwhm"] for row in rows if row["status"] == "ok"}
    found = search.templates({name: math.log(width) for name, width in fwhm.items()})
    return LineWidths(status="ok", z=z_best, chi2=least, table=pl.DataFrame(rows, schema=_SCHEMA), templates=found)


def with_widths(lines: pl.DataFrame, widths: LineWidths) -> pl.DataFrame:
    """Return a table of lines with their widths.

    Parameters
    ----------
    lines : polars.DataFrame
        As `skymere.grism.fit_lines` gives it.
    widths : LineWidths
        Of the same beams.

    Returns
    -------
    polars.DataFrame
        With ``width``, ``width_err`` [km/s], null where there is none, and ``width_reason``: why, else empty.
    """
    known = {name: row for row in widths.table.iter_rows(named=True) for name in row["lines"]}
    rows = [known.get(name) for name in lines["line"]]
    reason = [
        widths.status if widths.status != "ok" else "not fitted" if row is None else row["status"] for row in rows
    ]
    return lines.with_columns(
        pl.Series("width", [None if row is None else row["fwhm"] for row in rows], pl.Float64),
        pl.Series("width_err", [None if row is None else row["fwhm_err"] for row in rows], pl.Float64),
        pl.Series("width_reason", ["" if one == "ok" else one for one in reason], pl.String),
    )


def _nothing(status: str, z: float, templates: TemplateSet) -> LineWidths:
    nan = float("nan")
    return LineWidths(status=status, z=z, chi2=nan, table=pl.DataFrame(schema=_SCHEMA), templates=templates)


class _Search:
    """Chi square of widths, each as ln(FWHM) by the name of its group."""

    def __init__(
        self,
        problem: BeamProblem,
        templates: TemplateSet,
        z: float,
        params: WidthParams,
        how: FitParams,
        igm: IgmTransmission | None,
    ) -> None:
        self.problem, self.set, self.z, self.params, self.how, self.igm = problem, templates, z, params, how, igm
        n = round(params.z_half_width / params.dz)
        self.redshifts = (1 + z) * np.exp(params.dz * np.arange(-n, n + 1)) - 1
        self.low, self.high = (math.log(one) for one in params.fwhm_range)
        self.grid = np.linspace(self.low, self.high, params.n_grid)
        self.known: dict[tuple[float, ...], tuple[float, float]] = {}
        reached = self._signal({})
        # A line that is broad is brighter than that of a template that is not.
        broad = self._signal(dict.fromkeys(("broad", "narrow", "all"), 0.5 * (self.grid[-1] + self.grid[-3])))
        self.snr = {name: max(one, broad[name]) for name, one in reached.items()}
        self.groups: dict[str, list[str]] = {}
        for name in reached:
            self.groups.setdefault(self.group(name), []).append(name)
        self.free = [
            name for name, lines in self.groups.items() if max(self.snr[line] for line in lines) >= params.min_snr
        ]

    def group(self, line: str) -> str:
        if not self.params.broad:
            return "all"
        return "broad" if line in self.params.broad else "narrow"

    def templates(self, widths: Mapping[str, float]) -> TemplateSet:
        lines = tuple(
            replace(one, fwhm_km_s=math.exp(widths[self.group(one.name)])) if self.group(one.name) in widths else one
            for one in self.set.lines
        )
        return replace(self.set, lines=lines)

    def _scan(self, widths: Mapping[str, float], z: _Array, *, has_covariance: bool = False) -> Scan:
        bank = TemplateBank.of(self.templates(widths), self.how.profiles, self.igm)
        fitter = self.how.fitter or "bounded"
        return self.problem.scan(bank, z, params=self.how, fitter=fitter, has_covariance=has_covariance)

    def _signal(self, widths: Mapping[str, float]) -> dict[str, float]:
        """Signal over noise of each line that reaches the beams."""
        found = self._scan(widths, np.array([self.z]), has_covariance=True)
        n, first = self.problem.multibeam.N, len(self.set.continua)
        flux, free = found.coefficients[0, n + first :], found.is_free[0, n + first :]
        variance = np.diagonal(found.covariance[0])[first:]
        reaches = free | (found.bound_variance[0, first:] > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            snr = np.where(free & (variance > 0), flux / np.sqrt(variance), 0.0)
        return {one.name: float(snr[i]) for i, one in enumerate(self.set.lines) if reaches[i]}

    def chi2_and_z(self, widths: Mapping[str, float]) -> tuple[float, float]:
        key = tuple(widths[name] for name in self.free)
        if key not in self.known:
            loss = self._scan({name: widths[name] for name in self.free}, self.redshifts).loss
            self.known[key] = _lowest(loss, self.redshifts)
        return self.known[key]

    def chi2(self, widths: Mapping[str, float]) -> float:
        return self.chi2_and_z(widths)[0]

    def best(self) -> dict[str, float]:
        """Return the widths of the least chi square."""
        points = dict.fromkeys(self.free, self.grid)
        step = float(self.grid[1] - self.grid[0])
        widths: dict[str, float] = {}
        for _ in range(_N_FINER + 1):
            trials = [dict(zip(self.free, some, strict=True)) for some in product(*points.values())]
            widths = min(trials, key=self.chi2)
            step /= _FINER
            near = step * np.arange(-_REACH, _REACH + 1)
            points = {name: np.clip(at + near, self.low, self.high) for name, at in widths.items()}
        return widths

    def profile(self, name: str, best: Mapping[str, float]) -> Callable[[float], float]:
        """Chi square of the width of one group, least for those of the others."""
        others = [one for one in self.free if one != name]
        start = dict(best)

        def at(width: float) -> float:
            widths = start | {name: width}
            for other in others:
                widths[other] = self._downhill(widths, other)
                start[other] = widths[other]
            return self.chi2(widths)

        return at

    def _downhill(self, widths: Mapping[str, float], name: str) -> float:
        """Return the width of a group for which chi square is least beside those of the others."""

        def cost(at: float) -> float:
            return self.chi2({**widths, name: at})

        at, step = widths[name], _STEP
        while step > _STEP / 4:
            better = min((at, max(at - step, self.low), min(at + step, self.high)), key=cost)
            if better == at:
                step /= 2
            at = better
        return at

    def row(self, name: str, best: Mapping[str, float]) -> dict[str, Any]:
        lines = self.groups[name]
        snr = max(self.snr[line] for line in lines)
        row: dict[str, Any] = dict.fromkeys(_SCHEMA) | {"group": name, "lines": lines, "snr": snr}
        if name not in self.free:
            return row | {"status": "too_faint"}
        least, at = self.chi2(best), best[name]
        cost = self.profile(name, best)
        rise = cost(self.low) - least
        row["delta_chi2"] = rise
        if rise < self.params.min_significance**2:
            limit = _crossing(self.profile(name, best), at, self.high, least + _LIMIT)
            return row | {"status": "unresolved", "upper_limit": math.exp(limit)}
        if at >= self.high:
            return row | {"status": "at_edge"}
        low, high = (
            math.exp(_crossing(self.profile(name, best), at, end, least + _ONE_SIGMA)) for end in (self.low, self.high)
        )
        return row | {
            "status": "ok",
            "fwhm": math.exp(at),
            "fwhm_err": 0.5 * (high - low),
            "fwhm_low": low,
            "fwhm_high": high,
        }


def _lowest(loss: _Array, z: _Array) -> tuple[float, float]:
    """Return the least value and its place, by the parabola through the three lowest points."""
    i = int(np.argmin(loss))
    if i in (0, loss.size - 1):
        return float(loss[i]), float(z[i])
    u, v = z[i - 1 : i + 2] - z[i], loss[i - 1 : i + 2] - loss[i]
    curve = (v[0] / u[0] - v[2] / u[2]) / (u[0] - u[2])
    if not curve > 0:
        return float(loss[i]), float(z[i])
    slope = v[0] / u[0] - curve * u[0]
    return float(loss[i] - slope**2 / (4 * curve)), float(z[i] - slope / (2 * curve))


def _crossing(cost: Callable[[float], float], inside: float, outside: float, level: float) -> float:
    """Return where a function rises above a level, between a place below it and the end: the end if nowhere."""
    step = math.copysign(_STEP, outside - inside)
    while True:
        beyond = inside + step
        if abs(beyond - outside) >= abs(outside - inside) or (beyond - outside) * step > 0:
            beyond = outside
        if cost(beyond) > level:
            break
        if beyond == outside:
            return outside
        inside, step = beyond, 1.5 * step
    low, high = inside, beyond
    for _ in range(_N_BISECT):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if cost(middle) > level else (middle, high)
        if abs(high - low) < 1e-3:
            break
    return 0.5 * (low + high)
