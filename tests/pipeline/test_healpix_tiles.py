"""The main line on HEALPix tiles: a survey that spans several, with sources on their borders."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError, NoDataError
from skymere.lake import Lake, separation
from skymere.lake.cells import HealpixTiles
from skymere.pipeline import read_plan, run_plan
from skymere.pipeline.borders import owned_sources
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure

TILES = '\n[tile]\nkind = "healpix"\nscale_arcsec = 0.08\nwidth_pix = 1000\n'


def test_every_tile_that_an_exposure_touches_is_made(tiled: Path) -> None:
    lake = Lake.open(tiled / "lake", release="DR1")
    outlines = lake.table("exposure").select("footprint").collect()["footprint"]
    corners = [np.array(text.split()[2:], float).reshape(-1, 2) for text in outlines]
    touched = {tile for polygon in corners for tile in lake.tiles.touching(polygon)}
    assert set(lake.live_runs("mosaic")) == touched
    assert len(touched) >= 2
    for product in ("segmentation", "source", "cutout"):
        assert set(lake.live_runs(product)) <= touched
    sources = lake.table("source").collect()
    assert sources["tile"].n_unique() >= 2
    assert sources["tile"].to_list() == lake.tiles.at(sources["ra"].to_numpy(), sources["dec"].to_numpy())


def test_the_catalogue_of_many_tiles_is_that_of_one(tiled: Path, finished: Path) -> None:
    many, one = Lake.open(tiled / "lake"), Lake.open(finished / "lake")
    sources = many.table("source").collect()
    twice = many.crossmatch("source", "source", radius_arcsec=0.25).collect()
    assert (twice["source_id"] == twice["source_id_other"]).all()
    assert sources["source_id"].is_unique().all()
    # Noise is drawn into other pixels, so what is faint may differ; what is bright may not.
    bright = one.table("source").filter(pl.col("flux_auto_f160w") > 30 * pl.col("flux_auto_err_f160w")).collect()
    paired = many.crossmatch("source", bright, radius_arcsec=0.2).collect()
    assert sorted(paired["source_id_other"]) == sorted(bright["source_id"])
    ratio = (paired["flux_auto_f160w"] / paired["flux_auto_f160w_other"]).median()
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_cutouts_of_all_tiles_come_in_one_call(tiled: Path) -> None:
    lake = Lake.open(tiled / "lake")
    rows = lake.table("source").select("source_id", "ra", "dec").collect()
    stamps = lake.cutouts(rows["source_id"], bands=["f160w"], size_pix=32)
    for i, (_, ra, dec) in enumerate(rows.iter_rows()):
        x, y = stamps.wcs(i, "f160w").wcs_world2pix(ra, dec, 0)
        assert (x, y) == pytest.approx((15.5, 15.5), abs=1.0)


def test_a_second_run_on_tiles_does_nothing(tiled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(tiled, folder)
    assert sum(stage.n_done for stage in run_plan(read_plan(folder / "plan.toml")).stages) == 0


class TwoViews:
    """A lake of two tiles whose detections of a source differ by a fraction of a pixel."""

    def __init__(self, tmp_path: Path) -> None:
        self.lake = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1, width_pix=700)
        (self.a,) = self.lake.tiles.at(np.array([150.0]), np.array([2.0]))
        tile = self.lake.tiles[self.a]
        corner, beyond = tile.polygon[2:3], tile.polygon[3:4]
        self.ra, self.dec = ((u[0] + v[0]) / 2 for u, v in zip(corner.T, beyond.T, strict=True))
        step = 1e-5
        ring = [(self.ra + step * np.cos(t), self.dec + step * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 40)]
        owners = self.lake.tiles.at(*np.array(ring).T)
        (self.b,) = set(owners) - {self.a}
        self.inside = {name: ring[owners.index(name)] for name in (self.a, self.b)}

    def view(self, border: dict[str, list[tuple[float, float]]]) -> list[tuple[str, float, float]]:
        """What the two tiles publish when each sees sources at these places."""
        for name, places in border.items():
            work = {"stage": "detect", "tile": name, "product": "segmentation", "inputs": []}
            with self.lake.run(**work, params={"border": places}) as run:
                if run.already:
                    continue
                run.annotate("", {"border": [(i + 1, *place) for i, place in enumerate(places)]})
                run.write("label", np.zeros((4, 4), np.int32))
                run.publish(
                    run.frame(
                        [
                            {
                                "status": "ok",
                                "n_sources": 1,
                                "n_pixels": 1,
                                "ny": 4,
                                "nx": 4,
                                "threshold": 1.0,
                                "noise_correlation": 1.0,
                            }
                        ]
                    )
                )
        rows = []
        for name, places in border.items():
            table = pl.DataFrame(
                [(i + 1, *place) for i, place in enumerate(places)],
                schema={"label": pl.Int32, "ra": pl.Float64, "dec": pl.Float64},
                orient="row",
            )
            rows += [(name, ra, dec) for _, ra, dec in owned_sources(self.lake, name, table).iter_rows()]
        return rows


def test_a_source_on_the_border_of_two_tiles_appears_exactly_once(tmp_path: Path) -> None:
    two = TwoViews(tmp_path)
    a, b = two.inside[two.a], two.inside[two.b]
    # Each tile sees it in itself; each in the other one; both in one; one tile alone sees it.
    for seen_by_a, seen_by_b in ((a, b), (b, a), (a, a), (b, b)):
        rows = two.view({two.a: [seen_by_a], two.b: [seen_by_b]})
        assert len(rows) == 1
        ((name, ra, dec),) = rows
        assert two.lake.tiles.at(np.array([ra]), np.array([dec])) == [name]
        assert pl.select(separation(ra, dec, *a)).item() < 0.1
    assert len(two.view({two.a: [a], two.b: []})) == 1
    assert len(two.view({two.a: [], two.b: [a]})) == 0


def test_a_source_that_three_tiles_see_at_a_corner_belongs_to_one_that_sees_it(tmp_path: Path) -> None:
    two = TwoViews(tmp_path)
    tiles = two.lake.tiles
    corner = tiles[two.a].polygon[0]
    step = 0.15 / 3600
    ring = [
        (corner[0] + step * np.cos(t) / np.cos(np.deg2rad(corner[1])), corner[1] + step * np.sin(t))
        for t in np.linspace(0, 2 * np.pi, 80)
    ]
    inside = dict(zip(tiles.at(*np.array(ring).T), ring, strict=True))
    assert len(inside) >= 3
    names = sorted(inside, key=lambda name: (len(name), name))
    # Whatever three tiles say about where it is, one row comes out when one of them is the owner.
    for shift in range(len(names)):
        seen = {name: [inside[names[(k + shift) % 3]]] for k, name in enumerate(names[:3])}
        rows = two.view(seen)
        assert len(rows) == 1
        ((name, ra, dec),) = rows
        assert tiles.at(np.array([ra]), np.array([dec])) == [name]


def test_a_field_over_the_corner_of_four_cells_has_every_source_on_their_borders_once(tmp_path: Path) -> None:
    tiles = HealpixTiles.fitting(0.1, width_pix=800)
    (first,) = tiles.at(np.array([150.0]), np.array([2.0]))
    corner = tiles[first].polygon[8]
    arcsec = np.array([np.cos(np.deg2rad(corner[1])), 1.0]) * 3600.0
    meeting = [name for name in (first, *tiles.neighbours(first)) if np.hypot(*_apart(tiles, name, corner)) < 1e-3]
    assert len(meeting) == 4
    rng = np.random.default_rng(7)
    places: list[np.ndarray] = []
    for name in meeting:
        ring = tiles[name].polygon
        along = np.concatenate(
            [a + np.linspace(0, 1, 60)[:, None] * (b - a) for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True)]
        )
        for place in along[np.hypot(*((along - corner) * arcsec).T) < 9.0]:
            if all(np.hypot(*((place - other) * arcsec)) > 1.6 for other in places):
                places.append(place)
    on_border = np.array(places) + rng.uniform(-0.25, 0.25, (len(places), 2)) / arcsec
    assert len(on_border) >= 18
    params = SceneParams(
        n_galaxies=len(places) // 2, n_stars=len(places) - len(places) // 2, bright_mag=20, faint_mag=22
    )
    truth = draw_scene(*corner, params=params, seed=5).with_columns(ra=on_border[:, 0], dec=on_border[:, 1])
    camera = CameraParams(shape=(190, 190), n_cosmic_rays=10, n_bad_pixels=50, n_dead_pixels=2)
    folder = tmp_path / "corner"
    (folder / "exposures").mkdir(parents=True)
    for i, (dx, dy) in enumerate(((0, 0), (1.3, 0.4), (0.6, 1.5), (1.7, 1.1))):
        where = Pointing(name=f"c{i}", band="f160w", ra=corner[0] + dx / 3600, dec=corner[1] + dy / 3600, pa_deg=10.0)
        rendered = render_exposure(truth, where, params=camera, seed=i)
        write_exposure(rendered, where, folder / "exposures" / f"c{i}_flt.fits", params=camera)
    text = '[survey]\nexposures = ["exposures/*_flt.fits"]\n[tile]\nkind = "healpix"\nscale_arcsec = 0.1\nwidth_pix = 800\n'
    (folder / "plan.toml").write_text(text)
    run_plan(read_plan(folder / "plan.toml"))
    lake = Lake.open(folder / "lake")
    assert set(meeting) <= set(lake.live_runs("segmentation"))
    sources = lake.table("source").collect()
    apart = np.hypot(
        (truth["ra"].to_numpy()[:, None] - sources["ra"].to_numpy()) * arcsec[0],
        (truth["dec"].to_numpy()[:, None] - sources["dec"].to_numpy()) * arcsec[1],
    )
    assert (apart < 0.4).sum(axis=1).tolist() == [1] * truth.height
    assert sources["source_id"].is_unique().all()


def _apart(tiles: HealpixTiles, name: str, place: np.ndarray) -> np.ndarray:
    ring = tiles[name].polygon
    return ring[np.argmin(np.hypot(*(ring - place).T))] - place


def test_two_sources_on_the_border_stay_two(tmp_path: Path) -> None:
    two = TwoViews(tmp_path)
    a, b = two.inside[two.a], two.inside[two.b]
    far = (a[0] + 0.6 / 3600, a[1]), (b[0] + 0.6 / 3600, b[1])
    rows = two.view({two.a: [b, far[1]], two.b: [a, far[0]]})
    assert len(rows) == 2


def test_healpix_tiles_have_no_name_of_their_own(fresh: Path) -> None:
    (fresh / "plan.toml").write_text(
        '[survey]\nexposures = ["exposures/*"]\n' + TILES + 'name = "field"\nrotation_deg = 3.0\n'
    )
    with pytest.raises(InvalidInputError, match=r"rotation_deg: 3\.0 is not allowed with kind 'healpix'"):
        read_plan(fresh / "plan.toml")


def test_exposures_that_touch_no_tile_are_an_error(fresh: Path) -> None:
    from skymere.lake import NamedTile
    from skymere.wcs import Grid

    Lake.create(fresh / "lake", tiles=[NamedTile("far", Grid.tangent(10.0, 10.0, shape=(50, 50), scale_arcsec=0.1))])
    with pytest.raises(NoDataError, match="touches a tile of the lake: far"):
        run_plan(read_plan(fresh / "plan.toml"))
