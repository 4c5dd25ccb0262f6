"""Names of files of observatories."""

import pytest

from skymere.instruments import FileName, parse_file_name


@pytest.mark.parametrize(
    ("name", "telescope", "instrument", "program", "visit", "kind"),
    [
        ("ibhj03xoq_flt.fits", "HST", "WFC3", "bhj", "ibhj03", "flt"),
        ("/data/JBTM01ALQ_FLC.fits.gz", "HST", "ACS", "btm", "jbtm01", "flc"),
        ("ibhj03xoq", "HST", "WFC3", "bhj", "ibhj03", ""),
        ("jw01345001001_02201_00002_nrcb1_cal.fits", "JWST", "NIRCAM", "01345", "jw01345001001", "cal"),
        ("jw02561002003_05101_00001_nrs2_rate.fits", "JWST", "NIRSPEC", "02561", "jw02561002003", "rate"),
        ("jw02561002003_051aa_00001_nis_rate.fits", "JWST", "NIRISS", "02561", "jw02561002003", "rate"),
        ("mosaic_f160w_drz.fits", "", "", "", "", "drz"),
        ("kbhj03xoq_flt.fits", "", "", "", "", "flt"),
        ("jw1345001001_02201_00002_nrcb1_cal.fits", "", "", "", "", "cal"),
    ],
)
def test_names_tell_visit_programme_and_kind(
    name: str, telescope: str, instrument: str, program: str, visit: str, kind: str
) -> None:
    found = parse_file_name(name)
    assert (found.telescope, found.instrument, found.program, found.visit, found.kind) == (
        telescope,
        instrument,
        program,
        visit,
        kind,
    )


def test_a_name_that_says_nothing_has_empty_texts() -> None:
    assert parse_file_name("notes.txt") == FileName()
