"""`skymere doctor` on things that were broken on purpose."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

import skymere
from skymere.cli.installation import examine_installation
from skymere.errors import StorageError
from skymere.lake import Lake, examine


@pytest.fixture(scope="module")
def whole(survey, tmp_path_factory):
    made = survey.create(tmp_path_factory.mktemp("whole") / "lake")
    survey.publish_all(made)
    made.release("DR1")
    return made


@pytest.fixture
def lake(whole, tmp_path):
    """A lake to be broken."""
    return Lake.open(shutil.copytree(whole.path, tmp_path / "lake"))


def broken(found):
    return {one.what: f"{one.message} | {one.mend}" for one in found if one.state == "broken"}


def notes(found):
    return {one.what: f"{one.message} | {one.mend}" for one in found if one.state == "note"}


def files(lake, product):
    return sorted((lake.path / "tables" / product).rglob("*.parquet"))


def test_nothing_is_broken_in_this_installation():
    found = examine_installation()
    assert broken(found) == {}
    assert {one.what for one in found} >= {"Python", "compiled part", "libraries", "threads", "temporary folder"}


def test_nothing_is_broken_in_a_lake(full, lake):
    for one in (full, lake):
        before = sorted(one.path.rglob("*"))
        found = examine(one.path, hashes=True)
        assert {finding.state for finding in found} == {"ok"}, found
        assert sorted(one.path.rglob("*")) == before


def test_the_command_says_what_and_how_to_mend(call, lake):
    done = call("doctor", lake.path)
    assert done.exit_code == 0, done.output
    assert "nothing is broken" in done.stdout
    path = files(lake, "source")[0]
    path.unlink()
    done = call("doctor", lake.path)
    assert done.exit_code == 1
    assert f"BROKEN  files: missing: {path}" in done.stdout
    assert "to mend: publish its tile again" in done.stdout
    assert "broken" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("polars", "1.0.0", "polars is 1.0.0, skymere needs"),
        ("zarr", "2.18.0", "pip install 'zarr<4,>=3.1'"),
        ("deltalake", None, "deltalake is not installed"),
    ],
)
def test_a_wrong_or_missing_library_is_broken(monkeypatch, name, version, words):
    real = importlib.metadata.version

    def pretend(asked):
        if asked == name:
            if version is None:
                raise importlib.metadata.PackageNotFoundError(asked)
            return version
        return real(asked)

    monkeypatch.setattr(importlib.metadata, "version", pretend)
    assert words in broken(examine_installation())["libraries"]


def test_a_missing_extra_is_a_note_and_an_old_one_is_broken(monkeypatch):
    real = importlib.metadata.version

    def without(asked):
        if asked == "galsim":
            raise importlib.metadata.PackageNotFoundError(asked)
        return real(asked)

    monkeypatch.setattr(importlib.metadata, "version", without)
    found = examine_installation()
    assert broken(found) == {}
    assert "galsim is not installed | pip install 'skymere[demo]'" in notes(found)["extra demo"]
    monkeypatch.setattr(importlib.metadata, "version", lambda asked: "1.0" if asked == "galsim" else real(asked))
    assert "galsim is 1.0" in broken(examine_installation())["extra demo"]


def test_a_compiled_part_of_another_version_is_broken(monkeypatch):
    monkeypatch.setattr(skymere, "__version__", "9.9.9")
    assert "9.9.9" in broken(examine_installation())["compiled part"]


def test_without_the_compiled_part_the_error_says_how_to_mend(tmp_path):
    package = Path(skymere.__file__).parent
    shutil.copytree(package, tmp_path / "skymere", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "skymere", "doctor"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "compiled part (skymere._rust) is missing; in a checkout run `make build`" in done.stderr.splitlines()[-1]


def test_more_threads_than_cores_are_a_note():
    before = skymere.get_num_threads()
    try:
        skymere.set_num_threads(1000)
        assert "1000 on only" in notes(examine_installation())["threads"]
    finally:
        skymere.set_num_threads(before)


def test_folders_that_cannot_be_written_are_broken(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = broken(examine_installation())
    assert "TMPDIR" in found["temporary folder"]
    assert "XDG_CACHE_HOME" in found["cache folder"]


def test_a_folder_that_is_no_lake_is_broken(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "it has no lake.json" in broken(examine(tmp_path))["lake"]
    assert "skymere lake init" in broken(examine(tmp_path / "nothing"))["lake"]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_newer_format_asks_for_a_newer_skymere(lake):
    config = lake.path / "lake.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"format_version": 99}))
    found = broken(examine(lake.path))["lake"]
    assert "format_version 99" in found
    assert "pip install --upgrade skymere" in found


def test_a_store_that_overwrites_is_broken(lake, monkeypatch):
    monkeypatch.setattr(os, "link", shutil.copyfile)
    assert "no put-if-absent" in broken(examine(lake.path))["store"]


def test_a_store_without_links_is_broken(lake, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert "Operation not permitted" in broken(examine(lake.path))["store"]
    assert not list(lake.path.glob(".probe*"))


def test_a_missing_or_changed_schema_is_broken(lake):
    copy = lake.path / "schemas" / "source-1.1.0.yaml"
    text = copy.read_text()
    copy.write_text(text.replace("deg", "rad"))
    assert "is not the source/1.1.0" in broken(examine(lake.path))["schemas"]
    copy.unlink()
    assert "has no schema" in broken(examine(lake.path))["schemas"]
    copy.write_text(text)
    assert broken(examine(lake.path)) == {}


def test_the_lost_schema_of_an_imported_catalogue_is_broken(lake, tmp_path):
    (tmp_path / "cat.ecsv").write_text(
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: id, datatype: int64}\n# - {name: ra, unit: deg, datatype: float64}\n# - {name: dec, unit: deg, datatype: float64}\nid ra dec\n1 150.0 0.0\n"
    )
    lake.import_catalogue(tmp_path / "cat.ecsv", "theirs", key="id")
    assert broken(examine(lake.path)) == {}
    (lake.path / "schemas/theirs-1.0.0.yaml").unlink()
    assert "import the catalogue again" in broken(examine(lake.path))["schemas"]


def test_a_table_that_cannot_be_read_is_broken(lake):
    log = max((lake.path / "tables/source/v1/dataset/_delta_log").glob("*.json"))
    log.write_text("nonsense")
    assert "source" in broken(examine(lake.path))["tables"]


def test_damage_is_found_with_hashes_only_when_sizes_agree(lake):
    shard = next(path for path in (lake.path / "arrays/mosaic").rglob("sci/c/**/*") if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert broken(examine(lake.path)) == {}
    assert str(shard) in broken(examine(lake.path, hashes=True))["files"]
    shard.unlink()
    assert "missing" in broken(examine(lake.path))["files"]


def test_a_release_of_what_is_gone_is_broken(lake):
    shutil.rmtree(lake.path / "tables/source")
    assert "release 'DR1' pins table source/v1" in broken(examine(lake.path))["files"]


def test_stale_attempts_are_a_note_and_gc_removes_them(lake):
    left = lake.path / "arrays/.staging" / uuid.uuid4().hex
    left.mkdir(parents=True)
    assert notes(examine(lake.path)) == {}
    old = time.time() - 9 * 86400
    os.utime(left, (old, old))
    assert "lake gc" in notes(examine(lake.path))["staging"]
    lake.gc(dry_run=False)
    assert notes(examine(lake.path)) == {}


def test_runs_that_ended_half_way_are_named(lake, survey):
    def stop(at):
        def on_event(step):
            if step == at:
                msg = "killed"
                raise StorageError(msg)

        return on_event

    with pytest.raises(StorageError, match="killed"):
        survey.publish(lake, "segmentation", version=3, on_event=stop("sealed"))
    assert "segmentation for tile 'east' sealed its arrays" in notes(examine(lake.path))["runs"]
    assert broken(examine(lake.path)) == {}
    with pytest.raises(StorageError, match="killed"):
        survey.publish(lake, "segmentation", version=3, on_event=stop("committed"))
    assert "unrecorded" in broken(examine(lake.path))["files"]
    survey.publish(lake, "segmentation", version=3)
    found = examine(lake.path)
    assert broken(found) == notes(found) == {}


def test_what_does_not_belong_into_a_lake_is_a_note(lake):
    (lake.path / "thesis.tex").write_text("mine")
    assert "thesis.tex" in notes(examine(lake.path))["folder"]
    assert Lake.open(lake.path).fsck() == []
