"""Procedural textures: seamless sRGB images, tinted by materials."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 512
Image = NDArray[np.floating]


def _noise(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> Image:
    """Return seamless power-law noise (SIZE, SIZE) of mean 0 and standard deviation 1.

    With ``stretch`` > 1 its features are longer along u by that factor."""
    fv, fu = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.rfftfreq(SIZE), indexing="ij")
    radius = np.hypot(fu * stretch, fv) + 1.0 / SIZE
    white = np.fft.rfft2(rng.standard_normal((SIZE, SIZE)))
    noise = np.fft.irfft2(white * radius**-slope, s=(SIZE, SIZE))
    noise -= noise.mean()
    return (noise / noise.std()).astype(np.float32)


def _grey(values: Image) -> Image:
    return np.repeat(values[..., None], 3, axis=2).astype(np.float32)


def _grid() -> tuple[Image, Image]:
    """Return u (to the right) and v (downwards), 0..1, both (SIZE, SIZE)."""
    ticks = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    u, v = np.meshgrid(ticks, ticks)
    return u, v


def _plain(rng: np.random.Generator) -> Image:
    return _grey(0.97 + 0.012 * _noise(rng, 0.8))


def _wallpaper(rng: np.random.Generator) -> Image:
    u, v = _grid()
    stripes = 0.012 * np.sign(np.sin(2 * np.pi * 8 * u))
    motif = (np.hypot((u * 8) % 1 - 0.5, ((v * 8 + 0.5 * np.floor(u * 8)) % 1 - 0.5)) < 0.16) * 0.05
    return _grey(0.95 + stripes - motif + 0.008 * _noise(rng, 0.7))


def _wood(rng: np.random.Generator) -> Image:
    rings = np.sin(24 * _grid()[1] * np.pi + 1.6 * _noise(rng, 1.9, 6))
    value = 0.86 + 0.055 * rings + 0.05 * _noise(rng, 1.0, 22) + 0.02 * _noise(rng, 0.3, 8)
    return _grey(value) * np.array([1.0, 0.985, 0.965], np.float32)


def _planks(rng: np.random.Generator) -> Image:
    wood, rows = _wood(rng), 8
    image, height = np.zeros((SIZE, SIZE, 3), np.float32), SIZE // rows
    for row in range(rows):
        strip = np.roll(wood, tuple(rng.integers(SIZE, size=2)), axis=(0, 1))[:height]
        cut, band = int(rng.integers(SIZE // 8, SIZE)), slice(row * height, (row + 1) * height)
        tones = rng.uniform(0.78, 1.05, 2)
        strip = strip * np.where(np.arange(SIZE) < cut, *tones)[None, :, None]
        strip[:2] *= 0.55
        strip[:, [cut - 1, cut % SIZE, 0]] *= 0.6
        image[band] = strip
    return image


def _tiles(rng: np.random.Generator) -> Image:
    u, v = _grid()
    n = 4
    du, dv = np.abs((u * n) % 1 - 0.5), np.abs((v * n) % 1 - 0.5)
    tones = rng.uniform(0.9, 1.0, (n, n)).astype(np.float32)
    tile = tones[(v * n).astype(int) % n, (u * n).astype(int) % n] + 0.025 * _noise(rng, 1.3)
    grout = np.maximum(du, dv) > 0.485
    return _grey(np.where(grout, 0.62, tile))


def _bricks(rng: np.random.Generator) -> Image:
    """Glazed wall tiles in a running bond, as behind a kitchen counter."""
    u, v = _grid()
    row = np.floor(v * 8)
    du, dv = np.abs((u * 4 + 0.5 * (row % 2)) % 1 - 0.5), np.abs((v * 8) % 1 - 0.5)
    grout = (du > 0.485) | (dv > 0.47)
    shine = 0.96 - 0.05 * dv + 0.01 * _noise(rng, 1.2)
    return _grey(np.where(grout, 0.7, shine))


def _fabric(rng: np.random.Generator) -> Image:
    u, v = _grid()
    weave = np.sin(2 * np.pi * 64 * u) * np.sin(2 * np.pi * 64 * v)
    return _grey(0.88 + 0.04 * weave + 0.05 * _noise(rng, 0.2) + 0.035 * _noise(rng, 1.4))


def _check(rng: np.random.Generator) -> Image:
    u, v = _grid()
    bands = 0.5 * ((u * 6) % 1 < 0.45).astype(np.float32) + 0.5 * ((v * 6) % 1 < 0.45)
    return _fabric(rng) * (0.72 + 0.28 * bands)[..., None]


def _stone(rng: np.random.Generator) -> Image:
    value = 0.85 + 0.06 * _noise(rng, 0.0) + 0.04 * _noise(rng, 1.2)
    return _grey(np.where(_noise(rng, 0.5) > 2.0, 0.45, value))


def _metal(rng: np.random.Generator) -> Image:
    return _grey(0.93 + 0.022 * _noise(rng, 0.6, 40))


def _leaf(rng: np.random.Generator) -> Image:
    u, v = _grid()
    vein = np.abs(v - 0.5) < 0.02
    side = np.abs((u * 12 + np.abs(v - 0.5) * 8) % 1 - 0.5) < 0.05
    return _grey(0.85 + 0.07 * _noise(rng, 1.2) + 0.14 * vein + 0.07 * side)


def _rug(rng: np.random.Generator) -> Image:
    """A woven rug: borders, a field of diamonds and a medallion; stretched over the whole rug."""
    u, v = _grid()
    edge = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    colors = ((0.95, 0.9, 0.8), (0.72, 0.26, 0.22), (0.22, 0.27, 0.42))
    cream, red, blue = (np.array(color, np.float32) for color in colors)
    diamonds = (np.abs((u * 14) % 1 - 0.5) + np.abs((v * 10) % 1 - 0.5)) < 0.22
    centre = np.abs(u - 0.5) / 0.30 + np.abs(v - 0.5) / 0.36
    image = np.where(diamonds[..., None], cream * 0.9, red)
    image = np.where((centre < 1)[..., None], blue, image)
    image = np.where((np.abs(centre - 1) < 0.05)[..., None], cream, image)
    image = np.where((centre < 0.5)[..., None], red * 0.9, image)
    for low, high, color in ((0.0, 0.03, cream), (0.03, 0.10, blue), (0.10, 0.115, cream)):
        image = np.where(((edge >= low) & (edge < high))[..., None], color, image)
    zigzag = (edge > 0.045) & (edge < 0.085) & (((u + v) * 30) % 1 < 0.4)
    image = np.where(zigzag[..., None], cream, image)
    return image * _fabric(rng) * 1.1


def _spine(rng: np.random.Generator) -> Image:
    image = _grey(0.93 + 0.03 * _noise(rng, 1.0))
    for at in sorted(rng.uniform(0.06, 0.94, 3)):
        row = int(at * SIZE)
        image[row : row + int(rng.integers(6, 24))] = rng.uniform(0.6, 1.3)
    for at in range(int(0.3 * SIZE), int(0.7 * SIZE), 22):
        left, right = rng.integers(90, 200), rng.integers(310, 430)
        image[at : at + 9, left:right] = 1.7
    return image


def _panel(rng: np.random.Generator, columns: int, rows: int) -> Image:
    """The front of a door: raised panels with a lit upper and a shaded lower edge."""
    image = _grey(0.96 + 0.01 * _noise(rng, 0.8))
    for row in range(rows):
        for column in range(columns):
            y0, y1 = (int(SIZE * (row + part) / rows) for part in (0.10, 0.90))
            x0, x1 = (int(SIZE * (column + part) / columns) for part in (0.14, 0.86))
            image[y0:y1, x0:x1] *= 0.80
            image[y0 + 7 : y1, x0 + 7 : x1] /= 0.80 * 0.97
            image[y1 - 7 : y1, x0:x1] *= 1.06
            image[y0:y1, x1 - 7 : x1] *= 1.05
    return image


def _painting(rng: np.random.Generator) -> Image:
    """A landscape of hills under an evening sky inside a white mat."""
    u, v = _grid()
    sky = np.array([0.95, 0.72, 0.5], np.float32), np.array([0.35, 0.5, 0.75], np.float32)
    image = sky[0] * v[..., None] + sky[1] * (1 - v[..., None])
    sun = np.hypot(u - rng.uniform(0.3, 0.7), v - 0.42) < 0.08
    image = np.where(sun[..., None], np.array([1.0, 0.9, 0.7], np.float32), image)
    for layer in range(4):
        profile = cv2.GaussianBlur(rng.standard_normal((1, SIZE)).astype(np.float32), (0, 0), 40)[0]
        line = 0.45 + 0.13 * layer + 0.6 * profile
        color = rng.uniform(0.25, 0.7, 3) * np.array([0.8, 1.0, 0.75]) / (1 + 0.35 * layer)
        image = np.where((v > line[None])[..., None], color.astype(np.float32), image)
    image *= 1 + 0.04 * _grey(_noise(rng, 0.6))
    mat = np.maximum(np.abs(u - 0.5), np.abs(v - 0.5)) > 0.40
    return np.where(mat[..., None], np.float32(0.93), image)


def _abstract(rng: np.random.Generator) -> Image:
    image = np.full((SIZE, SIZE, 3), 0.9, np.float32)
    for _ in range(14):
        x, y, radius = (int(value) for value in rng.integers(60, SIZE - 60, 3))
        color = tuple(float(value) for value in rng.uniform(0.1, 0.95, 3))
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), radius // 4, color, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (x, y), (x + radius // 3, y + radius // 5), color, -1)
    return image * (1 + 0.03 * _grey(_noise(rng, 0.8)))


def _garden(rng: np.random.Generator) -> Image:
    """The view out of the window: sky with clouds, trees, a lawn."""
    v = _grid()[1]
    clouds = np.clip(0.5 * _noise(rng, 1.7, 2) - 0.1, 0, 1)[..., None]
    sky = np.array([0.55, 0.74, 0.95], np.float32) * (1 - 0.25 * v[..., None]) + 0.2 * v[..., None]
    image = sky * (1 - clouds) + 0.98 * clouds
    trees = v > 0.55 + 0.05 * _noise(rng, 1.5)[SIZE // 2][None]
    foliage = np.array([0.22, 0.4, 0.16], np.float32) * (1 + 0.3 * _grey(_noise(rng, 0.9)))
    image = np.where(trees[..., None], foliage, image)
    lawn = np.array([0.42, 0.6, 0.25], np.float32) * (1 + 0.08 * _grey(_noise(rng, 0.6)))
    return np.where((v > 0.74)[..., None], lawn, image)


def _screen(rng: np.random.Generator) -> Image:
    u, v = _grid()
    value = 0.10 + 0.10 * np.clip(1 - np.hypot(u - 0.25, v - 0.2) * 1.3, 0, 1)
    return _grey(value) * np.array([0.9, 1.0, 1.15], np.float32)


def _clock(rng: np.random.Generator) -> Image:
    image, middle = np.full((SIZE, SIZE, 3), 0.95, np.float32), SIZE // 2
    for hour in range(12):
        direction = np.array([np.sin(hour * np.pi / 6), -np.cos(hour * np.pi / 6)])
        start, end = ((middle + direction * r * SIZE).astype(int).tolist() for r in (0.36, 0.43))
        cv2.line(image, start, end, (0.1, 0.1, 0.1), 9, cv2.LINE_AA)
    cv2.line(image, (middle, middle), (middle + 90, middle - 70), (0.1, 0.1, 0.1), 13, cv2.LINE_AA)
    cv2.line(image, (middle, middle), (middle - 60, middle - 150), (0.1, 0.1, 0.1), 8, cv2.LINE_AA)
    cv2.circle(image, (middle, middle), SIZE // 2 - 12, (0.12, 0.12, 0.12), 22, cv2.LINE_AA)
    return image


_MAKERS = {
    "plain": _plain,
    "wallpaper": _wallpaper,
    "wood": _wood,
    "planks": _planks,
    "tiles": _tiles,
    "bricks": _bricks,
    "fabric": _fabric,
    "check": _check,
    "stone": _stone,
    "metal": _metal,
    "leaf": _leaf,
    "rug": _rug,
    "spine0": _spine,
    "spine1": _spine,
    "spine2": _spine,
    "door": lambda rng: _panel(rng, 2, 3),
    "cabinet": lambda rng: _panel(rng, 1, 1),
    "painting0": _painting,
    "painting1": _abstract,
    "garden": _garden,
    "screen": _screen,
    "clock": _clock,
}
NAMES = tuple(_MAKERS)


@cache
def make_textures() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all textures in the order of ``NAMES`` with their mipmaps.

    Returns:
        All pixels, uint8 sRGB (N, 3), level after level; and the first pixel of each level of each
        texture, (textures, levels). Level k has ``SIZE >> k`` rows and columns.
    """
    pixels, starts, used = [], np.zeros((len(NAMES), SIZE.bit_length() - 2), np.int64), 0
    for number, (name, make) in enumerate(_MAKERS.items()):
        image = np.clip(make(np.random.default_rng(len(name) + 31 * number)), 0, 1)
        for level in range(starts.shape[1]):
            size = SIZE >> level
            small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            starts[number, level] = used
            pixels.append((small.reshape(-1, 3) * 255 + 0.5).astype(np.uint8))
            used += size * size
    return np.concatenate(pixels), starts
