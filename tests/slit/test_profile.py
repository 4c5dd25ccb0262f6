"""Profiles across the slit, and what a slit lets through."""

import galsim
import numpy as np
import pytest
from astropy.io import fits
from scipy.integrate import quad
from scipy.ndimage import map_coordinates
from scipy.special import erf

from skymere.errors import InvalidInputError, NotFoundError
from skymere.io import build_pack
from skymere.slit import (
    GaussianProfile,
    SlitFrames,
    TableProfile,
    evaluate_profile,
    lookup_file,
    lookup_profile,
    sersic_profile,
    slit_transmission,
)

PSF = GaussianProfile(wave=[1.0, 3.0, 5.0], fwhm_pix=[1.2, 1.4, 1.9], fwhm_per_sigma=2.0 * np.sqrt(2.0 * np.log(2.0)))


def make_frames(offset=0.3, ny=31, nx=40) -> SlitFrames:
    shape = (2, ny, nx)
    wave = np.broadcast_to(np.linspace(0.8, 5.4, nx), shape)
    ones = np.ones(shape)
    return SlitFrames(
        data=ones,
        variance=ones,
        read_variance=ones,
        mask=~ones.astype(bool),
        position=[1, 2],
        wavelength=wave,
        base_coeffs=[[0.5, 15.0 + offset], [0.5, 18.0 + offset]],
    )


@pytest.mark.parametrize("wing", [None, (0.2, 2.0, 0.5)])
def test_gaussians_are_integrated_over_pixels(wing):
    frames = make_frames()
    profile = GaussianProfile(wave=PSF.wave, fwhm_pix=PSF.fwhm_pix, fwhm_per_sigma=PSF.fwhm_per_sigma, wing=wing)
    ours = evaluate_profile(frames, profile, size=[0.7, 0.2])
    sigma = np.interp(frames.wavelength, PSF.wave, PSF.fwhm_pix) / PSF.fwhm_per_sigma
    s = np.sqrt(sigma**2 + np.array([0.7, 0.2])[:, None, None] ** 2)

    def integrated(y, s):
        return 0.5 * (erf((y + 0.5) / (np.sqrt(2) * s)) - erf((y - 0.5) / (np.sqrt(2) * s)))

    truth = integrated(frames.yslit, s)
    if wing is not None:
        truth += wing[0] * integrated(frames.yslit + wing[2], s * wing[1])
    # Tails beyond 7 sigma, of 1.3e-12, are left out.
    assert np.abs(ours - truth).max() < 2e-12
    assert np.allclose(profile.psf_sigma(frames.wavelength), sigma, rtol=1e-14)


def test_a_real_table_is_interpolated_as_scipy_does(shared_data):
    path = shared_data / "spectra" / "nirspec" / "calib" / "nirspec_merged_s200a1_exp_psf_lookup_001.fits"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with fits.open(path) as hdul:
        has = {hdu.name: np.asarray(hdu.data, dtype=float) for hdu in hdul if hdu.data is not None}
    table = TableProfile(
        values=has["PROF"],
        y=has["YSLIT"],
        wave=has["WAVE"],
        size=has["SIGMA"],
        transmission=has["LOSS"],
        x=has["LOSS_XOFFSET"],
    )
    frames = make_frames()
    inside = (frames.wavelength > table.wave[0]) & (frames.wavelength < table.wave[-1])
    inside &= (frames.yslit > table.y[0]) & (frames.yslit < table.y[-1])
    assert inside.sum() > 500
    for size in (0.0, 0.37, 2.2):
        ours = evaluate_profile(frames, table, size=size)
        index = [
            np.interp(at, nodes, np.arange(nodes.size))
            for at, nodes in (
                (frames.yslit[inside], table.y),
                (frames.wavelength[inside], table.wave),
                (np.full(inside.sum(), size), table.size),
            )
        ]
        assert np.abs(ours[inside] - map_coordinates(table.values, index, order=1)).max() < 1e-12
        wave = np.linspace(table.wave[0], table.wave[-1], 50)
        index = [
            np.interp(wave, table.wave, np.arange(table.wave.size)),
            np.full(50, np.interp(size, table.size, np.arange(table.size.size))),
            np.full(50, np.interp(0.21, table.x, np.arange(table.x.size))),
        ]
        truth = map_coordinates(table.transmission, index, order=1)
        assert np.abs(slit_transmission(table, wave, size=size, x=-0.21, relative=False) - truth).max() < 1e-12
    assert np.allclose(slit_transmission(table, wave, size=table.size[0]), 1.0, rtol=1e-14)


@pytest.mark.parametrize("n", [1.0, 4.0])
def test_extended_sources_are_those_of_galsim(n):
    radii = np.array([0.0, 0.8, 3.0])
    table = sersic_profile(PSF, sersic_index=n, r_eff_pix=radii, half_height_pix=10.0)
    frames = make_frames(ny=31, nx=1)
    node = SlitFrames(
        **{
            name: getattr(frames, name)
            for name in ("data", "variance", "read_variance", "mask", "position", "base_coeffs")
        },
        wavelength=np.full(frames.shape, 3.0),
    )
    gauss = galsim.Gaussian(fwhm=1.4)
    for radius in radii:
        ours = evaluate_profile(node, table, size=radius)[0, :, 0]
        source = galsim.Convolve(galsim.Sersic(n=n, half_light_radius=radius), gauss) if radius > 0 else gauss
        offset = node.trace[0, 0] - 15
        wide = galsim.Image(2001 if n > 2 else 401, 31, scale=1.0)
        image = source.drawImage(wide, method="auto", offset=(0, offset)).array.sum(axis=1)
        inner = np.abs(node.yslit[0, :, 0]) < 9
        # 400 rings and GalSim's transforms: a thousandth of the peak.
        assert np.abs(ours - image)[inner].max() < 2e-3 * image.max(), (n, radius)
    assert np.abs(evaluate_profile(node, table, size=0.0) - evaluate_profile(node, PSF, size=0.0)).max() < 1e-3


@pytest.mark.parametrize("n", [1.0, 4.0])
def test_extended_sources_are_cut_by_the_slit_as_galsim_cuts_them(n):
    # Pixels of 0.1: rows are ten of them, the slit 21, and the source's place seven from the middle.
    width, fine = 2.1, 0.1
    radii, places = np.array([0.0, 0.8, 3.0]), np.array([0.0, 0.7 / 2.1, 0.5])
    psf = GaussianProfile(wave=[3.0], fwhm_pix=[1.4], fwhm_per_sigma=2 * np.sqrt(2 * np.log(2)))
    table = sersic_profile(psf, sersic_index=n, r_eff_pix=radii, slit_width_pix=width, x=places)
    at = [int(np.flatnonzero(np.isclose(table.y, row))[0]) for row in range(-8, 9)]
    gauss = galsim.Gaussian(fwhm=1.4)
    for k, radius in enumerate(radii):
        source = galsim.Convolve(galsim.Sersic(n=n, half_light_radius=radius), gauss) if radius > 0 else gauss
        image = source.drawImage(galsim.Image(401, 650, scale=fine), method="auto").array
        rows = image.reshape(65, 10, 401).sum(axis=1)
        behind = rows[24:41, 190:211].sum(axis=1)
        inside = table.values[at, 0, k]
        # 3200 places of the light and GalSim's transforms: 2e-3 of the peak, and what lies beyond the image.
        assert np.abs(inside / inside.max() - behind / behind.max()).max() < 3e-3, (n, radius)
        moved = [rows[:, 190 - step : 211 - step].sum() for step in (0, 7)]
        assert abs(table.transmission[0, k, 1] / table.transmission[0, k, 0] - moved[1] / moved[0]) < 3e-3
        if n == 1 and radius < 1:
            # The image holds all the light.
            assert abs(table.transmission[0, k, 0] - moved[0]) < 2e-3
        assert (np.diff(table.transmission[0, k]) < 0).all()
    # The slit takes the outer light of a wide source, so what passes is narrower.
    wide = sersic_profile(psf, sersic_index=n, r_eff_pix=radii)
    assert wide.transmission is None
    assert table.values[at, 0, 2].max() > 1.05 * wide.values[at, 0, 2].max()
    assert np.abs(table.values[:, 0, 0] - wide.values[:, 0, 0]).max() < 1e-12
    loss = slit_transmission(table, [3.0], size=3.0, x=0.2)
    assert 0.2 < loss[0] < 0.8


def test_transmission_is_the_integral_over_the_slit():
    wave, width = np.array([1.0, 2.0, 5.0]), 1.9
    ours = slit_transmission(PSF, wave, size=0.6, x=0.3, slit_width_pix=width, relative=False)
    for w, passed in zip(wave, ours, strict=True):
        s = np.hypot(np.interp(w, PSF.wave, PSF.fwhm_pix) / PSF.fwhm_per_sigma, 0.6)
        density = lambda x, s=s: np.exp(-0.5 * ((x - 0.3 * width) / s) ** 2) / (np.sqrt(2 * np.pi) * s)  # noqa: E731
        assert abs(passed - quad(density, -width / 2, width / 2)[0]) < 1e-12
    assert np.allclose(slit_transmission(PSF, wave, size=0.0), 1.0, rtol=1e-15)
    assert (slit_transmission(PSF, wave, size=0.6, x=0.3) < 1).all()


def test_tables_are_chosen_by_grating_and_slit(shared_data):
    for (grating, filter_name, slit), merged, own in (
        (("PRISM", "CLEAR", ""), "merged_s200a1", "prism_clear_s200a1"),
        (("G395H", "F290LP", ""), "merged_s200a1", "g395m_f290lp_s200a1"),
        (("G140M", "F070LP", "S200B1"), "merged_s200a1", "g140m_f070lp_s200b1"),
        (("G235M", "F170LP", "S1600A1"), "merged_s1600a1", "g235m_f170lp_s1600a1"),
    ):
        words = {"grating": grating, "filter_name": filter_name, "slit": slit}
        assert lookup_file(**words) == f"nirspec_{merged}_exp_psf_lookup_001.fits"
        assert lookup_file(**words, kind="by_grating", version="002") == f"nirspec_{own}_exp_psf_lookup_002.fits"
    folder = shared_data / "spectra" / "nirspec" / "calib"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    pack = build_pack(folder, name="nirspec", version="1")
    table = lookup_profile(pack, grating="PRISM", filter_name="CLEAR")
    assert table.values.shape[0] == table.y.size == 768
    assert table.transmission.shape[1:] == (table.size.size, table.x.size)
    with pytest.raises(NotFoundError, match="nirspec_g395m_f290lp_s200a1_exp_psf_lookup_001"):
        lookup_profile(pack, grating="G395H", filter_name="F290LP", kind="by_grating")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: GaussianProfile(wave=[1.0], fwhm_pix=[0.0]), "fwhm_pix: 0.0"),
        (lambda: GaussianProfile(wave=[1.0], fwhm_pix=[1.0], wing=(1, -1, 0)), "wing"),
        (lambda: TableProfile(values=np.ones((3, 2, 1)), y=[0, 1, 2], wave=[1, 1], size=[0]), "wave"),
        (lambda: TableProfile(values=np.ones((3, 2, 1)), y=[0, 1], wave=[1, 2], size=[0]), "y: shape"),
        (lambda: sersic_profile(PSF, r_eff_pix=[0.0, 1.0], sersic_index=20), "sersic_index: 20"),
        (lambda: sersic_profile(PSF, r_eff_pix=[0.0, 1.0], slit_width_pix=0.0), "slit_width_pix: 0.0"),
        (lambda: sersic_profile(PSF, r_eff_pix=[0.0, 1.0], slit_width_pix=2.0, x=[-0.1, 0.5]), "x"),
        (lambda: lookup_file(grating="PRISM", filter_name="CLEAR", kind="mean"), "kind: 'mean'"),
        (lambda: slit_transmission(PSF, [1.0], size=-1), "size"),
        (
            lambda: slit_transmission(
                TableProfile(values=np.ones((3, 2, 1)), y=[0, 1, 2], wave=[1, 2], size=[0]), [1.0], size=0
            ),
            "profile: a table without a transmission",
        ),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(InvalidInputError, match=text):
        call()
