"""Random numbers that depend on nothing but what they are for: the experiment, the object and the draw."""

import hashlib

import numpy as np

__all__ = ["draw_uniform", "random_stream"]


def random_stream(run: str, i_object: int, draw: str) -> np.random.Generator:
    """Return the random numbers of one draw of one object.

    Parameters
    ----------
    run : str
        The experiment.
    i_object : int
        Number of the object in it.
    draw : str
        What is drawn.

    Notes
    -----
    Philox 4x64-10 with the key ``sha256(run)`` and a counter that begins at ``(0, 0, sha256(draw), i_object)``: numbers
    are the same in whatever order, process or part of an experiment they are drawn, and no two draws share any of the
    first 2^128.

    References
    ----------
    Salmon et al. 2011, SC '11, 16.

    Examples
    --------
    >>> from skymere.pipeline.injection.randoms import random_stream
    >>> bool(random_stream("a", 7, "mag").random() == random_stream("a", 7, "mag").random())
    True
    """
    key = int.from_bytes(hashlib.sha256(run.encode()).digest()[:16], "little")
    of_draw = int.from_bytes(hashlib.sha256(draw.encode()).digest()[:8], "little")
    # The counter is a little-endian number of four words.
    counter = (int(i_object) << 192) | (of_draw << 128)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def draw_uniform(run: str, i_object: int, draw: str, low: float = 0.0, high: float = 1.0) -> float:
    """Return one number, uniform between two limits; see `random_stream`."""
    return float(low + (high - low) * random_stream(run, i_object, draw).random())
