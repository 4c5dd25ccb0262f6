"""``skymere grism contam | extract``: whole exposures of grisms to contamination and beams."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skymere.cli._print import console, print_frame
from skymere.errors import InvalidInputError, NotFoundError, SkymereError

if TYPE_CHECKING:
    from skymere.grism import BeamAction, BeamCutParams, FrameParams, GrismFrame, MultiBeam

__all__ = ["grism_app"]

grism_app = typer.Typer(
    name="grism", help="Slitless spectra: contamination, beams, redshifts, line maps.", no_args_is_help=True
)

Exposures = Annotated[
    list[Path], typer.Argument(help="Exposures of grisms (`_flt.fits`, `_rate.fits`).", metavar="FILES...")
]
Catalogue = Annotated[Path, typer.Option(help="Table with `id`, `ra`, `dec` and perhaps `mag`.")]
Segmentation = Annotated[Path, typer.Option(help="Segmentation with a WCS.")]
Direct = Annotated[
    list[Path],
    typer.Option(help="Direct exposures (`_flt`, `_flc`, `_cal`, `_rate`) and mosaics; more than once for several."),
]
Conf = Annotated[Path, typer.Option(help="Folder of configurations, or one; packs are looked in too.")]
Operator = Annotated[str, typer.Option(help="spline or grizli.")]
Master = Annotated[
    list[str] | None, typer.Option(help="GRISM=FILE: an image of the sky of a grism; more than once for several.")
]
Pad = Annotated[tuple[int, int], typer.Option(help="Rows and columns beyond the detector that are looked at.")]

_ENDINGS = ("_flt", "_flc", "_cal", "_rate")


@grism_app.command("contam")
def contam(
    exposures: Exposures,
    catalogue: Catalogue,
    segmentation: Segmentation,
    direct: Direct,
    conf: Conf,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the frames.")] = Path("frames"),
    operator: Operator = "spline",
    master: Master = None,
    pad: Pad = (64, 256),
    refine: Annotated[bool, typer.Option(help="Whether spectra of the sources are fitted to the exposures.")] = True,
) -> None:
    """Model the light of all sources in exposures of grisms.

    Subtracts the sky, takes coordinates from the direct partner, fits the spectra of all sources bright to faint, and
    keeps each exposure with its model in `OUT/NAME.frame`, where `skymere grism extract --frames` finds it. What became
    of each fit is in `OUT/spectra.csv`.

    Example: `skymere grism contam g_flt.fits --catalogue c.csv --segmentation s.fits --direct d_flt.fits --conf CONF`
    """
    import polars as pl

    from skymere.grism import refine_contamination, write_frame

    params = _frame_params(operator, pad)
    frames = _frames(exposures, catalogue, segmentation, direct, conf, master, params)
    status = pl.DataFrame()
    if refine:
        refined = refine_contamination(frames, params=_refine_params(operator))
        frames, status = list(refined.frames), refined.table
    out.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        console.print(f"{write_frame(frame, out)}: {_summary(frame)}", soft_wrap=True)
    if not status.is_empty():
        status.write_csv(out / "spectra.csv")
        last = status.filter(pl.col("pass") == status["pass"].max())
        print_frame(last["status"].value_counts().sort("status"), "Spectra")


@grism_app.command("extract")
def extract(
    exposures: Annotated[list[Path] | None, typer.Argument(help="Exposures of grisms.", metavar="[FILES...]")] = None,
    catalogue: Annotated[Path | None, typer.Option(help="Table with `id`, `ra`, `dec` and perhaps `mag`.")] = None,
    segmentation: Annotated[Path | None, typer.Option(help="Segmentation with a WCS.")] = None,
    direct: Annotated[list[Path] | None, typer.Option(help="Direct exposures and mosaics.")] = None,
    conf: Annotated[Path | None, typer.Option(help="Folder of configurations, or one.")] = None,
    frames: Annotated[Path | None, typer.Option(help="Folder that `skymere grism contam` wrote.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the beams.")] = Path("beams"),
    root: Annotated[str, typer.Option(help="First part of the names of files.")] = "grism",
    ids: Annotated[str, typer.Option(help="Sources, with commas between; all when not given.")] = "",
    size: Annotated[
        int | None, typer.Option(help="Least half width of direct cutouts [pix]; 16 when not given.")
    ] = None,
    mag_limits: Annotated[
        tuple[float, float] | None, typer.Option(help="Brightest and faintest magnitude; all sources when not given.")
    ] = None,
    skip_complete: Annotated[bool, typer.Option("--skip-complete", help="Leave files alone that are there.")] = False,
    preset: Annotated[str, typer.Option(help="`grizli`: its magnitudes and size, and files that are there stay.")] = "",
    operator: Operator = "spline",
    master: Master = None,
    pad: Pad = (64, 256),
    actions: Annotated[Path | None, typer.Option(help="Table of what is masked or left out.")] = None,
    suggest: Annotated[bool, typer.Option(help="Write suggested masks to `OUT/suggested.csv`.")] = False,
) -> None:
    """Cut the beams of all sources.

    Writes `OUT/ROOT_ID.beams.fits`, and a row for each source in `OUT/beams.csv`: a source without a beam is a row that
    says why. From the frames of `skymere grism contam`, which keep their own pad and operator of the contamination,
    else from exposures with a flat model of all other sources.

    Example: `skymere grism extract --frames frames -o beams`

    Example: `skymere grism extract --frames frames -o beams --preset grizli`
    """
    import polars as pl

    from skymere.grism import (
        actions_table,
        read_beam_actions,
        score_beams,
        suggest_masks,
    )

    params = _frame_params(operator, pad)
    some = _read_frames(frames) if frames is not None else None
    if some is None:
        given = {"--catalogue": catalogue, "--segmentation": segmentation, "--direct": direct, "--conf": conf}
        some = _frames(*_all_given(exposures, given), master, params)
    how = _cut_params(preset, size, mag_limits, operator, params)
    wanted = _ids(ids) or _within(some, how)
    done = [] if actions is None else read_beam_actions(actions)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    suggested = []
    for one in wanted:
        path = out / f"{root}_{one:05d}.beams.fits"
        if path.is_file() and (skip_complete or preset):
            rows.append(_kept(path, one))
            continue
        row, beams = _cut(some, one, path, done, how)
        rows.append(row)
        if suggest and beams is not None and row["status"] == "ok":
            suggested += suggest_masks(beams, score_beams(beams))
    table = pl.DataFrame(rows)
    table.write_csv(out / "beams.csv")
    if suggest:
        actions_table(suggested).write_csv(out / "suggested.csv")
        console.print(f"{out / 'suggested.csv'}: {len(suggested)} actions", soft_wrap=True)
    print_frame(table["status"].value_counts().sort("status"), f"Beams in {out}")
    for one, status, message in table.select("id", "status", "message").iter_rows():
        if status != "ok":
            console.print(f"{one}: {status}: {message}", soft_wrap=True, markup=False)
    if not (table["status"] == "ok").any():
        raise typer.Exit(1)


def _all_given(
    exposures: list[Path] | None, given: Mapping[str, Any]
) -> tuple[list[Path], Path, Path, list[Path], Path]:
    """Return exposures with the options that they need.

    Raises
    ------
    InvalidInputError
        When one is missing.
    """
    missing = [name for name, value in given.items() if value is None]
    if not exposures or missing:
        msg = f"{', '.join(missing) or 'FILES'}: missing; exposures need them, or --frames a folder of contam"
        raise InvalidInputError(msg)
    return (exposures, *given.values())


def _cut(
    frames: list["GrismFrame"], one: int, path: Path, actions: list["BeamAction"], params: "BeamCutParams"
) -> tuple[dict[str, Any], "MultiBeam | None"]:
    """Write the beams of a source; return its row, and them."""
    from skymere.grism import apply_beam_actions, cut_beams, write_beam_file

    row = {"id": one, "status": "ok", "n_beams": 0, "n_pixels": 0, "message": "", "path": ""}
    try:
        found = next(iter(cut_beams(frames, ids=[one], params=params)), None)
        if found is None:
            return row | {"status": "no_overlap", "message": "no exposure has enough of its spectrum"}, None
        beams = apply_beam_actions(found[1], actions)
        write_beam_file(path, [model.beam for model in beams.beams])
    except SkymereError as error:
        return row | {"status": "failed", "message": f"{type(error).__name__}: {error}"}, None
    n = int(beams.fit_mask.sum())
    row |= {"n_beams": beams.N, "n_pixels": n, "path": str(path), "message": "; ".join(beams.records)}
    if not n:
        row |= {"status": "no_data", "message": "no pixel is left: contaminated, or without weight"}
    return row, beams


def _cut_params(
    preset: str, size: int | None, mag_limits: tuple[float, float] | None, operator: str, frame: "FrameParams"
) -> "BeamCutParams":
    """Return how beams are cut: what is given, else what the preset has."""
    from skymere.grism import GRIZLI_EXTRACT, BeamCutParams, BeamParams

    if preset not in ("", "grizli"):
        msg = f"--preset: {preset!r} is not allowed, it must be grizli"
        raise InvalidInputError(msg)
    base = GRIZLI_EXTRACT if preset else BeamCutParams()
    half = base.size if size is None else size
    return BeamCutParams(
        size=half,
        max_size=max(half, base.max_size),
        mag_limits=base.mag_limits if mag_limits is None else mag_limits,
        frame=frame,
        beam=BeamParams(operator=operator),  # type: ignore[arg-type]
    )


def _within(frames: list["GrismFrame"], how: "BeamCutParams") -> list[int]:
    from skymere.grism import cut_sources

    found = cut_sources(frames, how.mag_limits)
    if not found:
        msg = f"--mag-limits: {how.mag_limits} are not allowed, no source on the frames is within"
        raise InvalidInputError(msg)
    return found


def _kept(path: Path, one: int) -> dict[str, Any]:
    """Return the row of a file that was there."""
    from skymere.io import read_beam_file

    row = {"id": one, "status": "ok", "n_beams": 0, "n_pixels": 0, "message": "was there", "path": str(path)}
    try:
        return row | {"n_beams": len(read_beam_file(path)), "n_pixels": None}
    except SkymereError as error:
        return row | {"status": "failed", "message": f"was there: {type(error).__name__}: {error}"}


def _ids(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        msg = f"--ids: {text!r} is not allowed, it must be whole numbers with commas between"
        raise InvalidInputError(msg) from None


def _frame_params(operator: str, pad: tuple[int, int]) -> "FrameParams":
    from skymere.grism import ContaminationParams, FrameParams

    return FrameParams(pad=pad, contamination=ContaminationParams(operator=operator))  # type: ignore[arg-type]


def _refine_params(operator: str) -> Any:
    from dataclasses import replace

    from skymere.grism import RefineParams

    params = RefineParams()
    beam = replace(params.extract.beam, operator=operator)  # type: ignore[arg-type]
    return replace(params, extract=replace(params.extract, beam=beam))


def _frames(
    exposures: list[Path],
    catalogue: Path,
    segmentation: Path,
    direct: list[Path],
    conf: Path,
    master: list[str] | None,
    params: "FrameParams",
) -> list["GrismFrame"]:
    """Return the frames of exposures; those that cannot be used are named, and the others are kept.

    Raises
    ------
    SkymereError
        When none can be used.
    """
    from skymere.datamodels import SegmentationMap
    from skymere.grism import make_frames
    from skymere.io import read_labels, read_table

    labels, grid = read_labels(segmentation)
    table = read_table(catalogue)
    images = list(_direct_images(direct))
    masters = _masters(master)
    found: list[GrismFrame] = []
    faults: list[SkymereError] = []
    for path in exposures:
        try:
            found += make_frames(
                [path],
                table,
                SegmentationMap(labels=labels, grid=grid),
                images,
                configs=conf,
                masters=masters,
                params=params,
            )
        except SkymereError as error:
            faults.append(error)
            console.print(f"{path}: {type(error).__name__}: {error}", soft_wrap=True, markup=False)
    if not found:
        raise faults[0]
    return found


def _direct_images(paths: list[Path]) -> Iterator[Any]:
    from skymere.io import read_band, read_exposures

    for path in paths:
        name = path.name.removesuffix(".gz").removesuffix(".fits")
        if name.endswith(_ENDINGS):
            yield from read_exposures(path)
        else:
            yield read_band(path)


def _masters(given: list[str] | None) -> dict[str, list[Any]]:
    from skymere.io import open_fits

    found: dict[str, list[Any]] = {}
    for text in given or []:
        grism, sign, path = text.partition("=")
        if not sign or not path:
            msg = f"--master: {text!r} is not allowed, it must be GRISM=FILE"
            raise InvalidInputError(msg)
        with open_fits(Path(path)) as hdus:
            image = next((hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2), None)
            if image is None:
                msg = f"--master: {path} holds no image"
                raise InvalidInputError(msg)
            found.setdefault(grism.lower(), []).append(image.astype("float32"))
    return found


def _read_frames(folder: Path) -> list["GrismFrame"]:
    from skymere.grism import read_frame

    places = sorted(folder.glob("*.frame"))
    if not places:
        msg = f"--frames: {folder} has no frame of a grism; skymere grism contam writes them"
        raise NotFoundError(msg)
    return [read_frame(place) for place in places]


def _summary(frame: "GrismFrame") -> str:
    facts = frame.facts
    sky = f"sky {facts['sky_level']:.4f} e/s ({facts['sky_kind']})" if "sky_level" in facts else "sky kept"
    partner = f"partner {facts['partner']}" if facts.get("partner") else f"direct image {frame.direct_name}"
    return f"{frame.setup.grism}, {frame.catalog.height} sources, {sky}, {partner}"
