"""The sky under the sources."""

from skymere.background.pedestal import Pedestal, PedestalParams, estimate_pedestal

__all__ = ["Pedestal", "PedestalParams", "estimate_pedestal"]
