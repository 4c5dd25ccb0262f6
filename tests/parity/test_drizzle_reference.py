"""AstroDrizzle's mosaics of the ten WFC3/IR ERS exposures, from its own masks, to the bounds of its rounding."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skymere.resample import DrizzleParams, Drizzler
from skymere.wcs import pixel_map, stepped_pixel_map

BANDS = ("f140w", "f125w")
PIXFRAC, OUT_SCALE_ARCSEC = 0.8, 0.08
MAPS = {"stepped": stepped_pixel_map, "exact": pixel_map}


def histogram_mode(values, width):
    """Mode of a histogram, refined by the parabola through the peak; ``width`` is the nominal bin."""
    low, high = float(values.min()), float(values.max())
    n_bins = int((high - low) / width) + 1
    counts = np.bincount(((values - low) / ((high - low) / (n_bins - 1))).astype(int), minlength=n_bins)[:n_bins]
    peak = int(np.argmax(counts))
    left, right = (int(counts[peak]) - int(counts[peak + side]) for side in (-1, 1))
    offset = 0.5 * (left - right) / (left + right) if left + right else 0.0
    return low + (peak + 0.5 + offset) * width


def static_mask(image, *, sigma=4.0, n_clips=3, clip=3.0):
    """AstroDrizzle's static mask (D8.15): pixels below mode - 4 rms, both of the 3-sigma clipped pixels."""
    kept = image
    for _ in range(n_clips):
        mean, rms = kept.mean(dtype=float), kept.std(dtype=float, ddof=1)
        kept = image[(image >= mean - clip * rms) & (image <= mean + clip * rms)]
    rms = kept.std(dtype=float, ddof=1)
    return image < histogram_mode(kept, 0.1 * rms) - sigma * rms


def read_exposures(folder, band):
    """Exposures in the order of the context bits, with the pixels that AstroDrizzle used."""
    exposures = []
    with fits.open(folder / "reference" / "astrodrizzle_crmasks.fits") as hdus:
        rejected = {hdu.name.lower(): hdu.data > 0 for hdu in hdus if hdu.data is not None}
    for path in sorted((folder / "semireal").glob(f"*_{band}_flt.fits")):
        with fits.open(path) as hdus:
            header, data = hdus["SCI"].header, hdus["SCI"].data.astype(np.float32)
            good = (hdus["DQ"].data == 0) & ~rejected[path.name.split("_")[0]]
            exptime = hdus[0].header["EXPTIME"]
        exposures.append({"data": data, "good": good, "exptime": exptime, "header": header, "wcs": WCS(header)})
    static = {}
    for exposure in exposures:
        shape = exposure["data"].shape
        static[shape] = static.get(shape, False) | static_mask(exposure["data"])
    for exposure in exposures:
        exposure["good"] &= ~static[exposure["data"].shape]
    return exposures


def add(drizzler, exposure, pixmap):
    ratio = OUT_SCALE_ARCSEC / exposure["header"]["IDCSCALE"]
    drizzler.add(
        exposure["data"] - np.float32(exposure["header"]["MDRIZSKY"]),
        pixmap,
        weight=exposure["good"] * np.float32(exposure["exptime"]),
        value_scale=ratio**2,
        pixel_scale_ratio=ratio,
    )


def read_reference(folder, band):
    path = folder / "reference" / f"{band}_astrodrizzle.fits"
    with fits.open(path) as hdus:
        data, weight, context = hdus["SCI"].data, hdus["WHT"].data.astype(float), hdus["CTX"].data
        wcs = WCS(hdus["SCI"].header)
    with fits.open(path, disable_image_compression=True) as hdus:
        step = np.asarray(hdus["SCI"].data["ZSCALE"], float)[:, np.newaxis]
    return data, weight, context, step, wcs


def largest_difference_to_neighbours(image):
    padded = np.pad(image, 1, mode="edge").astype(float)
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.max([np.abs(side - image) for side in sides], axis=0)


def without_sky(difference, weights, use):
    """Subtract one fitted constant per exposure, weighted as the exposures are in each pixel."""
    total = np.sum(weights, axis=0)
    shares = np.stack([w[use] / total[use] for w in weights], axis=1).astype(float)
    values = difference[use].astype(float)
    keep = np.isfinite(values)
    for _ in range(6):
        a, b = shares[keep], values[keep]
        sky = np.linalg.solve(a.T @ a, a.T @ b)
        residual = np.abs(values - shares @ sky)
        keep = residual < 4 * 1.4826 * np.median(residual[keep]) + 1e-12
    left = np.full(difference.shape, np.nan)
    left[use] = values - shares @ sky
    return left


@pytest.fixture(scope="module", params=[(band, kind) for band in BANDS for kind in MAPS], ids="-".join)
def scored(request, shared_data):
    """Differences to the reference of one band with one kind of pixel map."""
    band, kind = request.param
    folder = shared_data / "imaging" / "wfc3ir_ers"
    exposures = read_exposures(folder, band)
    data, weight, context, step, wcs = read_reference(folder, band)
    params = DrizzleParams(pixfrac=PIXFRAC, fillval=0.0)
    together, weights = Drizzler(data.shape, params=params), []
    for exposure in exposures:
        pixmap = MAPS[kind](exposure["wcs"], wcs, exposure["data"].shape)
        alone = Drizzler(data.shape, params=params)
        for drizzler in (together, alone):
            add(drizzler, exposure, pixmap)
        weights.append(alone.finish().weight)
    found = together.finish()
    either = (found.context[0] > 0) | (context > 0)
    both = (found.context[0] > 0) & (context > 0)
    differs = found.context[0] ^ context
    return {
        "band": band,
        "kind": kind,
        "left": np.abs(without_sky(found.data - data, weights, both))[both],
        "step": np.broadcast_to(step, data.shape)[both],
        "gradient": largest_difference_to_neighbours(data)[both],
        "weight": np.abs(found.weight - weight)[either],
        "n_context": np.count_nonzero(differs),
        "context_weight": max(float(w[(differs >> k) & 1 > 0].max(initial=0)) for k, w in enumerate(weights)),
    }


def beyond(scored, steps, pixels):
    return np.mean(~(scored["left"] <= steps * scored["step"] + pixels * scored["gradient"]))


def test_the_mosaic_is_that_of_astrodrizzle(scored):
    strict, loose = beyond(scored, 0.5, 1e-3), beyond(scored, 0.51, 2e-3)
    print(
        f"{scored['band']} {scored['kind']}: {scored['left'].size} pixels, beyond 0.5 step + 1e-3 {strict:.1e}, beyond"
        f" 0.51 step + 2e-3 {loose:.1e}; WHT within {scored['weight'].max():.2f} s; CTX differs in"
        f" {scored['n_context']} by at most {scored['context_weight']:.1e} s"
    )
    assert scored["left"].size > 2_000_000
    if scored["kind"] == "stepped":
        assert strict == 0
        assert scored["weight"].max() <= 4.01
        assert scored["n_context"] == 0
    else:
        assert strict <= 0.002
        assert loose <= 0.0001
        assert scored["weight"].max() <= 7
        assert scored["context_weight"] < 0.01
