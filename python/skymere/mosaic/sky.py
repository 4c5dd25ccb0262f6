"""Step 2: the sky level of every exposure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_mask
from skymere.background import PedestalParams, estimate_pedestal
from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, NoDataError
from skymere.mosaic.sky_match import SkyPair, cell_means, match_levels
from skymere.resample import covering_grid

__all__ = ["SkyParams", "SkySolution", "require_connected", "solve_sky", "subtractable_sky"]

SkyMethod = Literal["localmin", "globalmin", "match", "globalmin+match", "user", "none"]


@dataclass(frozen=True, kw_only=True)
class SkyParams:
    """Parameters of `solve_sky`.

    Parameters
    ----------
    method : str
        ``localmin``: every exposure its own level, the lowest of its chips; ``globalmin``: the lowest of all for each;
        ``match``: what makes overlaps equal, 0 for the lowest exposure of a group that hangs together;
        ``globalmin+match``: that, and then the lowest level of the group; ``user``: given values; ``none``: 0.
    pedestal : PedestalParams
        Statistic, limits and clipping of a level, and of the difference in an overlap.
    user : tuple of (str, float)
        Exposure and its sky, for the method ``user`` [unit of the exposures].
    ignore_dq : tuple of str or None
        Names of DQ bits that count as good for the sky; None = those of the other steps.
    cell_pix : int
        Overlaps are compared in cells of so many native pixels on a side, so that sources cancel.
    min_cells : int
        Exposures with fewer common cells do not overlap.
    disconnected : str
        When not all exposures hang together through overlaps: ``error`` raises, ``apart`` gives each group a level of
        its own.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    method: SkyMethod = "localmin"
    pedestal: PedestalParams = field(default_factory=PedestalParams)
    user: tuple[tuple[str, float], ...] = ()
    ignore_dq: tuple[str, ...] | None = None
    cell_pix: int = 8
    min_cells: int = 4
    disconnected: Literal["error", "apart"] = "error"

    def __post_init__(self) -> None:
        if self.method not in get_args(SkyMethod):
            msg = f"method: {self.method!r} is not allowed, it must be one of {', '.join(get_args(SkyMethod))}"
            raise InvalidInputError(msg)
        if bool(self.user) != (self.method == "user"):
            msg = f"user: {len(self.user)} values are not allowed with method {self.method!r}; 'user' needs some"
            raise InvalidInputError(msg)
        for name in ("cell_pix", "min_cells"):
            if getattr(self, name) < 1:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be at least 1"
                raise InvalidInputError(msg)
        if self.disconnected not in ("error", "apart"):
            msg = f"disconnected: {self.disconnected!r} is not allowed, it must be 'error' or 'apart'"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class SkySolution:
    """The sky of every exposure, and how it was found.

    Parameters
    ----------
    levels : tuple of float
        To be subtracted from each exposure [unit of the exposures].
    method : str
        The method.
    groups : tuple of tuple of str
        Exposures that hang together through overlaps; every exposure for itself, where overlaps were not looked at.
        Between groups of a match nothing is known.
    pairs : tuple of SkyPair
        The overlaps that were compared.
    """

    levels: tuple[float, ...]
    method: SkyMethod
    groups: tuple[tuple[str, ...], ...]
    pairs: tuple[SkyPair, ...] = ()

    @property
    def n_groups(self) -> int:
        """Number of groups that do not overlap with each other."""
        return len(self.groups)

    @property
    def rms(self) -> float:
        """Weighted rms of what is left of the differences in the overlaps [unit / arcsec^2, or / pixel]."""
        n = sum(pair.n_cells for pair in self.pairs)
        return float(np.sqrt(sum(p.n_cells * p.residual**2 for p in self.pairs) / n)) if n else 0.0


def solve_sky(
    exposures: Sequence[Exposure],
    *,
    params: SkyParams | None = None,
    ignore_dq: Iterable[str] = (),
    masks: Sequence[ArrayLike] | None = None,
    groups: Mapping[str, str] | None = None,
) -> SkySolution:
    """Return the sky of each exposure, and which exposures hang together.

    Parameters
    ----------
    exposures : sequence of Exposure
        In rates, so that levels of different exposure times compare; taken one at a time.
    params : SkyParams, optional
        Method, statistic and clipping.
    ignore_dq : iterable of str, optional
        DQ bits that count as good.
    masks : sequence of array_like, bool, optional
        More pixels of each exposure that do not count.
    groups : mapping of str to str, optional
        Group of an exposure, such as the chips of one camera, which get one level; each by itself when not given.

    Raises
    ------
    InvalidInputError
        When masks or user values are missing.
    NoDataError
        When an exposure has no good pixel.

    Notes
    -----
    A match minimises sum n_ij (D_ij - s_i + s_j)^2 over the overlapping pairs through the pseudo-inverse, with D_ij the
    clipped statistic of the difference of i and j in n_ij common cells of the sky. Levels compare as rates per area of
    the sky and are returned in the unit of each exposure (AstroDrizzle compares before and stores after the conversion
    of units). It takes D as a difference of two levels instead; there sources do not cancel.

    References
    ----------
    Gonzaga et al. 2012, The DrizzlePac Handbook, section 4.2.3.
    """
    p = params or SkyParams()
    if masks is not None and len(masks) != len(exposures):
        msg = f"masks: {len(masks)} masks are not allowed, there are {len(exposures)} exposures"
        raise InvalidInputError(msg)
    keep = tuple(ignore_dq if p.ignore_dq is None else p.ignore_dq)

    def bad_pixels(i: int, exposure: Exposure) -> NDArray[np.bool_]:
        bad = exposure.mask(ignore=keep)
        return bad if masks is None else bad | as_mask(masks[i], "masks", shape=exposure.shape)

    seen = [_look(exposure, p, partial(bad_pixels, i)) for i, exposure in enumerate(exposures)]
    names = _checked_names(seen)
    owner = [(groups or {}).get(one.name, one.group) for one in seen]
    if p.method not in ("match", "globalmin+match"):
        levels = _in_units(_simple_levels(seen, owner, p), seen)
        return SkySolution(levels=levels, method=p.method, groups=tuple((name,) for name in names))
    pixel_arcsec = covering_grid(exposures[:1]).scale_arcsec
    grid = covering_grid(exposures, scale_arcsec=p.cell_pix * pixel_arcsec)
    cells = [
        cell_means(exposure, one.area, bad_pixels(i, exposure), grid, p.pedestal.limits)
        for i, (exposure, one) in enumerate(zip(exposures, seen, strict=True))
    ]
    matched = match_levels(cells, owner, params=p.pedestal, min_cells=p.min_cells)
    chosen = list(matched.levels)
    if p.method == "globalmin+match":
        # What is left after matching is the same in a whole group, but for noise and diffuse light; the lowest counts.
        for members in matched.members:
            floor = min(seen[i].level - chosen[i] for i in members)
            for i in members:
                chosen[i] += floor
    return SkySolution(
        levels=_in_units(chosen, seen),
        method=p.method,
        groups=tuple(tuple(names[i] for i in members) for members in matched.members),
        pairs=matched.pairs,
    )


def require_connected(solution: SkySolution, *, params: SkyParams) -> None:
    """Raise when the levels of a match must not be subtracted.

    Parameters
    ----------
    solution : SkySolution
        The levels.
    params : SkyParams
        ``disconnected`` is used.

    Raises
    ------
    InvalidInputError
        When exposures that are matched do not all hang together, and ``disconnected`` is ``error``.
    """
    if solution.n_groups > 1 and params.disconnected == "error" and params.method in ("match", "globalmin+match"):
        text = "; ".join(", ".join(group) for group in solution.groups)
        msg = (
            f"exposures: they form {solution.n_groups} groups without common sky, whose levels cannot be matched: "
            f"{text}. Combine the groups by themselves, or set disconnected='apart', which gives each its own level"
        )
        raise InvalidInputError(msg)


def subtractable_sky(
    exposures: Sequence[Exposure],
    *,
    params: SkyParams | None = None,
    ignore_dq: Iterable[str] = (),
    groups: Mapping[str, str] | None = None,
) -> list[float]:
    """Return the sky to be subtracted from each exposure [unit of the exposures]; see `solve_sky`.

    Parameters
    ----------
    exposures, params, ignore_dq, groups
        As in `solve_sky`.

    Raises
    ------
    InvalidInputError
        When exposures that are matched do not all hang together, and ``disconnected`` is ``error``.
    NoDataError
        When an exposure has no good pixel.
    """
    p = params or SkyParams()
    solution = solve_sky(exposures, params=p, ignore_dq=ignore_dq, groups=groups)
    require_connected(solution, params=p)
    return list(solution.levels)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What is kept of an exposure: its pixel's area [arcsec^2] and own level [unit / arcsec^2]."""

    name: str
    group: str
    area: float
    level: float


def _look(exposure: Exposure, p: SkyParams, bad_pixels: Callable[[Exposure], NDArray[np.bool_]]) -> _Seen:
    # The size of a pixel may be unknown; then all are taken as equal.
    area = exposure.native_scale_arcsec**2 if np.isfinite(exposure.native_scale_arcsec) else 1.0
    level = 0.0
    if p.method in ("localmin", "globalmin", "globalmin+match"):
        try:
            level = estimate_pedestal(exposure.data, mask=bad_pixels(exposure), params=p.pedestal).level / area
        except NoDataError as error:
            msg = f"exposures: {exposure.exposure_id} has no good pixel for the sky: {error}"
            raise NoDataError(msg) from None
    group = exposure.group or exposure.exposure_id
    return _Seen(name=exposure.exposure_id, group=group, area=area, level=level)


def _checked_names(seen: Sequence[_Seen]) -> list[str]:
    names = [one.name for one in seen]
    if not names or len(set(names)) < len(names):
        msg = f"exposures: {names} are not allowed, there must be at least one, each with a name of its own"
        raise InvalidInputError(msg)
    return names


def _simple_levels(seen: Sequence[_Seen], owner: Sequence[str], p: SkyParams) -> list[float]:
    """Return the level of each exposure that needs no overlaps, per area."""
    if p.method == "user":
        given = dict(p.user)
        if set(given) != {one.name for one in seen}:
            msg = f"user: values for {sorted(given)} are not allowed, they must be for {sorted(o.name for o in seen)}"
            raise InvalidInputError(msg)
        return [given[one.name] / one.area for one in seen]
    if p.method == "globalmin":
        return [min(one.level for one in seen)] * len(seen)
    return [min(other.level for other, o in zip(seen, owner, strict=True) if o == mine) for mine in owner]


def _in_units(levels: Sequence[float], seen: Sequence[_Seen]) -> tuple[float, ...]:
    return tuple(float(level * one.area) for level, one in zip(levels, seen, strict=True))
