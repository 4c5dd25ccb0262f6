"""What the names of files of observatories say: programme, visit, and what kind of product they hold."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileName", "parse_file_name"]

# ipppssoot: instrument, programme, visit, exposure in the visit, and how it came to the ground.
_HST = re.compile(
    r"(?P<instrument>[ijolnuvwxyz])(?P<program>[0-9a-z]{3})(?P<visit>[0-9a-z]{2})(?P<exposure>[0-9a-z]{2})[0-9a-z]"
)
# jwPPPPPOOOVVV_GGSAA_EEEEE_detector
_JWST = re.compile(
    r"jw(?P<program>\d{5})(?P<observation>\d{3})(?P<visit>\d{3})"
    r"_(?P<group>\d{2})(?P<sequence>\d)(?P<activity>[0-9a-z]{2})_(?P<exposure>\d{5})_(?P<detector>[a-z0-9]+)"
)
_KIND = re.compile(r"_(?P<kind>flt|flc|cal|rate|crf|raw|ima|drz|drc|i2d)$")
_HST_INSTRUMENTS = {
    "i": "WFC3",
    "j": "ACS",
    "l": "COS",
    "n": "NICMOS",
    "o": "STIS",
    "u": "WFPC2",
    "v": "HSP",
    "w": "WFPC",
    "x": "FOC",
    "y": "FOS",
    "z": "GHRS",
}
_JWST_DETECTORS = (("nrc", "NIRCAM"), ("nis", "NIRISS"), ("nrs", "NIRSPEC"), ("mir", "MIRI"), ("guider", "FGS"))


@dataclass(frozen=True, kw_only=True)
class FileName:
    """What the name of a file says; texts are empty where it says nothing.

    Parameters
    ----------
    telescope : str
        ``HST`` or ``JWST``.
    instrument : str
        Instrument, such as ``WFC3``.
    program : str
        Programme: three letters of HST, five digits of JWST.
    visit : str
        Programme and visit, ``ipppss`` of HST and ``jwPPPPPOOOVVV`` of JWST: exposures of one have one guide star.
    exposure : str
        Exposure in the visit.
    detector : str
        Detector of JWST, such as ``nrcb1``.
    kind : str
        ``flt``, ``flc``, ``cal``, ``rate`` and so on.
    """

    telescope: str = ""
    instrument: str = ""
    program: str = ""
    visit: str = ""
    exposure: str = ""
    detector: str = ""
    kind: str = ""


def parse_file_name(path: str | Path) -> FileName:
    """Return what the name of a file of HST or JWST says.

    Parameters
    ----------
    path : path-like
        The file, or its name without an ending; it need not exist.

    Notes
    -----
    Rootnames of HST are ``ipppssoot`` [1]_, those of JWST ``jwPPPPPOOOVVV_GGSAA_EEEEE_detector`` [2]_. Capitals do not
    count.

    References
    ----------
    .. [1] HST Data Handbooks, "File names and file types".
    .. [2] JWST Science Calibration Pipeline, "File naming schemes: exposure file names".

    Examples
    --------
    >>> from skymere.instruments import parse_file_name
    >>> name = parse_file_name("ibhj03xoq_flt.fits")
    >>> name.instrument, name.visit, name.kind
    ('WFC3', 'ibhj03', 'flt')
    >>> parse_file_name("jw01345001001_02201_00002_nrcb1_cal.fits").visit
    'jw01345001001'
    """
    stem = Path(path).name.lower().removesuffix(".gz").removesuffix(".fz").removesuffix(".fits").removesuffix(".fit")
    told = _KIND.search(stem)
    kind = told["kind"] if told else ""
    root = stem.removesuffix(f"_{kind}") if kind else stem
    if found := _JWST.fullmatch(root):
        return FileName(
            telescope="JWST",
            instrument=next((name for begin, name in _JWST_DETECTORS if found["detector"].startswith(begin)), ""),
            program=found["program"],
            visit=f"jw{found['program']}{found['observation']}{found['visit']}",
            exposure=f"{found['group']}{found['sequence']}{found['activity']}_{found['exposure']}",
            detector=found["detector"],
            kind=kind,
        )
    if (found := _HST.fullmatch(root)) and found["instrument"] in _HST_INSTRUMENTS:
        return FileName(
            telescope="HST",
            instrument=_HST_INSTRUMENTS[found["instrument"]],
            program=found["program"],
            visit=f"{found['instrument']}{found['program']}{found['visit']}",
            exposure=found["exposure"],
            kind=kind,
        )
    return FileName(kind=kind)
