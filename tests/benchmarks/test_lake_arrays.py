"""Stamps and beams against zarr-python, tensorstore and FITS (targets A1 to A5 and B1 of the lake): `make bench`.

SKYMERE_BENCH_SOURCES sets the number of sources of the lake, 100 000 when it is not set (8 GB); SKYMERE_BENCH_LAKE keeps the
lake in a folder for the next run.
"""

import importlib.util
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr
from astropy.io import fits

import skymere
from skymere.errors import NotFoundError
from skymere.lake import Lake, quantise
from skymere.lake.files import size_of

N_SOURCES = int(os.environ.get("SKYMERE_BENCH_SOURCES", "100000"))
N_WRITTEN = 4096
N_FITS = 128


def load_stamps():
    spec = importlib.util.spec_from_file_location("stamps", Path(__file__).with_name("stamps.py"))
    sys.modules["stamps"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["stamps"])
    return sys.modules["stamps"]


stamps = load_stamps()
SCI = f"px{stamps.SIDE}/f200w/sci"


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    before = skymere.get_num_threads()
    skymere.set_num_threads(2)
    peers = {name: version(name) for name in ("zarr", "tensorstore", "numcodecs", "astropy")}
    print(f"\nskymere {skymere.__version__}, 2 threads; {peers}")
    with zarr.config.set({"threading.max_workers": 2, "async.concurrency": 8}):
        yield
    skymere.set_num_threads(before)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    kept = os.environ.get("SKYMERE_BENCH_LAKE")
    path = Path(kept) if kept else tmp_path_factory.mktemp("stamps") / "lake"
    try:
        return Lake.open(path)
    except NotFoundError:
        begin = time.perf_counter()
        made = stamps.make(path, N_SOURCES)
        print(f"lake of {N_SOURCES} sources x {len(stamps.BANDS)} bands: {time.perf_counter() - begin:.0f} s to make")
        return made


def best(repeats=7, **tasks):
    """Best wall time of each task [s], taken in turns."""
    times = dict.fromkeys(tasks, np.inf)
    for task in tasks.values():
        task()
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name] = min(times[name], time.perf_counter() - start)
    return times


def open_tensorstore(path):
    context = tensorstore.Context({"data_copy_concurrency": {"limit": 2}, "file_io_concurrency": {"limit": 2}})
    kvstore = {"driver": "file", "path": f"{path}/"}
    return tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, open=True, read=True, context=context).result()


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_one_stamp_and_a_thousand(lake):
    """A1 and A2."""
    group = lake.arrays("cutout", "field")
    ours, theirs = group[SCI], group.zarr[SCI]
    fast = open_tensorstore(group.folder / SCI)
    n = len(ours)
    i = n // 3
    found = best(ours=lambda: ours[i], zarr=lambda: theirs[i], tensorstore=lambda: fast[i].read().result(), repeats=50)
    print(
        f"A1 one stamp of {n}: {1e3 * found['ours']:.3f} ms, ratio to zarr {found['ours'] / found['zarr']:.3f},",
        end=" ",
    )
    print(f"to tensorstore {found['ours'] / found['tensorstore']:.2f}")
    assert ours[i].tobytes() == theirs[i].tobytes()

    rows = np.random.default_rng(5).permutation(n)[:1024]
    few = rows[:128]
    found = best(ours=lambda: ours.rows(rows), tensorstore=lambda: fast[rows].read().result())
    slow = best(ours=lambda: ours.rows(few), zarr=lambda: theirs.oindex[few], repeats=2)
    print(f"A2 {len(rows)} random stamps: {1e6 * found['ours'] / len(rows):.0f} us each,", end=" ")
    print(f"ratio to zarr oindex ({len(few)} of them) {slow['ours'] / slow['zarr']:.4f},", end=" ")
    print(f"to tensorstore {found['ours'] / found['tensorstore']:.2f}")
    assert ours.rows(rows).tobytes() == fast[rows].read().result().tobytes()

    ids = rows + 1
    asked = {"bands": list(stamps.BANDS), "planes": ["sci", "wht"]}
    found = best(many=lambda: lake.cutouts(ids, **asked), one=lambda: lake.cutouts(ids[:1], **asked), repeats=3)
    print(f"   Lake.cutouts, 3 bands, sci and wht: {1e6 * found['many'] / len(ids):.0f} us per source,", end=" ")
    print(f"{1e3 * found['one']:.1f} ms for one alone")


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_files_and_size_of_the_lake(lake):
    """A5, and the size of the whole."""
    folder = lake.arrays("cutout", "field").folder
    files = [path for path in folder.rglob("*") if path.is_file()]
    n = len(lake.arrays("cutout", "field")[SCI])
    raw = n * stamps.SIDE**2 * 4 * (2 * len(stamps.BANDS) + 1)
    print(f"A5 {len(files)} files for {n} sources x 3 bands, sci + wht + seg: {len(files) * 1e5 / n:.0f} per 100 000")
    print(f"   {size_of(folder) / 1e9:.2f} GB, {size_of(folder) / raw:.3f} of raw")


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_writing_stamps(tmp_path):
    """A3 and A4."""
    data = np.concatenate(list(stamps.parts(9, N_WRITTEN)))
    data[5, :, :20] = np.nan
    empty = Lake.create(
        tmp_path / "lake", tiles=[stamps.NamedTile("t", stamps.Grid.tangent(1, 1, shape=(9, 9), scale_arcsec=1))]
    )
    runs = iter(range(10**6))

    def ours():
        with empty.run(stage="b", tile="t", product="cutout", inputs=[], params={"n": next(runs)}) as run:
            run.write(SCI, data, unit="s", lossy="quantise")

    rounded, exponents = quantise(data)

    def with_zarr():
        blosc = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=4)
        shape = {"shape": data.shape, "chunks": (2, 128, 128), "shards": (1024, 128, 128), "dtype": "f4"}
        made = zarr.create_array(tmp_path / "z", overwrite=True, compressors=blosc, fill_value=np.nan, **shape)
        made[:] = rounded

    def with_fits():
        for i in range(N_FITS):
            planes = [fits.ImageHDU(data[i], name=name) for name in "abc"]
            fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / f"{i}.fits", overwrite=True)

    numcodecs.blosc.use_threads = False
    codec = numcodecs.Blosc("zstd", 2, numcodecs.Blosc.SHUFFLE, blocksize=1 << 17)
    sample = rounded[:512]

    def encode():
        for i in range(0, len(sample), 2):
            codec.encode(sample[i : i + 2])

    cpu = np.inf
    for _ in range(5):
        start = time.process_time()
        encode()
        cpu = min(cpu, time.process_time() - start)
    own = np.inf
    for _ in range(3):
        start = time.process_time()
        ours()
        own = min(own, time.process_time() - start)
    found = best(ours=ours, zarr=with_zarr, fits=with_fits, repeats=3)
    speed = {"ours": data.nbytes / found["ours"], "zarr": data.nbytes / found["zarr"]}
    speed["codec"] = 2 * sample.nbytes / cpu
    per_source = {"ours": 3 * found["ours"] / N_WRITTEN, "fits": found["fits"] / N_FITS}
    print(f"A3 write {data.nbytes / 1e6:.0f} MB, fsync included: {speed['ours'] / 1e6:.0f} MB/s,", end=" ")
    print(f"{speed['ours'] / speed['zarr']:.2f} x zarr-python (without fsync, rounded before),", end=" ")
    print(f"{per_source['fits'] / per_source['ours']:.0f} x FITS per source,", end=" ")
    print(
        f"{speed['ours'] / speed['codec']:.2f} of two threads of the codec ({speed['codec'] / 1e6:.0f} MB/s);", end=" "
    )
    print(f"of the CPU time of all {cpu * data.nbytes / sample.nbytes / own:.2f} is the codec's")

    newest = max((tmp_path / "lake/arrays/.staging").glob("*"), default=None)
    assert newest is None
    with empty.run(stage="b", tile="t", product="cutout", inputs=[], params={"kept": True}) as run:
        run.write(SCI, data, unit="s", lossy="quantise")
        rows = {"size_class": 128, "wanted_pix": 128, "source_id": 1, "ra": 1.0, "dec": 1.0, "cutout_row": 0}
        run.publish(run.frame([rows]).drop("tile", "run_id", "_healpix_29"))
    stored = empty.arrays("cutout", "t")
    size = size_of(stored.folder / SCI)
    for i in range(N_FITS):
        plane = fits.CompImageHDU(np.nan_to_num(data[i]), compression_type="RICE_1", quantize_level=16.0)
        plane.writeto(tmp_path / f"{i}.fits", overwrite=True)
    rice = sum((tmp_path / f"{i}.fits").stat().st_size for i in range(N_FITS)) / N_FITS
    print(f"A4 size: {size / data.nbytes:.3f} of raw, {size / len(data) / rice:.2f} of RICE q16 FITS")
    back = stored[SCI][...]
    quantum = np.exp2(exponents.astype(np.float64))[:, None, None]
    assert (np.abs(np.nan_to_num(back) - np.nan_to_num(data).astype(np.float64)) <= quantum / 2).all()
    assert (np.isnan(back) == np.isnan(data)).all()


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_beams(tmp_path):
    """B1."""
    rng = np.random.default_rng(7)
    shapes = np.stack([rng.integers(20, 42, 4000), rng.integers(180, 320, 4000)], axis=1)
    offset = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))])
    flat = rng.normal(0, 1, offset[-1]).astype(np.float32)
    lake = Lake.create(
        tmp_path / "lake", tiles=[stamps.NamedTile("t", stamps.Grid.tangent(1, 1, shape=(9, 9), scale_arcsec=1))]
    )
    runs = iter(range(10**6))
    kept = []

    def ours():
        with lake.run(stage="b", tile="t", product="beam", inputs=[], params={"n": next(runs)}) as run:
            run.write("sci", flat, unit="electron / s")
            kept[:] = [run]

    def with_zarr():
        blosc = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=4)
        shape = {"shape": flat.shape, "chunks": (32768,), "shards": (16777216,), "dtype": "f4"}
        made = zarr.create_array(tmp_path / "z", overwrite=True, compressors=blosc, fill_value=np.nan, **shape)
        made[:] = flat
        return made

    found = best(ours=ours, zarr=with_zarr, repeats=3)
    print(
        f"B1 write {flat.nbytes / 1e6:.0f} MB of beams, fsync included: {flat.nbytes / found['ours'] / 1e6:.0f} MB/s,",
        end=" ",
    )
    print(f"{found['zarr'] / found['ours']:.2f} x zarr-python (without fsync)")
    theirs = with_zarr()
    metadata = {"shape": theirs.shape, "data_type": "float32", "dimension_names": ["pixel"], "attributes": {}}
    mine = skymere.lake.StoredArray(tmp_path / "z", metadata)
    picks = rng.integers(0, 4000, 64)

    def read(array):
        return lambda: [array[offset[i] : offset[i + 1]] for i in picks.tolist()]

    found = best(ours=read(mine), zarr=read(theirs))
    print(f"   one beam: {1e3 * found['ours'] / 64:.3f} ms, ratio to zarr {found['ours'] / found['zarr']:.2f}")
    for a, b in zip(read(mine)(), read(theirs)(), strict=True):
        assert a.tobytes() == b.tobytes()
