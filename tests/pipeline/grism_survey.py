"""A small simulated field of slitless spectra."""

from pathlib import Path

from skymere.datamodels import SegmentationMap
from skymere.grism import FrameParams, cut_beams, make_frames
from skymere.io import read_band, read_exposure, read_labels, read_table
from skymere.testing import GrismSceneParams, GrismSurveyParams, simulate_grism_survey

PAD = (20, 256)
SCENE = GrismSceneParams(
    shape=(140, 340), oversampling=5, orders=("A", "B"), segment_level=0.004, direct_noise=0.01, stamp_pix=14
)
SURVEY = GrismSurveyParams(
    n_dithers=1, angles_deg=(0.0, 70.0), grisms=("g141",), n_sources=6, n_points=1, flux_range=(50, 500), scene=SCENE
)


def simulated(folder: Path):
    """The files of a field of six sources at two angles."""
    return simulate_grism_survey(folder, params=SURVEY, seed=2)


def multibeams(survey):
    """Beams of every source, with a flat model of the others."""
    labels, grid = read_labels(survey.segmentation)
    frames = list(
        make_frames(
            survey.grism,
            read_table(survey.catalogue),
            SegmentationMap(labels=labels, grid=grid),
            [*(read_exposure(path) for path in survey.direct), read_band(survey.mosaic)],
            configs=survey.conf,
            params=FrameParams(pad=PAD),
        )
    )
    return dict(cut_beams(frames))
