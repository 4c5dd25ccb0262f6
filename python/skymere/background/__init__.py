"""The sky under the sources: one level for an image, a smooth mesh and its noise, or a running median or mean."""

from skymere.background.blocks import BlockBackground, estimate_background_blocks
from skymere.background.mesh import Background, BackgroundParams, estimate_background, level_error
from skymere.background.pedestal import Pedestal, PedestalParams, estimate_pedestal
from skymere.background.running import RunningMethod, RunningParams, large_scale_background

__all__ = [
    "Background",
    "BackgroundParams",
    "BlockBackground",
    "Pedestal",
    "PedestalParams",
    "RunningMethod",
    "RunningParams",
    "estimate_background",
    "estimate_background_blocks",
    "estimate_pedestal",
    "large_scale_background",
    "level_error",
]
