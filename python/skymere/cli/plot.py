"""``skymere plot``: pictures out of a lake or a file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skymere.cli._print import console
from skymere.errors import InvalidInputError, NotFoundError, StorageError

if TYPE_CHECKING:
    from skymere.lake import Lake

__all__ = ["plot_app", "source_ids_of"]

plot_app = typer.Typer(
    name="plot",
    help="Pictures out of a lake or a file; colours that people tell apart whatever their eyes see.",
    no_args_is_help=True,
)

Place = Annotated[str, typer.Argument(help="Folder of a lake (or s3://bucket/prefix), or a file.", metavar="LAKE|FILE")]
LakeFolder = Annotated[str, typer.Argument(help="Folder of a lake, or s3://bucket/prefix.", metavar="LAKE")]
Sources = Annotated[
    list[str] | None,
    typer.Argument(help="Sources in a lake: `source_id`, or the name of a slit.", metavar="[SOURCE]..."),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Picture: .png, .pdf or .svg; here when not given.")]
Release = Annotated[str | None, typer.Option(help="Of the lake as it was at this release.")]
Bands = Annotated[list[str] | None, typer.Option("--band", help="Only this band; repeated.")]
Tile = Annotated[str | None, typer.Option(help="Tile; may be left out where there is one.")]
Wavelengths = Annotated[
    list[str] | None, typer.Option("--wavelength", help="Pivot wavelength of a band; repeated.", metavar="BAND=UM")
]
Dpi = Annotated[int, typer.Option(help="Pixels of an inch.", min=10, max=1200)]
_FORMATS = (".png", ".pdf", ".svg")


@plot_app.command("mosaic")
def mosaic(
    place: Place,
    out: Out = None,
    tile: Tile = None,
    bands: Bands = None,
    scale: Annotated[float, typer.Option(help="Factor of the brightness.")] = 1.0,
    outlines: Annotated[bool, typer.Option(help="Outline segments.")] = True,
    release: Release = None,
    dpi: Dpi = 100,
) -> None:
    """Draw the mosaics of a tile in colour with the outlines of segments; or a file in grey.

    Example: `skymere plot mosaic survey/lake --band f160w --band f125w --band f105w -o field.png`

    Example: `skymere plot mosaic field_f160w_drz.fits`
    """
    from skymere.io import read_band
    from skymere.viewer import draw_mosaic, mosaic_figure

    if _is_lake(place):
        figure = draw_mosaic(_open(place, release), tile, bands=bands or (), has_outlines=outlines, scale=scale)
    else:
        figure = mosaic_figure(read_band(place), title=Path(place).name, scale=scale)
    _write(figure, out or Path(f"{Path(place).stem}_mosaic.png"), dpi)


@plot_app.command("weights")
def weights(
    place: Place, out: Out = None, tile: Tile = None, bands: Bands = None, release: Release = None, dpi: Dpi = 100
) -> None:
    """Draw the weight maps of a tile side by side, or that of a file.

    Example: `skymere plot weights survey/lake --tile field -o weights.png`
    """
    from skymere.io import read_band
    from skymere.viewer import draw_weights, weights_figure

    if _is_lake(place):
        figure = draw_weights(_open(place, release), tile, bands=bands or ())
    else:
        figure = weights_figure(read_band(place), title=Path(place).name)
    _write(figure, out or Path(f"{Path(place).stem}_weights.png"), dpi)


@plot_app.command("align")
def align(
    lake: LakeFolder,
    exposures: Annotated[list[str] | None, typer.Option("--exposure", help="Only this exposure; repeated.")] = None,
    out: Out = None,
    release: Release = None,
    dpi: Dpi = 100,
) -> None:
    """Draw how well exposures are aligned: shifts, what is left, pairs.

    Example: `skymere plot align survey/lake -o align.png`
    """
    from skymere.viewer import draw_alignment

    figure = draw_alignment(_open(lake, release), exposures or ())
    _write(figure, out or Path(f"{Path(lake).name}_align.png"), dpi)


@plot_app.command("source")
def source(
    lake: LakeFolder,
    sources: Sources = None,
    out: Out = None,
    bands: Bands = None,
    size: Annotated[int | None, typer.Option(help="Side of the stamps [pix]; as they are stored by default.")] = None,
    wavelengths: Wavelengths = None,
    release: Release = None,
    dpi: Dpi = 100,
) -> None:
    """Draw all that a lake has of a source: stamps, models, fluxes, SED, p(z), lines, beams, spectra, maps.

    Example: `skymere plot source survey/lake 2528750946794875460 -o source.png`
    """
    from skymere.viewer import draw_source

    given = _wavelengths(wavelengths)
    _each(
        _open(lake, release), sources, out, "source", dpi,
        lambda one, i: draw_source(one, i, bands=bands, size_pix=size, wavelengths=given),
    )  # fmt: skip


@plot_app.command("sed")
def sed(
    lake: LakeFolder,
    sources: Sources = None,
    out: Out = None,
    wavelengths: Wavelengths = None,
    release: Release = None,
    dpi: Dpi = 100,
) -> None:
    """Draw the fluxes of a source in all bands with its spectra.

    Example: `skymere plot sed survey/lake 2528750946794875460 --wavelength irac1=3.557 -o sed.png`
    """
    from skymere.viewer import draw_sed

    given = _wavelengths(wavelengths)
    _each(_open(lake, release), sources, out, "sed", dpi, lambda one, i: draw_sed(one, i, wavelengths=given))


@plot_app.command("beam")
def beam(
    place: Place,
    sources: Sources = None,
    out: Out = None,
    most: Annotated[int, typer.Option(help="Beams at most.")] = 12,
    release: Release = None,
    dpi: Dpi = 100,
) -> None:
    """Draw the beams of a source of a lake, or of a file of grizli: light, light of others, model, what is left.

    Example: `skymere plot beam survey/lake 2528750946794875460 -o beams.png`

    Example: `skymere plot beam ers_00042.beams.fits`
    """
    from skymere.viewer import beam_file_figure, draw_beams

    if _is_lake(place):
        _each(_open(place, release), sources, out, "beam", dpi, lambda one, i: draw_beams(one, i, most=most))
    else:
        _no_sources(place, sources)
        _write(beam_file_figure(place, most=most), out or Path(f"{Path(place).stem}_beam.png"), dpi)


@plot_app.command("redshift")
def redshift(
    place: Place,
    sources: Sources = None,
    out: Out = None,
    method: Annotated[str | None, typer.Option(help="Only the fit of these spectra: grism or slit.")] = None,
    release: Release = None,
    dpi: Dpi = 100,
) -> None:
    """Draw the redshift of a source of a lake, or of a `full.fits`: spectra with the model, p(z), lines.

    Example: `skymere plot redshift survey/lake 2528750946794875460 -o z.png`
    """
    from skymere.io import read_full_file
    from skymere.viewer import draw_redshift, redshift_file_figure

    if _is_lake(place):
        _each(_open(place, release), sources, out, "redshift", dpi, lambda one, i: draw_redshift(one, i, method=method))
    else:
        _no_sources(place, sources)
        figure = redshift_file_figure(read_full_file(place), title=Path(place).name)
        _write(figure, out or Path(f"{Path(place).stem}_redshift.png"), dpi)


@plot_app.command("slit")
def slit(
    place: Place,
    sources: Sources = None,
    out: Out = None,
    grating: Annotated[str | None, typer.Option(help="Which spectrum; that with the most signal by default.")] = None,
    release: Release = None,
    dpi: Dpi = 100,
) -> None:
    """Draw the spectrum of a source behind slits, of a lake or of a `.spec.fits`.

    Example: `skymere plot slit survey/lake 1345_933 --grating prism -o 933.png`
    """
    from skymere.slit import read_slit_spectrum
    from skymere.viewer import draw_slit, slit_figure

    if _is_lake(place):
        _each(_open(place, release), sources, out, "slit", dpi, lambda one, i: draw_slit(one, i, grating=grating))
    else:
        _no_sources(place, sources)
        _write(slit_figure(read_slit_spectrum(place)), out or Path(f"{Path(place).stem}_slit.png"), dpi)


def source_ids_of(lake: "Lake", texts: Sequence[str]) -> list[int]:
    """Return the sources that arguments name: their identifiers, or the names that files of slits have for them.

    Raises
    ------
    NotFoundError
        When a name is not that of a slit.
    """
    import polars as pl

    found = []
    for text in texts:
        if text.lstrip("-").isdigit():
            found.append(int(text))
            continue
        rows = lake.table("slitlet").filter(pl.col("source_name") == text).select("source_id").head(1).collect()
        if rows.is_empty():
            msg = f"SOURCE: {text!r} is neither a source_id nor the name of a slit in {lake.path}"
            raise NotFoundError(msg)
        found.append(int(rows["source_id"][0]))
    return found


def _is_lake(place: str) -> bool:
    path = Path(place)
    if place.startswith("s3://") or (path / "lake.json").exists():
        return True
    if not path.exists():
        msg = f"LAKE|FILE: {place}: there is no such lake or file"
        raise NotFoundError(msg)
    if path.is_dir():
        msg = f"LAKE|FILE: {place} is a folder and no lake (it has no lake.json)"
        raise InvalidInputError(msg)
    return False


def _open(place: str, release: str | None) -> "Lake":
    from skymere.lake import Lake

    return Lake.open(place, release=release)


def _no_sources(place: str, sources: Sequence[str] | None) -> None:
    if sources:
        msg = f"SOURCE: {', '.join(sources)} is not allowed, {place} is a file of one source"
        raise InvalidInputError(msg)


def _wavelengths(texts: Sequence[str] | None) -> dict[str, float]:
    found = {}
    for text in texts or ():
        band, _, value = text.partition("=")
        try:
            found[band] = float(value)
        except ValueError as error:
            msg = f"--wavelength: {text!r} is not allowed, it must be BAND=UM, such as irac1=3.557"
            raise InvalidInputError(msg) from error
    return found


def _each(
    lake: "Lake",
    sources: Sequence[str] | None,
    out: Path | None,
    what: str,
    dpi: int,
    draw: Callable[["Lake", int], Any],
) -> None:
    """Draw each source; names of several pictures have the source behind that of ``--out``."""
    if not sources:
        some = ", ".join(str(one) for one in lake.table("source").select("source_id").head(3).collect()["source_id"])
        msg = f"SOURCE: is missing; sources of {lake.path} are {some or 'none, it has no catalogue'}"
        raise InvalidInputError(msg)
    ids = source_ids_of(lake, sources)
    base = out or Path(f"{what}.png")
    for source_id in ids:
        is_own = out is None or len(ids) > 1
        path = base.with_name(f"{base.stem}_{source_id}{base.suffix}") if is_own else base
        _write(draw(lake, source_id), path, dpi)


def _write(figure: Any, path: Path, dpi: int) -> None:
    if path.suffix.lower() not in _FORMATS:
        msg = f"--out: {path} is not allowed, its name must end with {', '.join(_FORMATS)}"
        raise InvalidInputError(msg)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=dpi)
    except OSError as error:
        msg = f"{path}: cannot be written: {error.strerror or error}"
        raise StorageError(msg) from error
    console.print(f"{path}", soft_wrap=True, markup=False, highlight=False)
