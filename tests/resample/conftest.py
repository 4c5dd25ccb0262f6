"""A drizzle in plain float64 Python: polygons are clipped one by one."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest


def bilinear(pixmap, x, y):
    """Bilinear in the map, going on linearly beyond its border."""
    ny, nx, _ = pixmap.shape
    i, j = min(max(int(np.floor(x)), 0), nx - 2), min(max(int(np.floor(y)), 0), ny - 2)
    t, u = x - i, y - j
    lower = (1 - t) * pixmap[j, i] + t * pixmap[j, i + 1]
    upper = (1 - t) * pixmap[j + 1, i] + t * pixmap[j + 1, i + 1]
    return (1 - u) * lower + u * upper


def clip(polygon, axis, limit, sign):
    """Sutherland-Hodgman: the part of a polygon with ``sign * (p[axis] - limit) >= 0``."""
    out = []
    for k, p in enumerate(polygon):
        q = polygon[k - 1]
        dp, dq = sign * (p[axis] - limit), sign * (q[axis] - limit)
        if (dp >= 0) != (dq >= 0):
            t = dq / (dq - dp)
            out.append([q[0] + t * (p[0] - q[0]), q[1] + t * (p[1] - q[1])])
        if dp >= 0:
            out.append(p)
    return out


def area(polygon):
    return 0.5 * sum(polygon[k - 1][0] * p[1] - p[0] * polygon[k - 1][1] for k, p in enumerate(polygon))


def cells(box, shape):
    """Pixels of the output that a box ``(x0, x1, y0, y1)`` touches."""
    x0, x1, y0, y1 = (int(np.floor(v + 0.5)) for v in box)
    for j in range(max(y0, 0), min(y1 + 1, shape[0])):
        for i in range(max(x0, 0), min(x1 + 1, shape[1])):
            yield j, i


def square(pixmap, pixel, shape, *, pixfrac, **_):
    j, i = pixel
    h = pixfrac / 2
    corners = [bilinear(pixmap, i + sx * h, j + sy * h).tolist() for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    if not np.isfinite(corners).all():
        return
    whole = area(corners)
    x, y = zip(*corners, strict=True)
    for row, column in cells((min(x), max(x), min(y), max(y)), shape):
        part = corners
        for axis, limit, sign in ((0, column - 0.5, 1), (0, column + 0.5, -1), (1, row - 0.5, 1), (1, row + 0.5, -1)):
            part = clip(part, axis, limit, sign)
        share = area(part) / whole if part else 0.0
        if share > 1e-12:
            yield row, column, share


def turbo(pixmap, pixel, shape, *, pixfrac, ratio):
    x, y = pixmap[pixel]
    if not np.isfinite(x + y):
        return
    h = pixfrac / ratio / 2
    for row, column in cells((x - h, x + h, y - h, y + h), shape):
        width = min(x + h, column + 0.5) - max(x - h, column - 0.5)
        height = min(y + h, row + 0.5) - max(y - h, row - 0.5)
        if width > 0 and height > 0:
            yield row, column, width * height / (2 * h) ** 2


def point(pixmap, pixel, shape, **_):
    x, y = pixmap[pixel]
    if np.isfinite(x + y):
        row, column = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            yield row, column, 1.0


def separable(profile, half):
    """Shares ``profile(d) profile(d')`` of the pixels that a box of half side ``half`` touches."""

    def shares(pixmap, pixel, shape, *, pixfrac, ratio):
        x, y = pixmap[pixel]
        if not np.isfinite(x + y):
            return
        h = half(pixfrac, ratio)
        for row, column in cells((x - h, x + h, y - h, y + h), shape):
            share = profile(column - x, pixfrac, ratio) * profile(row - y, pixfrac, ratio)
            if share != 0.0:
                yield row, column, share

    return shares


def normal(d, pixfrac, ratio):
    sigma = pixfrac / 2.3548 / ratio
    return np.exp(-0.5 * (d / sigma) ** 2) / np.sqrt(2 * np.pi) / sigma


def windowed_sinc(order):
    def profile(d, _, ratio):
        u = abs(d) * ratio
        return ratio * np.sinc(u) * np.sinc(u / order) if u < order else 0.0

    return profile


gaussian = separable(normal, lambda pixfrac, ratio: max(2.5 * pixfrac / 2.3548, 1.2) / ratio)
lanczos2, lanczos3 = (separable(windowed_sinc(n), lambda _, ratio, n=n: n / ratio) for n in (2, 3))
KERNELS = {
    "square": square,
    "turbo": turbo,
    "point": point,
    "gaussian": gaussian,
    "lanczos2": lanczos2,
    "lanczos3": lanczos3,
}


def drizzle(exposures, shape, *, kernel="square", pixfrac=1.0):
    """Exposures are dicts of ``data, pixmap`` and optionally ``weight, variance, dq, value_scale, ratio``; ``size``
    is the sum of ``|w d|``."""
    weight, product, squares, size = (np.zeros(shape) for _ in range(4))
    dq = np.zeros(shape, np.uint32)
    context = [[set() for _ in range(shape[1])] for _ in range(shape[0])]
    for number, exposure in enumerate(exposures):
        data = exposure["data"].astype(float) * exposure.get("value_scale", 1.0)
        variance = exposure.get("variance", np.zeros(data.shape)) * exposure.get("value_scale", 1.0) ** 2
        for j, i in np.ndindex(*data.shape):
            w = float(exposure["weight"][j, i]) if "weight" in exposure else 1.0
            if not (w > 0 and np.isfinite(data[j, i]) and np.isfinite(variance[j, i])):
                continue
            shares = KERNELS[kernel](
                exposure["pixmap"], (j, i), shape, pixfrac=pixfrac, ratio=exposure.get("ratio", 1.0)
            )
            for row, column, share in shares:
                weight[row, column] += w * share
                product[row, column] += w * share * data[j, i]
                squares[row, column] += (w * share) ** 2 * variance[j, i]
                if share > 0:
                    context[row][column].add(number)
                size[row, column] += abs(w * share * data[j, i])
                if "dq" in exposure:
                    dq[row, column] |= exposure["dq"][j, i]
    covered = weight != 0
    mean, var = np.full(shape, np.nan), np.full(shape, np.nan)
    mean[covered] = product[covered] / weight[covered]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # gaussian weights reach 1e-300
        var[covered] = squares[covered] / weight[covered] ** 2
    return SimpleNamespace(data=mean, weight=weight, variance=var, dq=dq, context=context, size=size)


@pytest.fixture(scope="session")
def reference_drizzle():
    return drizzle


def covariance(exposures, shape, *, kernel="square", pixfrac=1.0):
    """The weights (float32, as they are kept) and the covariance of all pairs of pixels: ``A diag(w^2 v) A^T / W W``."""
    n = shape[0] * shape[1]
    total, weight = np.zeros((n, n)), np.zeros(n)
    for exposure in exposures:
        scale = exposure.get("value_scale", 1.0)
        for pixel in np.ndindex(*exposure["pixmap"].shape[:2]):
            w = float(exposure["weight"][pixel])
            shares = KERNELS[kernel](
                exposure["pixmap"], pixel, shape, pixfrac=pixfrac, ratio=exposure.get("ratio", 1.0)
            )
            found = [(row * shape[1] + column, share) for row, column, share in shares]
            if w > 0 and found:
                at, a = (np.array(v) for v in zip(*found, strict=True))
                weight[at] += w * a
                total[np.ix_(at, at)] += np.outer(a, a) * w**2 * float(exposure["variance"][pixel]) * scale**2
    weight = weight.astype(np.float32).astype(float)
    inverse = np.divide(1.0, weight, out=np.zeros(n), where=weight != 0)
    return weight.reshape(shape), total * inverse * inverse[:, np.newaxis]


@pytest.fixture(scope="session")
def reference_covariance():
    return covariance


def make_map(shape, *, scale=1.7, angle=20.0, shift=(5.3, 4.1), flip=False, bend=1e-3):
    """A rotated, scaled, bent map whose values are multiples of 2^-20, so that integer shifts are exact."""
    y, x = np.indices(shape, dtype=float)
    x, y = x - shape[1] / 2, y - shape[0] / 2
    t = np.deg2rad(angle)
    u, v = x + bend * x * y, y - bend * x * x
    u = -u if flip else u
    out = np.stack([np.cos(t) * u - np.sin(t) * v, np.sin(t) * u + np.cos(t) * v], axis=-1) * scale
    out += np.array(shift) + np.array([shape[1], shape[0]]) * scale / 2
    return np.round(out * 2**20) / 2**20


@pytest.fixture(scope="session")
def bent_map():
    return make_map


@pytest.fixture(scope="session")
def places():
    """The module that makes a field with interior, edge and holes."""
    if "places" not in sys.modules:
        spec = importlib.util.spec_from_file_location("places", Path(__file__).with_name("places.py"))
        sys.modules["places"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["places"])
    return sys.modules["places"]
