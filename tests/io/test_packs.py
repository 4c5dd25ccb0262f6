"""Packs of reference files: added, found, checked, and missed."""

import json

import pytest

from skymere.errors import ConflictError, FormatError, InvalidInputError, NotFoundError
from skymere.io import Pack, add_pack, build_pack, find_pack, find_packs, find_reference, pack_folders


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "calib"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_text("wave,flux\n1,2\n")
    (folder / "deep" / "b.yaml").write_text("x: 1\n")
    return folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Folders of packs: one that is named, and that of the user."""
    named, user = tmp_path / "named", tmp_path / "home"
    monkeypatch.setenv("SKYMERE_PACKS", str(named))
    monkeypatch.setenv("XDG_DATA_HOME", str(user))
    monkeypatch.setattr("sys.platform", "linux")
    return named, user / "skymere" / "packs"


def test_an_added_pack_is_found_with_its_files_and_its_sum(source, places):
    pack = add_pack(source, name="nirspec", version="1.2")
    assert pack.folder == places[0] / "nirspec-1.2"
    assert sorted(pack.files) == ["a.csv", "deep/b.yaml"]
    assert find_pack("nirspec").digest == pack.digest == build_pack(source, name="nirspec", version="1.2").digest
    path, where = find_reference("b.yaml")
    assert path.read_text() == "x: 1\n"
    assert where.digest == pack.digest
    assert pack.path("deep/b.yaml") == path
    assert not list(places[0].glob(".adding*"))


def test_packs_are_looked_for_in_named_folders_then_in_the_user_s(source, places):
    assert pack_folders() == places
    add_pack(source, name="old", into=places[1])
    (source / "a.csv").write_text("wave,flux\n1,3\n")
    newer = add_pack(source, name="new")
    assert [pack.name for pack in find_packs()] == ["new", "old"]
    assert find_reference("a.csv")[1].digest == newer.digest


def test_a_folder_of_the_variable_may_be_a_pack_itself(source, places, monkeypatch):
    pack = add_pack(source)
    monkeypatch.setenv("SKYMERE_PACKS", str(pack.folder))
    assert [one.label for one in find_packs()] == ["calib-1"]


def test_the_newest_version_comes_first_and_any_can_be_named(source, places):
    for version in ("0.9", "0.10", "0.2"):
        add_pack(source, name="p", version=version)
    assert [pack.version for pack in find_packs()] == ["0.10", "0.9", "0.2"]
    assert find_pack("p").version == "0.10"
    assert find_pack("p", version="0.2").version == "0.2"


def test_adding_again_changes_nothing_and_other_files_need_another_version(source, places):
    first = add_pack(source)
    assert add_pack(source).digest == first.digest
    (source / "a.csv").write_text("wave,flux\n1,9\n")
    with pytest.raises(ConflictError, match="calib-1: there already"):
        add_pack(source)
    assert add_pack(source, version="2").digest != first.digest


def test_a_missing_file_or_pack_says_where_it_was_looked_for(source, places):
    pack = add_pack(source)
    for call, word in ((lambda: find_reference("c.fits"), "c.fits"), (lambda: find_pack("other"), "pack other")):
        with pytest.raises(NotFoundError) as caught:
            call()
        message = str(caught.value)
        assert word in message
        assert str(places[0]) in message
        assert str(places[1]) in message
        assert "skymere data add" in message
    with pytest.raises(NotFoundError, match=r"c.fits: not in the pack calib-1 in .*calib-1"):
        pack.path("c.fits")


def test_a_changed_or_lost_file_of_a_pack_is_an_error(source, places):
    pack = add_pack(source)
    (pack.folder / "a.csv").write_text("spoiled")
    with pytest.raises(FormatError, match="sha256"):
        pack.path("a.csv")
    with pytest.raises(FormatError, match="sha256"):
        build_pack(pack.folder)
    (pack.folder / "a.csv").unlink()
    with pytest.raises(NotFoundError, match="no such file"):
        pack.path("a.csv")


@pytest.mark.parametrize(
    "text",
    ["no json", "[]", "{}", '{"name": "a", "version": "1"}', '{"name": "a", "version": "1", "files": {"x": 1}}']
    + [json.dumps({"name": "a", "version": "1", "files": {path: "0"}}) for path in ("../x", "/etc/x", "")]
    + [json.dumps({"name": "a/b", "version": "1", "files": {}})],
)
def test_a_manifest_that_is_none_is_an_error(source, places, text):
    (source / "manifest.json").write_text(text)
    with pytest.raises(FormatError, match="manifest"):
        build_pack(source)


def test_names_that_do_not_fit_the_manifest_and_empty_folders_are_errors(source, places, tmp_path):
    pack = add_pack(source)
    with pytest.raises(InvalidInputError, match="version: '2'"):
        build_pack(pack.folder, version="2")
    with pytest.raises(InvalidInputError, match="name"):
        build_pack(source, name="a b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="holds no file"):
        build_pack(tmp_path / "empty")
    with pytest.raises(NotFoundError, match="no such folder"):
        build_pack(tmp_path / "none")


def test_a_name_that_two_files_have_needs_its_folder(tmp_path):
    pack = Pack(name="p", version="1", folder=tmp_path, files={"a/x": "0", "b/x": "0"})
    with pytest.raises(NotFoundError, match="several"):
        pack.path("x")
