"""``skymere grism fit | maps | plot``: redshifts, lines, maps and pictures of beams, from files or a lake."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from skymere.cli._print import console, print_frame
from skymere.cli.grism import grism_app
from skymere.cli.thumbnails import read_geometry
from skymere.errors import InvalidInputError, NotFoundError, SkymereError

if TYPE_CHECKING:
    from skymere.lake import Lake
    from skymere.pipeline import FitTemplates, GrismFitPlan, GrismObject, MapsPlan, RedshiftsPlan
    from skymere.resample import Geometry

__all__ = ["fit", "maps", "plot"]

Beams = Annotated[
    list[Path] | None, typer.Argument(help="Files of beams (`beams.fits`), or folders of them.", metavar="[BEAMS...]")
]
Templates = Annotated[str, typer.Option(help="Folder of templates, or name of a pack that has them.")]
Conf = Annotated[Path | None, typer.Option(help="Folder of configurations, or one; packs are looked in too.")]
InLake = Annotated[Path | None, typer.Option("--lake", help="A lake; files of beams are taken into it.")]
Source = Annotated[list[int] | None, typer.Option(help="Source in the lake, `source_id`; more than once for several.")]
ZRange = Annotated[tuple[float, float], typer.Option(help="Least and largest redshift.")]
Dz = Annotated[tuple[float, float], typer.Option(help="Steps in ln(1 + z) of the first grid, and around its peaks.")]
Operator = Annotated[str, typer.Option(help="spline or grizli.")]
Actions = Annotated[Path | None, typer.Option(help="Table of what is masked or left out.")]
Write = Annotated[list[str] | None, typer.Option("--write", help="full, stack, 1D or row; more than once for several.")]
BadPa = Annotated[
    float,
    typer.Option(
        help="Orientations are left out whose reduced chi square of a polynomial is more than this times the best one "
        "of the grism; 0 keeps all."
    ),
]
Shape = Annotated[str, typer.Option("--geometry", help="Preset, TOML file, or FITS file whose pixels are taken.")]
HasPsf = Annotated[
    bool, typer.Option("--psf", help="Drizzle the PSF of the direct images with the same geometry, too.")
]
PsfFrom = Annotated[
    str,
    typer.Option(
        "--psf-source",
        help="Where it comes from: stars of the exposures of the lake, gaussian:FWHM, moffat:FWHM:BETA [arcsec], "
        "grid:FILE (STDPSF) or image:FILE; {band} stands for the filter.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of what is written.")]

_Z_RANGE, _DZ = (0.05, 3.4), (0.004, 0.0002)
# As `GRIZLI_BAD_PA`, which is imported with all of the package.
_BAD_PA = 1.6


@grism_app.command("fit")
def fit(
    beams: Beams = None,
    templates: Templates = "",
    conf: Conf = None,
    lake: InLake = None,
    source: Source = None,
    out: Out = Path("fits"),
    z_range: ZRange = _Z_RANGE,
    dz: Dz = _DZ,
    operator: Operator = "spline",
    actions: Actions = None,
    write: Write = None,
    geometry: Shape = "lines-1",
    bad_pa_threshold: BadPa = _BAD_PA,
    widths: Annotated[bool, typer.Option("--widths", help="Fit the widths of broad and narrow lines, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done, as JSON.")] = False,
) -> None:
    """Fit redshifts and lines of beams.

    Of files it writes `OUT/redshifts.csv` and `OUT/lines.csv`, and what `--write` asks for. With `--lake` everything
    goes into the lake; files are taken into it first, and `--source` says of which sources files are written. A source
    that cannot be fitted is a row that says why.

    Example: `skymere grism fit beams --templates templates/ --conf CONF -o fits --write 1D --write row`

    Example: `skymere grism fit --lake survey/lake --templates templates/`

    Example: `skymere grism fit beams --templates templates/ --dry-run`
    """
    how = _fit_plan(templates, z_range, dz, bad_pa_threshold, has_widths=widths)
    _check_kinds(write or [])
    if dry_run:
        _print_settings(how, beams, conf, lake, operator, actions, geometry)
        return
    if lake is None:
        objects = _of_files(beams, how, conf, operator, actions)
        _fit_files(objects, out, write or [], geometry)
        return
    opened = _into_lake(lake, beams, conf, operator, actions)
    from skymere.pipeline import fit_beams

    rows = fit_beams(opened, how)
    _print_redshifts(rows)
    if source and write:
        _write_all(_of_lake(opened, source, how), out, write, read_geometry(geometry), opened)
    if not (rows["status"] == "ok").any():
        raise typer.Exit(1)


@grism_app.command("maps")
def maps(
    beams: Beams = None,
    templates: Templates = "",
    conf: Conf = None,
    lake: InLake = None,
    source: Source = None,
    out: Out = Path("maps"),
    z_range: ZRange = _Z_RANGE,
    dz: Dz = _DZ,
    operator: Operator = "spline",
    actions: Actions = None,
    write: Write = None,
    geometry: Shape = "lines-1",
    psf: HasPsf = False,
    psf_source: PsfFrom = "stars",
    bad_pa_threshold: BadPa = _BAD_PA,
) -> None:
    """Make line maps, direct images and labels on the same pixels.

    Of files it fits and writes `OUT/NAME.full.fits` and what else `--write` asks for, and catalogues of all, `wide.csv`
    and `lines.csv`. With `--lake` the maps of all fitted sources go into the lake, and files are written of those that
    `--source` names. With `--psf` there is a DPSF for each filter. What was written is listed in `OUT/assets.csv`.

    Example: `skymere grism maps beams --templates templates/ --conf CONF -o maps --write full --write stack`

    Example: `skymere grism maps --lake survey/lake --templates templates/ --source 12`
    """
    how, shape = _fit_plan(templates, z_range, dz, bad_pa_threshold), read_geometry(geometry)
    kinds = write or ["full"]
    _check_kinds(kinds)
    plan = _maps_plan(shape, psf_source if psf else "none")
    if lake is None:
        found = _write_all(_of_files(beams, how, conf, operator, actions), out, kinds, shape, None, plan=plan)
    else:
        opened = _into_lake(lake, beams, conf, operator, actions)
        if shape.wcs is None:
            from skymere.pipeline import map_beams

            print_frame(map_beams(opened, plan, how.grism), f"Maps in {lake}")
        elif not source:
            msg = f"--geometry: {geometry} has pixels of one place; --source names the source they are for"
            raise InvalidInputError(msg)
        if not source:
            return
        found = _write_all(_of_lake(opened, source, how), out, kinds, shape, opened, plan=plan)
    if not found:
        raise typer.Exit(1)


@grism_app.command("plot")
def plot(
    beams: Beams = None,
    templates: Templates = "",
    conf: Conf = None,
    lake: InLake = None,
    source: Source = None,
    out: Out = Path(),
    z_range: ZRange = _Z_RANGE,
    dz: Dz = _DZ,
    operator: Operator = "spline",
    actions: Actions = None,
    geometry: Shape = "lines-1",
    line: Annotated[list[str] | None, typer.Option(help="Line that is marked; those above 2 sigma else.")] = None,
    only_beams: Annotated[
        bool, typer.Option("--beams", help="Each beam against the others, with masks that are suggested; no fit.")
    ] = False,
) -> None:
    """Draw a page of each object: spectra in two and one dimension, p(z), direct image and line maps.

    Writes `OUT/NAME.png`, and lists it in `OUT/assets.csv`. Files are fitted; of a lake the fits that it has are drawn.
    With `--beams` it draws `OUT/NAME.beams.png` instead, for which nothing is fitted and no templates are needed.

    Example: `skymere grism plot j033216m2743_00152.beams.fits --templates templates/ --conf CONF`

    Example: `skymere grism plot --lake survey/lake --templates templates/ --source 12`

    Example: `skymere grism plot j033216m2743_00152.beams.fits --conf CONF --beams`
    """
    from skymere.pipeline import draw_object, plot_object

    if only_beams:
        _plot_beams(beams, conf, lake, source, out, operator, actions)
        return
    how, shape = _fit_plan(templates, z_range, dz), read_geometry(geometry)
    opened = None if lake is None else _open(lake)
    if opened is not None and not source:
        some = opened.table("redshift").select("source_id").head(5).collect()["source_id"].to_list()
        msg = f"--source: is missing, {lake} is a lake; it has {', '.join(map(str, some)) or 'nothing'} and others"
        raise InvalidInputError(msg)
    objects = _of_files(beams, how, conf, operator, actions) if opened is None else _of_lake(opened, source or [], how)
    drawn: list[dict[str, Any]] = []
    for name, one in objects:
        try:
            if isinstance(one, SkymereError):
                raise one
            path = out / f"{one.name}.png"
            plot_object(one, draw_object(one, _maps_plan(shape), lake=opened, geometry=shape), path, lines=line)
        except SkymereError as error:
            _tell(name, error)
            continue
        drawn.append({"id": one.source_id, "name": one.name, "kind": "summary", "path": path.name})
        console.print(f"{path}: z = {one.model.z:.5f}", soft_wrap=True)
    if not drawn:
        raise typer.Exit(1)
    _keep_assets(out, drawn)


def _plot_beams(
    beams: list[Path] | None,
    conf: Path | None,
    lake: Path | None,
    sources: list[int] | None,
    out: Path,
    operator: str,
    actions: Path | None,
) -> None:
    """Draw the beams of files or of sources of a lake against each other."""
    from skymere.grism import BeamParams, apply_beam_actions, read_beam_actions, read_beams
    from skymere.pipeline import beam_paths, plot_beams

    if not beams and not (lake is not None and sources):
        msg = "BEAMS: missing; files or folders of beams, or --lake with --source"
        raise InvalidInputError(msg)
    params = BeamParams(operator=operator)  # type: ignore[arg-type]
    done = [] if actions is None else read_beam_actions(actions)
    opened = None if lake is None else _open(lake)
    names: list[Path | int] = [*(sources or [])] if opened is not None else [*beam_paths(beams or [])]
    drawn: list[dict[str, Any]] = []
    for name in names:
        try:
            if isinstance(name, int):
                assert opened is not None
                some, label = opened.beams(name), f"grism_{name}"
            else:
                some = read_beams(name, conf_path=conf, params=params)
                label = name.name.removesuffix(".gz").removesuffix(".fits").removesuffix(".beams")
            path = out / f"{label}.beams.png"
            suggested = plot_beams(apply_beam_actions(some, done), path)
        except SkymereError as error:
            _tell(str(name), error)
            continue
        number = name if isinstance(name, int) else some.source_id
        drawn.append({"id": number, "name": label, "kind": "beams", "path": path.name})
        console.print(f"{path}: {some.N} beams, {len(suggested)} masks are suggested", soft_wrap=True)
        for one in suggested:
            low, high = one.span
            place = "all" if one.action == "omit" else f"{low:.3f} to {high:.3f} um"
            console.print(f"  {one.action} {one.exposure_id} {one.grating}: {place}, {one.reason}", soft_wrap=True)
    if not drawn:
        raise typer.Exit(1)
    _keep_assets(out, drawn)


def _check_kinds(kinds: list[str]) -> None:
    from skymere.pipeline.grism_objects import PRODUCTS

    if unknown := [kind for kind in kinds if kind not in PRODUCTS]:
        msg = f"--write: {unknown} are not allowed, they must be of {', '.join(PRODUCTS)}"
        raise InvalidInputError(msg)


def _fit_plan(
    templates: str,
    z_range: tuple[float, float],
    dz: tuple[float, float],
    bad_pa_threshold: float = _BAD_PA,
    *,
    has_widths: bool = False,
) -> "RedshiftsPlan":
    from skymere.pipeline import GrismFitPlan, RedshiftsPlan

    if not templates:
        msg = "--templates: is missing, it must be a folder of templates or a pack that has them"
        raise InvalidInputError(msg)
    grism = GrismFitPlan(
        templates=templates, z_range=z_range, dz=dz, bad_pa_threshold=bad_pa_threshold, has_widths=has_widths
    )
    return RedshiftsPlan(grism=grism)


def _print_settings(
    how: "RedshiftsPlan",
    beams: list[Path] | None,
    conf: Path | None,
    lake: Path | None,
    operator: str,
    actions: Path | None,
    geometry: str,
) -> None:
    """Print everything that a fit would be done with, after all of it was checked."""
    from skymere.grism import BeamParams
    from skymere.pipeline import beam_paths, fit_settings

    if not beams and lake is None:
        msg = "BEAMS: missing; files or folders of beams, or --lake"
        raise InvalidInputError(msg)
    found = fit_settings(
        how.grism,
        _sets(how.grism),
        beam=BeamParams(operator=operator),  # type: ignore[arg-type]
        geometry=read_geometry(geometry),
        files=beam_paths(beams or []),
        conf=conf,
        lake=None if lake is None else _open(lake) if (lake / "lake.json").exists() else lake,
        actions=actions,
    )
    typer.echo(json.dumps(found, indent=2))


def _maps_plan(geometry: "Geometry", psf: str = "none") -> "MapsPlan":
    from skymere.pipeline import MapsPlan

    if geometry.rotation_deg != 0:
        msg = f"--geometry: a rotation of {geometry.rotation_deg} is not allowed, maps of a lake have north up"
        raise InvalidInputError(msg)
    shape = {"kernel": geometry.kernel, "pixfrac": geometry.pixfrac, "pixscale": geometry.pixscale}
    return MapsPlan(**shape, size=geometry.size, psf=psf)  # type: ignore[arg-type]


def _sets(plan: "GrismFitPlan") -> "FitTemplates":
    from skymere.pipeline import fit_sets

    return fit_sets(plan, Path.cwd())


_Objects = Iterator[tuple[str, "GrismObject | SkymereError"]]


def _of_files(
    beams: list[Path] | None, how: "RedshiftsPlan", conf: Path | None, operator: str, actions: Path | None
) -> _Objects:
    """Yield the objects of files with their fits, or why there is none."""
    from skymere.grism import BeamParams, read_beam_actions
    from skymere.pipeline import beam_paths, object_of_file

    if not beams:
        msg = "BEAMS: missing; files or folders of beams, or --lake"
        raise InvalidInputError(msg)
    params = BeamParams(operator=operator)  # type: ignore[arg-type]
    done = [] if actions is None else read_beam_actions(actions)
    sets = _sets(how.grism)
    for path in beam_paths(beams):
        try:
            yield str(path), object_of_file(path, sets, how.grism, conf=conf, params=params, actions=done)
        except SkymereError as error:
            yield str(path), error


def _of_lake(lake: "Lake", sources: list[int], how: "RedshiftsPlan") -> _Objects:
    """Yield sources of a lake with the fits that it has, or why there is none."""
    from skymere.pipeline import object_of_lake

    sets = _sets(how.grism)
    for source_id in sources:
        try:
            yield str(source_id), object_of_lake(lake, source_id, sets)
        except SkymereError as error:
            yield str(source_id), error


def _open(path: Path) -> "Lake":
    from skymere.lake import Lake

    return Lake.open(path)


def _into_lake(path: Path, beams: list[Path] | None, conf: Path | None, operator: str, actions: Path | None) -> "Lake":
    """Open a lake, make it when files of beams are to go into it, and take these and actions into it."""
    from skymere.grism import BeamCutParams, BeamParams, read_beam_actions
    from skymere.lake import Lake, add_beam_actions
    from skymere.pipeline import BeamsPlan, beam_paths, store_beams

    there = (path / "lake.json").exists()
    if not there and not beams:
        msg = f"--lake: {path} is no lake, and there are no files of beams to make one of"
        raise NotFoundError(msg)
    lake = Lake.open(path) if there else Lake.create(path, tiles="healpix", scale_arcsec=0.1)
    if beams:
        cut = BeamCutParams(beam=BeamParams(operator=operator))  # type: ignore[arg-type]
        files = tuple(str(one.resolve()) for one in beam_paths(beams))
        rows = store_beams(lake, BeamsPlan(files=files, cut=cut), conf=conf)
        for name, message in rows.filter(pl.col("message") != "").select("path", "message").iter_rows():
            console.print(f"{name}: {message}", soft_wrap=True, markup=False)
    if actions is not None:
        added = add_beam_actions(
            lake, read_beam_actions(actions), author="skymere grism", reason=f"from {actions.name}"
        )
        console.print(f"{added.height} new actions", soft_wrap=True)
    return lake


def _fit_files(objects: _Objects, out: Path, kinds: list[str], geometry: str) -> None:
    """Write tables of redshifts and lines of files, and what else is asked for; those of all that were done."""
    rows: list[dict[str, Any]] = []
    lines: list[pl.DataFrame] = []
    out.mkdir(parents=True, exist_ok=True)
    try:
        for name, one in objects:
            if isinstance(one, SkymereError):
                rows.append({"file": name, "id": None, "status": "failed", "message": f"{type(one).__name__}: {one}"})
                _tell(name, one)
                continue
            rows.append(_fitted_row(name, one))
            lines.append(_flat_lines(one))
            if kinds:
                _write_all(iter([(name, one)]), out, kinds, read_geometry(geometry), None, has_catalogue=False)
    finally:
        pl.DataFrame(rows, infer_schema_length=None).write_csv(out / "redshifts.csv")
        if lines:
            pl.concat(lines).write_csv(out / "lines.csv")
    console.print(f"{out / 'redshifts.csv'}: {len(rows)} rows, {len(lines)} fitted", soft_wrap=True)
    if not lines:
        raise typer.Exit(1)


def _fitted_row(name: str, one: "GrismObject") -> dict[str, Any]:
    """Return the row of an object in the table of redshifts, and tell of it."""
    from skymere.grism import redshift_row

    low, high = one.z_interval
    strong = one.lines.filter(pl.col("snr") > 3).sort("snr", descending=True).head(4)
    told = ", ".join(f"{line} {snr:.1f}" for line, snr in strong.select("line", "snr").iter_rows())
    console.print(
        f"{name}: z = {one.model.z:.5f} ({low:.5f} to {high:.5f}), {one.multibeam.N} beams, {told or 'no line'}",
        soft_wrap=True,
    )
    row = {"file": name, "id": one.source_id, "status": one.status, "message": "", "n_beams": one.multibeam.N}
    found = {"redshift": one.model.z, "redshift_low": low, "redshift_high": high}
    bad = {"has_bad_pa": bool(one.dropped), "bad_pa": json.dumps(one.dropped)}
    return row | found | redshift_row(one.redshift) | bad


def _flat_lines(one: "GrismObject") -> pl.DataFrame:
    """Return the lines of an object without lists, with the object in front."""
    table = one.lines.drop("members", "shares", "covariance").with_columns(pl.col("blend").list.join(" "))
    return table.select(pl.lit(one.source_id).alias("id"), pl.lit(one.name).alias("name"), pl.all())


def _write_all(
    objects: _Objects,
    out: Path,
    kinds: list[str],
    geometry: "Geometry",
    lake: "Lake | None",
    *,
    has_catalogue: bool = True,
    plan: "MapsPlan | None" = None,
) -> int:
    """Write the files of objects, and catalogues of all; returns how many have some."""
    from skymere.grism import catalogue_lines, catalogue_wide
    from skymere.pipeline import MapPsfs, draw_object, map_exposures, write_products

    plan = _maps_plan(geometry) if plan is None else plan
    psfs = MapPsfs(
        plan,
        exposures=map_exposures(plan, lake),
        on_failure=lambda text: console.print(text, soft_wrap=True, markup=False),
    )
    wide: list[pl.DataFrame] = []
    lines: list[pl.DataFrame] = []
    assets: list[dict[str, Any]] = []
    try:
        for name, one in objects:
            try:
                if isinstance(one, SkymereError):
                    raise one
                drawn = draw_object(one, plan, lake=lake, geometry=geometry, psfs=psfs)
                paths, made = write_products(one, drawn, out, kinds)
            except SkymereError as error:
                _tell(name, error)
                continue
            # Objects of two fields may have the same number.
            wide.append(catalogue_wide([made]).insert_column(0, pl.Series("name", [one.name])))
            lines.append(catalogue_lines([made]).with_columns(pl.lit(one.name).alias("name")))
            for kind, path in paths.items():
                assets.append({"id": one.source_id, "name": one.name, "kind": kind, "path": path.name})
                console.print(f"{path}: {', '.join(drawn.maps.names) or 'no line map'}", soft_wrap=True)
    finally:
        if assets:
            _keep_assets(out, assets)
        if wide and has_catalogue:
            table = pl.concat(wide, how="diagonal")
            table.select(pl.exclude("cdf_z")).write_csv(out / "wide.csv")
            table.write_parquet(out / "wide.parquet")
            pl.concat(lines).select("name", pl.exclude("name")).write_csv(out / "lines.csv")
    return len(wide)


def _keep_assets(out: Path, rows: list[dict[str, Any]]) -> None:
    """Add files to the table of a folder, beside the catalogues: which object, what, where, and the digest."""
    from skymere.io import file_digest

    path = out / "assets.csv"
    new = pl.DataFrame([{**row, "sha256": file_digest(out / row["path"])} for row in rows])
    if path.is_file():
        old = pl.read_csv(path, schema=new.schema)
        new = pl.concat([old.filter(~pl.col("path").is_in(new["path"].to_list())), new])
    new.sort("name", "kind").write_csv(path)


def _print_redshifts(rows: pl.DataFrame) -> None:
    print_frame(rows.drop("message"), "Redshifts")
    for source_id, status, message in rows.select("source_id", "status", "message").iter_rows():
        if message:
            console.print(f"{source_id}: {status}: {message}", soft_wrap=True, markup=False)


def _tell(name: str, error: SkymereError) -> None:
    console.print(f"{name}: {type(error).__name__}: {error}", soft_wrap=True, markup=False)
