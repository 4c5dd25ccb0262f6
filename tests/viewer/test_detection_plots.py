"""Pictures of detections, and colours of labels that never change."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from skymere.viewer import label_colours, plot_background, plot_labels, plot_purity


def test_a_label_has_the_same_colour_in_every_process() -> None:
    labels = np.arange(200, dtype=np.int32).reshape(20, 10)
    colours = label_colours(labels)
    code = (
        "import numpy as np; from skymere.viewer import label_colours;"
        "print(label_colours(np.arange(200, dtype=np.int32)).astype(np.float64).sum(axis=1).tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    np.testing.assert_allclose(eval(other.stdout), colours.reshape(-1, 3).sum(axis=1, dtype=float), atol=1e-6)
    assert (colours[0, 0] == 0).all()
    assert colours.reshape(-1, 3)[1:].min() >= 0.25
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 200


def test_pictures_of_labels_background_and_purity_are_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    plane = rng.normal(0, 1, (60, 80)).astype(np.float32)
    plane[:, :5] = np.nan
    labels = (np.indices((60, 80)).sum(axis=0) // 20).astype(np.int32)
    paths = [
        plot_labels(labels, tmp_path / "labels.png"),
        plot_background(plane, np.abs(plane), tmp_path / "background.png", unit="uJy"),
        plot_background(plane * np.nan, plane * np.nan, tmp_path / "blank.png"),
        plot_purity(4.0 * rng.pareto(1.0, 100) + 4, [4.2, 5.0], tmp_path / "purity.png", threshold=4.0),
        plot_purity([], [], tmp_path / "nothing.png", threshold=4.0),
    ]
    assert all(path.stat().st_size > 5000 for path in paths)
