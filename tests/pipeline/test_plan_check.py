"""What is wrong with a plan: all of it at once, each fault with file, key, value and what is allowed."""

from pathlib import Path

import pytest

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake
from skymere.pipeline import PLAN_KINDS, check_plan, read_plan, run_plan, write_plan_template

HEAD = '[survey]\nexposures = ["exposures/*_flt.fits"]\n'
PSF = '[psf]\nsource = "gaussian"\n'


def faults_of(folder: Path, text: str) -> dict[str, str]:
    """Key to the whole text of each fault."""
    (folder / "plan.toml").write_text(text)
    found = check_plan(folder / "plan.toml")
    assert all(str(one).startswith(str(folder / "plan.toml")) for one in found)
    return {key: "\n".join(str(one) for one in found if one.key == key) for key in {one.key for one in found}}


def test_a_plan_without_faults_has_none(survey: Path, tmp_path: Path) -> None:
    assert check_plan(survey / "plan.toml") == []
    assert check_plan(read_plan(survey / "plan.toml")) == []
    with pytest.raises(NotFoundError, match=r"none\.toml: no such plan"):
        check_plan(tmp_path / "none.toml")


def test_all_faults_are_told_at_once(survey: Path, fresh: Path) -> None:
    text = HEAD + (
        '[mosaic.drizzle]\npixfrak = 1\nkernel = "cube"\n[detect]\nbands = ["f999w"]\n[drizzle]\n'
        'pixfrac = 1\n[background]\nmethod = "match"\n[cutouts]\nlargest_pix = 3\n[psf]\nsize_pix = 4\n'
        "oversampling = -1.0\n"
    )
    found = faults_of(fresh, text)
    assert set(found) == {
        "mosaic.drizzle.pixfrak",
        "mosaic.drizzle.kernel",
        "detect.bands",
        "drizzle",
        "background.method",
        "cutouts.largest_pix",
        "psf",
        "psf.oversampling",
    }
    assert "nearest: mosaic.drizzle.pixfrac" in found["mosaic.drizzle.pixfrak"]
    assert "mosaic.drizzle" in found["drizzle"].partition("nearest")[2]
    assert "'cube' is not allowed, it must be 'square' or " in found["mosaic.drizzle.kernel"]
    assert "'f999w' is in no exposure, it must be one of ['f125w', 'f160w']" in found["detect.bands"]
    assert "'match' is not allowed together with cosmic_rays" in found["background.method"]
    assert "4 are not allowed" in found["psf"]
    assert "-1.0 is not allowed, it must be positive, or 0" in found["psf.oversampling"]


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('[mosaic.drizzle]\nkernel = "lanczos3"\n', "mosaic.drizzle.pixfrac", "0.8 is not allowed with .*it must be 1.0"),
        ('[maps]\nis_on = false\nkernel = "lanczos2"\n', "maps.pixfrac", "0.2 is not allowed with maps.kernel 'lanczos2'"),
        ('[profiles]\nband = "f160w"\n', "profiles.band", "'f160w' needs a PSF, but psf.source is 'none'; it must be"),
        (f'{PSF}[photometry]\nbands = ["f125w"]\n', "photometry.bands", "needs models, but profiles.band is ''"),
        (f'{PSF}[profiles]\nband = "f814w"\n', "profiles.band", "'f814w' is in no exposure, it must be one of"),
        ('[psf]\nsource = "grid"\npath = "grid.fits"\n', "psf.path", "'grid.fits' is not there"),
        (
            '[psf]\nsource = "image"\npath = "psf_{band}.fits"\n[profiles]\nband = "f160w"\n',
            "psf.path",
            "'psf_f160w.fits' is not there",
        ),
        ('[psf]\nsource = "stars"\npath = "psf.fits"\n', "psf.path", "'psf.fits' is not allowed with psf.source 'stars'"),
        ('[psf]\nsource = "image"\n', "psf.path", "is missing, the source 'image' needs a file"),
        ('[tile]\nreference_image = "ref.fits"\n', "tile.reference_image", "'ref.fits' is not there"),
        ('[tile]\nkind = "healpix"\nname = "field"\nrotation_deg = 3.0\n', "tile.rotation_deg", "3.0 is not allowed with"),
        ('[ingest]\ndetectors = "mine.toml"\n', "ingest.detectors", "'mine.toml' is not there"),
        ('[slits]\nfiles = ["spectra/*.fits"]\npack = "./pack"\n[redshifts]\nis_on = false\n', "slits", "matches no file"),
        ('[contam]\nfiles = ["grism/*_flt.fits"]\n', "contam.files", "'grism/*_flt.fits' matches no file below"),
        ('[contam]\ncatalogue = "a.csv"\n', "contam", "both or none"),
        ("[redshifts.grism]\nz_range = [0.5, 2.0]\n", "redshifts.grism.templates", "is missing, fits to beams need"),
        ('[redshifts.grism]\ntemplates = "t/"\n', "redshifts.grism.templates", "neither contam.files nor beams.files"),
        ("[maps]\npixscale = 0.05\n", "maps", "neither contam.files nor beams.files names a file"),
        (f'{PSF}[profiles]\nband = "f160w"\n[[photometry.images]]\nband = "i"\nimage = "exposures/a.fits"\n',
         "photometry.images[0].psf", "is missing, the image of band 'i' must have one"),
        (f'{PSF}[profiles]\nband = "f160w"\n[[photometry.images]]\nband = 3\n', "photometry.images[0].band", "3 is not"),
        (f'{PSF}[profiles]\nband = "f160w"\n[photometry]\ntable = "bands.csv"\n', "photometry.table", "is not there"),
        ('[release]\nname = "DR1"\nnames = ["DR1"]\n', "release.names", "nearest: release.name"),
    ],
)  # fmt: skip
def test_a_fault_names_key_value_and_what_is_allowed(fresh: Path, text: str, key: str, message: str) -> None:
    found = faults_of(fresh, HEAD + text)
    mine = [whole for name, whole in found.items() if name.startswith(key)]
    assert mine, found
    head, _, tail = message.partition(".*")
    assert any(head in whole and tail in whole for whole in mine), mine


def test_patterns_that_match_nothing_are_told_one_by_one(fresh: Path) -> None:
    text = '[survey]\nexposures = ["exposures/*_flt.fits", "raw/*.fits", "raw/*_flc.fits", "one_flt.fits"]\n'
    (fresh / "plan.toml").write_text(text)
    faults = check_plan(fresh / "plan.toml")
    assert [one.value for one in faults] == ["raw/*.fits", "raw/*_flc.fits"]
    assert {one.key for one in faults} == {"survey.exposures"}
    assert set(faults_of(fresh, "[survey]\nexposures = []\n")) == {"survey.exposures"}
    assert not faults_of(fresh, '[survey]\nexposures = []\n[tile]\nkind = "healpix"\n')


def test_a_lake_that_is_none_and_tiles_that_are_not_its_own_are_told(fresh: Path) -> None:
    (fresh / "lake").mkdir()
    (fresh / "lake" / "notes.txt").write_text("mine")
    assert "holds something else than a lake" in faults_of(fresh, HEAD)["survey.lake"]
    Lake.create(fresh / "cells", tiles="healpix", scale_arcsec=0.08)
    found = faults_of(fresh, HEAD + 'lake = "cells"\n')
    assert "tile.kind: 'named' is not what the lake has, it must be 'healpix'" in found["tile.kind"]


def test_a_run_refuses_a_plan_with_faults_before_anything_is_written(fresh: Path) -> None:
    (fresh / "plan.toml").write_text(HEAD + '[detect]\nbands = ["f999w"]\n[mosaic.drizzle]\nkernel = "lanczos2"\n')
    before = sorted(path.name for path in fresh.rglob("*"))
    with pytest.raises(InvalidInputError, match=r"the plan has 2 faults: .*pixfrac.*'f999w' is in no exposure"):
        run_plan(read_plan(fresh / "plan.toml"))
    assert sorted(path.name for path in fresh.rglob("*")) == before


def test_text_that_is_not_toml_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("[survey\n")
    (fault,) = check_plan(tmp_path / "plan.toml")
    assert "plan.toml" in str(fault)
    assert "not TOML" in str(fault)
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe")
    assert "not TOML" in str(check_plan(tmp_path / "plan.toml")[0])


@pytest.mark.parametrize("kind", PLAN_KINDS)
def test_a_plan_that_was_written_has_no_fault_once_its_files_are_there(
    fresh: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan_template(fresh / "plan.toml", kind, replace=True)
    for name in ("CONF", "templates", "spectra"):
        (fresh / name).mkdir()
    (fresh / "exposures" / "direct_g_flt.fits").write_bytes(b"")
    (fresh / "exposures" / "sim_g_flt.fits").write_bytes(b"")
    (fresh / "spectra" / "a_phot.prism.fits").write_bytes(b"")
    # The reference files of slits are no part of this test.
    monkeypatch.setattr("skymere.pipeline.plan_files.plan_pack", lambda *_: None)
    assert [str(one) for one in check_plan(fresh / "plan.toml")] == []
