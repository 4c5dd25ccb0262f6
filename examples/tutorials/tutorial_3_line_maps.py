"""
Line maps and thumbnails on the same pixels
===========================================

*Grizli for dummies* is about what one is afraid to forget: thumbnails of any size, direct images that can be compared with maps of emission lines, segmentations on
their pixels, and beams that have to be cleaned. From exposures of a grism to all of these.

=========================================================== ======================================================================
in grizli                                                   here
=========================================================== ======================================================================
``symlink_templates()``, ``load_templates(...)``            `skymere.spectra.TemplateSet.load`; lines are in the package
``GroupFLT``, ``refine_list``                               `skymere.grism.make_frames`, `skymere.grism.refine_contamination`
``get_beams``, ``multifit.MultiBeam``                       `skymere.grism.cut_beams`, `skymere.grism.read_beams`
``fitting.run_all``                                         `skymere.grism.fit_redshift`, `skymere.grism.fit_templates`
``pline = {'kernel': ..., 'pixscale': ..., 'size': ...}``   `skymere.resample.Geometry`, one for maps, thumbnails and PSF
``aws_drizzler.drizzle_images``, ``make_rgb_thumbnails``    `skymere.mosaic.thumbnails`, ``skymere thumbnails``
``segmentation_figure``                                     ``segmentation=`` of the same call
``_groups.npy``, ``_visits.npy``                            `skymere.mosaic.ExposureList`; nothing to keep by hand
beams set to 0 by a parameter file                          `skymere.grism.suggest_masks`, `skymere.grism.BeamAction`: replayed
``ew50_Ha``, ``ewhw_Ha``                                    the same columns, a row for each line
=========================================================== ======================================================================
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from skymere.datamodels import SegmentationMap
from skymere.grism import (
    BeamCutParams,
    FrameParams,
    cut_beams,
    fit_lines,
    fit_redshift,
    fit_templates,
    line_maps,
    make_frames,
    plot_scores,
    plot_summary,
    read_beams,
    refine_contamination,
    score_beams,
    suggest_masks,
    write_full,
)
from skymere.io import read_band, read_exposure, read_geometry_cards, read_labels, read_table
from skymere.mosaic import thumbnails
from skymere.resample import Geometry
from skymere.spectra import TemplateSet
from skymere.testing import GrismSceneParams, GrismSurveyParams, simulate_grism_survey, write_grism_templates

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %%
# A field behind a grism
# ----------------------
#
# Fifteen sources seen through G141 at two angles, with a direct exposure beside each, and what one has of a field already: catalogue, segmentation, a
# direct mosaic, configurations.

SURVEY = GrismSurveyParams(
    grisms=("g141",),
    n_dithers=1,
    n_sources=15,
    n_points=1,
    flux_range=(5.0, 100.0),
    ew_range=(60.0, 300.0),
    keep_truth=False,
    scene=GrismSceneParams(shape=(240, 340), oversampling=5, orders=("A", "B"), segment_level=0.004, direct_noise=0.01),
)
survey = simulate_grism_survey(folder, params=SURVEY, seed=3)
print(*(path.name for path in survey.grism + survey.direct), sep="\n")

# %%
# Frames and contamination
# ------------------------
#
# A frame is an exposure of the grism without its sky, with the direct image and the labels on its pixels and the coordinates of its direct partner. Then
# spectra are fitted to all sources, bright to faint, so that each beam can be freed of the light of its neighbours.

PAD = FrameParams(pad=(32, 256))
labels, grid = read_labels(survey.segmentation)
segmentation = SegmentationMap(labels=labels, grid=grid)
direct = [read_exposure(path) for path in survey.direct]
frames = make_frames(
    survey.grism,
    read_table(survey.catalogue),
    segmentation,
    [*direct, read_band(survey.mosaic)],
    configs=survey.conf,
    params=PAD,
)
refined = refine_contamination(list(frames))
beams = dict(cut_beams(refined.frames, params=BeamCutParams(frame=PAD)))

# %%
# The emitter with the brightest line, among those whose Ha is within the grism:

emitters = survey.sources.filter(survey.sources["z"].is_between(0.75, 1.45)).sort("flux_ha", descending=True)
true = next(row for row in emitters.iter_rows(named=True) if row["id"] in beams)
beam = beams[true["id"]]
print(f"source {true['id']} at z = {true['z']:.4f} with {beam.N} beams")

# %%
# Clean beams
# -----------
#
# Residual contamination shows up as a line or an offset in some beams only. Each beam is compared with all others of its grism; what is off is proposed as
# an action, a row that says who left out what and why, and is replayed.

scores = score_beams(beam)
actions = suggest_masks(beam, scores)
print(f"{len(actions)} masks proposed")
plot_scores(beam, scores=scores)

# %%
# Redshift and lines
# ------------------
#
# Complexes of lines find the redshift, single lines are measured at it.

templates = write_grism_templates(folder / "templates")
redshift = fit_redshift(beam, templates=templates, z_range=(0.5, 2.5))
print(f"z = {redshift.z_map:.4f}, true {true['z']:.4f}")
lines = fit_lines(beam, redshift.z_map, templates=templates)
print(lines.select("line", "status", "flux", "flux_err", "ew50", "ewhw").sort("flux", descending=True).head(5))

# %%
# Maps
# ----
#
# **The** line of the code: one `Geometry` says kernel, drop, pixels and size of everything that is drizzled around an object. For thumbnails of 101 x 101 pixels
# it is ``size=10.1``. Maps are in 1e-17 erg/s/cm2 per pixel and contamination has been subtracted.

geometry = Geometry(kernel="square", pixfrac=0.8, pixscale=0.1, size=5.1)
fit = fit_templates(beam, redshift.z_map, templates=TemplateSet.load(templates, line_complexes=False))
maps = line_maps(beam, fit, geometry=geometry)
for one in maps.lines:
    flux, error = one.flux_within(maps.segmentation == true["id"])
    print(f"{one.line:6} {flux:.2e} +- {error:.1e} erg/s/cm2")
print(f"true flux of Ha: {true['flux_ha']:.2e}")

# %%
# Direct images to compare with
# -----------------------------
#
# Drizzled from the direct exposures with the very same geometry, with an inverse variance, the segmentation and the list of exposures that were used. No direct image is blotted
# from a mosaic, and ``in_flam()`` gives its pixels in erg/s/cm2/A.

position = np.array([[true["ra"], true["dec"]]])
(thumbnail,) = thumbnails(direct, position, geometry=geometry, segmentation=segmentation)
band = thumbnail["f140w"]
print(
    band.data.shape,
    f"{np.nansum(band.data):.1f} electron / s,",
    f"{np.nansum(band.in_flam().data):.3g} 1e-20 erg/s/cm2/A",
)
plot_summary(beam, fit=fit, maps=maps, redshift=redshift, thumbnails=thumbnail)

# %%
# A ``full.fits`` that grizli and GALFIT open; whoever has one makes thumbnails on its pixels with what its headers say.

full = write_full(folder / "full.fits", maps=maps, thumbnails=thumbnail, fit=fit, redshift=redshift)
cards = read_geometry_cards(folder / "full.fits")
print(cards.kernel, cards.pixfrac, cards.grid.shape)

# %%
# Real beams
# ----------
#
# Source 152 of the WFC3 ERS field: beams of G102 and G141 that grizli has cut.

data = os.environ.get("SKYMERE_DATA")
if data is None:
    print("SKYMERE_DATA is not set, so there are no real beams here")
else:
    spectra = Path(data, "spectra")
    real = read_beams(spectra / "wfc3/j033216m2743_00152.beams.fits", conf_path=spectra / "grizli/CONF")
    sets = spectra / "grizli/templates"
    real_redshift = fit_redshift(real, templates=sets, z_range=(0.05, 3.4))
    real_fit = fit_templates(real, real_redshift.z_map, templates=TemplateSet.load(sets, line_complexes=False))
    real_maps = line_maps(real, real_fit, geometry=Geometry(kernel="square", pixfrac=0.8, pixscale=0.1, size=6.0))
    print(f"z = {real_redshift.z_map:.5f} of {real.N} beams")
    plot_summary(real, fit=real_fit, maps=real_maps, redshift=real_redshift)

# %%
# From a shell, ``skymere grism contam``, ``skymere grism extract``, ``skymere grism fit``, ``skymere grism maps`` and ``skymere thumbnails`` do the same on
# files. In a survey these are the stages ``contam``, ``beams``, ``redshifts`` and ``maps`` of a plan: :doc:`/start`.

temporary.cleanup()
