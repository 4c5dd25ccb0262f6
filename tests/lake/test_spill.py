"""Ragged arrays that are made object by object are those that are written at once."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.lake import RaggedSpill, write_ragged


def publish(lake, survey, params, write):
    with lake.run(stage="fit", tile="east", product="pz", inputs=[], params=params) as run:
        write(run)
        run.write("source_id", np.arange(5))
        run.publish(survey.rows_of("pz", 5))
    return lake.arrays("pz", "east")


def test_objects_one_by_one_are_the_objects_at_once(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    random = np.random.default_rng(1)
    # One object is larger than a block of the copy.
    planes = {name: [random.normal(size=n) for n in (3, 0, 1_100_000, 7, 1)] for name in ("z", "chi2", "pdf")}
    tables = [random.normal(size=(n, 4)) for n in (2, 5, 0, 1, 3)]

    def at_once(run):
        write_ragged(run, planes)
        write_ragged(run, {"coefficient": tables})

    def one_by_one(run):
        with RaggedSpill("pz") as spill:
            for k in range(5):
                spill.add({name: arrays[k] for name, arrays in planes.items()} | {"coefficient": tables[k]})
            assert len(spill) == 5
            spill.write(run)

    first = publish(lake, survey, {"n": 1}, at_once)
    second = publish(lake, survey, {"n": 2}, one_by_one)
    for name in ("z", "chi2", "pdf", "offset", "coefficient", "coefficient_offset", "coefficient_shape"):
        assert first[name][...].tobytes() == second[name][...].tobytes(), name
        assert first[name].attributes.get("ragged") == second[name].attributes.get("ragged")


def test_planes_that_do_not_fit_are_errors():
    with RaggedSpill("pz") as spill:
        with pytest.raises(InvalidInputError, match="others on its axis"):
            spill.add({"z": np.zeros(3), "chi2": np.zeros(4)})
        spill.add({"z": np.zeros(3)})
        with pytest.raises(InvalidInputError, match="the first object has"):
            spill.add({"chi2": np.zeros(3)})
