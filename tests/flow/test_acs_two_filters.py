"""ACS/WFC from FLC files to mosaics of two filters on one grid, with the distortion of real reference files."""

import numpy as np
import pytest

from skymere.align import AlignParams, FindParams, align
from skymere.io import ReadParams, read_exposures
from skymere.mosaic import FlagParams, MosaicParams, drizzle_exposures
from skymere.testing import ACS_BANDS, AcsPointing, SceneParams, acs_distortion, draw_scene, simulate_acs
from skymere.wcs import Grid

RA, DEC = 150.117, 2.2055
SCALE_ARCSEC = 0.04
# Dithers over the gap, and a second visit that is 0.9 arcsec and 0.01 degree off (D1.10).
STEPS = [(0.0, 0.0), (0.53, 3.72), (-0.61, -3.18), (1.17, 1.94)]
VISIT_ERROR = {"f606w": ((0.0, 0.0), 0.0), "f814w": ((0.7, -0.56), 0.01)}


@pytest.fixture(scope="module")
def survey(shared_data, tmp_path_factory):
    """Files, true coordinates and the sources."""
    folder = tmp_path_factory.mktemp("acs")
    scene = draw_scene(
        RA,
        DEC,
        params=SceneParams(n_galaxies=40, n_stars=70, radius_arcsec=22.0, faint_mag=25.5),
        seed=3,
        bands=ACS_BANDS,
    )
    tables = {band: acs_distortion(shared_data / "imaging" / "wcs", band) for band in ACS_BANDS}
    rng = np.random.default_rng(5)
    pointings = []
    for band, ((east, north), roll) in VISIT_ERROR.items():
        for k, (dx, dy) in enumerate(STEPS):
            wrong = rng.normal(0.0, 0.02, 2) if k else np.zeros(2)
            pointings.append(
                AcsPointing(
                    name=f"j{band[1:4]}{k:02d}q",
                    band=band,
                    ra=RA + dx / 3600,
                    dec=DEC + dy / 3600,
                    error_arcsec=(east + wrong[0], north + wrong[1]),
                    roll_error_deg=roll,
                )
            )
    truth = simulate_acs(folder, scene, pointings, tables=tables, seed=7)
    return truth, tables, scene


@pytest.fixture(scope="module")
def aligned(survey):
    """All exposures of both filters, aligned to the first of F606W."""
    truth, tables, _ = survey
    exposures = []
    for path in truth:
        band = "f606w" if path.name.startswith("j606") else "f814w"
        exposures += read_exposures(path, params=ReadParams(distortion=tables[band]))
    found = align(
        exposures, params=AlignParams(find=FindParams(fwhm_pix=1.8, threshold=15.0), search_radius_arcsec=2.0)
    )
    return exposures, found


@pytest.fixture(scope="module")
def mosaics(aligned):
    exposures, found = aligned
    moved = [a.apply(e) for a, e in zip(found, exposures, strict=True)]
    first = [e for e in moved if e.band == "f606w"]
    grid = Grid.covering(((e.wcs, e.shape) for e in first), scale_arcsec=SCALE_ARCSEC, rotation_deg="mean")
    params = MosaicParams(flag=FlagParams())
    return {band: drizzle_exposures([e for e in moved if e.band == band], grid, params=params) for band in ACS_BANDS}


def test_both_visits_are_aligned_with_their_chips_as_one(survey, aligned):
    truth, _, _ = survey
    exposures, found = aligned
    assert [a.status for a in found] == ["reference"] * 2 + ["aligned"] * 14
    true = [wcs for chips in truth.values() for wcs in chips]
    offsets = []
    for e, a, wcs in zip(exposures, found, true, strict=True):
        y, x = (axis.ravel() for axis in np.meshgrid(np.linspace(20, 380, 5), np.linspace(20, 580, 5), indexing="ij"))
        there = wcs.all_world2pix(np.column_stack(a.wcs.all_pix2world(x, y, 0)), 0, tolerance=1e-8)
        offsets.append(np.hypot(*(there - np.column_stack([x, y])).T).max())
        assert a.group == e.exposure_id[:7]
    print("largest offset of a chip after alignment", np.round(offsets, 3), "pix")
    assert max(offsets) < 0.02
    turn = [a.correction.rotation_deg for a in found[8:]]
    assert np.abs(np.abs(turn) - 0.01).max() < 2e-3


def test_the_second_filter_is_on_the_grid_of_the_first_without_the_gap(mosaics):
    one, two = (mosaics[band][0] for band in ("f606w", "f814w"))
    assert one.grid.cards() == two.grid.cards()
    assert one.data.shape == two.data.shape
    for mosaic in (one, two):
        ny, nx = mosaic.data.shape
        middle = mosaic.weight[ny // 3 : 2 * ny // 3, nx // 4 : 3 * nx // 4]
        # The gap of 50 pixels is seen by the other dithers.
        assert (middle > 0).mean() > 0.999
        assert mosaic.context.max() > 0
    weight = one.weight[one.weight > 0]
    assert np.std(weight) / np.median(weight) < 0.5


def stars_of(mosaic, scene, band, radius=10):
    """Positions and fluxes of the bright stars: true, and in apertures of the mosaic."""
    stars = scene.filter((scene["kind"] == "star") & (scene[f"mag_{band}"] < 23.0))
    x, y = mosaic.grid.pixels(stars["ra"].to_numpy(), stars["dec"].to_numpy())
    true = 10 ** (-0.4 * (stars[f"mag_{band}"].to_numpy() - mosaic.zero_point_ab))
    everything = mosaic.grid.pixels(scene["ra"].to_numpy(), scene["dec"].to_numpy())
    rows = []
    for a, b, flux in zip(x, y, true, strict=True):
        i, j = round(a) - 2 * radius, round(b) - 2 * radius
        size = 4 * radius + 1
        if min(i, j) < 0:
            continue
        data, weight = (plane[j : j + size, i : i + size] for plane in (mosaic.data, mosaic.weight))
        near = np.hypot(everything[0] - a, everything[1] - b) < 2.5 * radius
        if near.sum() > 1 or data.shape != (size, size):
            continue
        yy, xx = np.indices(data.shape)
        away = np.hypot(xx + i - a, yy + j - b)
        if (weight[away < radius] < 0.6 * mosaic.weight.max()).any() or (weight == 0).any():
            continue
        light = data - np.median(data[(away > radius) & (away < 2 * radius)])
        core = np.where(away < 4, light, 0.0)
        moments = [(core * axis).sum() / core.sum() for axis in (xx + i - a, yy + j - b)]
        rows.append([*moments, light[away < radius].sum() / flux])
    return np.array(rows)


def test_stars_are_where_they_were_put_in_both_filters_with_their_flux(survey, mosaics):
    _, _, scene = survey
    for band, (mosaic, _) in mosaics.items():
        dx, dy, ratio = stars_of(mosaic, scene, band).T
        print(
            f"{band}: {len(dx)} stars, off {np.median(dx):+.3f} {np.median(dy):+.3f} pix, flux {np.median(ratio):.4f}"
        )
        assert len(dx) >= 6
        assert np.abs([np.median(dx), np.median(dy)]).max() < 0.03
        # A Moffat profile has 3 % of its light beyond 10 pixels of 0.04 arcsec.
        assert 0.94 < np.median(ratio) < 1.02
        assert np.std(ratio) < 0.04


def test_cosmic_rays_are_flagged_and_stars_are_not(survey, mosaics):
    from astropy.io import fits

    truth, _, _ = survey
    for band, (_, flagged) in mosaics.items():
        found, real, wrong = 0, 0, 0
        for e in flagged:
            path = next(p for p in truth if p.name.startswith(e.group))
            with fits.open(path) as hdus:
                hits = hdus["CRTRUE", 1 if e.detector == "WFC2" else 2].data.astype(bool) & (e.dq == 0)
            flags = (e.flags & 2) > 0
            found += (flags & hits).sum()
            real += hits.sum()
            wrong += (flags & ~hits & (e.dq == 0)).sum()
        print(f"{band}: {found / real:.3f} of the cosmic rays, {wrong / len(flagged):.0f} false pixels per chip")
        assert found / real > 0.8
        assert wrong / len(flagged) < 600
