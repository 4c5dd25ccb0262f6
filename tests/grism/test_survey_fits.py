"""Emitters of simulated surveys from their files alone: frames, contamination, beams, redshifts (`-s` prints figures)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from skymere.datamodels import Mosaic, SegmentationMap
from skymere.grism import (
    BeamCutParams,
    FitParams,
    FrameParams,
    MultiBeam,
    cut_beams,
    fit_redshift,
    fit_templates,
    make_frames,
    refine_contamination,
    refine_redshift,
    replace_direct_cutouts,
)
from skymere.io import read_band, read_exposure, read_labels, read_table
from skymere.spectra import TemplateSet
from skymere.testing import GrismSurvey, GrismSurveyParams, simulate_grism_survey

PAD = (32, 256)
Z_RANGE = (0.5, 2.6)
# Rest wavelengths [um] of the lines of the fits, and what the truth calls their flux over that of Ha.
LINES = {"Ha": (0.65646, None), "OIII": (0.5007, "oiii"), "Hb": (0.48627, "hb"), "OII": (0.3729, "oii")}
# Two grisms, two angles, three dithers; 26.5 to 21.5 AB in F140W, the more the fainter.
SURVEY = GrismSurveyParams(
    n_sources=40,
    flux_range=(1, 100),
    flux_slope=0.75,
    ew_range=(40, 400),
    line_scatter=0.25,
    keep_truth=False,
    is_noise_shared=False,
)
SHORT = replace(SURVEY, n_dithers=2, n_sources=25, flux_range=(3, 100))
LEVELS = (7, 10, 15, 25, 50, np.inf)
# Least rates of the kinds of emitters.
WANTED = {"two lines and more": 0.95, "one line": 0.85, "above 15 sigma": 0.95}
# Dirichlet's parameter of the parts that templates have in a continuum: some have most of it.
_PARTS = 0.3


@dataclass(frozen=True)
class Sets:
    complexes: TemplateSet
    single: TemplateSet


@pytest.fixture(scope="module")
def templates(folder):
    path = folder / "grizli" / "templates"
    return Sets(TemplateSet.load(path), TemplateSet.load(path, line_complexes=False))


def _mixtures(templates: TemplateSet, n: int, seed: int) -> list[tuple[Any, Any]]:
    """Return continua of population synthesis: random sums of templates that are 1 at 0.5 um."""
    wave = np.arange(0.1, 2.0, 2e-4)
    basis = [np.interp(wave, one.wave, one.flux) / np.interp(0.5, one.wave, one.flux) for one in templates.continua]
    parts = np.random.default_rng([seed, 7]).dirichlet(np.full(len(basis), _PARTS), n)
    return [(wave, row @ np.stack(basis)) for row in parts]


def _multibeams(survey: GrismSurvey) -> Iterator[tuple[int, MultiBeam]]:
    """Yield the beams of all sources from nothing but exposures, direct images, catalogue and segmentation."""
    labels, grid = read_labels(survey.segmentation)
    direct = [*(read_exposure(path) for path in survey.direct), read_band(survey.mosaic)]
    frames = make_frames(
        survey.grism,
        read_table(survey.catalogue),
        SegmentationMap(labels=labels, grid=grid),
        direct,
        configs=survey.conf,
        params=FrameParams(pad=PAD),
    )
    refined = refine_contamination(list(frames))
    yield from cut_beams(refined.frames, params=BeamCutParams(frame=FrameParams(pad=PAD)))


def _snr(multibeam: MultiBeam, noiseless: Mosaic, true: dict[str, Any], templates: TemplateSet) -> list[float]:
    """Return S/N of the true fluxes of lines in a matched filter of all beams, the largest first.

    The filter is the source as it is: noise in a direct image adds to the sum of its squares, so that lines of faint
    sources seem to have several times their S/N.
    """
    multibeam = replace_direct_cutouts(multibeam, noiseless)
    fit = fit_templates(multibeam, true["z"], templates=templates, params=FitParams(fitter="lstsq"))
    variance = dict(zip(fit.names, np.diag(fit.covariance), strict=True))
    ratios = {name: true[column] if column else 1.0 for name, (_, column) in LINES.items()}
    errors = {name: np.sqrt(variance[f"line {name}"]) for name in LINES}
    return sorted((true["flux_ha"] * ratios[n] / errors[n] if errors[n] > 0 else 0.0 for n in LINES), reverse=True)


def _is_alias(found: float, true: float) -> bool:
    """Whether one line was taken for another."""
    ratio = (1 + found) / (1 + true)
    pairs = permutations([rest for rest, _ in LINES.values()] + [0.9069, 0.9533, 1.0833, 1.2821, 0.3869, 0.6725], 2)
    return any(abs(ratio * b / a - 1) < 0.006 for a, b in pairs)


def _measured(
    folder: Path, params: GrismSurveyParams, seeds: Sequence[int], sets: Sets, *, is_power_law: bool = False
) -> pl.DataFrame:
    """Return a row for every emitter with a line above 7 sigma: lines, the true redshift and what was found."""
    rows = []
    for seed in seeds:
        continua = None if is_power_law else _mixtures(sets.single, params.n_sources, seed)
        survey = simulate_grism_survey(folder / f"{seed}", params=params, seed=seed, continua=continua)
        known = {row["id"]: row for row in survey.sources.iter_rows(named=True)}
        before, noiseless = len(rows), read_band(survey.noiseless)
        for source, multibeam in _multibeams(survey):
            true = known[source]
            snr = _snr(multibeam, noiseless, true, sets.single)
            if snr[0] < LEVELS[0]:
                continue
            first = fit_redshift(
                multibeam, templates=sets.complexes, z_range=Z_RANGE, params=FitParams(has_covariance=False)
            )
            fit = refine_redshift(multibeam, first, templates=sets.single)
            half = 0.5 * (fit.z_percentiles[3] - fit.z_percentiles[1])
            rows.append(
                {"seed": seed, "id": source, "z": true["z"], "n_beams": multibeam.N, "strongest": snr[0]}
                | {"second": snr[1], "found": fit.z_map, "error": half}
            )
        print(f"survey {seed}: {len(survey.grism)} frames, {len(known)} sources, {len(rows) - before} emitters")
    dz = (pl.col("found") - pl.col("z")).abs() / (1 + pl.col("z"))
    return pl.DataFrame(rows).with_columns(
        is_near=dz < 0.002, is_found=dz < pl.max_horizontal(0.002, 3 * pl.col("error") / (1 + pl.col("z")))
    )


def _reported(table: pl.DataFrame) -> dict[str, tuple[int, int]]:
    """Print what was found and what not; return how many there are of a kind of emitters, and how many were found."""
    counts = np.histogram(table["strongest"], LEVELS)[0]
    print("S/N of the strongest line: " + ", ".join(f"{a:g}+: {n}" for a, n in zip(LEVELS, counts, strict=False)))
    for row in table.filter(~pl.col("is_found")).iter_rows(named=True):
        why = "a line taken for another" if _is_alias(row["found"], row["z"]) else "no alias of lines"
        print(
            f"  {row['seed']}/{row['id']}: z {row['z']:.4f}, found {row['found']:.4f} +- {row['error']:.4f}, lines of "
            f"{row['strongest']:.0f} and {row['second']:.1f} sigma, {row['n_beams']} beams: {why}"
        )
    kinds = {
        "two lines and more": table.filter(pl.col("second") > 4)["is_found"],
        "one line": table.filter(pl.col("second") <= 4)["is_found"],
        "above 15 sigma": table.filter(pl.col("strongest") > 15)["is_near"],
    }
    found = {name: (some.len(), int(some.sum())) for name, some in kinds.items()}
    for name, (n, k) in found.items():
        rate = k / n if n else float("nan")
        error = np.sqrt(rate * (1 - rate) / n) if n else float("nan")
        print(f"{name}: {k} of {n}, {rate:.1%} +- {error:.1%}")
    return found


def test_bright_emitters_have_their_redshift_from_frames_alone(tmp_path, templates):
    found = _reported(_measured(tmp_path, SHORT, (101,), templates))
    assert found["two lines and more"][0] >= 4
    for name, (n, k) in found.items():
        # There are few: one failure more than the rate allows.
        assert n - k <= (1 - WANTED[name]) * n + 1, name


@pytest.mark.validate
@pytest.mark.timeout(3600)
def test_emitters_have_their_redshift_from_frames_alone(tmp_path, templates):
    found = _reported(_measured(tmp_path, SURVEY, range(101, 124), templates))
    assert found["two lines and more"][0] >= 80
    assert found["one line"][0] >= 40
    for name, (n, k) in found.items():
        assert k >= WANTED[name] * n, name


@pytest.mark.validate
@pytest.mark.timeout(3600)
def test_emitters_with_continua_of_no_template_are_found_less_often(tmp_path, templates):
    found = _reported(_measured(tmp_path, SURVEY, range(101, 109), templates, is_power_law=True))
    n, k = found["two lines and more"]
    assert n >= 25
    # A limit, not the aim: templates with a break stand for power laws, which galaxies are not.
    assert k >= 0.8 * n
