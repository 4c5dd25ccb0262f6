"""Contamination of whole frames from the data themselves: spectra of all sources, bright to faint."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere._rust import threads as _threads
from skymere.datamodels import ANGSTROM
from skymere.errors import InvalidInputError, SkymereError
from skymere.grism.beam import BeamModel
from skymere.grism.extraction import BeamCutParams, cut_beam, source_size
from skymere.grism.frames import GrismFrame, Spectrum
from skymere.grism.frames_scene import FrameScene
from skymere.grism.multibeam import MultiBeam
from skymere.grism.params import BeamParams

__all__ = ["RefineParams", "Refinement", "SpectrumOf", "refine_contamination"]

_Array = NDArray[np.float64]
# Rows around a stamp that traces may cross.
_TRACE_ROWS = 8
_N_GRID = 400
_ROUNDS = 3
_LINE_ROUNDS, _NARROW_ROUNDS = 4, 8
_TIP = np.array([0.0, 1.0, 0.0])
# Nodes of the search around one that stands out in which a line may be.
_AROUND = 1.5
_LEAST_KEPT = 0.5
_LEAST_SEEN = 0.7

SpectrumOf = Callable[[MultiBeam], Spectrum | None]
"""Gives wavelengths [um] and flux densities [erg/s/cm2/A] of the source of some beams, None where it cannot."""


@dataclass(frozen=True, kw_only=True)
class RefineParams:
    """How spectra of sources are found for the contamination.

    Parameters
    ----------
    degree : int
        Degree of the polynomial of the first passes.
    n_polynomial : int
        Passes with polynomials.
    n_lines : int
        Passes after them with nodes for lines above the polynomial, straight between.
    node_pixels : float
        Distance of the nodes with which lines are looked for, in columns of the detector.
    line_node_pixels : float
        Distance of the nodes of a line that was found: a broader one would spread its light along the trace.
    prior : float
        1 sigma of the coefficients of a polynomial around the flat spectrum of the direct image, relative to it.
    line_prior : float
        1 sigma of a node above the polynomial, relative to the direct image; lines are bright.
    line_sigma : float
        A node joins the lines where it lowers chi2 by more than the square of this.
    min_line : float
        And where it is higher than this, relative to the direct image: models of bright sources are not exact.
    background_sigma : float
        1 sigma of the background of each beam, in errors of a pixel.
    max_ratio : float
        A spectrum that is brighter than so many times the direct image at its pivot wavelength is not taken.
    min_snr : float
        Sources whose spectrum, all pixels together, has less than this keep what they had before: that of an earlier
        pass, or the flat one of the direct image.
    clip_sigma : float
        Pixels farther off do not count.
    n_threads : int
        Sources that are fitted at the same time; 0 = as many as `skymere.get_num_threads` says.
    extract : BeamCutParams
        Sizes, masks and weights of the beams; their operator is that of the frames.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    degree: int = 3
    n_polynomial: int = 2
    n_lines: int = 2
    node_pixels: float = 2.0
    line_node_pixels: float = 0.5
    prior: float = 1.0
    line_prior: float = 3.0
    line_sigma: float = 5.0
    min_line: float = 0.2
    background_sigma: float = 0.1
    max_ratio: float = 5.0
    min_snr: float = 5.0
    clip_sigma: float = 6.0
    n_threads: int = 0
    extract: BeamCutParams = field(
        default_factory=lambda: BeamCutParams(
            beam=BeamParams(fcontam=0.1, sys_err=0.02, mask_resid=False, contam_sn_mask=(1e6, 3.0))
        )
    )

    def __post_init__(self) -> None:
        for name in ("degree", "n_polynomial", "n_lines", "n_threads"):
            if getattr(self, name) < 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or more"
                raise InvalidInputError(msg)
        if not 0 < self.line_node_pixels <= self.node_pixels:
            msg = f"line_node_pixels: {self.line_node_pixels} is not allowed, it must be from 0 to node_pixels"
            raise InvalidInputError(msg)
        for name in ("prior", "line_prior", "line_sigma", "background_sigma", "max_ratio", "clip_sigma"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class Refinement:
    """Frames with refined models, and what became of every source.

    Parameters
    ----------
    frames : tuple of GrismFrame
        The frames.
    spectra : mapping of int to (ndarray, ndarray)
        Wavelengths [um] and flux densities [erg/s/cm2/A] of the sources that have one.
    table : DataFrame
        ``id, pass, status, chi2, n_pixels, n_beams, snr``: each fit; ``status`` is ok, faint, rejected, no_beam or
        failed.
    """

    frames: tuple[GrismFrame, ...]
    spectra: Mapping[int, Spectrum]
    table: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class _Result:
    source_id: int
    status: str
    spectrum: Spectrum | None = None
    chi2: float = float("nan")
    n_pixels: int = 0
    n_beams: int = 0
    snr: float = 0.0


def refine_contamination(
    frames: Sequence[GrismFrame],
    *,
    spectrum_of: SpectrumOf | None = None,
    params: RefineParams | None = None,
) -> Refinement:
    """Return frames whose model of all sources is made of spectra that were fitted to the frames, bright to faint.

    Parameters
    ----------
    frames : sequence of GrismFrame
        All frames of a field; they are not changed.
    spectrum_of : callable, optional
        Called last for every source with its beams, such as a fit of templates; what it returns replaces the spectrum.
        A source for which it raises a `SkymereError` keeps its own and has the status failed.
    params : RefineParams, optional
        Passes, degree and priors.

    Returns
    -------
    Refinement
        The frames, spectra, and a row for every fit.

    Raises
    ------
    InvalidInputError
        When there is no frame.

    Notes
    -----
    In every pass each source is fitted in turn to what is left of all its beams after the models of all others:
    ``d = A f + b``, with f a sum of Legendre polynomials of the wavelength and values at nodes where lines stand out,
    one background for each beam, and a Gaussian prior around the direct image, ``min |d - A f - b|^2 / s^2 + |c -
    c_0|^2 / s_p^2``. Then its part of all frames is drawn anew. Sources whose light cannot meet are fitted at the same
    time; the result has the same bits as if they were fitted one after the other, for any number of threads.

    References
    ----------
    Brammer 2019, grizli (ascl:1905.001), ``GroupFLT.refine_list``.
    """
    params = RefineParams() if params is None else params
    if not frames:
        msg = "frames: at least one is needed"
        raise InvalidInputError(msg)
    work = _Work(frames, params)
    kinds = ["polynomial"] * params.n_polynomial + ["lines"] * params.n_lines
    rows: list[pl.DataFrame] = []
    for number, kind in enumerate(kinds, start=1):
        rows.append(work.run(number, lambda beams, kind=kind: _fit(beams, kind, params)))  # type: ignore[misc]
    if spectrum_of is not None:
        rows.append(work.run(len(kinds) + 1, lambda beams: _given(beams, spectrum_of, params)))
    made = tuple(frame.with_spectra(work.spectra) for frame in frames)
    return Refinement(frames=made, spectra=dict(work.spectra), table=pl.concat(rows) if rows else pl.DataFrame())


class _Work:
    """Models of all frames as they are now, and the spectra that they are made of."""

    def __init__(self, frames: Sequence[GrismFrame], params: RefineParams) -> None:
        self.params = params
        self.spectra: dict[int, Spectrum] = {}
        for frame in frames:
            self.spectra.update(frame.spectra)
        self.scenes = [FrameScene(frame) for frame in frames]
        self.frames = [
            replace(
                frame, model=scene.drawn(list(scene.sources), self.spectra).astype(np.float32), spectra=self.spectra
            )
            for frame, scene in zip(frames, self.scenes, strict=True)
        ]
        self.steps = self._steps()

    def _steps(self) -> list[list[int]]:
        """Return the sources in steps: those of one step do not meet, and of those that meet the brighter is first."""
        light: dict[int, float] = {}
        for frame, scene in zip(self.frames, self.scenes, strict=True):
            for one in scene.sources:
                light[one] = max(light.get(one, 0.0), scene.totals[one] / frame.photflam)
        order = sorted(light, key=lambda one: (-light[one], one))
        boxes = np.full((len(order), len(self.scenes), 4), np.nan)
        for i, one in enumerate(order):
            for k, scene in enumerate(self.scenes):
                box = scene.reach(one, _TRACE_ROWS)
                boxes[i, k] = np.nan if box is None else box
        level = np.zeros(len(order), int)
        for i in range(1, len(order)):
            y0, y1, x0, x1 = np.moveaxis(boxes[:i], -1, 0)
            mine = boxes[i]
            meets = (y0 < mine[:, 1]) & (y1 > mine[:, 0]) & (x0 < mine[:, 3]) & (x1 > mine[:, 2])
            before = level[:i][meets.any(axis=1)]
            level[i] = before.max() + 1 if before.size else 0
        return [[order[i] for i in np.flatnonzero(level == k)] for k in range(level.max(initial=-1) + 1)]

    def beams(self, source_id: int) -> list[BeamModel]:
        extract = self.params.extract
        size = source_size(self.frames, source_id, extract)
        # What is fitted is what will be drawn.
        params = [
            replace(extract, beam=replace(extract.beam, operator=one.contamination.operator)) for one in self.frames
        ]
        found = (
            cut_beam(frame, source_id, order=order, size=size, params=its, has_headers=False)
            for frame, its in zip(self.frames, params, strict=True)
            for order in extract.orders
        )
        return [one for one in found if one is not None]

    def run(self, number: int, fit: Callable[[list[BeamModel]], _Result]) -> pl.DataFrame:
        """Fit all sources once; return what became of them."""
        results: list[_Result] = []

        def job(source_id: int) -> _Result:
            beams = self.beams(source_id)
            if not beams:
                return _Result(source_id=source_id, status="no_beam")
            return fit(beams)

        with ThreadPoolExecutor(self.params.n_threads or _threads.get_num_threads()) as pool:
            for step in self.steps:
                found = list(pool.map(job, step))
                results += found
                self._update({one.source_id: one.spectrum for one in found if one.spectrum is not None})
        return pl.DataFrame(
            {
                "id": [one.source_id for one in results],
                "pass": [number] * len(results),
                "status": [one.status for one in results],
                "chi2": [one.chi2 for one in results],
                "n_pixels": [one.n_pixels for one in results],
                "n_beams": [one.n_beams for one in results],
                "snr": [one.snr for one in results],
            }
        )

    def _update(self, new: Mapping[int, Spectrum]) -> None:
        """Take old light of some sources out of all frames, and put new in."""
        if not new:
            return
        ids = list(new)
        for frame, scene in zip(self.frames, self.scenes, strict=True):
            old = scene.drawn(ids, self.spectra)
            frame.model[...] += (scene.drawn(ids, new) - old).astype(np.float32)
        self.spectra.update(new)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """Pixels of all beams of a source."""

    beams: list[BeamModel]
    masks: list[NDArray[np.bool_]]
    data: _Array
    weight: _Array
    owner: NDArray[np.int64]
    scale: float

    @classmethod
    def of(cls, beams: list[BeamModel]) -> "_Problem | None":
        masks = [one.fit_mask for one in beams]
        if not any(mask.any() for mask in masks):
            return None
        pairs = list(zip(beams, masks, strict=True))
        return cls(
            beams=beams,
            masks=masks,
            data=np.concatenate([one.cleaned[mask].astype(np.float64) for one, mask in pairs]),
            weight=np.concatenate([(one.ivar * one.weight)[mask] for one, mask in pairs]),
            owner=np.repeat(np.arange(len(beams)), [int(mask.sum()) for mask in masks]),
            scale=float(np.median([one.total_flux for one in beams])),
        )

    @cached_property
    def operators(self) -> list[_Array]:
        """The matrix of each beam from the light of its columns to the pixels that are fitted."""
        return [one.column_operator(mask).toarray() for one, mask in zip(self.beams, self.masks, strict=True)]

    def columns(self, spectra: Sequence[Spectrum]) -> tuple[_Array, _Array]:
        """Return models of spectra in all pixels, shape (n_pixels, n), and their light in all beams, (n_beams, n)."""
        lights = [_lights(one, spectra) for one in self.beams]
        out = np.zeros((self.data.size, len(spectra)))
        for k, (operator, light) in enumerate(zip(self.operators, lights, strict=True)):
            mine = slice(*np.searchsorted(self.owner, [k, k + 1]))
            lit = light != 0
            # Nodes reach a few columns of a beam only.
            for j in np.flatnonzero(lit.any(axis=0)):
                there = np.flatnonzero(lit[:, j])
                some = slice(there[0], there[-1] + 1)
                out[mine, j] = operator[:, some] @ light[some, j]
        return out, np.stack([light.sum(axis=0) for light in lights])

    def seen(self, columns: _Array, lights: _Array) -> NDArray[np.bool_]:
        """Return the spectra whose light falls on fitted pixels of a beam for the most part; others bend at an edge."""
        found = np.zeros(columns.shape[1], bool)
        for k, light in enumerate(lights):
            found |= (light > 0) & (columns[self.owner == k].sum(axis=0) > _LEAST_SEEN * light)
        # Beyond its ends a spectrum goes on as the polynomial does.
        found[[0, -1]] = False
        return found

    def _ground(self, params: RefineParams) -> tuple[_Array, _Array]:
        """Return a column for the background of each beam, and 1 sigma of each."""
        n_beams = len(self.beams)
        ground = (self.owner[:, None] == np.arange(n_beams)).astype(np.float64)
        errors = [
            np.median(one.err[mask]) if mask.any() else 1.0 for one, mask in zip(self.beams, self.masks, strict=True)
        ]
        return ground, params.background_sigma * np.array(errors)

    def solve(self, columns: _Array, params: RefineParams) -> tuple[_Array, float, int, float]:
        """Return coefficients of a polynomial, chi2, pixels and the S/N of the model, without outliers."""
        n = columns.shape[1]
        ground, spread = self._ground(params)
        every = np.hstack([columns, ground])
        middle = np.zeros(every.shape[1])
        middle[0] = 1.0
        precision = np.concatenate([np.full(n, params.prior), spread]) ** -2.0
        used = np.ones(self.data.size, bool)
        for _ in range(_ROUNDS):
            found = _solved(every[used], self.data[used], self.weight[used], middle, precision)
            pull = (self.data - every @ found) * np.sqrt(self.weight)
            kept = np.abs(pull) < params.clip_sigma
            # A model that is far off at first must not throw away what could correct it.
            if np.array_equal(kept, used) or kept.mean() < _LEAST_KEPT:
                break
            used = kept
        return found[:n], *self._quality(columns @ found[:n], pull, used)

    def with_lines(
        self, columns: _Array, hats: _Array, params: RefineParams, *, narrow: float = 1.0
    ) -> tuple[_Array, _Array, float, int, float]:
        """Return the same of a polynomial with lines, and the heights of the nodes.

        In every round the nodes that would lower chi2 most among their neighbours, by more than ``line_sigma`` squared,
        join those that are fitted: all at once could stand for the continuum too. Nodes that are ``narrow`` times
        narrower than those of the search are so many times higher for the same light.
        """
        n, n_nodes = columns.shape[1], hats.shape[1]
        ground, spread = self._ground(params)
        base = np.hstack([columns, ground])
        middle = np.zeros(base.shape[1])
        middle[0] = 1.0
        precision = np.concatenate([np.full(n, params.prior), spread]) ** -2.0
        node_precision = (narrow * params.line_prior) ** -2.0
        weighted = base * self.weight[:, None]
        normal = base.T @ weighted + np.diag(precision)
        right = np.concatenate([weighted.T @ self.data + middle * precision, hats.T @ (self.weight * self.data)])
        # Of the normal matrix only the columns of what is fitted are needed, and the diagonal.
        power = np.einsum("ij,ij,i->j", hats, hats, self.weight) + node_precision
        first, taken = base.shape[1], np.zeros(0, np.int64)
        across = hats.T @ weighted
        for _ in range(_LINE_ROUNDS if narrow == 1.0 else _NARROW_ROUNDS):
            inverse = np.linalg.inv(_bordered(normal, across, taken))
            found = inverse @ right[np.concatenate([np.arange(first), first + taken])]
            left = right[first:] - across @ found
            left[taken] = 0.0
            least = 1e-12 * power
            own = np.maximum(power - np.einsum("ij,jk,ik->i", across, inverse, across), least)
            gain, height = left / np.sqrt(own), left / own
            beside = np.pad(gain, 1)
            peak = (gain > params.line_sigma) & (gain >= beside[:-2]) & (gain > beside[2:])
            peak &= height > narrow * params.min_line
            new = np.setdiff1d(np.flatnonzero(peak), taken)
            if not new.size:
                break
            taken = np.concatenate([taken, new])
            more = hats.T @ (hats[:, new] * self.weight[:, None])
            more[new, np.arange(new.size)] += node_precision
            across = np.hstack([across, more])
        line = np.zeros(n_nodes)
        while True:
            fitted = np.linalg.solve(
                _bordered(normal, across, taken), right[np.concatenate([np.arange(first), first + taken])]
            )
            below = fitted[first:] < 0
            if not below.any():
                break
            across = np.hstack([across[:, :first], across[:, first:][:, ~below]])
            taken = taken[~below]
        line[taken] = fitted[first:]
        model = columns @ fitted[:n] + hats[:, taken] @ fitted[first:]
        pull = (self.data - model - ground @ fitted[n:first]) * np.sqrt(self.weight)
        return fitted[:n], line, *self._quality(model, pull, np.abs(pull) < params.clip_sigma)

    def _quality(self, model: _Array, pull: _Array, used: NDArray[np.bool_]) -> tuple[float, int, float]:
        snr = float(np.sqrt(np.sum((model**2 * self.weight)[used])))
        return float(np.sum(pull[used] ** 2)), int(used.sum()), snr


def _bordered(normal: _Array, across: _Array, taken: NDArray[np.int64]) -> _Array:
    """Return the normal matrix of what is always fitted with rows and columns of some nodes."""
    return np.block([[normal, across[taken, : len(normal)].T], [across[taken]]])


def _lights(beam: BeamModel, spectra: Sequence[Spectrum]) -> _Array:
    """Return the light of spectra in every column of a beam, shape (n_columns, n)."""
    known = beam.order.wavelength[beam.order.sensitivity > 0] * ANGSTROM
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    out = np.zeros((beam.light().size, len(spectra)))
    for j, (wave, flux) in enumerate(spectra):
        bright = np.flatnonzero(flux)
        # Nodes are many, and most are seen by one grism only.
        if bright.size and wave[max(bright[0] - 1, 0)] < high and wave[min(bright[-1] + 1, wave.size - 1)] > low:
            out[:, j] = beam.light(wave, flux)
    return out


def _solved(columns: _Array, data: _Array, weight: _Array, middle: _Array, precision: _Array) -> _Array:
    weighted = columns * weight[:, None]
    return np.asarray(
        np.linalg.solve(columns.T @ weighted + np.diag(precision), weighted.T @ data + precision * middle)
    )


def _fit(beams: list[BeamModel], kind: str, params: RefineParams) -> _Result:
    """Return the spectrum of a source, a polynomial, perhaps with lines."""
    source_id = beams[0].beam.source_id
    problem = _Problem.of(beams)
    if problem is None:
        return _Result(source_id=source_id, status="no_beam", n_beams=len(beams))
    spans = _spans(problem)
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    wave = np.linspace(low, high, _N_GRID)
    t = 2 * (wave - low) / (high - low) - 1
    basis = [problem.scale * row for row in np.polynomial.legendre.legvander(t, params.degree).T]
    columns, _ = problem.columns([(wave, row) for row in basis])
    try:
        found, chi2, n_pixels, snr = problem.solve(columns, params)
        flux = np.asarray(found @ np.stack(basis))
        if snr < params.min_snr:
            facts = {"chi2": chi2, "n_pixels": n_pixels, "n_beams": len(beams), "snr": snr}
            return _Result(source_id=source_id, status="faint", **facts)  # type: ignore[arg-type]
        if kind == "lines":
            hats = _hats(_nodes(spans, params.node_pixels))
            found, line, chi2, n_pixels, snr = _fit_lines(problem, columns, hats, params)
            if line.any():
                narrow = params.node_pixels / params.line_node_pixels
                hats = _narrow_hats(hats[line > 0], narrow)
                found, line, chi2, n_pixels, snr = _fit_lines(problem, columns, hats, params, narrow=narrow)
            flux = np.asarray(found @ np.stack(basis))
            at = np.union1d(wave, hats[line > 0])
            flux = np.interp(at, wave, flux)
            for hat, height in zip(hats[line > 0], line[line > 0], strict=True):
                flux += problem.scale * height * np.interp(at, hat, _TIP)
            wave = at
    except np.linalg.LinAlgError:
        return _Result(source_id=source_id, status="failed", n_beams=len(beams))
    facts = {"chi2": chi2, "n_pixels": n_pixels, "n_beams": len(beams), "snr": snr}
    if not _is_sane(flux, problem, params):
        return _Result(source_id=source_id, status="rejected", **facts)  # type: ignore[arg-type]
    return _Result(source_id=source_id, status="ok", spectrum=_held(wave, np.maximum(flux, 0.0)), **facts)  # type: ignore[arg-type]


def _fit_lines(
    problem: _Problem, columns: _Array, hats: _Array, params: RefineParams, *, narrow: float = 1.0
) -> tuple[_Array, _Array, float, int, float]:
    """Return coefficients of the polynomial, heights of hats, 0 for those that are not fitted, and how good that is."""
    # Zeros around them: columns that a spectrum does not cover wholly have none of its light with grizli's operator.
    spectra = [(np.array([0.5 * hat[0], *hat, 2 * hat[-1]]), problem.scale * np.pad(_TIP, 1)) for hat in hats]
    heights, lights = problem.columns(spectra)
    is_seen = problem.seen(heights, lights)
    line = np.zeros(len(hats))
    found, line[is_seen], chi2, n_pixels, snr = problem.with_lines(columns, heights[:, is_seen], params, narrow=narrow)
    return found, line, chi2, n_pixels, snr


def _hats(nodes: _Array) -> _Array:
    """Return begin, tip and end of straight rises and falls from node to node, shape (n, 3) [um]."""
    steps = np.diff(nodes)
    ends = np.concatenate([[nodes[0] - steps[0]], nodes, [nodes[-1] + steps[-1]]])
    return np.stack([ends[:-2], ends[1:-1], ends[2:]], axis=1)


def _narrow_hats(wide: _Array, narrow: float) -> _Array:
    """Return hats that are so many times narrower, around wide ones."""
    made: list[_Array] = []
    reach = round(_AROUND * narrow)
    for begin, tip, end in wide:
        step = 0.5 * (end - begin) / narrow
        tips = tip + step * np.arange(-reach, reach + 1)
        if made:
            tips = tips[tips > made[-1][1] + 0.5 * step]
        made += [np.array([one - step, one, one + step]) for one in tips]
    return np.stack(made)


def _given(beams: list[BeamModel], spectrum_of: SpectrumOf, params: RefineParams) -> _Result:
    source_id = beams[0].beam.source_id
    try:
        found = spectrum_of(MultiBeam(beams))
    except (SkymereError, np.linalg.LinAlgError):
        found = None
    if found is None:
        return _Result(source_id=source_id, status="failed", n_beams=len(beams))
    problem = _Problem.of(beams)
    if problem is None:
        return _Result(source_id=source_id, status="no_beam", n_beams=len(beams))
    wave, flux = (np.asarray(part, np.float64) for part in found)
    if not _is_sane(flux, problem, params):
        return _Result(source_id=source_id, status="rejected", n_beams=len(beams))
    model = problem.columns([(wave, flux)])[0][:, 0]
    chi2 = float(np.sum((problem.data - model) ** 2 * problem.weight))
    return _Result(
        source_id=source_id,
        status="ok",
        spectrum=(wave, np.maximum(flux, 0.0)),
        chi2=chi2,
        n_pixels=problem.data.size,
        n_beams=len(beams),
        snr=float(np.sqrt(np.sum(model**2 * problem.weight))),
    )


def _spans(problem: _Problem) -> list[tuple[float, float, float]]:
    """Return the least and largest wavelength of the pixels of each beam and the step of its columns [um]."""
    spans = []
    for one, mask in zip(problem.beams, problem.masks, strict=True):
        there = one.wave[mask.any(axis=0)]
        if there.size > 1:
            spans.append((float(there.min()), float(there.max()), float(np.median(np.abs(np.diff(there))))))
    return spans or [(0.0, 1.0, 0.01)]


def _nodes(spans: Sequence[tuple[float, float, float]], pixels: float) -> _Array:
    """Return nodes as far apart as some columns of the finest grism there."""
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    coarse = max(span[2] for span in spans)
    nodes = [low]
    while nodes[-1] < high:
        nodes.append(nodes[-1] + pixels * min([s for a, b, s in spans if a <= nodes[-1] <= b], default=coarse))
    return np.array(nodes)


def _is_sane(flux: _Array, problem: _Problem, params: RefineParams) -> bool:
    """Whether a spectrum is finite, and neither negative nor much brighter than the direct image on the whole."""
    if not np.isfinite(flux).all():
        return False
    mean = float(np.mean(flux)) / problem.scale
    return 0 <= mean < params.max_ratio


def _held(wave: _Array, flux: _Array) -> Spectrum:
    """Return a spectrum that stays as it is at its ends beyond them: fits know nothing there."""
    ends = np.array([0.05 * wave[0], wave[0] * (1 - 1e-6)]), np.array([wave[-1] * (1 + 1e-6), 10 * wave[-1]])
    return np.concatenate([ends[0], wave, ends[1]]), np.concatenate([[flux[0]] * 2, flux, [flux[-1]] * 2])
