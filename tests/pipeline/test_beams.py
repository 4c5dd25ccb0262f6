"""Beams in a lake: the identical chi square, and what people leave out of them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.pipeline.grism_survey import multibeams, simulated

from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.grism import (
    BEAM_ACTION_BIT,
    BeamAction,
    BeamModel,
    BeamParams,
    FitParams,
    MultiBeam,
    actions_table,
    apply_beam_actions,
    as_model,
    fit_redshift,
    line_maps,
    read_beam_actions,
    read_beams,
    read_config,
    scale_beams,
    write_beam_file,
)
from skymere.lake import Lake, add_beam_actions, beam_action_rows, retract_beam_actions
from skymere.lake.beams import describe_order, order_of_words
from skymere.pipeline.beam_rows import BeamWriter
from skymere.pipeline.grism_fit_rows import grism_rows
from skymere.pipeline.grism_fits import fit_object, fit_sets, model_of_row
from skymere.pipeline.grism_objects import store_beams
from skymere.pipeline.grism_plan import BeamsPlan, GrismFitPlan, MapsPlan
from skymere.pipeline.owners import owner_of
from skymere.pipeline.stages.maps import object_maps
from skymere.resample import Geometry
from skymere.spectra import TemplateSet
from skymere.testing import write_grism_templates

Z_RANGE = (0.5, 1.5)
EDIT = {"author": "ada", "reason": "a star next to it"}


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    folder = tmp_path_factory.mktemp("field")
    survey = simulated(folder)
    return survey, multibeams(survey), TemplateSet.load(write_grism_templates(folder / "templates"))


def store(lake: Lake, found: dict[int, MultiBeam], places=None, **params) -> None:
    """Publish beams under the label and 1000 as their source."""
    some = {}
    for label, one in found.items():
        ra, dec = one.beams[0].sky_position if places is None else places
        some.setdefault(owner_of(lake, ra, dec), []).append((1000 + label, ra, dec, one))
    for tile, rows in some.items():
        with (
            lake.run(stage="beams", tile=tile, product="beam", inputs=[], params=params) as run,
            BeamWriter() as writer,
        ):
            for row in rows:
                writer.add(*row)
            writer.publish(run)


@pytest.fixture
def lake(field, tmp_path):
    made = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1)
    store(made, field[1])
    return made


def same_fit(a, b) -> None:
    for name in ("zgrid", "chi2", "chi2_plain", "pdf", "coefficients", "covariance", "backgrounds"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
    assert a.z_map == b.z_map


def same_beams(a: MultiBeam, b: MultiBeam) -> None:
    assert a.N == b.N
    assert a.records == b.records
    for name in ("scif", "ivarf", "weightf", "contamf", "wavef", "flat_flam", "fit_mask", "angles"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
    for one, other in zip(a.beams, b.beams, strict=True):
        assert one.params == other.params
        for name in ("headers", "parent", "direct_parent", "config_name", "origin", "fwcpos", "x_shift", "order"):
            assert getattr(one.beam, name) == getattr(other.beam, name), name
        assert describe_order(one.bare_order) == describe_order(other.bare_order)


def test_beams_come_back_with_the_identical_chi_square(field, lake):
    _, found, templates = field
    assert len(found) >= 5
    for label, stored in found.items():
        read = lake.beams(1000 + label)
        same_beams(stored, read)
    label = max(found, key=lambda one: found[one].beams[0].total_flux)
    fits = [
        fit_redshift(mb, templates=templates, z_range=Z_RANGE, dz=(0.01, 0.001))
        for mb in (found[label], lake.beams(1000 + label))
    ]
    same_fit(*fits)
    assert np.ptp(fits[0].chi2) > 10


def test_rows_say_where_beams_are_and_planes_are_read_alone(field, lake):
    _, found, _ = field
    rows = lake.table("beam").sort("source_id", "beam_index").collect()
    assert rows.height == sum(one.N for one in found.values())
    assert set(rows["order"]) == {1}
    assert set(rows["order_name"]) == {"A"}
    assert set(rows["order_row"]) == {0}
    assert rows["n_valid"].min() > 0
    row = rows.row(0, named=True)
    one = found[row["label"]].beams[row["beam_index"]]
    planes = lake.beams([row["beam_id"]], planes=["sci", "trace_wavelength"])[0]
    assert planes["sci"].tobytes() == one.sci.tobytes()
    assert planes["trace_wavelength"].tobytes() == one.wave.tobytes()
    assert len(lake.beams(source_id=[row["source_id"]])) == found[row["label"]].N
    with pytest.raises(NotFoundError, match="no beam, the first is 77"):
        lake.beams(77)


def test_other_parameters_and_dust_are_those_that_are_asked_for(field, tmp_path):
    _, found, _ = field
    label, stored = next(iter(found.items()))
    dusty = BeamParams(mw_ebv=0.3, fcontam=0.0)
    behind = MultiBeam([BeamModel(one.beam, one.bare_order, params=dusty) for one in stored.beams])
    lake = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1)
    store(lake, {label: behind})
    same_beams(behind, lake.beams(1000 + label))
    assert behind.flat_flam.sum() < 0.9 * stored.flat_flam.sum()
    plain = lake.beams(1000 + label, params=stored.beams[0].params)
    assert plain.flat_flam.tobytes() == stored.flat_flam.tobytes()
    # Whatever is done to beams, the dust is in front of them once.
    nothing = BeamAction(source_id=label, wavelength_min=5.0, wavelength_max=6.0)
    assert apply_beam_actions(behind, [nothing]).flat_flam.tobytes() == behind.flat_flam.tobytes()


def test_line_maps_of_stored_beams_are_the_same(field, lake):
    from skymere.grism import fit_templates

    survey, found, _ = field
    label = max(found, key=lambda one: found[one].beams[0].total_flux)
    z = float(survey.sources.filter(pl.col("id") == label)["z"][0])
    templates = TemplateSet.load(survey.folder / "templates", line_complexes=False)
    made = []
    for mb in (found[label], lake.beams(1000 + label)):
        fit = fit_templates(mb, z, templates=templates)
        made.append(line_maps(mb, fit, geometry=Geometry(size=3.0)))
    assert made[0].names == made[1].names != ()
    for a, b in zip(made[0].lines, made[1].lines, strict=True):
        assert a.data.tobytes() == b.data.tobytes()
        assert a.weight.tobytes() == b.weight.tobytes()


def test_actions_are_read_from_a_file_kept_once_replayed_and_taken_back(field, lake, tmp_path):
    _, found, _ = field
    label, stored = next((label, one) for label, one in found.items() if one.N == 2)
    first, second = (one.beam.parent for one in stored.beams)
    wanted = [
        BeamAction(source_id=1000 + label, exposure_id=first, action="omit"),
        BeamAction(source_id=1000 + label, grating="G141", order="A", wavelength_min=1.2, wavelength_max=1.3),
    ]
    path = tmp_path / "actions.csv"
    actions_table(wanted).write_csv(path)
    with pytest.raises(InvalidInputError, match="author"):
        add_beam_actions(lake, read_beam_actions(path))
    added = add_beam_actions(lake, read_beam_actions(path), **EDIT)
    assert added.height == 2
    assert add_beam_actions(lake, read_beam_actions(path), **EDIT).is_empty()
    done = lake.beams(1000 + label)
    mine = [replace(one, source_id=label, author="ada", reason=EDIT["reason"]) for one in wanted]
    expected = apply_beam_actions(stored, mine)
    assert done.N == expected.N == 1
    assert done.beams[0].beam.parent == second
    assert done.beams[0].beam.dq.tobytes() == expected.beams[0].beam.dq.tobytes()
    masked = (done.beams[0].beam.dq & BEAM_ACTION_BIT) > 0
    wave = np.broadcast_to(done.beams[0].wave, masked.shape)
    assert masked.any()
    assert (wave[masked] >= 1.2).all()
    assert (wave[masked] <= 1.3).all()
    assert not done.beams[0].ivar[masked].any()
    same_beams(stored, lake.beams(1000 + label, has_actions=False))
    # Beams that are stored again are edited again.
    store(lake, found, again=True)
    assert lake.beams(1000 + label).N == 1
    rows = beam_action_rows(lake)
    omit = rows.filter(pl.col("action") == "omit")["action_id"].to_list()
    retract_beam_actions(lake, omit, author="bob", reason="it is fine")
    assert lake.beams(1000 + label).N == 2
    with pytest.raises(NotFoundError, match="taken back before"):
        retract_beam_actions(lake, omit, author="bob", reason="again")
    assert add_beam_actions(lake, read_beam_actions(path), **EDIT)["action_id"].to_list() == omit
    assert lake.beams(1000 + label).N == 1
    rest = BeamAction(source_id=1000 + label, exposure_id=second, action="omit")
    add_beam_actions(lake, [rest], **EDIT)
    with pytest.raises(NoDataError, match="all 2 beams"):
        lake.beams(1000 + label)
    with pytest.raises(NotFoundError, match="no beam of 5"):
        add_beam_actions(lake, [BeamAction(source_id=5)], **EDIT)


def test_every_file_that_cannot_be_read_has_a_row(field, tmp_path):
    survey, found, _ = field
    stored = next(iter(found.values()))
    write_beam_file(tmp_path / "good.beams.fits", [one.beam for one in stored.beams])
    for name in ("bad1.beams.fits", "bad2.beams.fits", "folder/bad2.beams.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("nonsense")
    lake = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1)
    told = store_beams(lake, BeamsPlan(files=("*.beams.fits", "folder")), conf=survey.conf, folder=tmp_path)
    assert told.filter(pl.col("message") != "").height == 3
    rows = lake.table("run_item").filter(pl.col("status") == "failed").collect()
    assert rows.height == 3
    assert {"bad1.beams.fits", "bad2.beams.fits"} < set(rows["item"])


def test_files_with_other_labels_of_one_source_are_stored_together(field, tmp_path):
    survey, found, _ = field
    label, stored = next((label, one) for label, one in found.items() if one.N == 2)
    first, second = (one.beam for one in stored.beams)
    # In the other catalogue the source is called 77, and a part of the sky that nobody owns has its label.
    labels = np.where(second.segmentation == label, 77, second.segmentation)
    labels[0, 0] = label
    other = replace(second, source_id=77, segmentation=labels)
    write_beam_file(tmp_path / "a.beams.fits", [first])
    write_beam_file(tmp_path / "b.beams.fits", [other])
    lake = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1)
    told = store_beams(lake, BeamsPlan(files=("*.beams.fits",)), conf=survey.conf, folder=tmp_path)
    assert told["message"].to_list() == ["", ""]
    (source_id,) = set(told["source_id"])
    read = lake.beams(source_id)
    assert read.N == 2
    assert read.source_id == label
    expected = read_beams([tmp_path / "a.beams.fits"], conf_path=survey.conf).extend(
        MultiBeam([one.with_beam(replace(one.beam, segmentation=second.segmentation)) for one in stored.beams[1:]])
    )
    # Places in headers have all digits but the last.
    np.testing.assert_allclose(read.flat_flam, expected.flat_flam, rtol=0, atol=1e-6 * expected.flat_flam.max())
    assert read.beams[1].beam.segmentation[0, 0] == 77


def test_orders_of_every_form_are_the_same_after_a_trip_through_json(shared_data):
    import json

    folder = shared_data / "spectra" / "grizli" / "CONF"
    if not folder.is_dir():
        pytest.skip(f"configurations are not in {folder}")
    for name in ("G141.F140W.V4.32.conf", "GR150C.F150W.220725.conf"):
        for order in read_config(folder / name).orders.values():
            words = json.loads(json.dumps(describe_order(order)))
            read = order_of_words(words, order.wavelength, order.sensitivity)
            dx = np.linspace(order.first, order.end, 30)
            for fwcpos in (None, 245.7):
                places = [one.place(300.5, 700.25, fwcpos=fwcpos) for one in (order, read)]
                traces = [one.compiled.trace(place, dx) for one, place in zip((order, read), places, strict=True)]
                for a, b in zip(*traces, strict=True):
                    assert a.tobytes() == b.tobytes()


def test_the_real_galaxy_has_the_identical_chi_square(shared_data, tmp_path):
    folder = shared_data / "spectra"
    path = folder / "wfc3" / "j033216m2743_00152.beams.fits"
    if not path.is_file():
        pytest.skip(f"the beams of the real galaxy are not in {path}")
    lake = Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1)
    for params in (BeamParams(operator="grizli"), BeamParams()):
        stored = read_beams(path, conf_path=folder / "grizli" / "CONF", params=params)
        store(lake, {stored.source_id: stored}, operator=params.operator)
        read = lake.beams(1000 + stored.source_id)
        same_beams(stored, read)
        templates = folder / "grizli" / "templates"
        fits = [
            fit_redshift(mb, templates=templates, z_range=(1.70, 1.78), dz=(0.004, 0.0004)) for mb in (stored, read)
        ]
        same_fit(*fits)
        print(f"{params.operator}: z {fits[1].z_map:.6f}, least chi2 {fits[1].chi2.min():.6f}, that of the file")
    # And the file that is written of it is that of the same source.
    write_beam_file(tmp_path / "out.beams.fits", [one.beam for one in read.beams])
    again = read_beams(tmp_path / "out.beams.fits", conf_path=folder / "grizli" / "CONF", params=params)
    assert again.fit_mask.tobytes() == stored.fit_mask.tobytes()
    np.testing.assert_allclose(again.flat_flam, stored.flat_flam, rtol=1e-12)


def test_maps_are_of_beams_with_the_scales_of_the_fit(shared_data):
    folder = shared_data / "spectra"
    path = folder / "wfc3" / "j033216m2743_00152.beams.fits"
    if not path.is_file():
        pytest.skip(f"the beams of the real galaxy are not in {path}")
    beams = read_beams(path, conf_path=folder / "grizli" / "CONF")
    params = FitParams(scale="per_grism", has_covariance=False)
    plan = GrismFitPlan(templates="templates/", z_range=(1.73, 1.75), dz=(0.004, 0.001), n_draws=20, params=params)
    sets = fit_sets(plan, folder / "grizli")
    fit = fit_object(beams, sets, plan)
    rows = grism_rows({"source_id": 7, "ra": 53.07, "dec": -27.71}, beams, fit, digest="")
    model, wanted = model_of_row(rows.redshift, rows.numbers, sets), as_model(fit.fit)
    assert model.scales == wanted.scales
    assert model.scale_errors == wanted.scale_errors
    assert model.coefficients == wanted.coefficients
    assert model.scales["G102"] != 1.0
    made, plain = (object_maps(beams, one, MapsPlan(size=2.0)) for one in (model, replace(model, scales={})))
    assert made.multibeam.flat_flam.tobytes() == scale_beams(beams, fit.fit.scales).flat_flam.tobytes()
    # A map holds the flux of its line when the beams have their scales.
    flux = model.line_fluxes["OII"][0] * 1e17
    scaled, unscaled = (float(np.nansum(one.maps["OII"].data)) / flux for one in (made, plain))
    print(f"[OII] of the map over that of the fit: {scaled:.2f}, without scales {unscaled:.2f}")
    assert abs(scaled - 1) < abs(unscaled - 1)
