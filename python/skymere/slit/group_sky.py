"""The sky of a group of exposures, and where its shutters really are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.io import find_background_spectra, read_sky_spectrum
from skymere.slit.background_spectra import BackgroundSky, BackgroundSkyParams, set_background_spectra
from skymere.slit.bar_shadow import bar_table_number
from skymere.slit.diagnostics import plot_shutter_offset, plot_sky
from skymere.slit.geometry import shutter_coordinate
from skymere.slit.grids import standard_grid
from skymere.slit.group_fits import SlitGroupFits
from skymere.slit.group_shutters import SlitGroupShutters
from skymere.slit.shutter_offset import ShutterOffset, ShutterOffsetParams, fit_shutter_offset
from skymere.slit.sky import SkyFit, SkyParams, SkySpectrum, estimate_sky

__all__ = ["SlitGroupSky"]

Ranges = Sequence[Sequence[float]]


def _ranges(name: str, values: Ranges) -> tuple[tuple[float, float], ...]:
    if not all(len(one) == 2 for one in values):
        msg = f"{name}: {values} is not allowed, it must be pairs of numbers"
        raise InvalidInputError(msg)
    return tuple((float(one[0]), float(one[1])) for one in values)


class SlitGroupSky(SlitGroupFits, SlitGroupShutters):
    """The sky: of a table, fitted, or from spectra of the background."""

    def get_global_sky(self, sky_file: str | Path | None = None) -> None:
        """Take the sky from a table of wavelength and flux.

        Parameters
        ----------
        sky_file : str or path-like, optional
            The file; ``read`` or None looks for that of the visit in the pack, and does nothing when it has none.

        Raises
        ------
        NotFoundError
            When there is no such file.
        FormatError
            When it is something else.
        """
        if sky_file in (None, "read"):
            wanted = f"{self.info['visit'][0]}_sky.csv"
            try:
                path = self.pack.path(wanted)
            except NotFoundError as error:
                self.meta["status"]["get_global_sky"] = f"skipped: {self._told(error)}"
                return
        else:
            path = Path(str(sky_file))
        table = read_sky_spectrum(path)
        self.sky_arrays = table["wave"].to_numpy(), table["flux"].to_numpy()
        self.meta |= {"sky_file": path.name, "has_sky_arrays": True}
        self.meta["status"]["get_global_sky"] = "ok"

    def estimate_sky(
        self,
        *,
        mask_yslit: Ranges = ((-4.5, 4.5),),
        min_bar: float | None = 0.95,
        var_percentiles: Sequence[float] | None = (-5, -5),
        df: int = 51,
        high_clip: float = 0.8,
        use: bool = True,
        outlier_threshold: float | None = 7,
        absolute_threshold: float | None = 0.2,
        make_plot: bool = False,
    ) -> SkyFit:
        """Fit the sky to pixels of the slit that have only sky, and subtract it.

        Parameters
        ----------
        mask_yslit, min_bar, var_percentiles, df, high_clip, outlier_threshold, absolute_threshold
            See `SkyParams`. With a global sky from a file ``df`` is ``meta["global_sky_df"]``.
        use : bool
            Subtract it; otherwise nothing is subtracted.
        make_plot : bool
            Keep a picture in ``figures``; see `plot_sky`.

        Returns
        -------
        SkyFit
            The sky; ``sky_data`` holds it, and its variance is in ``var_total``.

        Raises
        ------
        NoDataError
            When fewer than 64 pixels have only sky; nothing is changed then.
        InvalidInputError
            When an argument is not allowed.
        """
        known = None
        if self.sky_arrays is not None:
            known = SkySpectrum(wavelength=self.sky_arrays[0], flux=self.sky_arrays[1])
        has_file = self.meta["sky_file"] != "N/A"
        params = SkyParams(
            mask_yslit=_ranges("mask_yslit", mask_yslit),
            min_bar=min_bar,
            var_percentiles=None if var_percentiles is None else (var_percentiles[0], var_percentiles[1]),
            df=self.meta["global_sky_df"] if has_file else df,
            high_clip=high_clip,
            outlier_threshold=outlier_threshold,
            absolute_threshold=absolute_threshold,
            spline_clip=self.params.spline_clip,
        )
        found = estimate_sky(
            self.sci,
            self.var_rnoise,
            # Without that of a sky that was fitted before.
            np.asarray(self.var_rnoise + self.var_poisson, np.float64),
            self.wave,
            self.yslit,
            self.bar,
            grid=standard_grid(self.grating, pack=self.pack, sample=1.0),
            valid=self.mask,
            known_sky=known,
            params=params,
        )
        if found.status != "ok":
            msg = f"estimate_sky: {found.n_pixels} pixels have only sky, 64 are needed"
            raise NoDataError(msg)
        self.sky_data = {
            "use": use,
            "sky2d": found.sky2d,
            "sky_wave": found.wavelength,
            "sky_model": found.model,
            "sky_coeffs": found.coefficients,
            "sky_covar": found.covariance,
            "mask": found.mask,
            "npix": found.n_pixels,
            "df": params.df,
            "result": found,
        }
        is_noise = use and self.params.sky_variance
        self.var_sky = np.nan_to_num(found.var_sky) if is_noise else np.zeros_like(self.var_sky)
        if make_plot:
            self.figures["estimate_sky"] = plot_sky(
                self.sci,
                self.var_rnoise + self.var_poisson,
                self.wave,
                self.yslit,
                found.sky2d,
                used=found.mask,
                outliers=self.mask & (found.flags != 0),
                model=(found.wavelength, found.model),
                title=f"{self.name}, sky of {params.df} functions from {found.n_pixels} pixels",
            )
        self.flag_pixels("sky_outlier", np.asarray(found.flags != 0))
        return found

    def set_background_spectra(
        self,
        path: str | Path = "",
        *,
        skip_h_gratings: bool = True,
        df: int = -1,
        by_wavelength: bool = False,
        wsteps: Sequence[float] | None = None,
        poly: bool = False,
        mask_yslit: Ranges = ((-4.0, 4.0),),
        resid_limits: Sequence[float] = (-3, 5),
        apply_to_background: bool = True,
        make_plot: bool = False,
    ) -> BackgroundSky:
        """Take the sky from the spectra of the background of the exposures, where all have one.

        Parameters
        ----------
        path : path-like
            Folder of the files ``{exposure}_gbkg.fits``; the current one when empty.
        skip_h_gratings, df, by_wavelength, wsteps, poly, mask_yslit, resid_limits, apply_to_background
            See `BackgroundSkyParams`.
        make_plot : bool
            Keep a picture of the sky and the pixels outside of ``mask_yslit`` in ``figures``; see `plot_sky`.

        Returns
        -------
        BackgroundSky
            The sky; with another status than ``ok`` nothing is changed.

        Raises
        ------
        InvalidInputError
            When an argument is not allowed.
        FormatError
            When a file is something else.
        """
        params = BackgroundSkyParams(
            skip_h_gratings=skip_h_gratings,
            df=df,
            by_wavelength=by_wavelength,
            wsteps=None if wsteps is None else tuple(wsteps),
            poly=poly,
            mask_yslit=_ranges("mask_yslit", mask_yslit),
            resid_limits=(resid_limits[0], resid_limits[1]),
            apply_to_background=apply_to_background,
        )
        shape = (self.N, *self.sh)
        names = [Path(one).name for one in self.files]
        made = set_background_spectra(
            find_background_spectra(names, path),
            self.sci.reshape(shape),
            np.asarray(self.var_rnoise + self.var_poisson).reshape(shape),
            self.wave.reshape(shape),
            self.yslit.reshape(shape),
            flux_factor=np.asarray(self.phot_corr / self.pathloss_corr, np.float64).reshape(shape),
            pixel_area_sr=np.array([one.pixel_area_sr for one in self.slits]),
            grating=self.grating,
            valid=self.mask.reshape(shape),
            params=params,
        )
        self.meta["status"]["set_background_spectra"] = made.status
        if made.status in ("ok", "too_few_pixels"):
            factor = made.data_factor.reshape(self.sci.shape)
            self._scale(factor)
            self.phot_corr = np.asarray(self.phot_corr * factor, self.phot_corr.dtype)
            self.var_sky = np.nan_to_num(made.var_sky).reshape(self.sci.shape)
            self.sky_data = {"use": True, "sky2d": made.sky2d.reshape(self.sci.shape), "result": made}
            self.flag_pixels("no_data", self.mask & ~np.isfinite(self.sci))
            if make_plot:
                beside = self.mask.copy()
                for low, high in params.mask_yslit:
                    beside &= ~((self.yslit > low) & (self.yslit < high))
                self.figures["set_background_spectra"] = plot_sky(
                    self.sci,
                    self.var_total,
                    self.wave,
                    self.yslit,
                    self.sky_data["sky2d"],
                    used=beside,
                    title=f"{self.name}, background spectra, {int(beside.sum())} pixels beside the trace",
                )
        return made

    def fit_shutter_offset(
        self, *, update: bool = True, max_sn: float = 50, prior: Sequence[float] = (0, 0.05), make_plot: bool = False
    ) -> ShutterOffset:
        """Fit an offset of the shutters to the shadow of the bars on the sky.

        Parameters
        ----------
        update : bool
            Take it, and correct the shadow anew.
        max_sn : float
            A source with more signal over noise (95th percentile of the columns) is not fitted.
        prior : pair of float [pix]
            Mean and sigma of the offset.
        make_plot : bool
            Keep a picture in ``figures``, when something was fitted; see `plot_shutter_offset`.

        Returns
        -------
        ShutterOffset
            The offset; with another status than ``ok`` or ``at_limit`` nothing is changed.

        Raises
        ------
        NoDataError
            When no sky is known.
        InvalidInputError
            For a slit without shutters.
        NotFoundError
            When the tables lack the shadow.
        """
        if self.sky_data is None:
            msg = f"fit_shutter_offset: group {self.name} has no fitted sky, call its estimate_sky first"
            raise NoDataError(msg)
        if self.IS_FIXED_SLIT:
            msg = f"fit_shutter_offset: group {self.name} is of a fixed slit, which has no bars"
            raise InvalidInputError(msg)
        # With the pipeline's shadow in the data the tables still say where theirs begins.
        arrays = self.arrays if self.meta["own_barshadow"] else self._with_shadow_of_tables()
        done = arrays.applied[arrays.frame]
        number, wrap = bar_table_number(int(done.n_shutters))
        tables = self.tables.wave_bars if self.meta["bar_corr_mode"] == "wave" else self.tables.bars
        if number not in tables:
            msg = f"tables: no bar shadow of {number} shutters, fit_shutter_offset needs it"
            raise NotFoundError(msg)
        sn = self.get_trace_sn()["sn"]
        known = sn[np.isfinite(sn)]
        places = shutter_coordinate(self.slit_frame_y, shutter_scale=self.slit_shutter_scale)
        found = fit_shutter_offset(
            self.sci,
            self.var_rnoise + self.var_poisson,
            self.sky_data["sky2d"],
            self.bar,
            places + done.bar_offset,
            self.wave,
            table=tables[number],
            valid=self.mask & self.sky_data.get("mask", True),
            source_sn=float(np.percentile(known, 95)) if known.size else None,
            wrap=wrap,
            params=ShutterOffsetParams(
                max_sn=max_sn, prior=(prior[0], prior[1]), scale_variance=self.params.bar_variance
            ),
        )
        self.meta["status"]["fit_shutter_offset"] = found.status
        if make_plot and found.samples.size:
            self.figures["fit_shutter_offset"] = plot_shutter_offset(found, title=self.name)
        if update and found.status in ("ok", "at_limit"):
            self.meta["shutter_offset"] = found.offset
            self.apply_spline_bar_correction()
        return found
