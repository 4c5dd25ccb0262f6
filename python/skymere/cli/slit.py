"""``skymere slit combine | plot | inspect``: spectra behind slits."""

from pathlib import Path
from typing import Annotated

import typer

from skymere.cli._print import console, print_frame

__all__ = ["slit_app"]

slit_app = typer.Typer(name="slit", help="Spectra behind slits: look at exposures, combine them.", no_args_is_help=True)

Files = Annotated[
    list[Path], typer.Argument(help="Exposures of slits (`_phot.*.fits`, `_cal.fits`).", metavar="FILES...")
]
PackName = Annotated[str, typer.Option("--pack", help="Pack of reference files.")]
Compat = Annotated[str | None, typer.Option(help="`msaexp`: do what version 0.9.19 does.")]


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
) -> None:
    """Combine the exposures of a source, a spectrum for each grating.

    Writes `ROOT_GRATING-FILTER_SOURCE.spec.fits`, and says of each group whether it is in a spectrum.

    Example: `skymere slit combine *_phot.*.1345_933.fits -o spectra --plot`
    """
    from skymere.io import find_pack
    from skymere.slit import extract_spectra, plot_summary, write_slit_spectrum

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


@slit_app.command("plot")
def plot(
    spectrum: Annotated[Path, typer.Argument(help="A combined spectrum (`.spec.fits`).", metavar="SPECTRUM")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Picture; beside the file when not given.")] = None,
) -> None:
    """Draw a page of a combined spectrum.

    Example: `skymere slit plot slit_prism-clear_1345_933.spec.fits`
    """
    from skymere.slit import plot_summary, read_slit_spectrum

    picture = out or spectrum.with_suffix("").with_suffix(".png")
    plot_summary(read_slit_spectrum(spectrum)).savefig(picture)
    console.print(f"{picture}", soft_wrap=True)


@slit_app.command("inspect")
def inspect(files: Files, pack: PackName = "nirspec", compat: Compat = None) -> None:
    """Show the groups that exposures make, what was done to each, and how many pixels are left.

    Example: `skymere slit inspect *_phot.*.1345_933.fits`
    """
    from skymere.io import find_pack
    from skymere.slit import SlitGroup, split_visit_groups

    reference = find_pack(pack)
    for key, slits in split_visit_groups(files, gratings=None).items():
        group = SlitGroup(slits, key, pack=reference, compat=compat)  # type: ignore[arg-type]
        names = ["filename", "position_number", "y_offset", "y_index", "shutter_state"]
        print_frame(group.info.select(names).with_columns(valid=group.mask.sum(axis=1)), key)
        print_frame(
            group.applied.select("exposure_id", "status", "bar_shadow", "n_shutters", "pathloss_removed", "n_hot")
        )
        for stage, status in group.meta["status"].items():
            console.print(f"  {stage}: {status}", soft_wrap=True)
