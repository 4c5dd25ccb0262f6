"""``skymere align | crmask | drizzle | blot``: FITS in and FITS out, without any lake."""

import os
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from skymere.cli._print import console, print_frame
from skymere.errors import InvalidInputError, NoDataError, NoOverlapError, NotFoundError, StorageError

if TYPE_CHECKING:
    from skymere.datamodels import Exposure
    from skymere.mosaic import Resolved

__all__ = ["align", "blot", "crmask", "drizzle"]

FilesArgument = Annotated[list[Path], typer.Argument(help="Calibrated exposures (FLT-like FITS).")]
FolderOption = Annotated[Path, typer.Option("-o", "--output", help="Folder for what is written.")]
ParamsOption = Annotated[Path | None, typer.Option(help="TOML file with parameters; what is said here goes first.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE of any parameter that --dry-run shows; may be repeated.")
]
PresetOption = Annotated[
    str | None, typer.Option(help="Values for an instrument; never instead of what is said. A wrong name lists all.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show every parameter and its source; write nothing.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")]


class _Geometry(StrEnum):
    shift = "shift"
    rshift = "rshift"
    rscale = "rscale"
    general = "general"


def align(
    files: FilesArgument,
    output: FolderOption = Path("aligned"),
    reference: Annotated[
        str | None, typer.Option(help="Name of an exposure, or catalogue with ra, dec [deg] (CSV or Parquet).")
    ] = None,
    fitgeom: Annotated[_Geometry | None, typer.Option(help="What may move.")] = None,
    search_radius: Annotated[float | None, typer.Option(help="Largest offset [arcsec].")] = None,
    min_matches: Annotated[int | None, typer.Option(help="Exposures with fewer pairs are not aligned.")] = None,
    params: ParamsOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Align exposures: copies with corrected coordinates, and `alignment.csv` with what was found.

    The exposures stay as they are. In the copies the old coordinates are an alternate WCS. An exposure that cannot be
    aligned is not copied; the table says why, and the exit code is 1.

    Example: `skymere align visit*_flt.fits -o aligned --fitgeom rshift`
    """
    from skymere._params import resolve_params
    from skymere.align import AlignParams
    from skymere.align import align as align_exposures
    from skymere.io import read_exposures, write_with_wcs

    said = {"fitgeom": fitgeom and fitgeom.value, "search_radius_arcsec": search_radius, "min_matches": min_matches}
    settings, rows = resolve_params(AlignParams, _given(params, set_, said))
    if dry_run:
        _show(rows)
        return
    table = output / "alignment.csv"
    copies = [output / path.name for path in files]
    _check_outputs([table, *copies], overwrite=overwrite)
    chips = [read_exposures(path) for path in files]
    exposures = [exposure for each in chips for exposure in each]
    found = align_exposures(exposures, reference=_catalogue(reference), params=settings)
    solved = iter(found)
    for path, copy, each in zip(files, copies, chips, strict=True):
        ours = [next(solved) for _ in each]
        if all(one.is_aligned for one in ours):
            write_with_wcs(path, copy, [one.wcs for one in ours], name="SKYMERE")
    frame = pl.DataFrame([one.row() for one in found])
    _write_table(frame, table)
    # Without empty messages and with digits that matter it fits into a terminal of 80 columns.
    digits = {"shift_x": 5, "shift_y": 5, "rms_x": 4, "rms_y": 4}
    message = [] if (frame["message"] == "").all() else ["message"]
    shown = [name for name in ("exposure_id", "status", *message, "n_matches", *digits) if name in frame.columns]
    rounded = [pl.col(name).round(n) for name, n in digits.items() if name in shown]
    print_frame(frame.select(shown).with_columns(rounded), "Shifts and rms in arcsec")
    if not all(one.is_aligned for one in found):
        raise typer.Exit(code=1)


def crmask(
    files: FilesArgument,
    output: FolderOption = Path("crmasks"),
    clean: Annotated[bool, typer.Option("--clean", help="Write copies in which hit pixels are replaced, too.")] = False,
    preset: PresetOption = None,
    params: ParamsOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Find the cosmic rays of aligned exposures of one band: `<name>_crmask.fits`, 1 = hit, for each.

    Parameters are those of `skymere drizzle`; `skymere drizzle --masks FOLDER` takes the masks.

    Example: `skymere crmask aligned/*_flt.fits -o crmasks --set "mosaic.flag.cosmic_rays.snr=[5, 4]"`
    """
    from skymere.io import exposure_id, write_image, write_with_data
    from skymere.mosaic import ExposureFiles, iter_flagged, make_grid

    resolved = _resolve(files, preset, params, set_, {})
    if dry_run:
        _show(resolved.rows)
        return
    plan = resolved.plan
    exposures = ExposureFiles(files, override=plan.override)
    names = [exposure_id(path, chip) for path, chip in exposures.places]
    masks = [output / f"{name}_crmask.fits" for name in names]
    copies = {path: output / f"{exposure_id(path)}_crclean.fits" for path in files if clean}
    _check_outputs([*masks, *copies.values()], overwrite=overwrite)
    separate = None if plan.separate is None else make_grid(exposures, params=plan.separate)
    rows, cleaned = [], []
    for i, one in enumerate(iter_flagged(exposures, params=plan.mosaic.flag, separate_grid=separate)):
        if one.cosmic_rays is None:
            msg = "mosaic.flag.cosmic_rays: false is not allowed, nothing would be found"
            raise InvalidInputError(msg)
        hits = one.cosmic_rays.mask
        write_image(hits, masks[i], name="CRMASK", keywords={"EXPOSURE": one.exposure.exposure_id})
        rows.append({"exposure": names[i], "sky": one.exposure.sky, "hit pixels": int(hits.sum())})
        path = exposures.places[i][0]
        if clean:
            cleaned.append(one.cleaned().data)
            # The chips of a file follow each other.
            if i + 1 == len(exposures) or exposures.places[i + 1][0] != path:
                write_with_data(path, copies[path], cleaned, params=exposures.read_params)
                cleaned = []
    print_frame(pl.DataFrame(rows))


def drizzle(
    files: FilesArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="FITS file with SCI, WHT, CTX and VAR.")],
    preset: PresetOption = None,
    scale: Annotated[float | None, typer.Option(help="Side of a pixel [arcsec].")] = None,
    rotation: Annotated[float | None, typer.Option(help="Position angle of the y axis [deg]; 0 = north up.")] = None,
    reference_image: Annotated[Path | None, typer.Option(help="FITS file whose grid is taken as it is.")] = None,
    kernel: Annotated[str | None, typer.Option(help="square, turbo, point, gaussian, lanczos2 or lanczos3.")] = None,
    pixfrac: Annotated[float | None, typer.Option(help="Side of the drop [input pix].")] = None,
    weight: Annotated[
        str | None, typer.Option(help="exposure_time, inverse_variance or inverse_variance_with_sources.")
    ] = None,
    sky: Annotated[str | None, typer.Option(help="localmin, globalmin, match, globalmin+match or none.")] = None,
    combine: Annotated[str | None, typer.Option(help="minmed, median, mean, sum, or iminmed ...")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder with masks of `skymere crmask`, instead of looking for cosmic rays.")
    ] = None,
    gain: Annotated[float | None, typer.Option(help="Electrons per unit of the pixels.")] = None,
    read_noise: Annotated[float | None, typer.Option(help="Read noise [electron].")] = None,
    exptime: Annotated[float | None, typer.Option(help="Exposure time [s].")] = None,
    rules: Annotated[
        Path | None, typer.Option(help="Rules for the header, as AstroDrizzle's rules_file; else the usual ones.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="PNG of the weight, of what was rejected, and the verdict.")
    ] = None,
    params: ParamsOption = None,
    set_: SetOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Make a mosaic of aligned exposures of one band: static mask, sky, cosmic rays, drizzle.

    `--dry-run` shows every parameter and whether it was given, comes from the preset or is the default. Every one of
    them can be set with `--set KEY=VALUE`, or in the TOML file that `--params` names; `false` stands for none.

    Example: `skymere drizzle aligned/*_flt.fits -o f606w_drz.fits --preset wfc3-uvis --scale 0.03 --pixfrac 0.6`

    Example: `skymere drizzle aligned/*_flt.fits -o f814w_drz.fits --reference-image f606w_drz.fits`
    """
    from skymere.io import input_header, read_blend_rules, write_mosaic
    from skymere.mosaic import ExposureFiles, RejectionMap, drizzle_stream, make_grid
    from skymere.viewer import plot_quality

    said = {
        "grid.scale_arcsec": scale,
        "grid.rotation_deg": rotation,
        "grid.reference_image": None if reference_image is None else str(reference_image),
        "mosaic.drizzle.kernel": kernel,
        "mosaic.drizzle.pixfrac": pixfrac,
        "mosaic.weight": weight,
        "mosaic.flag.sky.method": sky,
        "mosaic.flag.cosmic_rays.combine": combine,
        "mosaic.flag.cosmic_rays": None if masks is None else False,
        "override.gain": gain,
        "override.read_noise": read_noise,
        "override.exptime": exptime,
    }
    resolved = _resolve(files, preset, params, set_, said)
    blending = () if rules is None else read_blend_rules(rules)
    if dry_run:
        _show([*resolved.rows, ("rules", rules or "usual", "given" if rules else "default")])
        return
    _check_outputs([output] if picture is None else [output, picture], overwrite=overwrite)
    plan = resolved.plan
    stored = None if masks is None else _StoredMasks(masks)
    exposures = ExposureFiles(files, override=plan.override, prepare=stored)
    grid = make_grid(exposures, params=plan.grid)
    separate = None if plan.separate is None else make_grid(exposures, params=plan.separate)
    rejection = RejectionMap(grid, params=plan.mosaic.drizzle, ignore=plan.mosaic.flag.ignore_dq)
    skies: list[float] = []
    mosaic = drizzle_stream(
        exposures,
        grid,
        params=plan.mosaic,
        separate_grid=separate,
        rejection=rejection,
        on_flagged=lambda one: skies.append(one.exposure.sky),
    )
    inputs = [
        input_header(path, chip=chip, params=exposures.read_params, sky=sky)
        for (path, chip), sky in zip(exposures.places, skies, strict=True)
    ]
    write_mosaic(mosaic, output, inputs=inputs, rules=blending)
    quality = mosaic.params.get("quality", {})
    if picture is not None and quality:
        plot_quality(mosaic.weight, rejection.fraction(), quality, picture, title=mosaic.band)
    for warning in quality.get("warnings", []):
        console.print(f"warning: {warning}", soft_wrap=True, markup=False)
    ny, nx = mosaic.shape
    verdict = quality.get("verdict", "not measured")
    console.print(f"{output}: {nx} x {ny} pixels of {len(files)} exposures; over-rejection: {verdict}", soft_wrap=True)


def blot(
    image: Annotated[Path, typer.Argument(help="Mosaic, or any image with celestial coordinates [electron / s].")],
    exposure: Annotated[Path, typer.Argument(help="Exposure whose pixels are wanted.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="FITS file with one extension.")],
    chip: Annotated[int | None, typer.Option(help="Number of the chip, where the file holds several.")] = None,
    interpolation: Annotated[
        str, typer.Option(help="nearest, linear, poly3, poly5, sinc, lanczos3 or lanczos5.")
    ] = "poly5",
    sinscl: Annotated[float, typer.Option(help="Factor of the distances in sinc.")] = 1.0,
    sky: Annotated[float, typer.Option(help="Level that is added [electron / s].")] = 0.0,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Sample a mosaic at the pixels of an exposure, with its distortion [electron / s].

    Example: `skymere blot f606w_drz.fits visit1_flt.fits -o visit1_blt.fits`
    """
    from dataclasses import replace

    from skymere._params import resolve_params
    from skymere.io import read_exposure, read_image, write_image
    from skymere.outliers import SkyModel
    from skymere.resample import BlotParams
    from skymere.wcs import pixel_map

    settings, rows = resolve_params(BlotParams, {"interpolation": interpolation, "sinscl": sinscl})
    if dry_run:
        _show([*rows, ("sky", sky, "given" if sky else "default")])
        return
    _check_outputs([output], overwrite=overwrite)
    data, grid = read_image(image)
    one = replace(read_exposure(exposure, chip=chip), sky=sky)
    if not _overlap(pixel_map(one.wcs, grid.wcs, one.shape), grid.shape):
        msg = f"{image}: has nothing in common with {exposure}, its outline is {grid.outline()}"
        raise NoOverlapError(msg)
    blotted = SkyModel(data=data, grid=grid).blot(one, params=settings)
    write_image(blotted, output, name="SCI", keywords={"BUNIT": "ELECTRONS/S", "BLOTOF": image.name[:60]})
    console.print(f"{output}: {one.shape[1]} x {one.shape[0]} pixels", soft_wrap=True)


class _StoredMasks:
    """Puts the stored cosmic-ray mask of an exposure into its flags."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, exposure: "Exposure") -> "Exposure":
        from skymere.io import read_mask

        return exposure.flagged("cosmic_ray", read_mask(self._folder / f"{exposure.exposure_id}_crmask.fits"))


def _overlap(pixmap: Any, shape: tuple[int, int]) -> bool:
    x, y = pixmap[..., 0], pixmap[..., 1]
    return bool(((x > -0.5) & (y > -0.5) & (x < shape[1] - 0.5) & (y < shape[0] - 0.5)).any())


def _given(path: Path | None, settings: list[str] | None, said: dict[str, Any]) -> dict[str, Any]:
    """Return what was given: a file, then --set, then options, each before the one before it."""
    table: dict[str, Any] = {}
    if path is not None:
        if not path.is_file():
            msg = f"--params: {path}: no such file"
            raise NotFoundError(msg)
        table = _toml(path.read_text(encoding="utf-8"), f"--params {path}")
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals:
            msg = f"--set: {setting!r} is not allowed, it must be KEY=VALUE"
            raise InvalidInputError(msg)
        _put(table, key.strip(), _value(value.strip()))
    for key, value in said.items():
        if value is not None:
            _put(table, key, value)
    return table


def _toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{what}: not TOML: {error}"
        raise InvalidInputError(msg) from error


def _value(text: str) -> Any:
    """Return a TOML value; what is none is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    *names, last = key.split(".")
    for name in names:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            msg = f"{key}: is not allowed beside {name} = {inner!r}"
            raise InvalidInputError(msg)
        table = inner
    if isinstance(table.get(last), dict) and not isinstance(value, dict):
        msg = f"{key}: {value!r} is not allowed beside {key}.{next(iter(table[last]), '')}"
        raise InvalidInputError(msg)
    table[last] = value


def _resolve(
    files: Sequence[Path], preset: str | None, params: Path | None, settings: list[str] | None, said: dict[str, Any]
) -> "Resolved":
    from skymere.io import exposure_id
    from skymere.mosaic import resolve

    names = [exposure_id(path) for path in files]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        msg = f"files: {doubled} are there more than once"
        raise InvalidInputError(msg)
    return resolve(_given(params, settings, said), preset=preset, n_exposures=len(files))


def _show(rows: Sequence[tuple[str, Any, str]]) -> None:
    """Print every parameter with its value and source, one a line, so that other programs can read them."""
    width = max(len(key) for key, _, _ in rows)
    for key, value, source in rows:
        text = "false" if value is None else str(list(value) if isinstance(value, tuple) else value)
        console.print(f"{key:<{width}}  {text}  ({source})", soft_wrap=True, markup=False, highlight=False)


def _check_outputs(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raise before any work is done when a file cannot be written, or would be replaced unasked."""
    for path in paths:
        if path.is_dir():
            msg = f"{path}: is a folder, it must be the name of a file"
            raise StorageError(msg)
        if path.exists() and not overwrite:
            msg = f"{path}: is there already; --overwrite replaces it"
            raise InvalidInputError(msg)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{path.parent}: cannot be made: {error.strerror}"
            raise StorageError(msg) from error
        if not os.access(path.parent, os.W_OK):
            msg = f"{path.parent}: may not be written to"
            raise StorageError(msg)


def _catalogue(reference: str | None) -> "pl.DataFrame | str | None":
    if reference is None or not Path(reference).suffix:
        return reference
    path = Path(reference)
    if not path.is_file():
        msg = f"--reference: {path}: no such file"
        raise NotFoundError(msg)
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"--reference: {path}: cannot be read as a table: {error}"
        raise InvalidInputError(msg) from error
    if frame.is_empty():
        msg = f"--reference: {path}: has no rows"
        raise NoDataError(msg)
    return frame


def _write_table(frame: pl.DataFrame, path: Path) -> None:
    from skymere.lake import write_whole

    with write_whole(path) as staged:
        frame.write_csv(staged)
