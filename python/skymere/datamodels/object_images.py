"""What images of one object have in common: planes of one shape, and a grid that all of them share."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from skymere._arrays import as_array, as_image
from skymere.errors import InvalidInputError, NotFoundError

__all__ = ["check_images", "check_planes", "named_image"]

Image = TypeVar("Image")


def check_planes(image: Any, names: Iterable[str]) -> None:
    """Bring the planes of an image that are there to float32; they must have the shape of its ``data``.

    Parameters
    ----------
    image : dataclass
        A frozen one that is being made.
    names : iterable of str
        Planes beside ``data``.

    Raises
    ------
    InvalidInputError
        When the planes differ in shape.
    """
    data = as_image(image.data, "data")
    object.__setattr__(image, "data", data)
    for name in names:
        if getattr(image, name) is not None:
            object.__setattr__(image, name, as_image(getattr(image, name), name, shape=data.shape))


def check_images(thing: Any, images: str, *, name: str) -> None:
    """Check that the images of an object, and its segmentation, have the shape of its grid.

    Parameters
    ----------
    thing : dataclass
        A frozen one that is being made, with ``grid`` and ``segmentation``.
    images : str
        Its attribute with the images.
    name : str
        Their attribute with their name.

    Raises
    ------
    InvalidInputError
        When a plane has another shape than the grid.
    """
    object.__setattr__(thing, images, tuple(getattr(thing, images)))
    shape = thing.grid.shape
    for one in getattr(thing, images):
        if one.shape != shape:
            msg = f"{images}: {getattr(one, name)} has shape {one.shape}, the grid {shape}; they must be equal"
            raise InvalidInputError(msg)
    if thing.segmentation is not None:
        labels = as_array(thing.segmentation, "segmentation", np.int32, shape=shape)
        object.__setattr__(thing, "segmentation", labels)


def named_image(images: Sequence[Image], wanted: str, name: str) -> Image:
    """Return the image of a name.

    Parameters
    ----------
    images : sequence
        Of an object.
    wanted : str
        The name.
    name : str
        Their attribute with their name.

    Raises
    ------
    NotFoundError
        When there is none.
    """
    for one in images:
        if getattr(one, name) == wanted:
            return one
    msg = f"{name}: {wanted!r} is not there, only {[getattr(one, name) for one in images]}"
    raise NotFoundError(msg)
