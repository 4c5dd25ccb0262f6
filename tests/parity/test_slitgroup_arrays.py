"""The arrays of three real slitlets against those of msaexp 0.9.19 (``reference/msaexp``); ``-s`` prints the differences.

The reference is ``SlitGroup(files, name, **bare)``: no outliers, no sky, no hot pixels; its arithmetic is float32 where the
files are, as is that of `prepare_slitlets`, so what depends on pixels alone is the same to the last bit. Places along the
slit depend on the pixel scale, a median of numerical derivatives through the gwcs: its transforms (stdatamodels 4 and 5)
differ by 3e-13, so rows differ by 2e-12 pixel, and the throughput of the bars by 2e-12.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skymere.io import build_pack, read_slit_tables, read_slitlet
from skymere.slit import (
    BadPixelParams,
    HotPixelParams,
    PrepareParams,
    bar_throughput,
    extended_calibration,
    find_hot_pixels,
    find_stuck_shutters,
    nod_index,
    prepare_slitlets,
    relative_nod_offsets,
    shift_wavelength,
    shutter_flat,
    slit_metadata,
    slit_normalization,
    slit_trace,
)
from skymere.wcs import open_asdf_tree

BARE = PrepareParams(frame="first", every_kind_is_point=True, bar_threshold=0.8, hot_pixels=None, bad_shutter_names=())
BIT_FOR_BIT = (
    *("sci", "var_rnoise", "var_poisson", "wavelength", "dwave_dx", "slit_y", "dq", "mask", "bkg_mask"),
    *("phot_corr", "pathloss_corr", "xtr", "wtr"),
)
REFERENCE_NAMES = {"wavelength": "WAVE", "slit_y": "SLIT_FRAME_Y"}


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "spectra"


@pytest.fixture(scope="module")
def slitlets(folder):
    return [read_slitlet(path) for path in sorted((folder / "nirspec").glob("*_phot.*.fits"))]


@pytest.fixture(scope="module")
def tables(folder):
    pack = build_pack(folder / "nirspec/calib", name="nirspec", version="0.9.19")
    parts = ("bars", "normalization", "bad_pixels", "sensitivity", "flats")
    return read_slit_tables(pack, grating="PRISM", filter_name="CLEAR", detector="NRS2", parts=parts)


@pytest.fixture(scope="module")
def bare(slitlets, tables):
    return prepare_slitlets(slitlets, tables=tables, params=BARE)


@pytest.fixture(scope="module")
def reference(folder):
    with fits.open(folder / "reference/msaexp/slitgroup_bare.fits.gz") as hdus:
        return {hdu.name: hdu.data.copy() for hdu in hdus[1:]}


@pytest.fixture(scope="module")
def summary(folder):
    return json.loads((folder / "reference/msaexp/slitgroup_summary.json").read_text())


@pytest.mark.parametrize("name", BIT_FOR_BIT)
def test_arrays_are_the_same_to_the_last_bit(bare, reference, name):
    true = reference[REFERENCE_NAMES.get(name, name.upper())]
    np.testing.assert_array_equal(np.broadcast_to(getattr(bare, name), true.shape), true)


@pytest.mark.parametrize(
    ("name", "limit"), [("bar", 1e-11), ("yslit", 1e-11), ("ytr", 1e-11), ("normalization", 2e-15)]
)
def test_arrays_that_scales_or_sums_enter_are_the_same_but_for_rounding(bare, reference, name, limit):
    ours, true = getattr(bare, name), reference[name.upper()]
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(true))
    print(f"{name}: {np.nanmax(np.abs(ours - true)):.2e}")
    np.testing.assert_allclose(ours, true, rtol=0, atol=limit)


def test_valid_pixels_and_sums_are_those_of_the_summary(bare, summary):
    state = summary["bare"]["state"]
    assert bare.mask.sum(axis=(1, 2)).tolist() == state["mask_per_exp"] == [4630, 4629, 4627]
    assert bare.bkg_mask.sum(axis=(1, 2)).tolist() == state["bkg_mask_per_exp"]
    for name in ("sci", "var_rnoise", "var_poisson", "bar", "yslit"):
        values = getattr(bare, name)[bare.mask].astype(np.float64)
        # The sums of the reference are sums of float32.
        assert values.sum() == pytest.approx(state[name]["sum_masked"], rel=2e-6)
        assert np.median(values) == pytest.approx(state[name]["median"], rel=1e-6)


def test_geometry_is_that_of_the_summary(bare, slitlets, summary):
    true = summary["geometry"]
    # Through gwcs 0.21 and stdatamodels 2 there, 1.0 and 6 here.
    assert bare.pixel_scale_arcsec == pytest.approx(true["slit_pixel_scale"], rel=1e-12)
    assert bare.shutter_scale == pytest.approx(true["slit_shutter_scale"], rel=1e-12)
    np.testing.assert_allclose(bare.base_coeffs, true["base_coeffs"], rtol=0, atol=1e-11)
    np.testing.assert_allclose(relative_nod_offsets(bare.base_coeffs), true["relative_nod_offset"], rtol=0, atol=1e-11)
    exposures = [one.exposure for one in slitlets]
    assert nod_index([one.y_offset for one in exposures]).tolist() == true["y_index"]
    for name, values in (("exptime", "exptime"), ("y_offset", "y_offset"), ("x_offset", "x_offset")):
        assert [getattr(one, name) for one in exposures] == true[values]
    first = slitlets[0]
    rows = [
        slit_trace(first.geometry.slit_y, first.wavelength, center=center).y
        for center in (0.0, first.source.y_position)
    ]
    assert np.median(rows[1] - rows[0]) == pytest.approx(true["source_ypixel_position"], rel=1e-12)


@pytest.mark.parametrize("x_position", [-0.25, 0.2, 0.5])
def test_the_shift_of_a_source_beside_the_middle_is_that_of_the_gwcs(slitlets, x_position):
    first = slitlets[0]
    with fits.open(first.path) as hdus:
        content = hdus["ASDF"].data["ASDF_METADATA"][0].tobytes()
    # Where light of each wavelength falls when the source is beside the middle, by the gwcs; turned around, the true
    # wavelength at each column.
    waves = np.linspace(0.6, 5.6, 4000)
    with open_asdf_tree(content, first.path) as tree:
        to_pixel = tree["meta"]["wcs"].get_transform("slit_frame", "detector")
        columns = to_pixel(np.full(4000, x_position), np.zeros(4000), waves * 1e-6)[0]
        middle = to_pixel(np.zeros(4000), np.zeros(4000), waves * 1e-6)[0]
    at = np.arange(20.0, 320.0)
    true = np.interp(at, columns, waves) - np.interp(at, middle, waves)
    trace = slit_trace(first.geometry.slit_y, first.wavelength)
    step = np.gradient(trace.wavelength)
    shifted, pixels = shift_wavelength(trace.wavelength, first.geometry.wavelength_slope, step, x_position=x_position)
    found = (shifted - trace.wavelength)[20:320]
    # The slope is taken once; the rest is the curvature of the dispersion over a pixel.
    worst = np.max(np.abs(found - true) / step[20:320])
    print(f"shift of {pixels:.2f} pixels, wrong by {worst:.4f}")
    assert worst < 0.005
    assert np.sign(pixels) == np.sign(x_position)


def test_signal_in_the_shutters_is_that_of_the_summary(bare, summary):
    places = np.where(bare.bkg_mask, bare.shutter_y, np.nan)
    found = find_stuck_shutters(bare.sci, bare.var_rnoise + bare.var_poisson, bare.bar, places, bare.mask)
    assert found.stuck == ()
    assert {str(name): int(n) for name, n in zip(found.names, found.n_pixels, strict=True)} == {
        name: n for name, (_, n) in summary["stuck_sn"].items()
    }
    np.testing.assert_allclose(found.sn, [summary["stuck_sn"][str(n)][0] for n in found.names], rtol=1e-6)
    # "mask_stuck_closed_shutters(0.98)" of the summary.
    strict = find_stuck_shutters(
        bare.sci, bare.var_rnoise + bare.var_poisson, bare.bar, places, bare.mask, threshold=0.98
    )
    assert strict.stuck == (-1, 0)


def test_the_default_finds_hot_pixels_and_keeps_the_rest(slitlets, tables, bare):
    arrays = prepare_slitlets(slitlets, tables=tables)
    # msaexp 0.9.19 finds 0, 1 and 2 (`slit_hot_pixels`), with their neighbours 0, 5 and 10 pixels.
    assert [one.n_hot for one in arrays.applied] == [0, 1, 2]
    assert [one.n_flagged.get("hot_pixel", 0) for one in arrays.applied] == [0, 5, 10]
    assert [find_hot_pixels(s.sci, s.error, s.var_rnoise, s.dq).hot.sum() for s in slitlets] == [0, 5, 10]
    assert (arrays.mask & ~bare.mask).sum() == 0
    assert arrays.shutters is not None
    assert arrays.applied[0].frame == "jw01345062001_03101_00001_nrs2"


def test_the_table_of_slits_is_that_of_the_reference(bare, slitlets, folder):
    table = slit_metadata(slitlets, bare)
    with fits.open(folder / "reference/msaexp/combine_bare_ivm.spec.fits.gz") as hdus:
        true = hdus["SLITS"].data
        assert len(true.names) == 47
        for name in true.names:
            ours, theirs = table[name].to_list(), true[name].tolist()
            if name.startswith("trace_c") or name in ("slit_pixel_scale", "source_ypixel_position"):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)
            else:
                assert ours == theirs, name


# What msaexp 0.9.19 returns at 0.8, 1.5, 2.5, 3.7 and 5.0 um, for quadrant, column and row of a shutter.
WAVES = np.array([0.8, 1.5, 2.5, 3.7, 5.0])


def test_responses_of_other_quadrants_are_those_of_msaexp(tables):
    for (quadrant, column, row), (true_norm, true_flat) in RESPONSES.items():
        shutter = {"column": column, "row": row}
        norm = tables.normalization
        found = slit_normalization(
            WAVES, quadrant=quadrant, **shutter, coefficients=norm.coefficients, wavelengths=norm.wavelengths
        )
        np.testing.assert_allclose(found, true_norm, rtol=1e-12)
        flat = tables.flats[quadrant]
        names = ("coefficients", "n_x", "n_y", "x_limits", "y_limits")
        smooth = ("smooth_wavelength", "smooth_width", "smooth_scale")
        found = shutter_flat(
            WAVES,
            **shutter,
            table_wavelength=flat.wavelength,
            **{name: getattr(flat, name) for name in (*names, *smooth)},
        )
        # grizli sets values below 1e-4 of the largest of each B-spline to 0.
        np.testing.assert_allclose(found, true_flat, rtol=1e-4)


@pytest.mark.parametrize(("n", "wrap"), [(n, wrap) for n in (1, 2, 3) for wrap in ("yes", "no")])
def test_shadows_of_one_two_and_three_shutters_are_those_of_msaexp(tables, n, wrap):
    for tables_of, key in ((tables.bars, "flat"), (tables.wave_bars, "wave")):
        table = tables_of[n]
        shadow = bar_throughput(
            PLACES,
            BAR_WAVES,
            coefficients=table.coefficients,
            limits=table.limits,
            wavelengths=table.wavelengths,
            wrap=wrap,
        )
        np.testing.assert_allclose(shadow.bar, np.array(BARS[key, n, wrap], np.float64), rtol=1e-12)


def test_the_extended_calibration_is_that_of_msaexp(tables, slitlets):
    table = tables.sensitivity
    waves = slitlets[2].geometry.wavelength
    for detector, total in EXTENDED.items():
        correction = table.nrs1_nrs2 if detector == "NRS2" else None
        found = extended_calibration(
            waves, table_wavelength=table.wavelength, sensitivity=table.sensitivity, nrs1_nrs2=correction
        )
        # msaexp leaves 0 instead of NaN where the sensitivity is unknown; the sum is the same.
        assert np.nansum(found.factor) == pytest.approx(total, rel=1e-12)


# Of msaexp 0.9.19: `get_normalization_correction`, `msa_slit_sflat`, `get_prism_bar_correction`,
# `get_prism_wave_bar_correction` and the sum of `slit_extended_flux_calibration` over the third slitlet.
NAN = float("nan")
RESPONSES = {
    (1, 180, 85): (
        [0.98684695893096, 0.9900703713156875, 0.9939273757876527, 0.9948700604302427, 1.0141704083022902],
        [0.9213764674801599, 0.9907274052545213, 0.9994076510694053, 1.0012766321708506, 1.0060177574141265],
    ),
    (3, 300, 20): (
        [1.037766750545778, 1.0378438707753144, 1.0791383848421618, 1.117136764752338, 1.1199172423393897],
        [0.9570925497743171, 0.9504355239480324, 0.989146169870535, 0.9868430882443636, 0.9463573052653519],
    ),
}
PLACES = np.array([-1.55, -1.2, -0.5, 0.1, 0.45, 1.1])
BAR_WAVES = np.linspace(1, 5, 7)[:6]
BARS = {
    ("flat", 1, "yes"): [
        0.3980316954670678,
        0.9644447282744806,
        0.2093287077385425,
        1.001398578762835,
        0.3980316954670678,
        1.0013985787628352,
    ],
    ("wave", 1, "yes"): [
        0.4601388707891428,
        0.996607546219479,
        0.18763947907280648,
        0.9964605429292805,
        0.39869422192982945,
        0.9998671305384532,
    ],
    ("flat", 1, "no"): [NAN, NAN, 0.2093287077385425, 1.001398578762835, 0.3980316954670675, NAN],
    ("wave", 1, "no"): [NAN, NAN, 0.18763947907280648, 0.9964605429292804, 0.3986942219298292, NAN],
    ("flat", 2, "yes"): [
        0.4840158827948912,
        0.9639338467317806,
        0.19882647007262705,
        0.9995777585775105,
        0.4840158827948912,
        0.9995777585775105,
    ],
    ("wave", 2, "yes"): [
        0.5324920680506007,
        0.9908926413602558,
        0.1986291234751173,
        1.000452484315987,
        0.48751162657484054,
        1.0031221338281433,
    ],
    ("flat", 2, "no"): [NAN, NAN, 0.19882647007262705, 0.9995777585775105, 0.4840158827948911, 0.9999634109691962],
    ("wave", 2, "no"): [NAN, NAN, 0.1986291234751173, 1.0004524843159868, 0.48751162657484043, 1.0009625453583904],
    ("flat", 3, "yes"): [
        0.49318747395833307,
        0.9582966666666668,
        0.42799479166666665,
        0.9984345833333332,
        0.49318747395833307,
        0.9984345833333332,
    ],
    ("wave", 3, "yes"): [
        0.5399745035285121,
        0.9914367801279541,
        0.4100085614737955,
        0.9965903230636854,
        0.4959770894643755,
        0.9924797258422628,
    ],
    ("flat", 3, "no"): [
        0.15405234375000004,
        0.9662083333333336,
        0.42799479166666665,
        0.9984345833333331,
        0.4931874739583329,
        1.0080466666666665,
    ],
    ("wave", 3, "no"): [
        0.11469993942748063,
        0.9924429699599266,
        0.4100085614737955,
        0.9965903230636854,
        0.4959770894643754,
        1.001511821785404,
    ],
}
EXTENDED = {"NRS1": 1483.4582695630013, "NRS2": 1486.317226608704}

# `SlitGroup(files, "g", **(bare | one argument))` of msaexp 0.9.19: number of valid pixels, and the sums over them of flux,
# variance of the read-out, throughput of the bars, and distance from the trace.
VARIATIONS = [
    (
        {"hot_pixels": HotPixelParams()},
        13877,
        2596.0239937781225,
        5.779781629769445,
        11525.780921405922,
        -1120.6856600962055,
    ),
    ({"bar_corr_mode": "flat"}, 13928, 2551.728896732551, 5.652697516972239, 11653.295171547012, -1180.0615679139592),
    ({"undo_pathloss": 2}, 13886, 4070.6498424758684, 14.788453514558796, 11532.939134370177, -1135.3515559746338),
    ({"undo_pathloss": 0}, 13886, 1187.7570521495873, 1.1499076506299275, 11532.939134370177, -1135.3515559746338),
    ({"trace_with_ypos": True}, 13886, 2597.701979356898, 5.7993200975248556, 11532.939134370177, -8189.310152572589),
    ({"num_shutters": 0}, 13886, 2597.701979356898, 5.7993200975248556, 11532.939134370177, -1135.3515559746338),
    ({"num_shutters": 1}, 12563, 2351.096350641077, 4.48642197036088, 10800.69351245376, -1110.007532475658),
    ({"num_shutters": 2}, 13373, 2455.856633389405, 5.105261125806578, 11169.253904046025, -1789.3079418392663),
    ({"num_shutters": 5}, 14785, 2712.3275522532786, 6.683616467225875, 11957.367772604524, 106.14618831669213),
    ({"fix_prism_norm": False}, 13886, 2653.7225467750686, 6.063630679903667, 11532.939134370177, -1135.3515559746338),
    ({"with_extra_dq": False}, 13886, 2597.701979356898, 5.7993200975248556, 11532.939134370177, -1135.3515559746338),
    (
        {"bad_pixels": BadPixelParams(pad_border=0)},
        13886,
        2597.701979356898,
        5.7993200975248556,
        11532.939134370177,
        -1135.3515559746338,
    ),
    ({"undo_barshadow": 1}, 14785, 2696.2395716569918, 6.494617328375966, 11973.0126953125, 106.14618831669213),
    ({"shutter_offset": 0.5}, 13872, 2600.2352356913616, 5.788251816905245, 11519.920831807012, 6223.713381654972),
    (
        {"bad_shutter_names": None, "stuck_threshold": 0.98},
        4092,
        765.3245455894721,
        1.501618016459929,
        3606.5970779959557,
        -20964.475504864735,
    ),
    ({"bad_shutter_names": (1,)}, 8829, 1646.2921627456672, 3.135329687424928, 7465.566514826909, 22266.471529747603),
    (
        {"trace_from_yoffset": False},
        13886,
        2597.701979356898,
        5.7993200975248556,
        11532.939134370177,
        -1136.3272326139777,
    ),
    ({"min_bar": 0.8}, 9106, 1662.7403747067438, 2.137324998074405, 8756.894977557387, -543.5390824384613),
]


@pytest.mark.parametrize(("change", "n_valid", "flux", "variance", "light", "distance"), VARIATIONS)
def test_every_argument_does_what_it_does_in_msaexp(slitlets, tables, change, n_valid, flux, variance, light, distance):
    arrays = prepare_slitlets(slitlets, tables=tables, params=replace(BARE, **change))
    valid = arrays.mask
    assert valid.sum() == n_valid
    # With `undo_barshadow=1` the sum of the reference is one of float32; rows follow the pixel scale.
    assert arrays.sci[valid].astype(np.float64).sum() == pytest.approx(flux, rel=1e-9)
    assert arrays.var_rnoise[valid].astype(np.float64).sum() == pytest.approx(variance, rel=1e-7)
    assert arrays.bar[valid].sum() == pytest.approx(light, rel=1e-8)
    assert arrays.yslit[valid].sum() == pytest.approx(distance, abs=1e-7)
