"""Readers of files from elsewhere, on some hundred damaged files each; ``make fuzz`` gives them a million."""

import random

import pytest

from skymere.errors import SkymereError

from .fits_bytes import VALUES, mutate
from .targets import TARGETS

N_FILES = 300


def change_bytes(data: bytes, most: int) -> bytes:
    rng = random.Random(len(data))
    out = bytearray(data[:most])
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(out) + 1)
        out[at : at + rng.randrange(3)] = rng.choice(VALUES).encode()
    return bytes(out)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_damaged_file_is_read_or_refused_by_name(name, tmp_path):
    target = TARGETS[name]
    seeds = target.seeds(tmp_path)
    path = tmp_path / "fuzzed" / target.name
    path.parent.mkdir()
    messages = []
    for i in range(N_FILES):
        data = seeds[i % len(seeds)]
        most = 2 * len(data)
        data = mutate(data, change_bytes, most, i) if target.is_fits else change_bytes(data + bytes([i % 256]), most)
        path.write_bytes(data)
        try:
            target.read(path)
        except SkymereError as error:
            messages.append(str(error))
    assert len(messages) > N_FILES // 10
    assert [message for message in messages if path.name not in message] == []
