"""Crashes and kills of a publisher that commits many tiles at once, and workers that hand their products to one."""

import importlib.util
import pickle
import queue
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from skymere.errors import ConflictError
from skymere.lake import Lake

HERE = Path(__file__).parent
N_TILES = 6
# Entries of a batch in which every table is written to: mask, segmentation, run_item, run.
N_ENTRIES = 4


@pytest.fixture(scope="module")
def batcher():
    spec = importlib.util.spec_from_file_location("batcher", HERE / "batcher.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(path, *words, program="batcher.py", **more):
    command = [sys.executable, "-W", "error", str(HERE / program), str(path), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)


def check_whole(lake):
    """No row without its arrays, no tile with two runs, no segmentation without the mask of its task."""
    assert {fault.kind for fault in lake.fsck()} <= {"unrecorded"}
    masks = lake.table("mask").select("tile", version="n_cosmic_rays").collect()
    found = lake.table("segmentation").select("tile", version="n_sources").collect()
    # The mask of a task is there before its segmentation, also in a batch.
    both = dict(masks.iter_rows())
    assert all(both[tile] >= version for tile, version in found.iter_rows())
    for tile, version in found.iter_rows():
        assert (lake.arrays("segmentation", tile)["label"][...] == version).all()


def check_done(lake, n_tiles, n_runs):
    lake.mend()
    assert lake.fsck(hashes=True) == []
    assert lake.table("segmentation").collect()["tile"].sort().to_list() == [f"t{k:03d}" for k in range(n_tiles)]
    assert lake.table("run").collect().height == 2 * n_tiles * n_runs
    assert lake.table("run_item").collect().height == n_tiles * n_runs


def crash_and_mend(survey, batcher, path, clean, stop):
    lake, wanted = survey.create(path), survey.create(clean)
    for one in (lake, wanted):
        batcher.run_all(one, N_TILES, N_TILES, 1)
    batcher.run_all(wanted, N_TILES, N_TILES, 2)
    with start(path, N_TILES, N_TILES, 2, stop) as child:
        child.communicate()
    assert child.returncode == 9
    lake = Lake.open(path)
    check_whole(lake)
    done = abs(stop) - (stop > 0)
    shown = {name: set(lake.table(name).collect().get_column(column)) for name, column in VERSIONS.items()}
    # An entry shows all tiles of a batch or none.
    assert shown == {"mask": {2 if done >= 1 else 1}, "segmentation": {2 if done >= 2 else 1}}
    batcher.run_all(lake, N_TILES, N_TILES, 2)
    check_done(lake, N_TILES, 2)
    assert lake.content_hash() == wanted.content_hash()


VERSIONS = {"mask": "n_cosmic_rays", "segmentation": "n_sources"}
STOPS = [stop for k in range(1, N_ENTRIES + 1) for stop in (k, -k)]
ALWAYS = (2, -2, 3)


@pytest.mark.parametrize(
    "stop", [pytest.param(stop, marks=() if stop in ALWAYS else pytest.mark.faults) for stop in STOPS]
)
def test_a_crash_between_any_two_entries_of_a_batch_is_mended(survey, batcher, tmp_path, stop):
    crash_and_mend(survey, batcher, tmp_path / "lake", tmp_path / "clean", stop)


@pytest.mark.faults
@pytest.mark.parametrize("stop", STOPS)
def test_a_crash_of_a_batch_in_an_object_store_is_mended(survey, batcher, s3, tmp_path, stop):
    crash_and_mend(survey, batcher, f"{s3()}/lake", tmp_path / "clean", stop)


def kill_often(survey, batcher, folder, n_kills, n_tiles):
    """Publish two versions in turn in batches, killing the publisher at random times inside the work."""
    rng = random.Random(21)
    lake, clean = survey.create(folder / "lake"), survey.create(folder / "clean")
    version, kills, done = 1, 0, set()
    while kills < n_kills:
        child = start(lake.path, n_tiles, 3, version, start_new_session=True)
        for _ in range(rng.randrange(0, n_tiles // 3 + 1)):
            if not child.stdout.readline():
                break
        try:
            child.wait(timeout=rng.uniform(0.0, 1.0))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        child.stdout.close()
        kills += child.returncode == -signal.SIGKILL
        check_whole(lake)
        if child.returncode == 0 or kills == n_kills:
            for one in (lake, clean):
                batcher.run_all(one, n_tiles, 3, version)
            done.add(version)
            version += 1
    check_done(lake, n_tiles, len(done))
    assert lake.content_hash() == clean.content_hash()
    assert lake.gc(dry_run=False, grace_days=1e-9).removed
    assert lake.content_hash() == clean.content_hash()
    assert lake.fsck(hashes=True) == []
    print(f"\n{kills} kills, {len(done)} versions of {n_tiles} tiles")


def test_kills_of_a_publisher_of_batches_leave_a_whole_lake(survey, batcher, tmp_path):
    kill_often(survey, batcher, tmp_path, 3, 6)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_hundred_kills_of_a_publisher_of_batches_leave_a_whole_lake(survey, batcher, tmp_path):
    kill_often(survey, batcher, tmp_path, 100, 9)


def hand_over(survey, path, folder, n_processes, n_tiles):
    """Workers make tiles, every fifth of them twice, and one publisher commits what it finds in its queue."""
    lake = survey.create(path)
    tiles = [f"t{k:03d}" for k in range(n_tiles)]
    rng = random.Random(9)
    work = tiles + rng.sample(tiles, n_tiles // 5)
    rng.shuffle(work)
    go, found = folder / "go", queue.Queue()
    makers = [start(lake.path, go, 1, *work[k::n_processes], program="maker.py") for k in range(n_processes)]

    def listen(maker):
        for line in maker.stdout:
            found.put(pickle.loads(bytes.fromhex(line.strip())))
        found.put(None)

    for maker in makers:
        assert maker.stdout.readline() == "ready\n"
    listeners = [threading.Thread(target=listen, args=(maker,)) for maker in makers]
    for listener in listeners:
        listener.start()
    go.touch()
    answers, sizes, left = Counter(), [], n_processes
    while left:
        batch = [found.get()]
        while not found.empty():
            batch.append(found.get())
        left -= batch.count(None)
        pendings = [one for some in batch if some for one in some]
        sizes.append(len(pendings))
        for one, answer in zip(pendings, lake.commit(pendings), strict=True):
            assert not isinstance(answer, Exception) or isinstance(answer, ConflictError)
            answers[one.product, one.tile, answer if isinstance(answer, str) else "conflict"] += 1
    for maker, listener in zip(makers, listeners, strict=True):
        listener.join()
        maker.stdout.close()
        assert maker.wait() == 0
    published = {(product, tile): n for (product, tile, answer), n in answers.items() if answer == "published"}
    assert published == {(product, tile): 1 for product in ("mask", "segmentation") for tile in tiles}
    assert {answer for *_, answer in answers} <= {"published", "already"}
    check_done(lake, n_tiles, 1)
    print(f"\n{n_processes} workers, {n_tiles} tiles: batches of up to {max(sizes) // 2}, {len(sizes)} of them")


def test_four_processes_hand_their_tiles_to_one_publisher(survey, tmp_path):
    hand_over(survey, tmp_path / "lake", tmp_path, 4, 15)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_four_processes_hand_two_hundred_tiles_to_one_publisher(survey, tmp_path):
    hand_over(survey, tmp_path / "lake", tmp_path, 4, 200)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_four_processes_hand_their_tiles_to_one_publisher_in_an_object_store(survey, s3, tmp_path):
    hand_over(survey, f"{s3()}/lake", tmp_path, 4, 20)
