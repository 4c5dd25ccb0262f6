"""Crashes and kills at every step of a publication: the lake is whole, and running again finishes the work.

On a disk and in an object store, whose emulator the test starts.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skymere.lake import EVENTS, Lake, load_schema, products
from skymere.lake.stores import at

SURVEY = Path(__file__).parents[1] / "lake" / "survey.py"
PRODUCTS = ("exposure", "mask", "mosaic", "segmentation", "source", "cutout")
TABLES = ("source", "alias")
STEPS = [
    (product, step)
    for product in PRODUCTS
    for step in EVENTS
    if product not in TABLES or step not in ("staged", "sealed")
]

# Steps of the object store that every run of the tests tries.
ALWAYS = [("segmentation", "sealed"), ("cutout", "rows_written")]


def start(path, version, *place, **more):
    command = [sys.executable, "-W", "error", str(SURVEY), str(path), str(version), *place]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)


def check_whole(lake, products=PRODUCTS):
    """No row without its arrays, no key twice, no tile with two runs, no array that differs from its manifest."""
    for product in products:
        schema = load_schema(product)
        rows = lake.table(product).collect()
        assert not rows.select(schema.primary_key).is_duplicated().any()
        assert rows.select("tile", "run_id").unique()["tile"].is_unique().all()
        for tile, run in rows.select("tile", "run_id").unique().iter_rows():
            if not schema.arrays:
                continue
            group = lake.arrays(product, tile, run)
            sealed = lake.path / "arrays" / product / tile / f"{run}.zarr"
            manifest = json.loads((sealed / "manifest.json").read_text())
            assert manifest["run"] == run
            sizes = {path: path.stat().st_size for path in sealed.rglob("*") if path.is_file()}
            for name, (size, _) in manifest["files"].items():
                assert sizes[sealed / name] == size
            for array in group.values():
                array[...]
    cutouts = lake.table("cutout").collect()
    if cutouts.height:
        lake.cutouts(cutouts["source_id"], bands=["f140w"], planes=["sci", "wht", "seg"])


def crash_and_mend(states, survey, path, product, step):
    _, wanted = states
    with start(path, 2, product, step) as child:
        child.communicate()
    assert child.returncode == 9
    lake = Lake.open(path)
    check_whole(lake)
    outcomes = survey.publish_all(lake, 2, tiles=survey.TILES[:1])
    done = PRODUCTS.index(product) + (step in ("committed", "recorded"))
    assert outcomes == ["already"] * done + ["published"] * (len(PRODUCTS) - done)
    assert lake.content_hash() == wanted
    runs = lake.table("run").collect()
    assert set(lake.live_runs(product).values()) <= set(runs["run_id"])
    assert runs.height == 2 * len(PRODUCTS)


@pytest.mark.parametrize(("product", "step"), STEPS)
def test_a_crash_at_any_step_is_mended_by_running_again(states, survey, tmp_path, product, step):
    shutil.copytree(states[0][product], tmp_path / "lake")
    crash_and_mend(states, survey, tmp_path / "lake", product, step)


OTHERS = [
    (name, step)
    for name in products()
    if name not in (*PRODUCTS, "run", "run_item", "alias")
    for step in EVENTS
    if load_schema(name).arrays or step not in ("staged", "sealed")
]
OFTEN = [("beam", "sealed"), ("flux", "rows_written"), ("slitlet", "staged")]


def crash_and_mend_other(survey, path, folder, product, step):
    lake, clean = survey.create(path), survey.create(folder / "clean")
    for one in (lake, clean):
        survey.publish(one, product, version=1)
    before = lake.content_hash()
    survey.publish(clean, product, version=2)
    with start(lake.path, 2, product, step) as child:
        child.communicate()
    assert child.returncode == 9
    is_committed = step in ("committed", "recorded")
    assert lake.table(product).collect().height == (4 if is_committed else 3)
    if step != "committed":
        # Between that and the next step the row of the run is missing.
        assert lake.content_hash() == (clean.content_hash() if is_committed else before)
    assert {fault.kind for fault in lake.fsck(hashes=True)} <= {"unrecorded"}
    assert survey.publish(lake, product, version=2) == ("already" if is_committed else "published")
    assert lake.content_hash() == clean.content_hash()
    assert lake.fsck(hashes=True) == []


@pytest.mark.parametrize(
    ("product", "step"),
    [pytest.param(*place, marks=() if place in OFTEN else pytest.mark.faults) for place in OTHERS],
)
def test_a_crash_at_any_step_of_any_other_product_is_mended(survey, tmp_path, product, step):
    crash_and_mend_other(survey, tmp_path / "lake", tmp_path, product, step)


@pytest.mark.faults
@pytest.mark.parametrize(("product", "step"), OTHERS)
def test_a_crash_of_any_other_product_in_an_object_store_is_mended(survey, s3, tmp_path, product, step):
    crash_and_mend_other(survey, f"{s3()}/lake", tmp_path, product, step)


def upload(folder, url):
    """Copy a lake to an object store, where the files of a group lie under the name of an attempt."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        content = path.read_bytes()
        group, suffix, rest = name.partition(".zarr/")
        if suffix and rest != "manifest.json":
            name = f"{group}.zarr/first/{rest}"
        elif suffix:
            tree = json.loads(content)
            tree["files"] = {f"first/{key}": value for key, value in tree["files"].items()}
            content = json.dumps({**tree, "root": "first"}).encode()
        (at(url) / name).put(content)
    return url


@pytest.mark.parametrize(
    ("product", "step"),
    [pytest.param(*place, marks=() if place in ALWAYS else pytest.mark.faults) for place in STEPS],
)
def test_a_crash_in_an_object_store_is_mended_by_running_again(states, survey, s3, product, step):
    crash_and_mend(states, survey, upload(states[0][product], f"{s3()}/lake"), product, step)


def kill_often(survey, path, folder, n_kills, products=PRODUCTS):
    """Publish two versions in turn, killing the process group at random times inside the work."""
    rng = random.Random(20)
    some = {"tiles": survey.TILES[:1], "products": products}
    environment = os.environ | {"SURVEY_PRODUCTS": ",".join(products)}
    n_events = len(EVENTS) * len(products) - 2 * len(set(products) & set(TABLES))
    lake = survey.create(path)
    clean = survey.create(folder / "clean")
    for one in (lake, clean):
        survey.publish_all(one, 3, **some)
    lake.release("DR1")
    released = lake.content_hash()
    kills, version = 0, 1
    while kills < n_kills:
        # The two versions take turns, so that there is always work; the child says when it has begun.
        child = start(lake.path, version, start_new_session=True, env=environment)
        for _ in range(rng.randrange(1, n_events + 1)):
            if not child.stdout.readline():
                break
        try:
            child.wait(timeout=rng.uniform(0.0, 0.03))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        child.stdout.close()
        check_whole(lake, products)
        if child.returncode == -signal.SIGKILL:
            kills += 1
        if child.returncode == 0 or rng.random() < 0.3:
            for one in (lake, clean):
                survey.publish_all(one, version, **some)
            version = 3 - version
    for one in (lake, clean):
        survey.publish_all(one, version, **some)
    assert lake.content_hash() == clean.content_hash()
    check_whole(lake, products)
    assert lake.fsck(hashes=True) == []
    # What the killed attempts left behind is garbage, and nothing else is.
    assert lake.gc(dry_run=False, grace_days=1e-9).removed
    assert not any(lake.path.glob("arrays/.staging/*"))
    assert lake.content_hash() == clean.content_hash()
    assert Lake.open(str(path), "DR1").content_hash() == released
    assert lake.fsck(hashes=True) == []
    print(f"\n{kills} kills of {', '.join(products)}")


def test_kills_at_random_times_leave_a_whole_lake(survey, tmp_path):
    kill_often(survey, tmp_path / "lake", tmp_path, 6)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_two_hundred_kills_leave_a_whole_lake(survey, tmp_path):
    kill_often(survey, tmp_path / "lake", tmp_path, 200)


@pytest.mark.faults
@pytest.mark.timeout(9000)
def test_two_hundred_kills_leave_a_whole_lake_in_an_object_store(survey, s3, tmp_path):
    # Three products, with arrays and without: each costs the emulator a hundred requests.
    kill_often(survey, f"{s3()}/lake", tmp_path, 200, ("mask", "segmentation", "source"))
