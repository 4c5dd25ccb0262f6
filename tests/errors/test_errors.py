"""The tree of errors."""

import pickle

import pytest

from skymere import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_one_of_ours_and_survives_pickling(cls: type[Exception]) -> None:
    error = cls("argument: 3 is not allowed")
    assert isinstance(error, errors.SkymereError)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is cls
    assert str(back) == str(error)


def test_errors_are_also_the_builtin_ones_that_people_catch() -> None:
    assert issubclass(errors.InvalidInputError, ValueError)
    assert issubclass(errors.NotFoundError, LookupError)
    assert issubclass(errors.StorageError, OSError)
    assert issubclass(errors.SchemaError, errors.FormatError)
