from collections.abc import Callable, Sequence
from os import PathLike
from typing import final

import numpy as np
from numpy.typing import NDArray

def quantise(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]: ...
def round_weights(weights: NDArray[np.float32]) -> NDArray[np.float32]: ...
def write_rows(
    folder: str | PathLike[str], first: int, elements: NDArray[np.uint8], rounding: str | None
) -> NDArray[np.int8]: ...

@final
class ArrayReader:
    def __new__(cls, folder: str | PathLike[str]) -> ArrayReader: ...
    @staticmethod
    def remote(
        name: str | PathLike[str],
        metadata: bytes,
        tails: Callable[[Sequence[str], int], list[tuple[int, bytes] | None]],
        ranges: Callable[[Sequence[tuple[str, Sequence[int], Sequence[int]]]], list[list[bytes]]],
    ) -> ArrayReader: ...
    def read_boxes(self, origins: NDArray[np.int64], extent: list[int]) -> NDArray[np.uint8]: ...
