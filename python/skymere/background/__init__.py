"""The sky under the sources: one level for an image, or a smooth mesh and its noise."""

from skymere.background.blocks import BlockBackground, estimate_background_blocks
from skymere.background.mesh import Background, BackgroundParams, estimate_background
from skymere.background.pedestal import Pedestal, PedestalParams, estimate_pedestal

__all__ = [
    "Background",
    "BackgroundParams",
    "BlockBackground",
    "Pedestal",
    "PedestalParams",
    "estimate_background",
    "estimate_background_blocks",
    "estimate_pedestal",
]
