"""``skymere slit combine | plot | inspect``: spectra behind slits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skymere.cli._print import console, print_frame

if TYPE_CHECKING:
    from skymere.lake import Lake

__all__ = ["slit_app"]

slit_app = typer.Typer(name="slit", help="Spectra behind slits: look at exposures, combine them.", no_args_is_help=True)

Files = Annotated[
    list[Path], typer.Argument(help="Exposures of slits (`_phot.*.fits`, `_cal.fits`).", metavar="FILES...")
]
PackName = Annotated[str, typer.Option("--pack", help="Pack of reference files.")]
Compat = Annotated[str | None, typer.Option(help="`msaexp`: do what version 0.9.19 does.")]
Source = Annotated[str | None, typer.Option(help="Source in a lake: its `source_id`, or its name in the files.")]
Grating = Annotated[str | None, typer.Option(help="Of this grating alone, in a lake.")]


@slit_app.command("combine")
def combine(
    files: Files,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the spectra.")] = Path(),
    root: Annotated[str, typer.Option(help="First part of the names of files.")] = "slit",
    pack: PackName = "nirspec",
    compat: Compat = None,
    weights: Annotated[str, typer.Option(help="ivm, poisson, exptime, exptime_bar or mask.")] = "ivm",
    method: Annotated[str, typer.Option(help="pseudo or drizzle.")] = "pseudo",
    degree: Annotated[int, typer.Option(help="Degree of the trace's offset.")] = 0,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a page of each spectrum.")] = False,
    lake: Annotated[
        Path | None, typer.Option(help="Lake to publish slitlets, pixels and spectra in; made when it is not there.")
    ] = None,
) -> None:
    """Combine the exposures of a source, a spectrum for each grating.

    Writes `ROOT_GRATING-FILTER_SOURCE.spec.fits`, and says of each group whether it is in a spectrum. With `--lake`
    the exposures may be of many sources, and everything goes into the lake; then there are no files but pages.

    Example: `skymere slit combine *_phot.*.1345_933.fits -o spectra --plot`

    Example: `skymere slit combine *_phot.*.fits --lake survey/lake`
    """
    from skymere.io import find_pack
    from skymere.slit import extract_spectra, plot_summary, write_slit_spectrum

    if lake is not None:
        _combine_into(lake, files, out if plot else None, (pack, compat, weights, method, degree))
        return

    found = extract_spectra(
        files,
        pack=find_pack(pack),
        compat=compat,
        weight_type=weights,
        offset_degree=degree,
        drizzle_kws={"method": method},
    )
    out.mkdir(parents=True, exist_ok=True)
    for key, spectrum in found.spectra.items():
        path = out / f"{root}_{key}_{spectrum.meta['SRCNAME'][0]}.spec.fits".lower()
        write_slit_spectrum(spectrum, path)
        console.print(f"{path}: {spectrum!r}", soft_wrap=True)
        if plot:
            picture = path.with_suffix("").with_suffix(".png")
            plot_summary(spectrum).savefig(picture)
            console.print(f"{picture}", soft_wrap=True)
    print_frame(found.status.drop("message"), "Groups")
    for group, status, message in found.status.select("group", "status", "message").iter_rows():
        if status != "ok":
            console.print(f"{group}: {status}: {message}", soft_wrap=True, markup=False)
    if not found.spectra:
        raise typer.Exit(1)


def _combine_into(
    path: Path, files: list[Path], pages: Path | None, asked: tuple[str, str | None, str, str, int]
) -> None:
    """Publish slits in a lake, and draw pages of their spectra."""
    from skymere._params import build_params
    from skymere.lake import Lake
    from skymere.pipeline import SlitsPlan, combine_slits
    from skymere.slit import plot_summary

    pack, compat, weights, method, degree = asked
    table = {
        "files": [str(file.resolve()) for file in files],
        "pack": pack,
        "compat": compat or "",
        "group": {"weight_type": weights},
        "fit": {"degree": degree},
        "combine": {"method": method},
    }
    plan = build_params(SlitsPlan, table)
    there = (path / "lake.json").exists()
    lake = Lake.open(path) if there else Lake.create(path, tiles="healpix", scale_arcsec=0.1)
    rows = combine_slits(lake, plan)
    print_frame(rows.drop("message"), f"Spectra in {path}")
    for name, status, message in rows.select("source_name", "status", "message").iter_rows():
        if message:
            console.print(f"{name}: {status}: {message}", soft_wrap=True, markup=False)
    good = rows.filter(rows["status"] == "ok")
    for name, source_id in good.select("source_name", "source_id").unique(maintain_order=True).iter_rows():
        for spectrum in lake.slit_spectra(source_id=[source_id]) if pages is not None else ():
            assert pages is not None
            pages.mkdir(parents=True, exist_ok=True)
            grating = f"{spectrum.meta['GRATING'][0]}-{spectrum.meta['FILTER'][0]}"
            picture = pages / f"{grating}_{name}.png".lower()
            plot_summary(spectrum).savefig(picture)
            console.print(f"{picture}", soft_wrap=True)
    if good.is_empty():
        raise typer.Exit(1)


def _source_in(path: Path, source: str | None) -> tuple["Lake", int]:
    """Return a lake and the identifier of a source in it.

    Raises
    ------
    InvalidInputError
        When no source is named.
    NotFoundError
        When the lake has no slit of it.
    """
    import polars as pl

    from skymere.errors import InvalidInputError, NotFoundError
    from skymere.lake import Lake

    lake = Lake.open(path)
    known = lake.table("slitlet").select("source_id", "source_name").unique().sort("source_name")
    if source is None:
        some = known.head(5).collect()["source_name"].to_list()
        msg = f"--source: is missing, {path} is a lake; its slits are of {', '.join(some) or 'nothing'} and others"
        raise InvalidInputError(msg)
    named = pl.col("source_name") == source
    found = known.filter(named | (pl.col("source_id") == int(source)) if _is_number(source) else named).collect()
    if found.is_empty():
        msg = f"--source: {source!r} has no slit in {path}"
        raise NotFoundError(msg)
    return lake, int(found["source_id"][0])


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()


@slit_app.command("plot")
def plot(
    spectrum: Annotated[
        Path, typer.Argument(help="A combined spectrum (`.spec.fits`), or a lake.", metavar="SPECTRUM|LAKE")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Picture; beside the file, or here, when not given.")
    ] = None,
    source: Source = None,
    grating: Grating = None,
) -> None:
    """Draw a page of a combined spectrum.

    Example: `skymere slit plot slit_prism-clear_1345_933.spec.fits`

    Example: `skymere slit plot survey/lake --source 1345_933 --grating prism -o 933.png`
    """
    from skymere.slit import plot_summary, read_slit_spectrum

    if (spectrum / "lake.json").exists():
        lake, source_id = _source_in(spectrum, source)
        found = lake.slit_spectra(source_id=[source_id], grating=grating)
        names = [f"{one.meta['GRATING'][0]}-{one.meta['FILTER'][0]}_{source}.png".lower() for one in found]
        pictures = [Path(name) if out is None or len(found) > 1 else out for name in names]
    else:
        found, pictures = [read_slit_spectrum(spectrum)], [out or spectrum.with_suffix("").with_suffix(".png")]
    for one, picture in zip(found, pictures, strict=True):
        plot_summary(one).savefig(picture)
        console.print(f"{picture}", soft_wrap=True)


@slit_app.command("inspect")
def inspect(
    files: Annotated[
        list[Path],
        typer.Argument(help="Exposures of slits (`_phot.*.fits`, `_cal.fits`), or a lake.", metavar="FILES|LAKE..."),
    ],
    pack: PackName = "nirspec",
    compat: Compat = None,
    source: Source = None,
    grating: Grating = None,
) -> None:
    """Show the groups that exposures make, what was done to each, and how many pixels are left.

    Of a source in a lake it also shows its spectra and redshift.

    Example: `skymere slit inspect *_phot.*.1345_933.fits`

    Example: `skymere slit inspect survey/lake --source 1345_933`
    """
    import polars as pl

    from skymere.io import find_pack
    from skymere.slit import SlitGroup, split_visit_groups

    reference = find_pack(pack)
    slits: list[Any] = list(files)
    if len(files) == 1 and (files[0] / "lake.json").exists():
        lake, source_id = _source_in(files[0], source)
        mine = pl.col("source_id") == source_id
        wanted = mine if grating is None else mine & (pl.col("grating") == grating)
        shown = [
            "grating",
            "band",
            "status",
            "message",
            "n_slitlets",
            "exptime",
            "snr",
            "profile_sigma",
            "trace_offset",
        ]
        print_frame(lake.table("slit_spectrum").filter(wanted).select(shown).collect(), f"Spectra of {source_id}")
        shown = ["method", "redshift", "z16", "z84", "status", "message", "n_lines"]
        print_frame(lake.table("redshift").filter(mine).select(shown).collect(), "Redshift")
        slits = list(lake.raw_slitlets(source_id=[source_id], grating=grating))
    for key, members in split_visit_groups(slits, gratings=None).items():
        group = SlitGroup(members, key, pack=reference, compat=compat)  # type: ignore[arg-type]
        names = ["filename", "position_number", "y_offset", "y_index", "shutter_state"]
        print_frame(group.info.select(names).with_columns(valid=group.mask.sum(axis=1)), key)
        print_frame(
            group.applied.select("exposure_id", "status", "bar_shadow", "n_shutters", "pathloss_removed", "n_hot")
        )
        for stage, status in group.meta["status"].items():
            console.print(f"  {stage}: {status}", soft_wrap=True)
