import numpy as np
import polars as pl
import pytest
import xarray as xr

from skymere.errors import FormatError, InvalidInputError, NotFoundError, SchemaError
from skymere.lake import Lake, RaggedPlane, load_schema, write_ragged

UNITS = {"beam": "electron / s", "slitlet": "MJy/sr", "spectrum": "electron / s", "slit_spectrum": ""}
# For each product: row, identifier, and what tells rows of one source apart.
ROWS = {
    "beam": ("beam_row", "beam_id", {"order": 1}),
    "slitlet": ("slitlet_row", "slitlet_id", {"grating": "g395m"}),
    "spectrum": ("spectrum_row", "spectrum_id", {"grating": "g141"}),
    "slit_spectrum": ("spectrum_row", "spectrum_id", {"grating": "g395m"}),
}
READ = {
    "beam": Lake.beams,
    "slitlet": Lake.slitlets,
    "spectrum": Lake.spectra,
    "slit_spectrum": lambda lake, *a, **k: lake.spectra(*a, **k, product="slit_spectrum"),
}


def axes_of(product):
    """Planes of each ragged axis: path of the offsets to paths of planes and number of axes."""
    schema = load_schema(product)
    found = {}
    for spec in schema.arrays:
        # Groups inside a product have rows of their own.
        if spec.offset and "/" not in spec.path:
            axes = schema.array(spec.shape).chunk[1] if spec.shape else 1
            found.setdefault(spec.offset, (axes, []))[1].append(spec)
    return found


def make_planes(product, n, seed):
    """Random planes of every axis, NaN and borders of chunks among them."""
    rng = np.random.default_rng(seed)
    planes = {}
    for axes, specs in axes_of(product).values():
        shapes = rng.integers(1, 90 if axes == 2 else 900, (n, axes))
        shapes[n // 2] = 0
        shapes[0] = 250 if axes == 2 else 70000
        for spec in specs:
            kind = np.dtype(spec.dtype)
            planes[spec.path] = []
            for shape in shapes:
                values = rng.normal(size=shape) if kind.kind == "f" else rng.integers(0, 200, shape)
                array = values.astype(kind)
                if kind.kind == "f" and array.size > 3:
                    array.flat[2] = np.nan
                planes[spec.path].append(array)
    return planes


def publish(lake, survey, product, tile, planes, first_id, sources):
    """One row for each object; sources in turn, orders or exposures different for the same source."""
    row, key, extra = ROWS[product]
    n = len(next(iter(planes.values())))
    schema = load_schema(product)
    place = {"ra": {"east": 150.0017, "west": 149.9983}[tile], "dec": 0.0}
    ok = {"status": "ok"} if "status" in {c.name for c in schema.columns} else {}
    rows = [
        survey.empty_row(product)
        | {"source_id": sources[k % len(sources)], key: first_id + k, row: k, "exposure_id": f"e{k}"}
        | place
        | ok
        | (extra if k != n - 1 else {"order": 0} if product == "beam" else {"grating": "prism"})
        for k in range(n)
    ]
    with lake.run(stage="extract", tile=tile, product=product, inputs=[], params={"n": n}) as run:
        for _, specs in axes_of(product).values():
            write_ragged(run, {s.path: planes[s.path] for s in specs}, unit=UNITS[product] or None)
        run.write(key, np.arange(first_id, first_id + n))
        run.write("source_id", np.array([r["source_id"] for r in rows]))
        run.annotate("", {"dq_bits": {"hot": 16}})
        return run.publish(survey.frame(product, rows))


@pytest.fixture(scope="module", params=list(ROWS))
def filled(request, survey, tmp_path_factory):
    """A lake with one ragged product in both tiles, and what was put in."""
    product = request.param
    lake = survey.create(tmp_path_factory.mktemp(product) / "lake")
    planes = {"east": make_planes(product, 9, 1), "west": make_planes(product, 6, 2)}
    publish(lake, survey, product, "east", planes["east"], 100, [1, 2, 3])
    publish(lake, survey, product, "west", planes["west"], 200, [7, 8])
    return lake, product, planes


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_objects_come_back_bit_for_bit_in_the_order_of_their_ids(filled):
    lake, product, planes = filled
    ids = [205, 100, 104, 201, 108, 100]
    found = READ[product](lake, ids)
    assert found.rows[ROWS[product][1]].to_list() == ids
    assert set(found.planes) == set(planes["east"])
    for i, number in enumerate(ids):
        tile, k = ("east", number - 100) if number < 200 else ("west", number - 200)
        for name in planes[tile]:
            assert same_bits(found[i][name], planes[tile][name][k]), (name, number)
            assert same_bits(found[name][i], planes[tile][name][k])
    assert all(attributes["dq_bits"] == {"hot": 16} for attributes in found.attributes)


def test_all_objects_of_a_source_come_with_it(filled):
    lake, product, planes = filled
    limit = ROWS[product][2]
    found = READ[product](lake, source_id=[8, 3], **limit)
    # The last object of each tile is of another order or grating.
    assert found.rows[ROWS[product][1]].to_list() == [201, 203, 102, 105]
    assert found.rows["source_id"].to_list() == [8, 8, 3, 3]
    name = next(iter(planes["east"]))
    assert [a.shape for a in found[name]] == [
        planes[t][name][k].shape for t, k in (("west", 1), ("west", 3), ("east", 2), ("east", 5))
    ]
    assert len(READ[product](lake, source_id=[8, 3])) == 6


def test_absent_rows_and_foreign_ids_are_errors_that_name_them(filled):
    lake, product, _ = filled
    read = READ[product]
    with pytest.raises(NotFoundError, match=rf"ids: 1 of 2 have no {product}, the first is 4711"):
        read(lake, [100, 4711])
    with pytest.raises(NotFoundError, match=rf"source_id: 1 of 1 have no {product} with .*, the first is 9"):
        read(lake, source_id=[9], **ROWS[product][2])
    with pytest.raises(NotFoundError, match="planes: 'colour' is not a plane"):
        read(lake, [100], planes=["colour"])
    for wrong in ({}, {"ids": [1], "source_id": [1]}):
        with pytest.raises(InvalidInputError, match="exactly one"):
            read(lake, **wrong)
    with pytest.raises(InvalidInputError, match="planes: 'sci'"):
        read(lake, [100], planes="sci")
    assert len(read(lake, [])) == 0


def test_only_the_planes_that_were_asked_for_are_read(filled):
    lake, product, planes = filled
    name = list(planes["east"])[1]
    found = READ[product](lake, [103], planes=[name])
    assert list(found.planes) == [name]
    with pytest.raises(NotFoundError, match="was not read"):
        found["something"]


def test_plain_zarr_and_xarray_read_the_same_bits(filled):
    lake, product, planes = filled
    group = lake.arrays(product, "east")
    for axes, specs in axes_of(product).values():
        for spec in specs:
            stored = group.zarr[spec.path]
            names = stored.attrs["ragged"]
            offset = group.zarr[names["offset"]][:]
            wanted = planes["east"][spec.path]
            for k in (0, 4, 8):
                flat = stored[offset[k] : offset[k + 1]]
                shape = group.zarr[names["shape"]][k] if axes > 1 else (-1,)
                assert same_bits(flat.reshape(shape), wanted[k])
    tree = xr.open_zarr(group.folder, consolidated=True, chunks=None)
    first = next(iter(planes["east"]))
    assert same_bits(tree[first].values, np.concatenate([a.ravel() for a in planes["east"][first]]))


def test_released_objects_stay_as_they_were(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    old, new = make_planes("spectrum", 3, 1), make_planes("spectrum", 4, 2)
    publish(lake, survey, "spectrum", "east", old, 100, [1])
    lake.release("DR1")
    publish(lake, survey, "spectrum", "east", new, 100, [1])
    assert same_bits(lake.spectra([101])["flux"][0], new["flux"][1])
    assert same_bits(Lake.open(lake.path, release="DR1").spectra([101])["flux"][0], old["flux"][1])


def test_stacks_need_equal_shapes_or_padding():
    plane = RaggedPlane.pack([np.ones((2, 3), np.float32), np.full((1, 4), 2, np.float32)], fill=-1)
    with pytest.raises(InvalidInputError, match="pad=True"):
        plane.stack()
    np.testing.assert_array_equal(plane.stack(pad=True), [[[1, 1, 1, -1]] * 2, [[2, 2, 2, 2], [-1] * 4]])
    same = RaggedPlane.pack([np.zeros((2, 3)), np.ones((2, 3))])
    np.testing.assert_array_equal(same.stack(), [np.zeros((2, 3)), np.ones((2, 3))])
    assert [a.shape for a in plane[::-1]] == [(1, 4), (2, 3)]
    assert plane[-1].shape == (1, 4)
    with pytest.raises(IndexError):
        plane[2]
    assert RaggedPlane.pack([]).stack().shape[0] == 0
    with pytest.raises(InvalidInputError, match="numbers of axes"):
        RaggedPlane.pack([np.zeros(3), np.zeros((2, 2))])


def test_all_planes_stack_with_the_fill_of_the_schema(filled):
    lake, product, planes = filled
    name = next(iter(planes["east"]))
    stacked = READ[product](lake, [101, 102]).stack(pad=True)
    wanted = planes["east"][name][1]
    corner = tuple(slice(n) for n in wanted.shape)
    assert same_bits(np.ascontiguousarray(stacked[name][0][corner]), wanted)
    assert set(stacked) == set(planes["east"])


@pytest.mark.parametrize(
    ("planes", "error", "message"),
    [
        ({"sci": [np.zeros((2, 3))]}, SchemaError, "array sci: expected float32 of 2 axes, found float64 of 2 axes in row 0"),
        ({"sci": [np.zeros(6, np.float32)]}, SchemaError, "float32 of 1 axes in row 0"),
        ({"colour": [np.zeros((2, 3), np.float32)]}, SchemaError, "'colour' is not in schema"),
        ({"beam_id": [np.zeros(3, np.int64)]}, SchemaError, "not ragged"),
        ({"sci": [np.zeros((2, 3), np.float32)], "err": [np.zeros((3, 2), np.float32)]}, InvalidInputError, "in row 0"),
        ({"sci": [np.zeros((2, 3), np.float32)], "err": []}, InvalidInputError, "0 and 1 rows"),
        ({"sci": [np.zeros((2, 3), np.float32)], "seg": [np.zeros((2, 3), np.int32)]}, InvalidInputError, "'seg' and 'sci' do not lie"),
        ({}, InvalidInputError, "none was given"),
    ],
)  # fmt: skip
def test_planes_that_do_not_fit_are_refused_by_name(lake, planes, error, message):
    with (
        lake.run(stage="s", tile="east", product="beam", inputs=[], params={}) as run,
        pytest.raises(error, match=message),
    ):
        write_ragged(run, planes, unit="electron / s")
    assert lake.table("beam").collect().is_empty()


def test_objects_outside_their_arrays_are_format_errors(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    rows = [
        survey.empty_row("spectrum", source_id=1, spectrum_id=k, spectrum_row=k, ra=150.0017, dec=0.0) for k in range(2)
    ]
    for name, offset, problem in (
        ("long", [0, 3, 9], FormatError),
        ("back", [0, 5, 3], FormatError),
        ("few", [0, 5], NotFoundError),
    ):
        with lake.run(stage=name, tile="east", product="spectrum", inputs=[], params={}) as run:
            run.write("flux", np.zeros(5, np.float32))
            run.write("offset", np.array(offset))
            run.publish(survey.frame("spectrum", rows))
        with pytest.raises(problem, match="spectrum"):
            lake.spectra([0, 1])


def test_a_row_without_a_result_has_no_arrays(survey, tmp_path):
    lake = survey.create(tmp_path / "lake")
    row = survey.empty_row(
        "spectrum", source_id=1, spectrum_id=5, spectrum_row=None, status="failed", ra=150.0017, dec=0.0
    )
    with lake.run(stage="s", tile="east", product="spectrum", inputs=[], params={}) as run:
        run.publish(survey.frame("spectrum", [row]))
    assert lake.table("spectrum").select(pl.len()).collect().item() == 1
    with pytest.raises(NotFoundError, match="first is 5"):
        lake.spectra([5])
