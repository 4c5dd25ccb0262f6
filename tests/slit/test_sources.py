"""Many sources, one after the other and in workers."""

import os
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.slit.test_group import FLUX, GRID, QUIET, light

from skymere import get_num_threads, set_num_threads
from skymere._workers import worker_pool
from skymere.errors import InvalidInputError
from skymere.slit import extract_sources, extract_spectra

WORDS = QUIET | {
    "drizzle_kws": {"wave_grid": GRID, "with_pathloss": False},
    "trace_from_yoffset": True,
    "trace_with_ypos": False,
}


@pytest.fixture
def sources(made):
    """Names and slitlets of five sources of different seeds, the third of a file that is not there."""

    def draw(seed):
        out = []
        for k, step in enumerate((0.0, 0.5, -0.5)):
            one = made.slitlet(k, y_offset=step, seed=seed)
            source = light(12.0 + step / made.PIXEL_ARCSEC)[:, None] * FLUX
            out.append(replace(one, sci=(one.sci + source).astype(np.float32)))
        return out

    all_of_them = [(f"s{seed}", draw(seed)) for seed in range(5)]
    all_of_them[2] = ("bad", ["no-such-file.fits"])
    return all_of_them


def numbers(found):
    return [
        (
            one.name,
            one.status["status"].to_list(),
            {key: (s.flux, s.covariance, s.sci) for key, s in one.spectra.items()},
        )
        for one in found
    ]


def same(a, b):
    assert [one[:2] for one in a] == [one[:2] for one in b]
    for (_, _, mine), (_, _, its) in zip(a, b, strict=True):
        assert mine.keys() == its.keys()
        for key, arrays in mine.items():
            for one, other in zip(arrays, its[key], strict=True):
                np.testing.assert_array_equal(one, other)


def test_spectra_have_the_same_bits_for_any_number_of_threads_and_workers(sources, made):
    words = WORDS | {"tables": made.tables()}
    before = get_num_threads()
    try:
        set_num_threads(1)
        one = numbers(extract_sources(sources, **words))
        set_num_threads(2)
        two = numbers(extract_sources(sources, **words))
    finally:
        set_num_threads(before)
    same(one, two)
    same(one, numbers(extract_sources(iter(sources), n_workers=2, n_ahead=1, **words)))
    assert [name for name, *_ in one] == [name for name, _ in sources]
    assert [status for _, status, _ in one] == [["ok"], ["ok"], ["failed"], ["ok"], ["ok"]]
    alone = extract_spectra(sources[4][1], **words).spectra["prism-clear"]
    np.testing.assert_array_equal(one[4][2]["prism-clear"][0], alone.flux)
    # Noise of 0.3 uJy in a pixel.
    assert np.nanmedian(alone.flux) == pytest.approx(FLUX, rel=0.03)


def test_a_source_that_cannot_be_read_is_a_row(sources, made):
    (found,) = extract_sources([sources[2]], tables=made.tables(), **WORDS)
    assert not found.spectra
    assert found.status["group"].to_list() == ["bad"]
    assert "no-such-file.fits" in found.status["message"][0]


def test_sources_are_taken_only_as_they_are_needed(sources, made):
    taken = []

    def one_by_one():
        for source in sources:
            taken.append(source[0])
            yield source

    results = extract_sources(one_by_one(), tables=made.tables(), **WORDS)
    assert taken == []
    assert next(results).name == "s0"
    assert taken == ["s0"]
    taken.clear()
    results = extract_sources(one_by_one(), n_workers=2, n_ahead=0, tables=made.tables(), **WORDS)
    assert next(results).name == "s0"
    assert taken == ["s0", "s1"]
    results.close()
    assert taken == ["s0", "s1"]


def test_a_function_may_read_the_source(sources, made):
    by_name = dict(sources)
    found = list(extract_sources([("a", "s1")], read=by_name.__getitem__, tables=made.tables(), **WORDS))
    same(numbers(found), [("a", *numbers(extract_sources([sources[1]], tables=made.tables(), **WORDS))[0][1:])])


def test_numbers_and_words_that_are_not_allowed_are_errors(sources, made):
    for words in ({"n_workers": 0}, {"n_workers": 2, "n_ahead": -1}):
        with pytest.raises(InvalidInputError, match="must be at least"):
            extract_sources(sources, tables=made.tables(), **(WORDS | words))
    with pytest.raises(TypeError, match="n_threads"):
        list(extract_sources(sources[:1], n_threads=3, tables=made.tables(), **WORDS))


def test_libraries_of_a_worker_have_the_threads_that_it_was_given_and_those_here_are_not_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    before = dict(os.environ)
    for n_threads in (1, 3):
        with worker_pool(1, n_threads=n_threads) as pool:
            jobs = [
                pool.submit(pl.thread_pool_size),
                pool.submit(get_num_threads),
                pool.submit(os.getenv, "OMP_NUM_THREADS"),
            ]
            assert [job.result() for job in jobs] == [n_threads, n_threads, str(n_threads)]
        assert dict(os.environ) == before
