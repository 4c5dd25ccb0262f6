"""Changes of FITS files that a reader is likely to look at: cards, extensions and numbers."""

import random
from collections.abc import Callable

BLOCK, CARD = 2880, 80
# What cards of damaged, foreign and hostile files say.
VALUES = (
    *("0", "1", "-1", "2", "3", "7", "8", "16", "-32", "-64", "64", "999", "2147483648", "-9223372036854775808"),
    *("1E400", "-1.5", "0.0", "1.0E-300", "1.0D+05", "NaN", "T", "F", "", "(1.0, 2.0)", "''", "'A'", "'1024A'"),
    *("'1PE(3)'", "'1QD(9)'", "'J'", "'0E'", "'3X'", "'RA---TAN'", "'DEC--TAN-SIP'", "'GLON-CAR'", "'WAVE'", "'TPV'"),
    *(
        "'BINTABLE'",
        "'IMAGE'",
        "'TABLE'",
        "'FOREIGN'",
        "'GZIP_1'",
        "'ELECTRONS'",
        "'MJy/sr'",
        "'HST'",
        "'JWST'",
        "'SCI'",
    ),
    *("'ERR'", "'DQ'", "'WFC3'", "'NIRCAM'", "'F140W'", "'Lookup'", "'deg'", "'km'", "'unterminated", "garbage here"),
)


def mutate(data: bytes, grow: Callable[[bytes, int], bytes], most: int, seed: int) -> bytes:
    """Return a file with one to four changes; every fourth time it is the fuzzer that changes bytes."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = rng.choice((_card, _card, _card, _numbers, _shape, None))
        data = grow(data, most) if change is None else change(bytearray(data), rng)
    return bytes(data[:most])


def _headers(data: bytearray) -> list[int]:
    starts = range(0, len(data), BLOCK)
    return [start for start in starts if data[start : start + 8] in (b"SIMPLE  ", b"XTENSION")]


def _cards(data: bytearray, start: int) -> int:
    """Return how many cards a header has, END not counted."""
    for n, place in enumerate(range(start, len(data) - CARD + 1, CARD)):
        if data[place : place + 8] == b"END     ":
            return n
    return 0


def _card(data: bytearray, rng: random.Random) -> bytes:
    """Change, remove, repeat or swap a card."""
    starts = _headers(data)
    if not starts:
        return bytes(data)
    start = rng.choice(starts)
    n = _cards(data, start)
    if n == 0:
        return bytes(data)
    one, other = (start + CARD * rng.randrange(n) for _ in range(2))
    kind = rng.randrange(5)
    if kind <= 1:
        data[one + 8 : one + CARD] = f"= {rng.choice(VALUES)}".encode().ljust(CARD - 8)
    elif kind == 2:
        data[one : one + CARD] = b" " * CARD
    elif kind == 3:
        data[one : one + CARD], data[other : other + CARD] = data[other : other + CARD], data[one : one + CARD]
    else:
        data[one + 8 : one + CARD] = data[other + 8 : other + CARD]
    return bytes(data)


def _numbers(data: bytearray, rng: random.Random) -> bytes:
    """Put something that is no ordinary number among the pixels or rows."""
    words = (
        b"\x7f\xc0\x00\x00",
        b"\xff\x80\x00\x00",
        b"\x00" * 4,
        b"\xff" * 4,
        b"\x80\x00\x00\x00",
        b"\x7f\x7f\xff\xff",
    )
    if len(data) >= 4:
        place = rng.randrange(len(data) - 3) & ~3
        data[place : place + 4] = rng.choice(words)
    return bytes(data)


def _shape(data: bytearray, rng: random.Random) -> bytes:
    """Cut the file, or leave out, repeat or exchange a block."""
    blocks = [bytes(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK)]
    if not blocks:
        return bytes(data)
    one, other = (rng.randrange(len(blocks)) for _ in range(2))
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data) + 1)])
    if kind == 1:
        del blocks[one]
    elif kind == 2:
        blocks.insert(one, blocks[other])
    else:
        blocks[one], blocks[other] = blocks[other], blocks[one]
    return b"".join(blocks)
