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
    warnings : tuple of str
        What to keep in mind.
    """

    params: InjectParams
    injected: pl.DataFrame
    summary: pl.DataFrame
    spurious: pl.DataFrame = field(default_factory=pl.DataFrame)
    warnings: tuple[str, ...] = ()

    def write(self, folder: str | Path) -> list[Path]:
        """Write the tables and one figure for each quantity; returns the files.

        Parameters
        ----------
        folder : path-like
            Folder, made when it is not there.

        Raises
        ------
        StorageError
            When it cannot be written.
        """
        from skymere.viewer import plot_completeness, plot_pulls

        folder = Path(folder)
        tables = {"injected": self.injected, "summary": self.summary, "spurious": self.spurious}
        files = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, table in tables.items():
                if table.width:
                    path = folder / f"{name}.parquet"
                    table.write_parquet(path)
                    files.append(path)
            axis = str(self.summary.columns[2]).removesuffix("_low")
            files.append(plot_completeness(self.summary, axis, folder / "completeness.png"))
            names = self.summary.filter(pl.col("quantity") != "completeness", pl.col("n_used") > 1)["quantity"]
            wanted = names.unique(maintain_order=True)
            files += [plot_pulls(self.summary, axis, name, folder / f"{name}.png") for name in wanted]
        except OSError as error:
            msg = f"{folder}: cannot be written: {error.strerror}"
            raise StorageError(msg) from error
        return files
