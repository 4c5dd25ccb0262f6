"""What an injection gives, and its files."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from skymere.errors import StorageError
from skymere.pipeline.injection.params import InjectParams

__all__ = ["InjectionResult"]


@dataclass(frozen=True, kw_only=True, eq=False)
class InjectionResult:
    """What became of injected sources.

    Parameters
    ----------
    params : InjectParams
        What was injected.
    injected : polars.DataFrame
        One row for each fake source: truth (``true_*``), ``status``, what was measured with errors.
    summary : polars.DataFrame
        Completeness, bias and pulls in bins, see `skymere.pipeline.injection.summary.summarise`.
    spurious : polars.DataFrame
        Sources in the negative of the tiles; empty for spectra.
    by_line_flux : polars.DataFrame
        The same as ``summary`` in bins of the line flux, where that is in bins of something else; empty for images.
    warnings : tuple of str
        What to keep in mind.
    """

    params: InjectParams
    injected: pl.DataFrame
    summary: pl.DataFrame
    spurious: pl.DataFrame = field(default_factory=pl.DataFrame)
    by_line_flux: pl.DataFrame = field(default_factory=pl.DataFrame)
    warnings: tuple[str, ...] = ()

    def write(self, folder: str | Path) -> list[Path]:
        """Write the tables, and one figure for each quantity; returns the files.

        Parameters
        ----------
        folder : path-like
            Folder, made when it is not there.

        Raises
        ------
        StorageError
            When it cannot be written.
        """
        folder = Path(folder)
        tables = {
            "injected": self.injected,
            "summary": self.summary,
            "spurious": self.spurious,
            "summary_line_flux": self.by_line_flux,
        }
        files = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, table in tables.items():
                if table.width:
                    path = folder / f"{name}.parquet"
                    table.write_parquet(path)
                    files.append(path)
            files += _figures(self.summary, folder)
            if self.by_line_flux.width:
                files += _figures(self.by_line_flux, folder, prefix="line_flux_")
        except OSError as error:
            msg = f"{folder}: cannot be written: {error.strerror}"
            raise StorageError(msg) from error
        return files


def _figures(summary: pl.DataFrame, folder: Path, *, prefix: str = "") -> list[Path]:
    """Write a figure for completeness, and one for each quantity of which something is known."""
    from skymere.viewer import plot_completeness, plot_pulls

    axis = str(summary.columns[2]).removesuffix("_low")
    names = summary.filter(pl.col("quantity") != "completeness", pl.col("n_used") > 1)["quantity"]
    wanted = names.unique(maintain_order=True)
    files = [plot_completeness(summary, axis, folder / f"{prefix}completeness.png")]
    return files + [plot_pulls(summary, axis, name, folder / f"{prefix}{name}.png") for name in wanted]
